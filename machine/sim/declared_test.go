// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// The tests of this file have two ways to what looks like one state and is not, where part of what
// decides the future is left out of it: then an outcome is never seen, or the search says so.

// TestStateHasTheTaskWorkThatIsLeft: while one task work of several runs, the others are known to
// the context that took them only.
func TestStateHasTheTaskWorkThatIsLeft(t *testing.T) {
	add := func(mode sim.RingMode) {
		t.Helper()
		reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
			var r *sim.Ring
			one, two := k.NewCompletion(nil, "one is there"), k.NewCompletion(nil, "two are there")
			owner := k.Go(nil, "owner", on(0), func(c *sim.Context) {
				two.Wait(c)
				_ = r.Enter(c, 2)
			})
			r = k.NewRing(nil, owner, mode)
			first := func(add func(c *sim.Context)) {
				k.Go(nil, "first", on(1), func(c *sim.Context) {
					add(c)
					one.CompleteAll(c)
				})
			}
			second := func(add func(c *sim.Context)) {
				k.Go(nil, "second", on(1), func(c *sim.Context) {
					one.Wait(c)
					add(c)
					two.CompleteAll(c)
				})
			}
			if mode == sim.RingDefer { // which runs the oldest first, the others the newest
				first, second = second, first
			}
			first(func(c *sim.Context) {
				which := c.Choose(2)
				r.AddTaskWork(c, "last", func(c *sim.Context) {
					saw(fmt.Sprint("work ", which, " is left"))
					r.PostCQE(c)
				})
			})
			second(func(c *sim.Context) {
				r.AddTaskWork(c, "before", func(c *sim.Context) {
					c.Yield()
					r.PostCQE(c)
				})
			})
		}, "work 0 is left", "work 1 is left")
	}
	add(sim.RingDefault)
	add(sim.RingCoop)
	add(sim.RingDefer)
}

// TestStateHasTheAnswerOfAnOperationThatHasGrabbed: whether an item was pending is known from the moment
// when it was grabbed, and returned later.
func TestStateHasTheAnswerOfAnOperationThatHasGrabbed(t *testing.T) {
	run := func(op func(k *sim.Kernel, c *sim.Context, w *sim.Work) bool, want ...string) {
		t.Helper()
		reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
			runs := 0
			k.Root(&runs)
			armed := k.NewCompletion(nil, "armed")
			w := k.NewDelayedWork(nil, "item", 0, func(*sim.Context) { runs++ })
			k.Go(nil, "operation", on(0), func(c *sim.Context) {
				was := op(k, c, &w.Work)
				armed.Wait(c)
				w.FlushWork(c)
				saw(fmt.Sprintf("was pending %t, runs %d", was, runs))
			})
			k.Go(nil, "arm", on(1), func(c *sim.Context) {
				k.SystemWq().QueueDelayedWorkOn(c, 0, &w.Work, 1)
				armed.CompleteAll(c)
			})
		}, want...)
	}
	withdrawn, absorbed, ran := "was pending true, runs 0", "was pending false, runs 0", "was pending false, runs 1"
	run(func(_ *sim.Kernel, c *sim.Context, w *sim.Work) bool { return w.Cancel(c) }, withdrawn, absorbed, ran)
	run(func(_ *sim.Kernel, c *sim.Context, w *sim.Work) bool { return w.Disable(c) }, withdrawn, absorbed, ran)
	run(func(k *sim.Kernel, c *sim.Context, w *sim.Work) bool {
		return k.SystemWq().ModDelayedWorkOn(c, 0, w, 0)
	},
		"was pending true, runs 1", "was pending false, runs 1", "was pending false, runs 2")
}

// TestStateHasTheAnswerOfDisable: the same in a search that hotplug makes so large that it comes back to the state
// in which the item is grabbed.
func TestStateHasTheAnswerOfDisable(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full, Offline: []int{1}}, func(k *sim.Kernel) {
		w := k.NewDelayedWork(nil, "item", 1, func(c *sim.Context) { c.Yield() })
		w.Disable(sim.NewMachine(k).InitContext())
		k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:item",
			Startup:  func(c *sim.Context, p *sim.CPU) error { w.Enable(c); return nil },
			Teardown: func(c *sim.Context, p *sim.CPU) error { w.DisableSync(c); return nil }})
		for _, name := range []string{"A", "B"} {
			k.Interrupt(nil, 1, name, sim.IRQOptions{}, func(c *sim.Context) {
				k.SystemWq().ModDelayedWorkOn(c, 1, &w.Work, 1)
			})
		}
		k.Go(nil, "hotplug", sim.TaskOptions{}, func(c *sim.Context) {
			_ = k.CPUUp(c, 1, "")
			_ = k.CPUDown(c, 1, "")
		})
	})
}

// TestStateHasWhereWorkersAre: hotplug ties workers to a CPU and frees them while they have a
// step pending, and moves timers.
func TestStateHasWhereWorkersAre(t *testing.T) {
	for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}, {Preemption: sim.Full, Workers: 1}} {
		for _, offline := range [][]int{nil, {1}} {
			cfg.Offline = offline
			holds(t, cfg, func(k *sim.Kernel) {
				w := k.NewDelayedWork(nil, "item", 1, func(c *sim.Context) { c.Yield() })
				for _, name := range []string{"A", "B"} {
					k.Interrupt(nil, 1, name, sim.IRQOptions{}, func(c *sim.Context) {
						k.SystemWq().ModDelayedWorkOn(c, 1, &w.Work, 1)
					})
				}
				k.Go(nil, "hotplug", sim.TaskOptions{}, func(c *sim.Context) {
					if offline == nil {
						_ = k.CPUDown(c, 1, "")
						return
					}
					_ = k.CPUUp(c, 1, "")
					_ = k.CPUDown(c, 1, "")
				})
			})
		}
	}
}
