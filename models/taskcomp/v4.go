// SPDX-License-Identifier: Apache-2.0

package taskcomp

import "endio/machine/sim"

// v4 is the series of 2026-03-25: a per-CPU bio list under local_lock, a plain work
// item, and a drain when the CPU is dead. Nothing stops the work item while its CPU
// goes down. The test for the context was for task context.
type v4 struct {
	m    *model
	lock *sim.LocalLock
	list *sim.PerCPU[[]int]
	work []*sim.Work
	wq   *sim.Workqueue
}

func newV4(m *model) *v4 {
	k := m.stage.K
	v := &v4{m: m, lock: k.NewLocalLock(nil, "bio_complete_batch.lock"), list: sim.NewPerCPU[[]int](k, "bio_complete_batch.list", nil)}
	for cpu := range k.Config().CPUs {
		v.work = append(v.work, k.NewWork(nil, "bio_complete", cpu, func(c *sim.Context) { v.workFn(c, cpu) }))
	}
	v.wq = k.AllocWorkqueue("bio_complete", 0)
	m.addState(sim.StatePrepareDyn, sim.HotplugState{Name: "block/bio:complete:dead", Teardown: v.cpuDead})
	return v
}

func (v *v4) inAtomic(c *sim.Context) bool                    { return !c.InTask() }
func (v *v4) hasHelper() bool                                 { return false }
func (v *v4) completeInTask(c *sim.Context, b *modelBio) bool { return false }
func (v *v4) peek(cpu int) int                                { return len(v.list.On(cpu).Peek()) }
func (v *v4) workOf(b *modelBio) *sim.Work                    { return v.work[v.m.state[b.id].cpu] }

func (v *v4) add(c *sim.Context, b *modelBio) {
	cpu := v.lock.LockIRQ(c)
	wasEmpty := false
	v.list.This(c).Update(c, func(l *[]int) {
		wasEmpty = len(*l) == 0
		*l = append(*l, b.id)
	})
	v.m.noteAdd(b, cpu.ID())
	v.lock.UnlockIRQ(c)
	v.m.noteList(c, b, cpu.ID(), wasEmpty)
	if wasEmpty {
		v.wq.QueueWorkOn(c, cpu.ID(), v.work[cpu.ID()])
	}
}

func (v *v4) workFn(c *sim.Context, cpu int) {
	for {
		v.lock.LockIRQ(c)
		list := takeAll(c, v.list.On(cpu))
		v.lock.UnlockIRQ(c)
		if len(list) == 0 {
			return
		}
		for _, id := range list {
			v.m.callEndIO(c, v.m.bios[id], false)
		}
	}
}

func (v *v4) cpuDead(c *sim.Context, p *sim.CPU) error {
	for _, id := range takeAll(c, v.list.On(p.ID())) {
		v.m.callEndIO(c, v.m.bios[id], false)
	}
	return nil
}

// takeAll empties a list and returns what was on it.
func takeAll(c *sim.Context, cell *sim.Cell[[]int]) (list []int) {
	cell.Update(c, func(l *[]int) { list, *l = *l, nil })
	return list
}
