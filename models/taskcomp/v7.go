// SPDX-License-Identifier: Apache-2.0

package taskcomp

import (
	"fmt"

	"endio/machine/sim"
)

// v7 is the series of 2026-07-30, which landed for Linux 7.3: interrupts off in
// place of the local lock, a plain work item without delay, the requeue on
// online, the flag as "already deferred"; the test of need_resched is gone. The fields
// of change are variants that somebody might propose, and mutants.
type v7 struct {
	m      *model
	list   *sim.PerCPU[[]int]
	lock   []*sim.RawSpinlock // of each list, if the change is rawLock
	work   []*sim.Work
	wq     *sim.Workqueue
	change v7Change
}

type v7Change struct {
	nullCheck   bool // the worker and the drain test bi_end_io
	requeueDead bool // the dead callback moves bios to a living CPU
	noDown      bool // nothing is disabled on the way down
	noRequeue   bool // online only enables
	armInside   bool // arm with interrupts still off
	resched     bool // the test of need_resched of v6
	cpusLocked  bool // the hotplug lock is held from the per-CPU init to the last registration
	condResched bool // cond_resched between two handlers of the worker and of the drain
	rawLock     bool // each list under a raw spinlock: its work may run anywhere, and hotplug is nothing to it
}

func newV7(m *model, change v7Change) *v7 {
	k := m.stage.K
	v := &v7{m: m, change: change, list: sim.NewPerCPU[[]int](k, "bio_complete_batch.list", nil)}
	if change.cpusLocked {
		m.holdHotplug()
	}
	init := sim.NewMachine(k).InitContext()
	for cpu := range k.Config().CPUs {
		w := k.NewWork(nil, "bio_complete", cpu, func(c *sim.Context) { v.workFn(c, cpu) })
		if change.rawLock {
			v.lock = append(v.lock, k.NewRawSpinlock(nil, fmt.Sprintf("bio_complete_batch.lock[%d]", cpu)).Guard())
		} else if !k.CPU(cpu).Online() {
			w.Disable(init)
		}
		v.work = append(v.work, w)
	}
	v.wq = k.AllocWorkqueue("bio_complete", sim.MemReclaim)
	if change.rawLock {
		return v // without callbacks: a pool runs its items on any CPU while its own is down
	}
	m.addState(sim.StateOnlineDyn, sim.HotplugState{Name: "block/bio:complete:online", Startup: v.cpuOnline, Teardown: v.cpuDownPrep})
	m.addState(sim.StatePrepareDyn, sim.HotplugState{Name: "block/bio:complete:dead", Teardown: v.cpuDead})
	return v
}

func (v *v7) inAtomic(c *sim.Context) bool { return inAtomic(c) }
func (v *v7) hasHelper() bool              { return true }
func (v *v7) peek(cpu int) int             { return len(v.list.On(cpu).Peek()) }
func (v *v7) workOf(b *modelBio) *sim.Work { return v.work[v.m.state[b.id].cpu] }

// lockList adds to interrupts that are off what else protects the list of a CPU: nothing in v7.
func (v *v7) lockList(c *sim.Context, cpu int) {
	if v.change.rawLock {
		v.lock[cpu].Lock(c)
	}
}

func (v *v7) unlockList(c *sim.Context, cpu int) {
	if v.change.rawLock {
		v.lock[cpu].Unlock(c)
	}
}

// workFn is bio_complete_work_fn: it runs until it sees the list empty.
func (v *v7) workFn(c *sim.Context, cpu int) {
	for {
		c.LocalIRQDisable()
		v.lockList(c, cpu)
		list := takeAll(c, v.list.On(cpu))
		v.unlockList(c, cpu)
		c.LocalIRQEnable()
		if len(list) == 0 {
			return
		}
		for _, id := range list {
			v.m.callEndIO(c, v.m.bios[id], v.change.nullCheck)
			v.condResched(c)
		}
		if v.change.resched && c.NeedResched() {
			c.LocalIRQDisable()
			isEmpty := false
			v.list.On(cpu).Update(c, func(l *[]int) { isEmpty = len(*l) == 0 })
			c.LocalIRQEnable()
			if !isEmpty {
				v.wq.QueueWorkOn(c, cpu, v.work[cpu])
			}
			return
		}
	}
}

func (v *v7) condResched(c *sim.Context) {
	if v.change.condResched {
		c.CondResched()
	}
}

// add is __bio_complete_in_task. Arming happens after interrupts are on again.
func (v *v7) add(c *sim.Context, b *modelBio) {
	c.LocalIRQSave()
	cpu := int(c.CPU())
	v.lockList(c, cpu)
	wasEmpty := false
	v.list.This(c).Update(c, func(l *[]int) {
		wasEmpty = len(*l) == 0
		*l = append(*l, b.id)
	})
	v.m.noteAdd(b, cpu)
	v.m.noteList(c, b, cpu, wasEmpty)
	if wasEmpty && v.change.armInside {
		v.wq.QueueWorkOn(c, cpu, v.work[cpu])
	}
	v.unlockList(c, cpu)
	c.LocalIRQRestore()
	if wasEmpty && !v.change.armInside {
		v.wq.QueueWorkOn(c, cpu, v.work[cpu])
		noteRefused(c, v.work[cpu])
	}
}

func (v *v7) completeInTask(c *sim.Context, b *modelBio) bool { return v.m.bioCompleteInTask(c, b) }

// bioCompleteInTask is bio_complete_in_task since v7: the flag says that a bio was deferred already.
func (m *model) bioCompleteInTask(c *sim.Context, b *modelBio) bool {
	st := &m.state[b.id]
	c.Learn(uint64(st.flags))
	if st.flags&completeInTask != 0 {
		return false
	}
	if !inAtomic(c) {
		return false
	}
	st.flags |= completeInTask
	m.defer_(c, b)
	return true
}

// cpuOnline enables the work and queues it for what has gathered.
func (v *v7) cpuOnline(c *sim.Context, p *sim.CPU) error {
	if v.change.noDown {
		return nil
	}
	v.work[p.ID()].Enable(c)
	if v.change.noRequeue {
		return nil
	}
	// The list is looked at with interrupts off, as everywhere; a bare look would do
	// as well, because whoever adds to an empty list arms.
	c.LocalIRQDisable()
	isEmpty := true
	v.list.On(p.ID()).Update(c, func(l *[]int) { isEmpty = len(*l) == 0 })
	c.LocalIRQEnable()
	if !isEmpty {
		v.wq.QueueWorkOn(c, p.ID(), v.work[p.ID()])
	}
	return nil
}

func (v *v7) cpuDownPrep(c *sim.Context, p *sim.CPU) error {
	if !v.change.noDown {
		v.work[p.ID()].DisableSync(c)
	}
	return nil
}

func (v *v7) cpuDead(c *sim.Context, p *sim.CPU) error {
	for {
		id := popFirst(c, v.list.On(p.ID()))
		switch {
		case id < 0:
			return nil
		case v.change.requeueDead:
			v.add(c, v.m.bios[id])
		default:
			v.m.callEndIO(c, v.m.bios[id], v.change.nullCheck)
			v.condResched(c)
		}
	}
}
