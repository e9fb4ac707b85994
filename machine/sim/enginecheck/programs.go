// SPDX-License-Identifier: Apache-2.0

package enginecheck

import (
	"errors"
	"fmt"

	"endio/batch"
	"endio/bio"
	"endio/dio"
	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
)

// A Check is one program, for any configuration.
type Check struct {
	Name string
	Doc  string // what it is about, one line
	Init func(x *explore.Exec, cfg sim.Config)

	// Large checks take minutes in the preemptible configurations.
	Large bool
	// Unfinished on the machine whose CPUs are several threads each: its states do not fit into 6 GB there.
	Unfinished bool
}

// Program returns the check as a program of the explorer.
func (k Check) Program(cfg sim.Config) *explore.Program {
	return &explore.Program{
		Name:       k.Name + ", " + cfg.String(),
		SkipFrames: []string{"endio/machine/sim.", "iter.", "runtime."},
		Init:       func(x *explore.Exec) { k.Init(x, cfg) },
	}
}

// Checks returns all checks.
func Checks() []Check {
	return []Check{
		{Name: "batch", Init: checkBatch, Doc: "3 completions from interrupts and 1 from a preemptible task of 2 CPUs, 1 hotplug attempt that may fail at any state"},
		{Name: "stall", Init: checkStall, Doc: "a handler waits for the handler behind it, while its CPU may go down"},
		{Name: "order", Init: checkOrder, Doc: "the handlers of one CPU start in the order in which they were added"},
		{Name: "delay", Init: checkDelay, Doc: "completions gather for a while before they are run, while their CPU may go down"},
		{Name: "return", Init: checkReturn, Doc: "a CPU goes down and comes back, each of which may fail"},
		{Name: "parked", Init: checkParked, Doc: "a CPU goes down half way and stays there, running; what ended on it is run elsewhere"},
		{Name: "parade", Init: checkParade, Doc: "3 CPUs, of which two are parked, one after the other"},
		{Name: "nobody", Init: checkNobody, Doc: "all CPUs are parked"},
		{Name: "dead-zero", Init: checkDeadZero, Doc: "CPU 0 is dead and completions are delayed, when another CPU is parked"},
		{Name: "home", Init: checkHome, Doc: "when a CPU is back, what ends there runs there again"},
		{Name: "later", Init: checkLater, Doc: "a handler moves itself to a task, once"},
		{Name: "chain", Init: checkChain, Doc: "a parent ends after its children, with the first error"},
		{Name: "reuse", Init: checkReuse, Doc: "a handler starts its own bio again"},
		{Name: "drain", Init: checkDrain, Doc: "a task drains an inode on which it has a completion to run itself"},
		{Name: "owner", Init: checkOwner, Doc: "two CPUs complete for one task that runs its completions itself"},
		{Name: "stacked", Init: checkStacked, Doc: "a write in flight ends in a handler that the draining task must run itself"},
		{Name: "late", Init: checkLate, Doc: "a write is submitted while a task drains"},
		{Name: "turns", Init: checkTurns, Doc: "two tasks drain one inode, and a write is held back"},
		{Name: "withdraw", Init: checkWithdraw, Doc: "one of two writes that are held back is withdrawn, while tasks drain"},
		{Name: "handler", Init: checkHandler, Doc: "a handler drains the inode of its own write"},
		{Name: "four", Init: checkFour, Large: true, Unfinished: true, Doc: "3 completions from interrupts and 1 from a preemptible task, all counted on an inode that a task drains, and 1 hotplug attempt that may fail at any state"},
		{Name: "all", Init: checkAll, Large: true, Doc: "drain, late write, an owner and a hotplug attempt together"},
	}
}

func checkBatch(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{Pass: 2})
	for i, cpu := range []int{1, 1, 0} {
		b := r.bio(bio.CompleteInTask, nil)
		r.irq(nil, cpu, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	b := r.bio(bio.CompleteInTask, nil)
	r.k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
		c.PreemptDisable() // or the handler would be called at once
		bio.End(c, r.bs, b, nil)
		c.PreemptEnable()
	})
	r.hotplug(false)
}

// Protocol is the program that bench/spin has as a Promela model: 2 CPUs, 3 bios, 2
// from interrupts of CPU 1 and 1 from a preemptible task, 1 hotplug attempt that may be
// rolled back, preemptible kernel. Without the lock validator, for the model has none: the
// checks of this package have it.
func Protocol() *explore.Program {
	return Check{Name: "protocol", Init: func(x *explore.Exec, cfg sim.Config) {
		r := newRig(x, cfg, batch.Options{Pass: 2})
		for i := range 2 {
			b := r.bio(bio.CompleteInTask, nil)
			r.irq(nil, 1, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
		}
		b := r.bio(bio.CompleteInTask, nil)
		r.k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
			c.PreemptDisable()
			bio.End(c, r.bs, b, nil)
			c.PreemptEnable()
		})
		r.hotplug(false)
	}}.Program(sim.Config{Preemption: sim.Full, NoLockdep: true})
}

func checkStall(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{Pass: 1})
	done := r.k.NewCompletion(nil, "second")
	bios := []*bio.Bio{
		r.bio(bio.CompleteInTask, func(c *sim.Context, _ *bio.Bio) { done.Wait(c) }),
		r.bio(bio.CompleteInTask, func(c *sim.Context, _ *bio.Bio) { done.Complete(c) }),
		r.bio(bio.CompleteInTask, nil),
	}
	for i, b := range bios {
		r.irq(nil, 1, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.hotplug(false)
}

func checkOrder(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{Pass: 2})
	for i := range 3 {
		b := r.bio(bio.CompleteInTask, func(c *sim.Context, _ *bio.Bio) {
			if r.mem.order[0] != i {
				c.Fail(sim.OutOfOrder, "the handler of bio %d starts before that of bio %d, which was added earlier", i, r.mem.order[0])
			}
			r.mem.order = r.mem.order[1:]
		})
		r.irq(nil, 1, fmt.Sprintf("irq%d", i), func(c *sim.Context) {
			bio.End(c, r.bs, b, nil)
			r.mem.order = append(r.mem.order[:len(r.mem.order):len(r.mem.order)], i)
		})
	}
}

func checkDelay(x *explore.Exec, cfg sim.Config) {
	cfg.Timers = true
	r := newRig(x, cfg, batch.Options{Delay: 1000})
	for i := range 2 {
		b := r.bio(bio.CompleteInTask, nil)
		r.irq(nil, 1, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.hotplug(false)
}

func checkReturn(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{})
	for i := range 2 {
		b := r.bio(bio.CompleteInTask, nil)
		r.irq(nil, 1, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.hotplug(true)
}

// parked is a state below that of the batches, in which a CPU runs.
const parked = "WORKQUEUE_ONLINE"

func checkParked(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{Pass: 1})
	for i := range 3 {
		b := r.bio(bio.CompleteInTask, nil)
		r.irq(nil, 1, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		_ = r.k.CPUDown(c, 1, parked)
	})
}

func checkParade(x *explore.Exec, cfg sim.Config) {
	cfg.CPUs = 3
	r := newRig(x, cfg, batch.Options{})
	for i, cpu := range []int{2, 1} {
		b := r.bio(bio.CompleteInTask, nil)
		r.irq(nil, cpu, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		_ = r.k.CPUDown(c, 2, parked)
		_ = r.k.CPUDown(c, 1, parked)
	})
}

func checkNobody(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{})
	for i, cpu := range []int{0, 1} {
		b := r.bio(bio.CompleteInTask, nil)
		r.irq(nil, cpu, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		_ = r.k.CPUDown(c, 1, parked)
		_ = r.k.CPUDown(c, 0, parked)
	})
}

func checkDeadZero(x *explore.Exec, cfg sim.Config) {
	cfg.CPUs, cfg.Timers = 3, true
	r := newRig(x, cfg, batch.Options{Delay: 1000})
	r.k.LimitFailures(nil)
	b := r.bio(bio.CompleteInTask, nil)
	r.k.Go(nil, "hotplug", sim.TaskOptions{}, func(c *sim.Context) {
		_ = r.k.CPUDown(c, 0, "")
		r.irq(c, 1, "irq", func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
		_ = r.k.CPUDown(c, 1, parked)
	})
}

func checkHome(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{})
	r.k.LimitFailures(nil)
	first := r.bio(bio.CompleteInTask, nil)
	r.irq(nil, 1, "irq0", func(c *sim.Context) { bio.End(c, r.bs, first, nil) })
	second := r.bio(bio.CompleteInTask, func(c *sim.Context, _ *bio.Bio) {
		if c.CPU() != 1 {
			c.Fail(sim.WrongContext, "what ended on CPU 1, which is up, runs on CPU %d", c.CPU())
		}
	})
	r.k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		_ = r.k.CPUDown(c, 1, "")
		_ = r.k.CPUUp(c, 1, "")
		r.irq(c, 1, "irq1", func(c *sim.Context) { bio.End(c, r.bs, second, nil) })
	})
}

func checkLater(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{})
	for i := range 2 {
		calls := 0
		b := r.bio(0, func(c *sim.Context, self *bio.Bio) {
			if calls++; calls > 2 {
				c.Fail(sim.EndlessDefer, "bio %d is deferred again by the handler that was deferred", i)
			}
			r.mem.runs[i]-- // until it does not move itself
			if bio.CompleteLater(c, r.bs, self) {
				return
			}
			r.mem.runs[i]++
			r.wantTask(c, i)
		})
		r.k.Root(&calls)
		r.irq(nil, i, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
}

var errIO = errors.New("I/O error")

func checkChain(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{})
	parent := r.bio(bio.CompleteInTask, func(c *sim.Context, b *bio.Bio) {
		if b.Err != errIO {
			c.Fail(explore.Assertion, "the parent's error is %v, one child had %q", b.Err, errIO)
		}
	})
	init := r.m.InitContext()
	children := []*bio.Bio{{}, {}}
	r.k.Root(&children)
	for _, ch := range children {
		if err := bio.Chain(r.m, init, ch, parent); err != nil {
			r.k.Fail(explore.Assertion, err.Error())
		}
	}
	r.k.Root(&parent)
	ended := 0
	r.k.Root(&ended)
	end := func(c *sim.Context, b *bio.Bio, err error) {
		ended++
		bio.End(c, r.bs, b, err)
	}
	r.irq(nil, 0, "irq0", func(c *sim.Context) { end(c, children[0], errIO) })
	r.irq(nil, 1, "irq1", func(c *sim.Context) { end(c, children[1], nil) })
	r.k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) { end(c, parent, nil) })
}

func checkReuse(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{})
	b := r.bio(bio.CompleteInTask, func(c *sim.Context, b *bio.Bio) {
		if r.mem.runs[0] == 2 {
			return
		}
		if err := b.Start(); err != nil {
			c.Fail(explore.Assertion, "start of a bio in its handler: %v", err)
		}
		r.irq(c, 0, "irq1", func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	})
	r.want[0] = 2
	r.irq(nil, 1, "irq0", func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
}

func checkDrain(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withInode().withOwner()
	r.begun(2)
	owned := r.bio(0, nil)
	owned.Owner = r.owner
	other := r.bio(bio.CompleteInTask, nil)
	r.irq(nil, 1, "irq0", func(c *sim.Context) { r.finish(c, owned) })
	r.irq(nil, 0, "irq1", func(c *sim.Context) { r.finish(c, other) })
	r.k.Go(nil, "truncate", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		c.SetHelper(r.owner)
		r.exclusive(c)
		r.owner.Wait(c, ran{r, 0})
	})
}

func checkOwner(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withOwner()
	for i := range 2 {
		b := r.bio(0, nil)
		b.Owner = r.owner
		r.irq(nil, i, fmt.Sprintf("irq%d", i), func(c *sim.Context) { bio.End(c, r.bs, b, nil) })
	}
	r.k.Go(nil, "owner", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		r.owner.Wait(c, ran{r, 0})
		r.owner.Wait(c, ran{r, 1})
	})
}

func checkStacked(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withInode().withOwner()
	r.begun(1)
	upper := r.bio(0, nil)
	lower := r.bio(0, func(c *sim.Context, _ *bio.Bio) { r.finish(c, upper) })
	lower.Owner = r.owner
	r.irq(nil, 1, "irq", func(c *sim.Context) { bio.End(c, r.bs, lower, nil) })
	r.k.Go(nil, "truncate", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		c.SetHelper(r.owner)
		r.exclusive(c)
	})
}

func (r *rig) writer(name string) {
	b := r.bio(0, nil)
	issue := func(c *sim.Context) {
		if r.mem.drained {
			c.Fail(explore.Assertion, "a write is issued while a task has the inode for itself")
		}
		r.irq(c, 1, "irq of "+name, func(c *sim.Context) { r.finish(c, b) })
	}
	w := &dio.Waiter{Start: func(c machine.Context, _ *dio.Waiter) { issue(c.(*sim.Context)) }}
	r.k.Root(w)
	r.k.Go(nil, name, sim.TaskOptions{}, func(c *sim.Context) {
		if r.inode.Begin(c, w) {
			issue(c)
		}
	})
}

func checkLate(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withInode()
	r.begun(1)
	b := r.bio(0, nil)
	r.irq(nil, 0, "irq0", func(c *sim.Context) { r.finish(c, b) })
	r.writer("writer")
	r.k.Go(nil, "truncate", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) { r.exclusive(c) })
}

func checkTurns(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withInode()
	r.writer("writer")
	for i := range 2 {
		r.k.Go(nil, fmt.Sprintf("truncate%d", i), sim.TaskOptions{CPU: sim.OnCPU(i)}, func(c *sim.Context) { r.exclusive(c) })
	}
}

// checkWithdraw cancels the first of two writes, once it was submitted: it ends either
// way, and the second one goes on.
func checkWithdraw(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withInode()
	b := r.bio(0, nil)
	issue := func(c *sim.Context) {
		if r.mem.drained {
			c.Fail(explore.Assertion, "a write is issued while a task has the inode for itself")
		}
		r.irq(c, 1, "irq of writer", func(c *sim.Context) { r.finish(c, b) })
	}
	w := &dio.Waiter{Start: func(c machine.Context, _ *dio.Waiter) { issue(c.(*sim.Context)) }}
	r.k.Root(w)
	r.k.Go(nil, "writer", sim.TaskOptions{}, func(c *sim.Context) {
		if r.inode.Begin(c, w) {
			issue(c)
		} else if r.inode.Withdraw(c, w) {
			dio.Complete(c, r.bs, nil, b, nil)
		}
	})
	r.writer("other")
	r.k.Go(nil, "truncate", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) { r.exclusive(c) })
}

func checkHandler(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{}).withInode()
	r.begun(2)
	a := r.bio(bio.CompleteInTask, func(c *sim.Context, _ *bio.Bio) { r.exclusive(c) })
	b := r.bio(0, func(c *sim.Context, _ *bio.Bio) {})
	r.k.Go(nil, "task", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) { r.finish(c, a) })
	r.irq(nil, 1, "irq", func(c *sim.Context) { r.finish(c, b) })
}

// checkFour is batch, in which what ends is direct I/O that a task drains.
func checkFour(x *explore.Exec, cfg sim.Config) {
	r := newRig(x, cfg, batch.Options{Pass: 2}).withInode()
	r.begun(4)
	for i, cpu := range []int{1, 1, 0} {
		b := r.alike(bio.CompleteInTask)
		r.irqAlike(cpu, fmt.Sprintf("irq%d", i), func(c *sim.Context) { r.finish(c, b) })
	}
	b := r.alike(bio.CompleteInTask)
	r.k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
		c.PreemptDisable() // or the handler would be called at once
		r.finish(c, b)
		c.PreemptEnable()
	})
	r.k.Go(nil, "truncate", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) { r.exclusive(c) })
	r.hotplug(false)
}

func checkAll(x *explore.Exec, cfg sim.Config) {
	checkDrainOn(newRig(x, cfg, batch.Options{Pass: 2}).withInode().withOwner())
}

// checkDrainOn is drain and late together, with hotplug.
func checkDrainOn(r *rig) {
	r.begun(2)
	owned := r.bio(0, nil)
	owned.Owner = r.owner
	other := r.bio(bio.CompleteInTask, nil)
	r.irq(nil, 1, "irq0", func(c *sim.Context) { r.finish(c, owned) })
	r.irq(nil, 1, "irq1", func(c *sim.Context) { r.finish(c, other) })
	r.writer("writer")
	r.k.Go(nil, "truncate", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		c.SetHelper(r.owner)
		r.exclusive(c)
		r.owner.Wait(c, ran{r, 0})
	})
	r.hotplug(false)
}
