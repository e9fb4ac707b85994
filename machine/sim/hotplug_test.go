// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"strings"
	"testing"

	"endio/machine/sim"
)

// TestB63DownWaitsForRequestsInFlight: BLK_MQ_ONLINE waits for the requests of the queues whose last
// CPU goes, while interrupts of the CPU still come; stacking queues are exempt.
func TestB63DownWaitsForRequestsInFlight(t *testing.T) {
	run := func(stacking bool, want ...string) {
		t.Helper()
		reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
			q := k.NewHardwareQueue("nvme0q1", 1, stacking)
			inFlight := 0
			k.Root(&inFlight)
			started := k.NewCompletion(nil, "started")
			k.Go(nil, "submit", on(0), func(c *sim.Context) {
				q.Start(c)
				inFlight++
				k.Interrupt(c, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
					q.End(c)
					inFlight--
				})
				started.Complete(c)
			})
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				started.Wait(c)
				if k.CPUDown(c, 1, "TEARDOWN_CPU") == nil {
					saw(fmt.Sprint("down with ", inFlight))
				}
			})
		}, want...)
	}
	run(false, "down with 0")
	run(true, "down with 0", "down with 1")
}

// TestB63RequestThatNeverEndsHangsHotplug: the wait of BLK_MQ_ONLINE has no end of its own.
func TestB63RequestThatNeverEndsHangsHotplug(t *testing.T) {
	fails(t, sim.Config{Preemption: sim.Full}, `lost work: task "control" waits for the requests in flight on nvme0q1, and no task is left that could end the wait`,
		func(k *sim.Kernel) {
			q := k.NewHardwareQueue("nvme0q1", 1, false)
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				q.Start(c)
				_ = k.CPUDown(c, 1, "")
			})
		})
}

// TestB43HousekeepingTimers: with timer housekeeping the timer of delayed work sits on a housekeeping
// CPU; the CPU on which the item is queued then is the one that was asked for.
func TestB43HousekeepingTimers(t *testing.T) {
	for _, housekeeping := range []bool{false, true} {
		want := "timer fires on cpu 1"
		if housekeeping {
			want = "timer fires on cpu 0"
		}
		reaches(t, sim.Config{Preemption: sim.Full, Housekeeping: housekeeping}, func(k *sim.Kernel, saw func(string)) {
			w := k.NewDelayedWork(nil, "delayed", 1, func(c *sim.Context) {
				c.Check(c.CPU() == 1, "the item runs on cpu %d, want 1", c.CPU())
			})
			k.Go(nil, "task", on(1), func(c *sim.Context) {
				k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 1)
				saw(fmt.Sprint("timer fires on cpu ", w.TimerCPU()))
			})
		}, want)
	}
}

// TestB63WaitEmpty: a CPU is stopped only when tasks that may not migrate have left it.
func TestB63WaitEmpty(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
			k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
				if pinned {
					c.MigrateDisable()
				}
				before := c.CPU()
				c.Yield()
				if pinned {
					c.Check(c.CPU() == before, "a task that may not migrate has moved from cpu %d to %d", before, c.CPU())
					c.Check(c.CPUOf().Online(), "cpu %d was stopped under a task that may not migrate", c.CPU())
					c.MigrateEnable()
				}
			})
			k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
		})
	}
}

// TestB7MigrateDisable: it is preemptible, nests, and must be balanced.
func TestB7MigrateDisable(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
			c.MigrateDisable()
			c.MigrateDisable()
			c.MightSleep("a sleep with migration off")
			cpu := c.CPU()
			c.MigrateEnable()
			c.Yield()
			c.Check(c.CPU() == cpu, "moved from cpu %d to %d", cpu, c.CPU())
			c.MigrateEnable()
		})
	})
	fails(t, sim.Config{Preemption: sim.Full}, `imbalance: migrate_enable without its opposite in task "task"`, func(k *sim.Kernel) {
		k.Go(nil, "task", on(0), func(c *sim.Context) { c.MigrateEnable() })
	})
	r := explored(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		k.Go(nil, "task", on(0), func(c *sim.Context) { c.MigrateDisable() })
	})
	if r.Failure == nil || r.Failure.Kind != sim.Imbalance {
		t.Errorf("a task that ends with migration off: %v, want an imbalance", r.Failure)
	}
}

// TestB61OrderOfStates: the states that have names here are in the kernel's order, and dynamic ones come after those that were put in before.
func TestB61OrderOfStates(t *testing.T) {
	holds(t, sim.Config{}, func(k *sim.Kernel) {
		for _, n := range []string{"1", "2"} {
			k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:online" + n})
			k.AddState(sim.StatePrepareDyn, sim.HotplugState{Name: "dyn:dead" + n})
		}
		var names []string
		k.States(func(name string, _ bool) { names = append(names, name) })
		want := "OFFLINE BLOCK_SOFTIRQ_DEAD BIO_DEAD BLK_MQ_DEAD WORKQUEUE_PREP RCUTREE_PREP TIMERS_PREPARE " +
			"BP_PREPARE_DYN dyn:dead1 dyn:dead2 BRINGUP_CPU SCHED_STARTING RCUTREE_DYING TICK_DYING TEARDOWN_CPU " +
			"SCHED_WAIT_EMPTY SMPBOOT_THREADS IRQ_AFFINITY_ONLINE BLK_MQ_ONLINE WORKQUEUE_ONLINE RCUTREE_ONLINE " +
			"AP_ONLINE_DYN dyn:online1 dyn:online2 AP_ACTIVE ONLINE"
		if got := strings.Join(names, " "); got != want {
			t.Errorf("states\n  got  %s\n  want %s", got, want)
		}
	})
	fails(t, sim.Config{}, "hotplug misuse: no dynamic hotplug state is called ONLINE_DYN", func(k *sim.Kernel) {
		k.AddState("ONLINE_DYN", sim.HotplugState{Name: "dyn:x"})
	})
}

// TestB62And63Windows: between the moment when a CPU is on line and its online callback (window U), and between down_prep and its death
// (window D), device interrupts come to it, and what they queue is refused where the callbacks disable; after that nothing runs there.
func TestB62And63Windows(t *testing.T) {
	for _, offline := range []bool{false, true} {
		cfg, want := sim.Config{Preemption: sim.Full}, []string{"cpu 1: true", "cpu 1: false", "cpu 0: false"}
		if offline {
			cfg.Offline = []int{1}
			want = append(want, "cpu 0: true") // sent there, and enabled before it queues
		}
		reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
			k.LimitFailures(nil)
			w := k.NewWork(nil, "w", 1, func(*sim.Context) {})
			if offline {
				w.Disable(sim.NewMachine(k).InitContext())
			}
			k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:w",
				Startup:  func(c *sim.Context, _ *sim.CPU) error { w.Enable(c); return nil },
				Teardown: func(c *sim.Context, _ *sim.CPU) error { w.DisableSync(c); return nil }})
			k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
				queued := k.SystemWq().QueueWorkOn(c, 1, w)
				saw(fmt.Sprintf("cpu %d: %t", c.CPU(), queued))
			})
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				if offline {
					_ = k.CPUUp(c, 1, "")
				} else {
					_ = k.CPUDown(c, 1, "")
				}
			})
		}, want...)
	}
}

// TestB62TasksRunOnActiveCPUs: ordinary tasks come to a CPU when it is active, which is after its online callbacks, and have left it before its
// down_prep; threads that are bound to it run there in between.
func TestB62TasksRunOnActiveCPUs(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
			for range 2 {
				c.PreemptDisable()
				c.Check(c.CPUOf().Active(), "a task comes to cpu %d, which is not active", c.CPU())
				c.Yield()
				c.Check(c.CPUOf().Online(), "cpu %d is stopped under a task", c.CPU())
				c.PreemptEnable()
			}
		})
		k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:x",
			Startup:  func(c *sim.Context, p *sim.CPU) error { return activeIs(c, p, false) },
			Teardown: func(c *sim.Context, p *sim.CPU) error { return activeIs(c, p, false) }})
		k.Go(nil, "control", on(0), func(c *sim.Context) {
			if k.CPUDown(c, 1, "") == nil {
				_ = k.CPUUp(c, 1, "")
			}
		})
	})
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		k.LimitFailures(nil)
		w := k.NewWork(nil, "w", 1, func(c *sim.Context) { saw(fmt.Sprint("kworker on cpu ", c.CPU(), ", active: ", k.CPU(1).Active())) })
		k.Go(nil, "control", on(0), func(c *sim.Context) {
			_ = k.CPUDown(c, 1, sim.StateOnlineDyn) // before the workqueues let go
			k.SystemWq().QueueWorkOn(c, 1, w)
		})
	}, "kworker on cpu 1, active: false")
	reaches(t, sim.Config{Preemption: sim.Full, Offline: []int{1}}, func(k *sim.Kernel, saw func(string)) {
		k.LimitFailures(nil)
		k.Go(nil, "control", sim.TaskOptions{}, func(c *sim.Context) {
			_ = k.CPUUp(c, 1, "")
			c.PreemptDisable()
			saw(fmt.Sprint("task on cpu ", c.CPU()))
			c.PreemptEnable()
		})
	}, "task on cpu 0", "task on cpu 1")
}

// activeIs fails unless ordinary tasks may run on p or may not, as wanted, in a callback that runs on p.
func activeIs(c *sim.Context, p *sim.CPU, want bool) error {
	c.Check(c.CPUOf() == p && p.Online() && p.Active() == want, "callback on cpu %d, online %t, active %t", c.CPU(), p.Online(), p.Active())
	return nil
}

// TestB64WhatFailsIsNotUndone: of a state that fails on the way up the teardown is not called, nor its startup if it fails on the way
// down; the others are undone in the opposite order.
func TestB64WhatFailsIsNotUndone(t *testing.T) {
	for _, up := range []bool{false, true} {
		cfg, want := sim.Config{}, []string{" -3 -2 -1", " -3 +3", " -3 -2 +2 +3", ""}
		if up {
			cfg.Offline, want = []int{1}, []string{" +1 +2 +3", " +1 +2 -2 -1", " +1 -1", ""}
		}
		reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
			k.LimitFailures(nil)
			log := ""
			k.Root(&log)
			note := func(s string) func(*sim.Context, *sim.CPU) error {
				return func(*sim.Context, *sim.CPU) error { log += s; return nil }
			}
			for i := range 3 {
				n := fmt.Sprint(i + 1)
				k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:" + n, Fails: true, Startup: note(" +" + n), Teardown: note(" -" + n)})
			}
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				if up {
					_ = k.CPUUp(c, 1, "")
				} else {
					_ = k.CPUDown(c, 1, "")
				}
				saw(log)
			})
		}, want...)
	}
}

// TestB64WhatCanFail: faults are injected neither where interrupts are off, nor below the point of no return; an operation that asks for
// one there is refused.
func TestB64WhatCanFail(t *testing.T) {
	down := func(state string) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			k.LimitFailures(nil)
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				err := k.CPUDown(c, 1, "", state)
				c.Check(k.CPU(1).Online() == (err != nil), "online %t with error %v", k.CPU(1).Online(), err)
			})
		}
	}
	for _, s := range []string{"AP_ACTIVE", "BLK_MQ_ONLINE", "TEARDOWN_CPU"} {
		seen := map[bool]bool{}
		holds(t, sim.Config{}, func(k *sim.Kernel) {
			down(s)(k)
			k.AtEnd(func(k *sim.Kernel) { seen[k.CPU(1).Online()] = true })
		})
		if len(seen) != 2 {
			t.Errorf("%s fails never or always: %v", s, seen)
		}
	}
	holds(t, sim.Config{}, func(k *sim.Kernel) { // on the way down it is too late
		down("WORKQUEUE_PREP")(k)
		k.AtEnd(func(k *sim.Kernel) {
			if k.CPU(1).Online() {
				k.Fail(sim.HotplugMisuse, "refused below TEARDOWN_CPU")
			}
		})
	})
	for _, s := range []string{"SCHED_STARTING", "TICK_DYING", "BP_PREPARE_DYN", "SCHED_WAIT_EMPTY"} {
		fails(t, sim.Config{}, "hotplug misuse: hotplug state "+s+" can not fail", down(s))
	}
	fails(t, sim.Config{}, "hotplug misuse: no hotplug state is called AP_IDLE", down("AP_IDLE"))
}

// TestB6OneOperationAtATime: cpus_write_lock is held from the first state to the last, and the way back.
func TestB6OneOperationAtATime(t *testing.T) {
	holds(t, sim.Config{CPUs: 3, Preemption: sim.Full}, func(k *sim.Kernel) {
		k.LimitFailures([]string{"TEARDOWN_CPU"})
		inside := 0
		k.Root(&inside)
		k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:x",
			Startup: func(c *sim.Context, _ *sim.CPU) error { inside--; return nil },
			Teardown: func(c *sim.Context, _ *sim.CPU) error {
				inside++
				c.Check(inside == 1, "two CPUs go down at a time")
				c.Yield()
				return nil
			}})
		k.AddState(sim.StatePrepareDyn, sim.HotplugState{Name: "dyn:dead", Teardown: func(*sim.Context, *sim.CPU) error { inside--; return nil }})
		for i := range 2 {
			k.Go(nil, fmt.Sprint("control", i), on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1+i, "") })
		}
	})
}

// TestB64RegistrationWithoutCalls: _nocalls registration stores the callbacks and calls none; it waits for the operation under way, and
// what an operation calls is what was registered before it began. A section of the hotplug lock keeps operations from beginning.
func TestB64RegistrationWithoutCalls(t *testing.T) {
	for _, held := range []bool{false, true} {
		want := []string{"down, seen by late and early", "down, seen by early"}
		if held {
			want = want[:1]
		}
		reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
			by := ""
			k.Root(&by)
			note := func(name string) func(*sim.Context, *sim.CPU) error {
				return func(*sim.Context, *sim.CPU) error { by += name; return nil }
			}
			k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "late", Late: true, Teardown: note("late and ")})
			k.AddState(sim.StatePrepareDyn, sim.HotplugState{Name: "early", Teardown: note("early")})
			if held {
				k.HoldHotplug()
			}
			k.Go(nil, "register", on(0), func(c *sim.Context) {
				k.Register(c, "late")
				if held {
					k.LetHotplug(c)
				}
			})
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				if k.CPUDown(c, 1, "") == nil {
					saw("down, seen by " + by)
				}
			})
		}, want...)
	}
}
