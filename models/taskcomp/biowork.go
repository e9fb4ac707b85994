// SPDX-License-Identifier: Apache-2.0

package taskcomp

import "endio/machine/sim"

// bioWork is v7 with a work item in each bio in place of the batches: what a file system does whose completions go to a
// workqueue of its own. There is no list to protect, nothing that belongs to one CPU, and so nothing for hotplug to do; the pool
// starts another worker when a handler blocks, and looks for others who want the CPU after each item. The function tests for a
// handler, as bio_endio does. It costs a work_struct in each bio, and a wake-up where v7 has one for a batch.
//
// Source: the patch as in v7.go; kernel-semantics.md, B5, for what the pool does.
type bioWork struct {
	m    *model
	work []*sim.Work // by bio
	wq   *sim.Workqueue
}

func newBioWork(m *model) *bioWork {
	k := m.stage.K
	v := &bioWork{m: m}
	for _, b := range m.bios {
		v.work = append(v.work, k.NewWork(nil, "bio "+b.def.Name, 0, func(c *sim.Context) { m.callEndIO(c, b, true) }))
	}
	v.wq = k.AllocWorkqueue("bio_complete", sim.MemReclaim)
	return v
}

func (v *bioWork) inAtomic(c *sim.Context) bool { return inAtomic(c) }
func (v *bioWork) hasHelper() bool              { return true }
func (v *bioWork) completeInTask(c *sim.Context, b *modelBio) bool {
	return v.m.bioCompleteInTask(c, b)
}
func (v *bioWork) peek(int) int                 { return -1 }
func (v *bioWork) workOf(b *modelBio) *sim.Work { return v.work[b.id] }

// add is __bio_complete_in_task: queue_work, which takes the pool of the CPU on which it has turned interrupts off.
func (v *bioWork) add(c *sim.Context, b *modelBio) {
	c.LocalIRQSave()
	cpu := int(c.CPU())
	v.m.noteAdd(b, cpu)
	if c.Tracing() {
		c.Note("bio %s is queued on cpu %d", b.def.Name, cpu)
	}
	v.wq.QueueWorkOn(c, cpu, v.work[b.id])
	c.LocalIRQRestore()
}
