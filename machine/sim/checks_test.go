// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine"
	"endio/machine/sim"
)

// The tests of this file are about what the kernel in miniature checks by itself. Each check has programs that must
// pass and programs that must fail, with the exact text.

// onTask makes a program of one task on CPU 0.
func onTask(f func(k *sim.Kernel) func(c *sim.Context)) func(k *sim.Kernel) {
	return func(k *sim.Kernel) { k.Go(nil, "task", on(0), f(k)) }
}

// alone makes a program of one task that needs nothing made before.
func alone(f func(c *sim.Context)) func(k *sim.Kernel) {
	return onTask(func(*sim.Kernel) func(*sim.Context) { return f })
}

// TestCheckSleepInAtomicContext: everything that may sleep says so where it may not, also when it would not have to
// wait; might_sleep of kernel-semantics.md B7.
func TestCheckSleepInAtomicContext(t *testing.T) {
	never := func(*sim.Context) bool { return false }
	for _, tt := range []struct {
		what string
		make func(k *sim.Kernel) func(c *sim.Context)
	}{
		{"mutex_lock m", func(k *sim.Kernel) func(*sim.Context) { return k.NewMutex(nil, "m").Lock }},
		{"down_read s", func(k *sim.Kernel) func(*sim.Context) { return k.NewRWSem(nil, "s").DownRead }},
		{"down_write s", func(k *sim.Kernel) func(*sim.Context) { return k.NewRWSem(nil, "s").DownWrite }},
		{"wait_event q", func(k *sim.Kernel) func(*sim.Context) {
			q := k.NewWaitQueue(nil, "q")
			return func(c *sim.Context) { _ = q.Wait(c, sim.Uninterruptible, never) }
		}},
		{"schedule", func(k *sim.Kernel) func(*sim.Context) {
			q := k.NewWaitQueue(nil, "q")
			return func(c *sim.Context) { q.Prepare(c); q.Schedule(c, sim.Uninterruptible) }
		}},
		{"wait_for_completion x", func(k *sim.Kernel) func(*sim.Context) { return k.NewCompletion(nil, "x").Wait }},
		{"flush_work w", func(k *sim.Kernel) func(*sim.Context) {
			return k.NewWork(nil, "w", 0, func(*sim.Context) {}).FlushWork
		}},
		{"disable_work_sync w", func(k *sim.Kernel) func(*sim.Context) {
			w := k.NewWork(nil, "w", 0, func(*sim.Context) {})
			return func(c *sim.Context) { w.DisableSync(c) }
		}},
		{"inode_dio_wait", func(k *sim.Kernel) func(*sim.Context) {
			n := k.NewInode(nil, "file")
			return func(c *sim.Context) { _ = n.DioWait(c, sim.Uninterruptible) }
		}},
		{"sb_start_write", func(k *sim.Kernel) func(*sim.Context) { return k.NewSuperBlock(nil).StartWrite }},
		{"freeze_super", func(k *sim.Kernel) func(*sim.Context) { return k.NewSuperBlock(nil).Freeze }},
		{"cond_resched", func(*sim.Kernel) func(*sim.Context) { return (*sim.Context).CondResched }},
		{"cpu hotplug", func(k *sim.Kernel) func(*sim.Context) {
			return func(c *sim.Context) { _ = k.CPUDown(c, 1, "") }
		}},
	} {
		for _, cfg := range sim.Configs() {
			fails(t, cfg, "sleep in atomic context: "+tt.what+` in a section with preemption off: task "task" on cpu 0`, onTask(func(k *sim.Kernel) func(*sim.Context) {
				f := tt.make(k)
				return func(c *sim.Context) { c.PreemptDisable(); f(c); c.PreemptEnable() }
			}))
		}
	}
}

// TestCheckSleepWhereOneMay: what surrounds a sleep without making it a fault.
func TestCheckSleepWhereOneMay(t *testing.T) {
	for _, cfg := range sim.Configs() {
		holds(t, cfg, onTask(func(k *sim.Kernel) func(*sim.Context) {
			m, s := k.NewMutex(nil, "m"), k.NewRWSem(nil, "s")
			return func(c *sim.Context) {
				s.DownRead(c)
				m.Lock(c)
				c.MigrateDisable()
				c.MightSleep("a sleep")
				c.CondResched()
				c.MigrateEnable()
				m.Unlock(c)
				s.UpRead(c)
				c.PreemptDisable()
				c.PreemptEnable()
				c.MightSleep("a sleep")
			}
		}))
		holds(t, cfg, func(k *sim.Kernel) {
			w := k.NewWork(nil, "w", 0, func(c *sim.Context) { c.MightSleep("a sleep") })
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { k.SystemWq().QueueWork(c, w) })
		})
	}
	fails(t, sim.Config{}, `sleep in atomic context: a sleep in softirq context: softirq "block" on cpu 0`, func(k *sim.Kernel) {
		k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
			c.RaiseSoftirq("block", func(c *sim.Context) { c.MightSleep("a sleep") })
		})
	})
}

// TestCheckConcurrentEntry: two contexts in one critical section are found, whichever kind of section it is, and those that
// exclude each other are not.
func TestCheckConcurrentEntry(t *testing.T) {
	var m *sim.Machine
	section := func(k *sim.Kernel) machine.Local {
		m = sim.NewMachine(k)
		return m.NewLocal("s.local")
	}
	both := func(cpus ...int) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			s := section(k)
			v := m.NewVar("s.data")
			for i, cpu := range cpus {
				k.Go(nil, fmt.Sprint("task", i), on(i), func(c *sim.Context) {
					s.LockOn(c, machine.CPU(cpu))
					v.Write(c)
					s.Unlock(c, machine.CPU(cpu))
				})
			}
		}
	}
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		s := section(k)
		k.Go(nil, "task", on(0), func(c *sim.Context) { s.Unlock(c, s.Lock(c)) })
		k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { s.Unlock(c, s.Lock(c)) })
	})
	fails(t, sim.Config{Preemption: sim.Full},
		`corruption: s.local: the section of cpu 0 is entered by task "task1" on cpu 1, while cpu 0 runs`, both(0, 0))
	fails(t, sim.Config{Preemption: sim.Full},
		`data race: s.data is used by task "task1" on cpu 1 outside of the section under which task "task0" used it`, both(0, 1))
	fails(t, sim.Config{}, `deadlock: task "task" enters section s.local[0], in which it is already`, onTask(func(k *sim.Kernel) func(*sim.Context) {
		s := section(k)
		return func(c *sim.Context) { s.Lock(c); s.Lock(c) }
	}))
	fails(t, sim.Config{}, `imbalance: task "task" leaves section s.local[0], in which it is not`, onTask(func(k *sim.Kernel) func(*sim.Context) {
		s := section(k)
		return func(c *sim.Context) { s.Unlock(c, 0) }
	}))
	local := func(irq bool) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			l := k.NewLocalLock(nil, "l")
			use := func(c *sim.Context) { l.Lock(c); l.Unlock(c) }
			if irq {
				use = func(c *sim.Context) { l.LockIRQ(c); l.UnlockIRQ(c) }
			}
			k.Go(nil, "task", on(0), use)
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, use)
		}
	}
	holds(t, sim.Config{NoLockdep: true}, local(true))
	fails(t, sim.Config{NoLockdep: true}, `corruption: local_lock l of cpu 0 is taken by hardirq "irq" while task "task" holds it`, local(false))
}

// TestCheckCorruption: memory is used under one protection by all, or it is found.
func TestCheckCorruption(t *testing.T) {
	cfg := sim.Config{Preemption: sim.Full}
	cell := func(enter, leave func(c *sim.Context)) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			x := sim.NewCell(k, "x", 0)
			k.Go(nil, "task", on(0), func(c *sim.Context) { enter(c); x.Set(c, 1); leave(c) })
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { x.Set(c, 2) })
		}
	}
	holds(t, cfg, cell((*sim.Context).LocalIRQSave, (*sim.Context).LocalIRQRestore))
	fails(t, cfg, `corruption: x is used on cpu 0 by task "task" without any protection`, cell((*sim.Context).Yield, (*sim.Context).Yield))
	fails(t, cfg, `corruption: x is used on cpu 0 by task "task" without any protection`, cell((*sim.Context).PreemptDisable, (*sim.Context).PreemptEnable))
	// A lock protects what relies on it, on whatever CPU, and no better while a CPU is dead: it belongs to none.
	spin := func(guard, down bool) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			k.LimitFailures(nil)
			x, l := sim.NewCell(k, "x", 0), k.NewRawSpinlock(nil, "l")
			if guard {
				l.Guard()
			}
			use := func(c *sim.Context) { l.LockIRQ(c); x.Set(c, 1); l.UnlockIRQ(c) }
			k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, use)
			k.Go(nil, "task", on(0), func(c *sim.Context) {
				use(c)
				if down {
					_ = k.CPUDown(c, 1, "")
					x.Set(c, 2)
				}
			})
		}
	}
	holds(t, cfg, spin(true, false))
	fails(t, cfg, `corruption: x is used on cpu 0 by task "task" without the protection that others rely on; before, hardirq "irq" used it on cpu 1`, spin(false, false))
	fails(t, cfg, `corruption: x is used on cpu 0 by task "task" without the protection that others rely on; before, task "task" used it on cpu 0`, spin(true, true))
	// What belongs to a CPU that is dead is anybody's.
	dead := func(down bool) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			k.LimitFailures(nil)
			list := sim.NewPerCPU(k, "list", 0)
			k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { list.This(c).Set(c, 1) })
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				if down {
					_ = k.CPUDown(c, 1, "")
				}
				c.LocalIRQSave()
				list.On(1).Set(c, 2)
				c.LocalIRQRestore()
			})
		}
	}
	holds(t, cfg, dead(true))
	fails(t, cfg, `corruption: list[1] is used on cpu 0 by task "control" without the protection that others rely on; before, hardirq "irq" used it on cpu 1`, dead(false))
}

// TestCheckSoftLockup: the budget of steps without a scheduling point, in each preemption model; kernel-semantics.md B8.
func TestCheckSoftLockup(t *testing.T) {
	steps := func(n int) func(c *sim.Context) {
		return func(c *sim.Context) {
			for range n {
				c.Yield()
			}
		}
	}
	for _, cfg := range sim.Configs() {
		cfg.HogSteps = 10
		text := func(kind string) string {
			return fmt.Sprintf(`soft lockup: %s ran 11 steps on its CPU without a scheduling point (%s)`, kind, cfg)
		}
		holds(t, cfg, alone(steps(10)))
		if cfg.Preemption < sim.Full {
			fails(t, cfg, text(`task "task"`), alone(steps(11)))
		} else {
			holds(t, cfg, alone(steps(30)))
		}
		holds(t, cfg, alone(func(c *sim.Context) { // a scheduling point starts the budget anew; with preemption any step is one
			steps(8)(c)
			c.CondResched()
			steps(8)(c)
		}))
		fails(t, cfg, text(`task "task"`), alone(func(c *sim.Context) { // the preempt_disable is a step, too
			c.PreemptDisable()
			steps(20)(c)
			c.PreemptEnable()
		}))
		fails(t, cfg, text(`hardirq "irq"`), func(k *sim.Kernel) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, steps(20))
		})
	}
}

// TestCheckImbalance: what a context has entered and not left, and left and not entered, for each counter and each kind of
// context.
func TestCheckImbalance(t *testing.T) {
	ends := func(who, what string) string { return "imbalance: " + who + " ends with " + what }
	for _, tt := range []struct {
		name         string
		enter, leave func(c *sim.Context)
		left         string
	}{
		{"preempt_enable", (*sim.Context).PreemptDisable, (*sim.Context).PreemptEnable, "preempt 1, rcu 0, bh 0, irqs off 0, migrate 0, locks []"},
		{"rcu_read_unlock", (*sim.Context).RCUReadLock, (*sim.Context).RCUReadUnlock, "preempt 0, rcu 1, bh 0, irqs off 0, migrate 0, locks []"},
		{"local_bh_enable", (*sim.Context).LocalBHDisable, (*sim.Context).LocalBHEnable, "preempt 0, rcu 0, bh 1, irqs off 0, migrate 0, locks []"},
		{"local_irq_enable", (*sim.Context).LocalIRQDisable, (*sim.Context).LocalIRQEnable, "preempt 0, rcu 0, bh 0, irqs off 1, migrate 0, locks []"},
		{"migrate_enable", (*sim.Context).MigrateDisable, (*sim.Context).MigrateEnable, "preempt 0, rcu 0, bh 0, irqs off 0, migrate 1, locks []"},
	} {
		fails(t, sim.Config{}, "imbalance: "+tt.name+` without its opposite in task "task"`, alone(tt.leave))
		fails(t, sim.Config{}, ends(`task "task"`, tt.left), alone(tt.enter))
		fails(t, sim.Config{}, ends(`work w of "kworker/0:0"`, tt.left), func(k *sim.Kernel) {
			w := k.NewWork(nil, "w", 0, tt.enter)
			k.Go(nil, "task", on(0), func(c *sim.Context) { k.SystemWq().QueueWork(c, w) })
		})
		fails(t, sim.Config{}, ends(`a hardirq handler "irq"`, tt.left), func(k *sim.Kernel) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, tt.enter)
		})
		fails(t, sim.Config{}, ends(`softirq "block"`, tt.left), func(k *sim.Kernel) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { c.RaiseSoftirq("block", tt.enter) })
		})
		fails(t, sim.Config{}, ends(`hotplug callback dyn:x "cpuhp/1"`, tt.left), func(k *sim.Kernel) {
			k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:x", Teardown: func(c *sim.Context, _ *sim.CPU) error { tt.enter(c); return nil }})
			k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
		})
		holds(t, sim.Config{}, alone(func(c *sim.Context) { tt.enter(c); tt.enter(c); tt.leave(c); tt.leave(c) }))
	}
	fails(t, sim.Config{}, ends(`task "task"`, "preempt 0, rcu 0, bh 0, irqs off 0, migrate 0, locks [m]"), onTask(func(k *sim.Kernel) func(*sim.Context) {
		return k.NewMutex(nil, "m").Lock
	}))
	fails(t, sim.Config{}, `imbalance: up_read of s by "task", which does not hold it`, onTask(func(k *sim.Kernel) func(*sim.Context) {
		return k.NewRWSem(nil, "s").UpRead
	}))
	fails(t, sim.Config{}, `imbalance: fallocate of "task" returns to user space holding [m]`, onTask(func(k *sim.Kernel) func(*sim.Context) {
		m := k.NewMutex(nil, "m")
		return func(c *sim.Context) {
			_ = c.Syscall("fallocate", func(c *sim.Context) error { m.Lock(c); return nil })
		}
	}))
}

// TestCheckAuditsLimits: what the audit of handlers allows: a deferral for each layer, a run for each time that it was
// asked for, and any order once a list has moved or where the handlers are of two CPUs.
func TestCheckAuditsLimits(t *testing.T) {
	audit := func(deferrals, times, runs int) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			a := k.NewAudit()
			h := a.Handler("bio", true, deferrals)
			for range times - 1 {
				h.Again()
			}
			w := k.NewWork(nil, "w", 0, func(c *sim.Context) {
				h.Deferred(c)
				h.Deferred(c)
				for range runs {
					h.Runs(c)
				}
			})
			k.Go(nil, "task", on(0), func(c *sim.Context) { k.SystemWq().QueueWork(c, w) })
		}
	}
	holds(t, sim.Config{}, audit(2, 1, 1))
	holds(t, sim.Config{}, audit(2, 2, 2))
	fails(t, sim.Config{}, "endless offload: the handler of bio is deferred for the 2. time, at most 1 are allowed", audit(1, 1, 1))
	fails(t, sim.Config{}, "handler run twice: the handler of bio ran 3 times, asked for 2", audit(2, 2, 3))
	fails(t, sim.Config{}, "handler never run: the handler of bio ran 1 times, asked for 2, and nothing is left that could run it", audit(2, 2, 1))

	order := func(second int, moved bool) func(k *sim.Kernel) {
		return onTask(func(k *sim.Kernel) func(*sim.Context) {
			a := k.NewAudit()
			x, y := a.Handler("x", false, 1), a.Handler("y", false, 1)
			return func(c *sim.Context) {
				c.Yield()
				x.Added(0)
				y.Added(second)
				if moved {
					a.Moved(0)
				}
				y.Runs(c)
				x.Runs(c)
			}
		})
	}
	holds(t, sim.Config{}, order(1, false))
	holds(t, sim.Config{}, order(0, true))
	fails(t, sim.Config{}, "out of order: the handler of y starts before that of x, which was added to cpu 0 earlier", order(0, false))
}

// TestCheckNilHandler: a function that is not there is found where it is given, whoever is to call it.
func TestCheckNilHandler(t *testing.T) {
	for _, tt := range []struct {
		want string
		init func(k *sim.Kernel)
	}{
		{"work w has no function", func(k *sim.Kernel) { k.NewWork(nil, "w", 0, nil) }},
		{"work w has no function", func(k *sim.Kernel) { k.NewDelayedWork(nil, "w", 0, nil) }},
		{"work w has no function", func(k *sim.Kernel) { sim.NewMachine(k).NewWork("w", 0, nil, nil) }},
		{"interrupt irq has no handler", func(k *sim.Kernel) { k.Interrupt(nil, 0, "irq", sim.IRQOptions{}, nil) }},
		{"softirq block has no handler", alone(func(c *sim.Context) { c.RaiseSoftirq("block", nil) })},
		{"task work or request tw has no function", alone(func(c *sim.Context) { c.Current().AddWork(c, "tw", sim.NotifySignal, nil) })},
		{"task work or request r has no function", onTask(func(k *sim.Kernel) func(*sim.Context) {
			q := k.NewIOWorkQueue(nil, 1)
			return func(c *sim.Context) { q.Queue(c, "r", nil) }
		})},
	} {
		for _, cfg := range []sim.Config{{}, {Preemption: sim.RT}} {
			fails(t, cfg, "nil handler: "+tt.want, tt.init)
		}
	}
	holds(t, sim.Config{}, func(k *sim.Kernel) { // what may be nil: a callback of hotplug, and what tells of stalls
		sim.NewMachine(k).AddHotplug(machine.Hotplug{Name: "x"})
		sim.NewMachine(k).NewWork("w", 0, func(machine.Context) {}, nil)
		k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
	})
}
