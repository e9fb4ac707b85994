// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"errors"
	"fmt"
	"testing"

	"endio/explore"
	"endio/machine/sim"
)

// The tests of this file are about the modes of task work and about signals, kernel-semantics.md A1.3, beside those of dio_test.go.

var ringModes = []sim.RingMode{sim.RingDefault, sim.RingCoop, sim.RingSQPoll, sim.RingDefer}

// ringOf starts a task that owns a ring, and an interrupt that adds n task works to it, each of which posts a CQE.
func ringOf(k *sim.Kernel, mode sim.RingMode, n int, o sim.TaskOptions, body func(c *sim.Context, r *sim.Ring)) *sim.Ring {
	var r *sim.Ring
	owner := k.Go(nil, "owner", o, func(c *sim.Context) {
		c.Yield()
		body(c, r)
	})
	r = k.NewRing(nil, owner, mode)
	for i := range n {
		k.Interrupt(nil, 1, fmt.Sprint("irq", i), sim.IRQOptions{Hard: true}, func(c *sim.Context) {
			r.AddTaskWork(c, "complete", func(c *sim.Context) { r.PostCQE(c) })
		})
	}
	return r
}

// TestA13WhoseSleepIsBroken: the column "breaks interruptible sleep?" of the table: a task that waits in another system call
// is woken for its task work, except where nothing tells it, which is SQPOLL and DEFER_TASKRUN.
func TestA13WhoseSleepIsBroken(t *testing.T) {
	for _, mode := range ringModes {
		init := func(k *sim.Kernel) {
			q := k.NewCompletion(nil, "never")
			ringOf(k, mode, 1, on(0), func(c *sim.Context, r *sim.Ring) {
				if err := q.WaitState(c, sim.Interruptible); !errors.Is(err, sim.ErrRestartSys) {
					c.Fail(explore.Assertion, "the wait ended with %v", err)
				}
				c.Check(r.CQ() == 0, "the task work ran inside of the sleep")
			})
		}
		if mode == sim.RingDefault || mode == sim.RingCoop {
			holds(t, sim.Config{}, init)
		} else {
			fails(t, sim.Config{}, `lost work: task "owner" waits for completion never, and no task is left that could end the wait`, init)
		}
	}
}

// TestA13WhoRunsIt: the last column: any exit from the kernel runs the task work of the default and cooperative modes,
// that of DEFER_TASKRUN is left to the wait for CQEs, and that of SQPOLL is run by the SQ thread.
func TestA13WhoRunsIt(t *testing.T) {
	for _, mode := range ringModes {
		reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
			there := k.NewCompletion(nil, "there")
			var r *sim.Ring
			owner := k.Go(nil, "owner", on(0), func(c *sim.Context) {
				there.Wait(c)
				before := r.CQ()
				c.Learn(uint64(before))
				_ = c.Syscall("getpid", func(*sim.Context) error { return nil })
				c.Yield()
				saw(fmt.Sprintf("%d, after a system call %d", before, r.CQ()))
				c.Check(r.Enter(c, 1) == nil, "the wait fails")
			})
			r = k.NewRing(nil, owner, mode)
			k.Go(nil, "other", on(1), func(c *sim.Context) {
				r.AddTaskWork(c, "complete", func(c *sim.Context) {
					name := c.Name()
					c.Check((name == "iou-sqp") == (mode == sim.RingSQPoll) && (name == "owner") != (mode == sim.RingSQPoll), "run by %s", name)
					r.PostCQE(c)
				})
				there.Complete(c)
			})
		}, map[sim.RingMode][]string{
			sim.RingDefault: {"0, after a system call 1"},
			sim.RingCoop:    {"0, after a system call 1"},
			sim.RingDefer:   {"0, after a system call 0"},
			sim.RingSQPoll:  {"0, after a system call 0", "0, after a system call 1", "1, after a system call 1"},
		}[mode]...)
	}
}

// TestA13LazyWake: with DEFER_TASKRUN whoever waits for two CQEs is not woken for one; the others are, and post it.
func TestA13LazyWake(t *testing.T) {
	for _, mode := range ringModes {
		want := []string{"1 CQEs"}
		if mode == sim.RingDefer { // it was there before the wait, or not
			want = append(want, "0 CQEs")
		}
		reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
			o := on(0)
			o.Daemon = true // waits for ever
			r := ringOf(k, mode, 1, o, func(c *sim.Context, r *sim.Ring) { _ = r.Enter(c, 2) })
			k.AtEnd(func(*sim.Kernel) { saw(fmt.Sprint(r.CQ(), " CQEs")) })
		}, want...)
	}
}

// TestA13EagerWake: work of a request with a link wakes whoever waits for two CQEs, in every mode; what came before it, for which there was no
// wake, is run with it.
func TestA13EagerWake(t *testing.T) {
	for _, mode := range ringModes {
		reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
			o := on(0)
			o.Daemon = true // waits for ever
			r := ringOf(k, mode, 1, o, func(c *sim.Context, r *sim.Ring) { _ = r.Enter(c, 3) })
			k.Interrupt(nil, 1, "linked", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
				r.AddEagerTaskWorkID(c, 0, "complete", func(c *sim.Context) { r.PostCQE(c) })
			})
			k.AtEnd(func(*sim.Kernel) { saw(fmt.Sprint(r.CQ(), " CQEs")) })
		}, map[sim.RingMode][]string{
			sim.RingDefault: {"2 CQEs"}, sim.RingCoop: {"2 CQEs"}, sim.RingSQPoll: {"2 CQEs"},
			sim.RingDefer: {"1 CQEs", "2 CQEs"}, // the one that came after it is not run
		}[mode]...)
	}
}

// TestA13ExitingIsKnown: work that is run at the exit of its task, or after it, is told so, and other work is not.
func TestA13ExitingIsKnown(t *testing.T) {
	for _, exits := range []bool{true, false} {
		holds(t, sim.Config{}, func(k *sim.Kernel) {
			owner := k.Go(nil, "owner", on(0), func(c *sim.Context) {
				c.Yield()
				if exits {
					c.Exit()
				} else {
					_ = c.Syscall("getpid", func(*sim.Context) error { return nil })
				}
			})
			k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
				owner.AddWork(c, "ask", sim.NotifySignal, func(c *sim.Context) {
					c.Check(owner.Exiting() == exits, "at an exit %v, Exiting is %v", exits, owner.Exiting())
				})
			})
		})
	}
}

// TestA13NothingIsLostAtExit: what a task that exits has left, and what comes after, is run, by it or by the fallback.
func TestA13NothingIsLostAtExit(t *testing.T) {
	for _, mode := range ringModes {
		for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}} {
			holds(t, cfg, func(k *sim.Kernel) {
				r := ringOf(k, mode, 2, on(0), func(c *sim.Context, _ *sim.Ring) { c.Exit() })
				k.AtEnd(func(k *sim.Kernel) {
					if r.CQ() != 2 {
						k.Fail(sim.NeverRun, fmt.Sprintf("%d CQEs of 2 with a ring in mode %s", r.CQ(), mode))
					}
				})
			})
		}
	}
}

// TestA13NewestFirst: task work is a stack.
func TestA13NewestFirst(t *testing.T) {
	reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
		order := ""
		k.Root(&order)
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			for _, name := range []string{"a", "b", "c"} {
				c.Check(c.Current().AddWork(c, name, sim.NotifyNone, func(*sim.Context) { order += name }), "refused")
			}
			c.Check(c.RunWork() && !c.RunWork(), "RunWork does not say whether there was any")
			saw(order)
		})
	}, "cba")
}

// TestA13SignalPending: TIF_NOTIFY_SIGNAL counts as a signal until the task work is run, and the modes that set no flag do not.
func TestA13SignalPending(t *testing.T) {
	for mode, want := range map[sim.NotifyMode]bool{sim.NotifyNone: false, sim.NotifyResume: false, sim.NotifySignal: true, sim.NotifySignalNoIPI: true} {
		holds(t, sim.Config{}, alone(func(c *sim.Context) {
			c.Current().AddWork(c, "w", mode, func(c *sim.Context) { c.Check(!c.SignalPending(), "the flag is set while the work runs") })
			c.Check(c.SignalPending() == want, "signal_pending is %t with mode %d", !want, mode)
			c.RunWork()
			c.Check(!c.SignalPending(), "the flag is left")
		}))
	}
}

// TestA13SignalsAndSleepStates: a signal ends interruptible sleeps, killable ones only if it is fatal, and others never, which
// those for rwsems and mutexes are.
func TestA13SignalsAndSleepStates(t *testing.T) {
	for _, tt := range []struct {
		state sim.SleepState
		fatal bool
		ends  bool
	}{
		{sim.Interruptible, false, true}, {sim.Interruptible, true, true},
		{sim.Killable, false, false}, {sim.Killable, true, true},
		{sim.Uninterruptible, false, false}, {sim.Uninterruptible, true, false},
	} {
		init := func(k *sim.Kernel) {
			q := k.NewCompletion(nil, "never")
			task := k.Go(nil, "task", on(0), func(c *sim.Context) {
				c.Yield()
				c.Check(errors.Is(q.WaitState(c, tt.state), sim.ErrRestartSys), "the wait ended without a reason")
			})
			k.Go(nil, "other", on(1), func(c *sim.Context) { task.Signal(c, sim.Signal{Fatal: tt.fatal}) })
		}
		if tt.ends {
			holds(t, sim.Config{}, init)
		} else {
			fails(t, sim.Config{}, `lost work: task "task" waits for completion never, and no task is left that could end the wait`, init)
		}
	}
	for _, lock := range []string{"mutex", "down_read", "down_write"} {
		holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
			m, s := k.NewMutex(nil, "m"), k.NewRWSem(nil, "s")
			inside := sim.NewAtomic(k, nil, "inside", false)
			task := k.Go(nil, "task", on(0), func(c *sim.Context) {
				c.Yield()
				switch lock {
				case "mutex":
					m.Lock(c)
					defer m.Unlock(c)
				case "down_read":
					s.DownRead(c)
					defer s.UpRead(c)
				default:
					s.DownWrite(c)
					defer s.UpWrite(c)
				}
				c.Check(!inside.Load(c), "a signal has ended the wait for a lock")
			})
			k.Go(nil, "other", on(1), func(c *sim.Context) {
				m.Lock(c)
				s.DownWrite(c)
				inside.Store(c, true)
				task.Signal(c, sim.Signal{Fatal: true})
				inside.Store(c, false)
				s.UpWrite(c)
				m.Unlock(c)
			})
		})
	}
}

// TestA13RestartsEnd: a call that is interrupted again and again is found where a bound is set on it.
func TestA13RestartsEnd(t *testing.T) {
	init := func(works int) func(k *sim.Kernel) {
		return alone(func(c *sim.Context) {
			err := c.Syscall("fallocate", func(c *sim.Context) error {
				if works == 0 {
					return nil
				}
				works--
				c.Current().AddWork(c, "w", sim.NotifySignal, func(*sim.Context) {})
				return sim.ErrRestartSys
			})
			c.Check(err == nil, "fallocate fails with %v", err)
		})
	}
	holds(t, sim.Config{MaxRestarts: 2}, func(k *sim.Kernel) { init(2)(k) })
	fails(t, sim.Config{MaxRestarts: 2}, `restarts: system call fallocate of "task" was restarted 3 times`, func(k *sim.Kernel) { init(3)(k) })
}
