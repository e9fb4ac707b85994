// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"context"
	"testing"
	"time"

	"endio/batch"
	"endio/bio"
	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
)

// A rig is one execution of the engine's completion code on a simulated kernel.
type rig struct {
	k    *sim.Kernel
	m    *sim.Machine
	bs   *batch.Batches
	bios []*bio.Bio
	runs []int
}

func newRig(x *explore.Exec, cfg sim.Config, bios int) *rig {
	k := sim.New(x, cfg)
	r := &rig{k: k, m: sim.NewMachine(k), runs: make([]int, bios)}
	r.bs = batch.New(r.m, r.m.InitContext(), batch.Options{Pass: 2})
	for i := range bios {
		b := &bio.Bio{Flags: bio.CompleteInTask, EndIO: func(c machine.Context, b *bio.Bio) { r.handle(c, i) }}
		if err := b.Start(); err != nil {
			k.Fail(explore.Assertion, err.Error())
		}
		r.bios = append(r.bios, b)
	}
	k.Root(r.bs)
	k.Root(&r.bios)
	k.Root(&r.runs)
	k.AtEnd(func(k *sim.Kernel) {
		for i, n := range r.runs {
			if n != 1 {
				k.Fail(sim.NeverRun, "bio "+string(rune('0'+i))+" was completed and its handler has not run")
			}
		}
	})
	return r
}

func (r *rig) handle(mc machine.Context, i int) {
	c := mc.(*sim.Context)
	r.runs[i]++
	if r.runs[i] > 1 {
		c.Fail(sim.RunTwice, "the handler of bio %d ran twice", i)
	}
	if r.k.Config().Count && c.Atomic() {
		c.Fail(sim.WrongContext, "the handler of bio %d runs in atomic context: %s %q", i, c.Kind(), c.Name())
	}
	c.MightSleep("handler")
}

func batchProgram(cfg sim.Config) *explore.Program {
	return &explore.Program{Name: "batch, " + cfg.String(), SkipFrames: []string{"endio/machine/sim."}, Init: func(x *explore.Exec) {
		r := newRig(x, cfg, 4)
		for i, cpu := range []int{1, 1, 0} {
			r.k.Interrupt(nil, cpu, "irq"+string(rune('0'+i)), sim.IRQOptions{Hard: true, Merge: true}, func(c *sim.Context) {
				bio.End(c, r.bs, r.bios[i], nil)
			})
		}
		r.k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
			c.PreemptDisable()
			bio.End(c, r.bs, r.bios[3], nil)
			c.PreemptEnable()
		})
		r.k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
			_ = r.k.CPUDown(c, 1, "")
		})
	}}
}

func TestEngineBatch(t *testing.T) {
	for _, cfg := range sim.Configs() {
		for _, conc := range []bool{false, true} {
			cfg.Concurrent = conc
			t.Run(cfg.String(), func(t *testing.T) {
				r, err := explore.Explore(context.Background(), batchProgram(cfg), explore.Options{Strategy: explore.Cached(), MaxTime: 20 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s steps %d states %d", r, r.Steps, r.States)
				if f := r.Failure; f != nil {
					t.Fatalf("%s\n%s\n%s", f, f.Details, f.Trace)
				}
			})
		}
	}
}
