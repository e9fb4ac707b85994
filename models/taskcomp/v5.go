// SPDX-License-Identifier: Apache-2.0

package taskcomp

import "endio/machine/sim"

// v5 is the series of 2026-04-08: a lock-free per-CPU list, a delayed work item of
// one jiffy, and a drain when the CPU is dead.
type v5 struct {
	m    *model
	list []*sim.Atomic[llist]
	work []*sim.DelayedWork
	wq   *sim.Workqueue
}

// maxBios is how many bios a scenario may have on one list.
const maxBios = 8

// An llist is struct llist_head: last in, first out.
type llist struct {
	n   int
	ids [maxBios]int8
}

func newV5(m *model) *v5 {
	k := m.stage.K
	v := &v5{m: m}
	for cpu := range k.Config().CPUs {
		v.list = append(v.list, sim.NewAtomic(k, nil, "bio_complete_batch.list", llist{}))
		v.work = append(v.work, k.NewDelayedWork(nil, "bio_complete", cpu, func(c *sim.Context) { v.workFn(c, cpu) }))
	}
	v.wq = k.AllocWorkqueue("bio_complete", sim.MemReclaim)
	m.addState(sim.StatePrepareDyn, sim.HotplugState{Name: "block/bio:complete:dead", Teardown: v.cpuDead})
	return v
}

func (v *v5) inAtomic(c *sim.Context) bool                    { return !c.InTask() }
func (v *v5) hasHelper() bool                                 { return false }
func (v *v5) completeInTask(c *sim.Context, b *modelBio) bool { return false }
func (v *v5) peek(cpu int) int                                { return v.list[cpu].Peek().n }
func (v *v5) workOf(b *modelBio) *sim.Work                    { return &v.work[v.m.state[b.id].cpu].Work }

func (v *v5) add(c *sim.Context, b *modelBio) {
	c.PreemptDisable()
	cpu := int(c.CPU())
	first := false
	v.list[cpu].Update(c, func(l llist) llist { // llist_add
		first = l.n == 0
		l.ids[l.n] = int8(b.id)
		l.n++
		return l
	})
	v.m.noteAdd(b, cpu)
	v.m.noteList(c, b, cpu, first)
	if first {
		v.wq.ModDelayedWorkOn(c, cpu, &v.work[cpu].Work, 1)
	}
	c.PreemptEnable()
}

func (v *v5) delAll(c *sim.Context, cpu int) (list []int) {
	v.list[cpu].Update(c, func(l llist) llist { // llist_del_all
		for _, id := range l.ids[:l.n] { // and llist_reverse_order
			list = append(list, int(id))
		}
		return llist{}
	})
	v.learn(c, list)
	return list
}

func (v *v5) learn(c *sim.Context, list []int) {
	for _, id := range list {
		c.Learn(uint64(id))
	}
}

func (v *v5) workFn(c *sim.Context, cpu int) {
	for _, id := range v.delAll(c, cpu) {
		v.m.callEndIO(c, v.m.bios[id], false)
	}
}

func (v *v5) cpuDead(c *sim.Context, p *sim.CPU) error {
	for _, id := range v.delAll(c, p.ID()) {
		v.m.callEndIO(c, v.m.bios[id], false)
	}
	return nil
}
