// SPDX-License-Identifier: Apache-2.0

package taskcomp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"endio/explore"
	"endio/machine/sim"
	"endio/scenario"
)

// ticksTo returns after how many ticks the handler of bio A, which is deferred, has run, in all interleavings, counted from the end of the bio.
func ticksTo(t *testing.T, version, text string) []int {
	t.Helper()
	f, err := scenario.Parse("delay.scn", []byte("model taskcomp\nbio A\n"+text+"expect "+version+": holds\n"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	p := &explore.Program{Name: t.Name(), Init: func(x *explore.Exec) {
		m := start(x, f, sim.Config{CPUs: 2, Preemption: sim.Full, Ticks: true}, version)
		k, from, end := m.stage.K, 0, m.end
		k.Root(&from)
		m.end = func(c *sim.Context, b *modelBio) {
			from = k.Jiffies(c)
			end(c, b)
		}
		k.Go(nil, "observer", sim.TaskOptions{CPU: sim.OnCPU(1)}, func(c *sim.Context) {
			m.bio("A").done.Wait(c)
			seen[k.Jiffies(c)-from] = true
		})
	}}
	r, err := explore.Explore(context.Background(), p, explore.Options{Strategy: explore.Cached(), MaxSteps: 1000, VerifyStates: true})
	if err != nil || r.Verdict != explore.Holds || r.Scope != "exhausted" {
		t.Fatalf("%s: %v, %v", version, err, r)
	}
	return slices.Sorted(maps.Keys(seen))
}

// TestB3Delay: what v5 and v6 defer is run a jiffy later, which is at the second tick and never earlier (kernel-semantics.md, B4.3); the others run it at
// once, and no tick is taken.
func TestB3Delay(t *testing.T) {
	for version, want := range map[string]int{"v4": 0, "v5": 2, "v6": 2, "v6+irqsave": 2, "v6+fixes": 2, "v7": 0, "v7+rawlock": 0, "v7+biowork": 0, "endio": 0} {
		for _, where := range []string{"irq on cpu 0: complete A\n", "softirq on cpu 0: complete A\n"} {
			if got := ticksTo(t, version, where); fmt.Sprint(got) != fmt.Sprint([]int{want}) {
				t.Errorf("%s: the handler has run after %v ticks, want %d\n%s", version, got, want, where)
			}
		}
	}
}
