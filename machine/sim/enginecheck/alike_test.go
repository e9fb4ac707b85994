// SPDX-License-Identifier: Apache-2.0

package enginecheck

import (
	"context"
	"testing"

	"endio/batch"
	"endio/bio"
	"endio/explore"
	"endio/machine/sim"
)

// TestAlikeFindsFaults: bios without numbers are still told apart by whether their handlers have run: one that is run twice and one that is
// lost are found.
func TestAlikeFindsFaults(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		end        func(r *rig, c *sim.Context, i int, b *bio.Bio)
	}{
		{"good", "", func(r *rig, c *sim.Context, _ int, b *bio.Bio) { bio.End(c, r.bs, b, nil) }},
		{"lost", "handler never run: the handler of one of several bios that are alike has not run, and nothing is left that could run it",
			func(r *rig, c *sim.Context, i int, b *bio.Bio) {
				c.Yield()
				if i == 0 || r.mem.total == 0 { // the second one is lost if the first has been handled before
					bio.End(c, r.bs, b, nil)
				}
			}},
		{"twice", "handler run twice: the handler of a bio ran once more than it was started",
			func(r *rig, c *sim.Context, i int, b *bio.Bio) {
				bio.End(c, r.bs, b, nil)
				if i == 1 {
					r.handleAlike(c, b)
				}
			}},
	} {
		for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}} {
			k := Check{Name: tt.name, Init: func(x *explore.Exec, cfg sim.Config) {
				r := newRig(x, cfg, batch.Options{})
				flags := bio.CompleteInTask
				if tt.name == "twice" {
					flags = 0
				}
				for i := range 2 {
					b := r.alike(flags)
					r.irqAlike(1, "irq", func(c *sim.Context) { tt.end(r, c, i, b) })
				}
			}}
			r, err := explore.Explore(context.Background(), k.Program(cfg), explore.Options{Strategy: explore.Cached(), VerifyStates: true})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if r.Failure != nil {
				got = r.Failure.Error()
			}
			if got != tt.want {
				t.Errorf("%s, %s: %q, want %q", tt.name, cfg, got, tt.want)
			}
		}
	}
}
