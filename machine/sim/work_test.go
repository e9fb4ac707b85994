// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
)

// The tests of this file are about work items, timers and pools, kernel-semantics.md B4 and B5, beside those of sim_test.go.

// TestB41DisablingStealsFromTheQueue: a queued item has depth 0, so to disable it takes it from the list first, or waits for nothing
// if it runs; the instance that runs clears no disable.
func TestB41DisablingStealsFromTheQueue(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		runs := 0
		k.Root(&runs)
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) { runs++; c.Yield() })
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			k.SystemWq().QueueWorkOn(c, 0, w)
			was := w.Disable(c)
			c.Check(w.Depth() == 1 && !w.Pending(), "depth %d, pending %t after a disable", w.Depth(), w.Pending())
			running := w.Running()
			c.Learn(uint64(runs)<<1 | map[bool]uint64{true: 1}[running])
			w.FlushWork(c)
			c.Check(w.Depth() == 1, "the end of an instance has enabled the item")
			c.Check(!k.SystemWq().QueueWorkOn(c, 0, w), "a disabled item was queued")
			saw(fmt.Sprintf("was pending %t, running %t, runs %d", was, running, runs))
		})
	}, "was pending true, running false, runs 0", "was pending false, running true, runs 1", "was pending false, running false, runs 1")
}

// TestB42QueueDelayedWork: no delay is at once, and the guards are those of queue_work_on.
func TestB42QueueDelayedWork(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		w := k.NewDelayedWork(nil, "w", 0, func(*sim.Context) {})
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			c.PreemptDisable() // no worker takes it here
			c.Check(k.SystemWq().QueueDelayedWorkOn(c, 0, &w.Work, 0), "not queued")
			c.Check(w.Pending() && w.TimerCPU() == -1, "a timer for no delay")
			c.Check(!k.SystemWq().QueueDelayedWorkOn(c, 0, &w.Work, 1), "armed while it is pending")
			c.Check(w.TimerCPU() == -1, "taken from the list")
			w.Disable(c)
			c.Check(!k.SystemWq().QueueDelayedWorkOn(c, 0, &w.Work, 1), "armed while it is disabled")
			c.Check(w.TimerCPU() == -1 && !w.Pending(), "a timer of a disabled item")
			w.Enable(c)
			c.Check(k.SystemWq().QueueDelayedWorkOn(c, 0, &w.Work, 1), "not armed")
			c.Check(w.Disable(c), "the timer was not pending")
			c.Check(w.TimerCPU() == -1 && !w.Pending(), "a disabled item has a timer")
			w.Enable(c)
			c.PreemptEnable()
		})
	})
}

// TestB42ModDelayedWorkPullsBack: an item on the worklist is taken from it and armed again: later, and not lost.
func TestB42ModDelayedWorkPullsBack(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		runs := 0
		k.Root(&runs)
		w := k.NewDelayedWork(nil, "w", 0, func(*sim.Context) { runs++ })
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			c.LocalIRQSave() // nor a timer
			k.SystemWq().QueueWorkOn(c, 0, &w.Work)
			c.Check(k.SystemWq().ModDelayedWorkOn(c, 0, &w.Work, 1), "it was not pending")
			c.Check(w.TimerCPU() == 0, "its timer is armed on cpu %d", w.TimerCPU())
			c.LocalIRQRestore()
		})
		k.AtEnd(func(k *sim.Kernel) {
			if runs != 1 {
				k.Fail(sim.NeverRun, fmt.Sprintf("%d runs, want 1", runs))
			}
		})
	})
}

// TestB42EnableWaitsForTheTimer: enable does not take the timer: it waits until that has fired, and for ever if it does not fire. (It then
// says that it was one enable too many: a disabled item has no timer.)
func TestB42EnableWaitsForTheTimer(t *testing.T) {
	init := func(k *sim.Kernel) {
		w := k.NewDelayedWork(nil, "w", 1, func(*sim.Context) {})
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 1)
			w.Enable(c)
			c.Fail(explore.Assertion, "enabled with depth 0")
		})
	}
	fails(t, sim.Config{}, "imbalance: work w: enable without disable", init)
	fails(t, sim.Config{Offline: []int{1}}, `lost work: task "task" waits for the timer of work w, and no task is left that could end the wait`, init)
}

// TestB42CancelSync: an item that queues itself can't escape, and is enabled afterwards.
func TestB42CancelSync(t *testing.T) {
	for _, cfg := range sim.Configs() {
		holds(t, cfg, func(k *sim.Kernel) {
			var w *sim.Work
			w = k.NewWork(nil, "w", 0, func(c *sim.Context) { c.Forget(1); c.Yield(); k.SystemWq().QueueWorkOn(c, 0, w) })
			k.Go(nil, "task", on(1), func(c *sim.Context) {
				k.SystemWq().QueueWorkOn(c, 0, w)
				w.CancelSync(c)
				c.Check(!w.Pending() && !w.Running() && w.Depth() == 0, "pending %t, running %t, depth %d", w.Pending(), w.Running(), w.Depth())
			})
		})
	}
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) { // and plain cancel does not wait
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) { c.Yield() })
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			k.SystemWq().QueueWorkOn(c, 0, w)
			saw(fmt.Sprintf("was pending %t, running %t", w.Cancel(c), w.Running()))
		})
	}, "was pending true, running false", "was pending false, running true", "was pending false, running false")
}

// TestB43TimerOfACPUThatIsOff: a timer that is armed for a CPU that is off line fires when that is back, and not before.
func TestB43TimerOfACPUThatIsOff(t *testing.T) {
	for _, up := range []bool{false, true} {
		holds(t, sim.Config{Offline: []int{1}}, func(k *sim.Kernel) {
			k.LimitFailures(nil)
			runs := 0
			k.Root(&runs)
			w := k.NewDelayedWork(nil, "w", 1, func(c *sim.Context) { runs++ })
			k.Go(nil, "task", on(0), func(c *sim.Context) {
				c.Check(k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 1), "refused")
				c.Check(w.TimerCPU() == 1, "armed on cpu %d", w.TimerCPU())
				if up {
					_ = k.CPUUp(c, 1, "")
				}
			})
			k.AtEnd(func(k *sim.Kernel) {
				if up != (runs == 1) {
					k.Fail(explore.Assertion, fmt.Sprintf("%d runs, the CPU came: %t", runs, up))
				}
			})
		})
	}
}

// TestB43TimersMoveAfterTheDeadCallbacks: in the dead callback of a dynamic state the timers of the CPU are still its own.
func TestB43TimersMoveAfterTheDeadCallbacks(t *testing.T) {
	reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
		k.LimitFailures(nil)
		w := k.NewDelayedWork(nil, "w", 1, func(*sim.Context) {})
		k.AddState(sim.StatePrepareDyn, sim.HotplugState{Name: "dyn:dead", Teardown: func(c *sim.Context, _ *sim.CPU) error {
			saw(fmt.Sprint("in the dead callback on cpu ", w.TimerCPU()))
			return nil
		}})
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 1)
			_ = k.CPUDown(c, 1, "")
		})
	}, "in the dead callback on cpu 1", "in the dead callback on cpu -1")
}

// TestB5ItemsRunOnTheirCPU: a per-CPU workqueue runs an item on the CPU that was asked for, one after the other in the order of
// queueing; after each the worker gives way to others, in all models.
func TestB5ItemsRunOnTheirCPU(t *testing.T) {
	for _, cfg := range sim.Configs() {
		reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
			order := sim.NewAtomic(k, nil, "order", "")
			note := func(c *sim.Context, s string) { order.Update(c, func(o string) string { return o + s }) }
			item := func(name string) *sim.Work {
				return k.NewWork(nil, name, 1, func(c *sim.Context) {
					c.Check(where(c) == 1 && c.Kind() == sim.InTask, "item %s runs on cpu %d in a %s", name, c.CPU(), c.Kind())
					note(c, name)
				})
			}
			a, b := item("a"), item("b")
			k.Go(nil, "task", on(0), func(c *sim.Context) {
				k.SystemWq().QueueWorkOn(c, 1, a)
				k.SystemWq().QueueWorkOn(c, 1, b)
			})
			k.Go(nil, "other", on(1), func(c *sim.Context) { note(c, "-") })
			k.AtEnd(func(*sim.Kernel) { saw(order.Peek()) })
		}, "-ab", "a-b", "ab-")
	}
}

// TestB5QueueingLooksAtTheLastPool: while an item runs, it is queued where it runs, whichever CPU is asked for.
func TestB5QueueingLooksAtTheLastPool(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		first := true
		k.Root(&first)
		var w *sim.Work
		w = k.NewWork(nil, "w", 0, func(c *sim.Context) {
			if !first {
				saw(fmt.Sprint("again on cpu ", c.CPU()))
				return
			}
			first = false
			c.Check(k.SystemWq().QueueWorkOn(c, 1, w), "not queued")
		})
		k.Go(nil, "task", on(0), func(c *sim.Context) { k.SystemWq().QueueWorkOn(c, 0, w) })
	}, "again on cpu 0")
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) { saw(fmt.Sprint("cpu ", c.CPU())) })
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			k.SystemWq().QueueWorkOn(c, 0, w)
			w.FlushWork(c)
			k.SystemWq().QueueWorkOn(c, 1, w)
		})
	}, "cpu 0", "cpu 1")
}

// TestB5RescuerIsOneThread: a rescuer starts an item without memory, and helps neither an item that has started and waits for
// another one, nor that other one. With a worker both run.
func TestB5RescuerIsOneThread(t *testing.T) {
	init := func(k *sim.Kernel) {
		wq := k.AllocWorkqueue("bio", sim.MemReclaim)
		done := k.NewCompletion(nil, "done")
		a := k.NewWork(nil, "a", 0, func(c *sim.Context) { done.Wait(c) })
		b := k.NewWork(nil, "b", 0, func(c *sim.Context) { done.Complete(c) })
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			wq.QueueWorkOn(c, 0, a)
			wq.QueueWorkOn(c, 0, b)
			a.FlushWork(c)
		})
	}
	holds(t, sim.Config{Preemption: sim.Full}, init)
	fails(t, sim.Config{Preemption: sim.Full, NoMemory: true},
		`lost work: task "task" waits for work a, run by task "rescuer bio", which waits for completion done, and no task is left that could end the wait`, init)
}

// TestB5RescuerOfADisassociatedPool: it runs elsewhere when the CPU of the pool is off line, and on the CPU while that is there.
func TestB5RescuerOfADisassociatedPool(t *testing.T) {
	for _, offline := range []bool{false, true} {
		cfg, want := sim.Config{Preemption: sim.Full, NoMemory: true}, "cpu 1"
		if offline {
			cfg.Offline, want = []int{1}, "cpu 0"
		}
		reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
			wq := k.AllocWorkqueue("bio", sim.MemReclaim)
			w := k.NewWork(nil, "w", 1, func(c *sim.Context) { saw(fmt.Sprint("cpu ", where(c))) })
			k.Go(nil, "task", on(0), func(c *sim.Context) { wq.QueueWorkOn(c, 1, w) })
		}, want)
	}
}

// TestB5RescuerDetaches: after its item a rescuer is none of the pool's workers: what is not of its workqueue has nobody, and the report says so.
func TestB5RescuerDetaches(t *testing.T) {
	fails(t, sim.Config{Preemption: sim.Full, NoMemory: true}, `lost work: task "task" waits for work b (work b is queued on cpu 0, where memory is short`+
		` and no worker can be made, and workqueue events has no rescuer), and no task is left that could end the wait`, func(k *sim.Kernel) {
		wq := k.AllocWorkqueue("bio", sim.MemReclaim)
		a, b := k.NewWork(nil, "a", 0, func(*sim.Context) {}), k.NewWork(nil, "b", 0, func(*sim.Context) {})
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			wq.QueueWorkOn(c, 0, a)
			a.FlushWork(c)
			k.SystemWq().QueueWorkOn(c, 0, b)
			b.FlushWork(c)
		})
	})
}

// where returns a CPU on which c may be: with preemption off the explorer chooses among all.
func where(c *sim.Context) machine.CPU {
	c.PreemptDisable()
	defer c.PreemptEnable()
	return c.CPU()
}

// TestB5PoolOfACPUThatGoesAndComes: what is on the list when the CPU goes runs all the same, elsewhere; when the CPU is back it runs
// what is queued to it.
func TestB5PoolOfACPUThatGoesAndComes(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		k.LimitFailures(nil)
		before := k.NewWork(nil, "before", 1, func(c *sim.Context) { saw(fmt.Sprint("before: cpu ", where(c))) })
		after := k.NewWork(nil, "after", 1, func(c *sim.Context) { saw(fmt.Sprint("after: cpu ", where(c))) })
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			k.SystemWq().QueueWorkOn(c, 1, before)
			_ = k.CPUDown(c, 1, "")
			before.FlushWork(c)
			_ = k.CPUUp(c, 1, "")
			k.SystemWq().QueueWorkOn(c, 1, after)
		})
	}, "before: cpu 0", "before: cpu 1", "after: cpu 1")
}
