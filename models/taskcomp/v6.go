// SPDX-License-Identifier: Apache-2.0

package taskcomp

import "endio/machine/sim"

// v6 is the series of 2026-05-14, the subject of the review: a per-CPU list under
// local_lock, a delayed work item of one jiffy on a workqueue with a rescuer,
// disabled while its CPU is down. The fields of fixes are the changes that its author
// agreed to in his answers of 2026-05-22.
type v6 struct {
	m     *model
	lock  *sim.LocalLock
	list  *sim.PerCPU[[]int]
	work  []*sim.DelayedWork
	wq    *sim.Workqueue
	fixes v6Fixes
}

type v6Fixes struct {
	irqsave  bool // question 3: local_irq_save in place of local_lock
	requeue  bool // question 4: requeue on online if the list is not empty
	sentinel bool // question 7: the flag says "already deferred"
}

// newV6 is bio_complete_batch_init and the part of init_bio.
func newV6(m *model, fixes v6Fixes) *v6 {
	k := m.stage.K
	v := &v6{m: m, fixes: fixes, list: sim.NewPerCPU[[]int](k, "bio_complete_batch.list", nil)}
	if !fixes.irqsave {
		v.lock = k.NewLocalLock(nil, "bio_complete_batch.lock")
	}
	init := sim.NewMachine(k).InitContext()
	for cpu := range k.Config().CPUs {
		w := k.NewDelayedWork(nil, "bio_complete", cpu, func(c *sim.Context) { v.workFn(c, cpu) })
		if !k.CPU(cpu).Online() {
			w.Disable(init)
		}
		v.work = append(v.work, w)
	}
	v.wq = k.AllocWorkqueue("bio_complete", sim.MemReclaim)
	m.addState(sim.StateOnlineDyn, sim.HotplugState{Name: "block/bio:complete:online", Startup: v.cpuOnline, Teardown: v.cpuDownPrep})
	m.addState(sim.StatePrepareDyn, sim.HotplugState{Name: "block/bio:complete:dead", Teardown: v.cpuDead})
	return v
}

func (v *v6) inAtomic(c *sim.Context) bool { return inAtomic(c) }
func (v *v6) hasHelper() bool              { return true }
func (v *v6) peek(cpu int) int             { return len(v.list.On(cpu).Peek()) }
func (v *v6) workOf(b *modelBio) *sim.Work { return &v.work[v.m.state[b.id].cpu].Work }

// lockList is local_lock_irqsave(&bio_complete_batch.lock, flags).
func (v *v6) lockList(c *sim.Context) {
	if v.fixes.irqsave {
		c.LocalIRQSave()
		return
	}
	v.lock.LockIRQ(c)
}

func (v *v6) unlockList(c *sim.Context) {
	if v.fixes.irqsave {
		c.LocalIRQRestore()
		return
	}
	v.lock.UnlockIRQ(c)
}

// workFn is bio_complete_work_fn.
func (v *v6) workFn(c *sim.Context, cpu int) {
	for {
		v.lockList(c)
		list := takeAll(c, v.list.On(cpu))
		v.unlockList(c)
		if len(list) == 0 {
			break
		}
		for _, id := range list {
			v.m.callEndIO(c, v.m.bios[id], false)
		}
		if c.NeedResched() {
			v.lockList(c)
			isEmpty := false
			v.list.On(cpu).Update(c, func(l *[]int) { isEmpty = len(*l) == 0 })
			v.unlockList(c)
			if !isEmpty {
				v.wq.ModDelayedWorkOn(c, cpu, &v.work[cpu].Work, 0)
			}
			break
		}
	}
}

// add is __bio_complete_in_task.
func (v *v6) add(c *sim.Context, b *modelBio) {
	v.lockList(c)
	cpu := int(c.CPU())
	wasEmpty := false
	v.list.This(c).Update(c, func(l *[]int) {
		wasEmpty = len(*l) == 0
		*l = append(*l, b.id)
	})
	v.m.noteAdd(b, cpu)
	v.m.noteList(c, b, cpu, wasEmpty)
	v.unlockList(c)
	if wasEmpty {
		v.wq.ModDelayedWorkOn(c, cpu, &v.work[cpu].Work, 1)
		noteRefused(c, &v.work[cpu].Work)
	}
}

// completeInTask is bio_complete_in_task, the dynamic helper.
func (v *v6) completeInTask(c *sim.Context, b *modelBio) bool {
	st := &v.m.state[b.id]
	if v.fixes.sentinel {
		c.Learn(uint64(st.flags))
		if st.flags&completeInTask != 0 {
			return false
		}
	}
	if !inAtomic(c) {
		return false
	}
	if v.fixes.sentinel {
		st.flags |= completeInTask
	}
	v.m.defer_(c, b)
	return true
}

// cpuOnline is bio_complete_batch_cpu_online.
func (v *v6) cpuOnline(c *sim.Context, p *sim.CPU) error {
	v.work[p.ID()].Enable(c)
	if v.fixes.requeue {
		v.lockList(c)
		isEmpty := true
		v.list.On(p.ID()).Update(c, func(l *[]int) { isEmpty = len(*l) == 0 })
		v.unlockList(c)
		if !isEmpty {
			v.wq.ModDelayedWorkOn(c, p.ID(), &v.work[p.ID()].Work, 1)
		}
	}
	return nil
}

// cpuDownPrep is bio_complete_batch_cpu_down_prep.
func (v *v6) cpuDownPrep(c *sim.Context, p *sim.CPU) error {
	v.work[p.ID()].DisableSync(c)
	return nil
}

// cpuDead is bio_complete_batch_cpu_dead: nobody else uses the list any more.
func (v *v6) cpuDead(c *sim.Context, p *sim.CPU) error {
	for {
		id := popFirst(c, v.list.On(p.ID()))
		if id < 0 {
			return nil
		}
		v.m.callEndIO(c, v.m.bios[id], false)
	}
}

// popFirst is bio_list_pop; -1 if the list is empty.
func popFirst(c *sim.Context, cell *sim.Cell[[]int]) (id int) {
	id = -1
	cell.Update(c, func(l *[]int) {
		if len(*l) > 0 {
			id, *l = (*l)[0], append([]int(nil), (*l)[1:]...)
		}
	})
	return id
}
