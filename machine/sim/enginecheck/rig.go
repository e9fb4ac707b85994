// SPDX-License-Identifier: Apache-2.0

// Package enginecheck has the programs with which the engine's completion code,
// the production packages bio, batch and dio, is checked on the simulated kernel.
//
// Each program is small enough that all of its interleavings can be explored. What
// is checked in each: a handler runs exactly once, where the bio asked for it;
// nothing is lost when CPUs come and go or when that fails; a drain ends, and what
// it waited for is over; and all that machine/sim and explore check by
// themselves (deadlocks, races, sleeping where one must not, lock order).
package enginecheck

import (
	"fmt"

	"endio/batch"
	"endio/bio"
	"endio/dio"
	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
)

// A rig is one execution of the completion code on a simulated kernel.
type rig struct {
	k     *sim.Kernel
	m     *sim.Machine
	bs    *batch.Batches
	inode *dio.Inode
	owner *batch.Owner
	bios  []*bio.Bio
	mem   memory
	want  []int // by bio: how often its handler is to be called
	same  []*bio.Bio
}

// memory is what the rig itself keeps; it is part of the state.
type memory struct {
	runs    []int // by bio: how often its handler was called
	order   []int // bios of one CPU in the order in which they were added
	drained bool  // a task has the inode for itself
	total   int   // calls of handlers of bios that are alike
}

func newRig(x *explore.Exec, cfg sim.Config, o batch.Options) *rig {
	k := sim.New(x, cfg)
	r := &rig{k: k, m: sim.NewMachine(k)}
	r.bs = batch.New(r.m, r.m.InitContext(), o)
	k.Root(r.bs)
	k.Root(&r.mem)
	k.AtEnd(func(k *sim.Kernel) {
		for i := range r.bios {
			if r.mem.runs[i] != r.want[i] {
				k.Fail(sim.NeverRun, fmt.Sprintf("the handler of bio %d has not run, and nothing is left that could run it", i))
			}
		}
		for _, b := range r.same {
			if *b.Private.(*int) != 1 {
				k.Fail(sim.NeverRun, "the handler of one of several bios that are alike has not run, and nothing is left that could run it")
			}
		}
	})
	return r
}

func (r *rig) withInode() *rig {
	r.inode = dio.NewInode(r.m)
	r.k.Root(r.inode)
	return r
}

func (r *rig) withOwner() *rig {
	r.owner = batch.NewOwner(r.m)
	r.k.Root(r.owner)
	return r
}

// bio makes a bio in flight whose handler is checked, and then does more, which
// may be nil.
func (r *rig) bio(flags bio.Flags, more func(c *sim.Context, b *bio.Bio)) *bio.Bio {
	i := len(r.bios)
	b := &bio.Bio{Flags: flags, EndIO: func(mc machine.Context, b *bio.Bio) {
		c := mc.(*sim.Context)
		r.handle(c, i, flags)
		if more != nil {
			more(c, b)
		}
	}}
	r.bios = append(r.bios, b)
	r.k.Root(b) // or one bio in the hands of somebody would look like another
	r.mem.runs, r.want = append(r.mem.runs, 0), append(r.want, 1)
	if err := b.Start(); err != nil {
		r.k.Fail(explore.Assertion, err.Error())
	}
	return b
}

// alike makes a bio in flight as [rig.bio] does. Bios of this kind have no numbers: two states that differ in which is where are one,
// for what follows is the same but for the names. What belongs to one, how often its handler was called, is found through it.
func (r *rig) alike(flags bio.Flags) *bio.Bio {
	b := &bio.Bio{Flags: flags, Private: new(int), EndIO: r.handleAlike}
	r.same = append(r.same, b)
	if err := b.Start(); err != nil {
		r.k.Fail(explore.Assertion, err.Error())
	}
	return b
}

func (r *rig) handleAlike(mc machine.Context, b *bio.Bio) {
	c := mc.(*sim.Context)
	runs := b.Private.(*int)
	r.mem.total++
	if *runs++; *runs > 1 {
		c.Fail(sim.RunTwice, "the handler of a bio ran once more than it was started")
	}
	if b.Flags&bio.CompleteInTask != 0 {
		if r.k.Config().Count && c.Atomic() {
			c.Fail(sim.WrongContext, "the handler of a bio wants a task and runs in %s %q", c.Kind(), c.Name())
		}
		c.MightSleep("the handler of a bio that wants a task")
	}
}

// handle checks one call of a handler.
func (r *rig) handle(c *sim.Context, i int, flags bio.Flags) {
	r.mem.runs[i]++
	if r.mem.runs[i] > r.want[i] {
		c.Fail(sim.RunTwice, "the handler of bio %d ran once more than it was started", i)
	}
	if flags&bio.CompleteInTask != 0 {
		r.wantTask(c, i)
	}
}

func (r *rig) wantTask(c *sim.Context, i int) {
	if r.k.Config().Count && c.Atomic() {
		c.Fail(sim.WrongContext, "the handler of bio %d wants a task and runs in %s %q", i, c.Kind(), c.Name())
	}
	c.MightSleep("the handler of a bio that wants a task")
}

// irq lets an interrupt of cpu do f.
func (r *rig) irq(c *sim.Context, cpu int, name string, f func(c *sim.Context)) {
	r.k.Interrupt(c, cpu, name, sim.IRQOptions{Hard: true, Merge: true}, f)
}

// irqAlike is irq for interrupts that end bios that are alike, made in Init.
func (r *rig) irqAlike(cpu int, name string, f func(c *sim.Context)) {
	r.k.Interrupt(nil, cpu, name, sim.IRQOptions{Hard: true, Merge: true, Alike: "irq"}, f)
}

// hotplug tries to take CPU 1 down, from CPU 0, and if that works and back is
// set, to bring it up again.
func (r *rig) hotplug(back bool) {
	r.k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
		err := r.k.CPUDown(c, 1, "")
		if back && err == nil {
			_ = r.k.CPUUp(c, 1, "")
		}
	})
}

// finish ends a bio that was counted on the inode.
func (r *rig) finish(c *sim.Context, b *bio.Bio) {
	if r.mem.drained {
		c.Fail(explore.Assertion, "a write ends while a task has the inode for itself")
	}
	dio.Complete(c, r.bs, r.inode, b, nil)
}

// exclusive drains the inode and has it for itself for a while.
func (r *rig) exclusive(c *sim.Context) {
	if err := r.inode.Exclude(c); err != nil {
		c.Fail(explore.Assertion, "%v", err)
	}
	if r.mem.drained {
		c.Fail(explore.Assertion, "two tasks have the inode for themselves")
	}
	r.mem.drained = true
	c.Yield()
	r.mem.drained = false
	r.inode.Admit(c)
}

// begun puts n writes in flight before anything else happens.
func (r *rig) begun(n int) {
	init := r.m.InitContext()
	for range n {
		r.inode.Begin(init, nil)
	}
}

// ran is ready when the handler of bio i has run. It is for the task that runs
// that handler itself, so that nobody else changes the answer.
type ran struct {
	r *rig
	i int
}

func (x ran) Ready(machine.Context) bool { return x.r.mem.runs[x.i] > 0 }
