// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"errors"
	"fmt"
	"testing"

	"endio/explore"
	"endio/machine/sim"
)

// TestA13 is about task work, kernel-semantics.md A1.3.

func TestA13WhoIsInterrupted(t *testing.T) {
	// A task spins in user mode until a CQE is there. Only a mode that sends an
	// IPI gets its task work run; the others post when it next enters the kernel.
	for _, tt := range []struct {
		mode  sim.RingMode
		hangs bool
	}{{sim.RingDefault, false}, {sim.RingCoop, true}, {sim.RingSQPoll, false}, {sim.RingDefer, true}} {
		init := func(k *sim.Kernel) {
			var r *sim.Ring
			owner := k.Go(nil, "owner", on(0), func(c *sim.Context) {
				c.Yield()
				c.UserWait("a CQE", func() bool { return r.CQ() > 0 }, r.Object())
			})
			r = k.NewRing(nil, owner, tt.mode)
			k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
				r.AddTaskWork(c, "complete", func(c *sim.Context) { r.PostCQE(c) })
			})
		}
		if tt.hangs {
			fails(t, sim.Config{}, `lost work: task "owner" waits for a CQE, in user mode, and no task is left that could end the wait`, init)
		} else {
			holds(t, sim.Config{}, init)
		}
	}
}

func TestA13EveryModePostsInTheCQWait(t *testing.T) {
	for _, mode := range []sim.RingMode{sim.RingDefault, sim.RingCoop, sim.RingSQPoll, sim.RingDefer} {
		for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}} {
			holds(t, cfg, func(k *sim.Kernel) {
				var r *sim.Ring
				owner := k.Go(nil, "owner", on(0), func(c *sim.Context) {
					c.Yield()
					c.Check(r.Enter(c, 2) == nil, "the wait fails")
					c.Check(r.CQ() == 2, "%d CQEs, want 2", r.CQ())
				})
				r = k.NewRing(nil, owner, mode)
				for i := range 2 {
					k.Interrupt(nil, i, fmt.Sprint("irq", i), sim.IRQOptions{Hard: true}, func(c *sim.Context) {
						r.AddTaskWork(c, "complete", func(c *sim.Context) { r.PostCQE(c) })
					})
				}
			})
		}
	}
}

func TestA13ExitingTaskFallsBackToAWorker(t *testing.T) {
	for _, mode := range []sim.RingMode{sim.RingDefault, sim.RingDefer} {
		holds(t, sim.Config{}, func(k *sim.Kernel) {
			var r *sim.Ring
			gone := k.NewCompletion(nil, "gone")
			owner := k.Go(nil, "owner", on(0), func(c *sim.Context) { c.Exit(); gone.Complete(c) })
			r = k.NewRing(nil, owner, mode)
			k.Go(nil, "device", on(1), func(c *sim.Context) {
				gone.Wait(c)
				r.AddTaskWork(c, "complete", func(c *sim.Context) { r.PostCQE(c) })
			})
			k.AtEnd(func(k *sim.Kernel) {
				if r.CQ() != 1 {
					k.Fail(sim.NeverRun, "the completion of a task that exits is lost")
				}
			})
		})
	}
}

func TestA13NotifySignalEndsInterruptibleSleepsOnly(t *testing.T) {
	for _, mode := range []sim.SleepState{sim.Interruptible, sim.Killable, sim.Uninterruptible} {
		init := func(k *sim.Kernel) {
			q := k.NewCompletion(nil, "never")
			task := k.Go(nil, "task", on(0), func(c *sim.Context) {
				c.Yield()
				if err := q.WaitState(c, mode); !errors.Is(err, sim.ErrRestartSys) {
					c.Fail(explore.Assertion, "the wait ended with %v", err)
				}
			})
			k.Go(nil, "other", on(1), func(c *sim.Context) {
				task.AddWork(c, "w", sim.NotifySignal, func(*sim.Context) {})
			})
		}
		if mode == sim.Interruptible {
			holds(t, sim.Config{}, init)
		} else {
			fails(t, sim.Config{}, `lost work: task "task" waits for completion never, and no task is left that could end the wait`, init)
		}
	}
}

func TestA13RestartAndEINTR(t *testing.T) {
	for _, tt := range []struct {
		s    sim.Signal
		want []string
	}{
		{sim.Signal{Restart: true}, []string{"calls 1 <nil>", "calls 2 <nil>"}},
		{sim.Signal{}, []string{"calls 1 <nil>", "calls 1 fallocate: EINTR"}},
	} {
		reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
			q := k.NewCompletion(nil, "q")
			calls := 0
			k.Root(&calls)
			task := k.Go(nil, "task", on(0), func(c *sim.Context) {
				c.Yield()
				err := c.Syscall("fallocate", func(c *sim.Context) error { calls++; return q.WaitState(c, sim.Interruptible) })
				saw(fmt.Sprint("calls ", calls, " ", err))
			})
			k.Go(nil, "other", on(1), func(c *sim.Context) { task.Signal(c, tt.s); q.CompleteAll(c) })
		}, tt.want...)
	}
}

// TestA2 and TestA3 are about direct I/O, kernel-semantics.md A2 and A3.

// callerComp is the shape of the hang: a write in flight whose count goes down in
// the submitter's task work, while the submitter drains in fallocate.
func callerComp(k *sim.Kernel, wait sim.SleepState) {
	inode := k.NewInode(nil, "file")
	var owner *sim.Task
	owner = k.Go(nil, "postgres", on(0), func(c *sim.Context) {
		inode.RWSem.DownRead(c)
		inode.DioBegin(c)
		inode.RWSem.UpRead(c)
		inode.Owes(owner)
		k.Interrupt(c, 1, "nvme", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
			owner.AddWork(c, "dio complete", sim.NotifySignal, func(c *sim.Context) { inode.DioEnd(c); inode.Paid(owner) })
		})
		err := c.Syscall("fallocate", func(c *sim.Context) error {
			inode.RWSem.DownWrite(c)
			defer inode.RWSem.UpWrite(c)
			return inode.DioWait(c, wait)
		})
		c.Check(err == nil, "fallocate fails with %v", err)
	})
}

func TestA3CallerCompletionDeadlock(t *testing.T) {
	for _, cfg := range sim.Configs() {
		fails(t, cfg, `deadlock: task "postgres" waits for the direct I/O in flight on file, ended only by task "postgres" itself`, func(k *sim.Kernel) { callerComp(k, sim.Uninterruptible) })
		holds(t, cfg, func(k *sim.Kernel) { callerComp(k, sim.Interruptible) })
	}
}

func TestA11WorkersIssueForTheirOwner(t *testing.T) {
	// A worker that waits for the count is woken by the owner's task work: the
	// worker waits, not the owner.
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		inode := k.NewInode(nil, "file")
		wq := k.NewIOWorkQueue(nil, 1)
		var r *sim.Ring
		owner := k.Go(nil, "owner", on(0), func(c *sim.Context) {
			inode.DioBegin(c)
			k.Interrupt(c, 1, "nvme", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
				r.AddTaskWork(c, "dio complete", func(c *sim.Context) { inode.DioEnd(c); r.PostCQE(c) })
			})
			wq.Queue(c, "unaligned write", func(c *sim.Context) {
				inode.RWSem.DownWrite(c)
				_ = inode.DioWait(c, sim.Uninterruptible)
				inode.RWSem.UpWrite(c)
				r.AddTaskWork(c, "write complete", func(c *sim.Context) { r.PostCQE(c) })
			})
			c.Check(r.Enter(c, 2) == nil, "the wait fails")
		})
		r = k.NewRing(nil, owner, sim.RingDefault)
	})
}

func TestA2CountNeverNegative(t *testing.T) {
	fails(t, sim.Config{}, "imbalance: inode_dio_end without inode_dio_begin on file", func(k *sim.Kernel) {
		inode := k.NewInode(nil, "file")
		k.Go(nil, "task", on(0), func(c *sim.Context) { inode.DioEnd(c) })
	})
}

func TestA46FreezeAgainstTaskWork(t *testing.T) {
	// A write holds sb_writers until its task work; the task that issues the next one
	// waits behind the freezer. With a trylock and a retry by a worker it does not.
	init := func(try bool) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			sb := k.NewSuperBlock(nil)
			ended := sim.NewAtomic(k, nil, "ended", false)
			var owner *sim.Task
			owner = k.Go(nil, "owner", on(0), func(c *sim.Context) {
				sb.StartWrite(c)
				k.Interrupt(c, 1, "nvme", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
					owner.AddWork(c, "write complete", sim.NotifySignal, func(c *sim.Context) { sb.EndWrite(c); ended.Store(c, true) })
				})
				_ = c.Syscall("io_uring_enter", func(c *sim.Context) error {
					if !try {
						sb.StartWrite(c)
					} else if !sb.StartWriteTry(c) {
						return sim.ErrAgain
					}
					sb.EndWrite(c)
					return nil
				})
				c.UserWait("the first write", ended.Peek, ended.Object())
			})
			k.Go(nil, "fsfreeze", on(1), func(c *sim.Context) { sb.Freeze(c); sb.Thaw(c) })
		}
	}
	fails(t, sim.Config{}, `lost work: task "owner" waits for the thaw of the file system, done only by task "fsfreeze", which waits for the writers of the file system, and no task is left that could end the wait`, init(false))
	holds(t, sim.Config{}, init(true))
}
