// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"fmt"

	"endio/explore"
	"endio/lockdep"
	"endio/machine/sim"
)

// fsDio is the direct I/O path of ext4 and xfs down to iomap: the locks, and for
// unaligned writes the drain. queued says that the I/O goes on: it has not ended in here.
//
// Source: ext4_dio_write_iter, xfs_file_dio_write_unaligned, Linux 6.6; kernel-semantics A2.5.
func (m *model) fsDio(c *sim.Context, r *request, nowait, sync bool) (queued bool, err error) {
	n := r.ino
	write := r.step.Writes()
	switch {
	case write && r.step.Unaligned:
		if nowait {
			return false, sim.ErrAgain // before anything is waited for
		}
		n.RWSem.DownWrite(c)
		if err := m.inodeDioWait(c, n); err != nil {
			n.RWSem.UpWrite(c)
			return false, err
		}
		m.checkDrained(c, n)
		m.iomapDioRW(c, r, true) // unaligned I/O is synchronous: FORCE_WAIT
		n.RWSem.UpWrite(c)
		return false, nil
	case write && r.step.Extending:
		if nowait {
			return false, sim.ErrAgain
		}
		n.RWSem.DownWrite(c)
		queued = m.iomapDioRW(c, r, sync)
		n.RWSem.UpWrite(c)
		return queued, nil
	case nowait:
		if !n.RWSem.DownReadTry(c) {
			return false, sim.ErrAgain
		}
	default:
		n.RWSem.DownRead(c)
	}
	queued = m.iomapDioRW(c, r, sync)
	n.RWSem.UpRead(c)
	return queued, nil
}

// iomapDioRW is __iomap_dio_rw. The lock of the caller is dropped after it, and not after the completion: that is what
// the dio count is for. It reports whether the I/O goes on.
//
// Each bio has a reference, and so has the submitter until the last one is submitted: who drops the last reference completes. What
// is submitted in the step that took the lock is as if it were submitted later, until the submitter drops its own.
//
// Source: fs/iomap/direct-io.c, Linux 6.6-rc7 and 7.3; kernel-semantics A2.2.
func (m *model) iomapDioRW(c *sim.Context, r *request, sync bool) (queued bool) {
	n := r.ino
	write := r.step.Writes()
	if !write || sync || r.step.Extending || r.step.Shared && m.v.extentsToWork {
		m.state[r.id].callerComp = false // IOMAP_DIO_CALLER_COMP does not survive the extent
	}
	m.annotateBegin(c, r, sync)
	n.DioBeginLocked(c)
	m.state[r.id].begun = true
	if m.state[r.id].callerComp && !m.v.split && r.ring.mode != sim.RingSQPoll {
		n.Owes(r.owner)
	}
	r.at = onDevice
	// One who sleeps until its only bio has ended needs no reference: not to sleep because it has ended already is the same.
	counted := !sync || r.step.Bios > 1
	r.ref.Set(1)
	if counted {
		r.ref.Set(2)
	}
	for i := range r.step.Bios {
		if i > 0 {
			r.ref.Get(c) // bios before it may have ended
		}
		m.submitBio(c, r, i, sync)
	}
	last := counted && r.ref.Put(c, n.Object())
	if sync && !last {
		r.done.Wait(c)
	}
	if sync || last {
		r.at, r.by = issued, c
		m.iomapDioComplete(c, r)
		return false
	}
	return true // and the dio is somebody else's
}

// submitBio gives bio i of r to the device, which ends it in an interrupt.
func (m *model) submitBio(c *sim.Context, r *request, i int, sync bool) {
	name := fmt.Sprintf("irq of I/O %d", r.id+1)
	if r.step.Bios > 1 {
		name = fmt.Sprintf("irq of I/O %d, bio %d", r.id+1, i+1)
	}
	m.k.Interrupt(c, 0, name, sim.IRQOptions{ID: r.irq + i, Merge: true}, func(c *sim.Context) { m.iomapDioBioEndIO(c, r, sync) })
}

// iomapDioBioEndIO is the end of a bio: the last one goes on with the dio.
func (m *model) iomapDioBioEndIO(c *sim.Context, r *request, sync bool) {
	end := m.endOf(r, sync)
	var first explore.Object // what that does first
	switch {
	case end == toWaiter:
		first = r.done.Object()
	case end == inline, m.v.split && end == caller:
		first = r.ino.Object()
	case end == caller:
		first = r.ring.WorkObject()
	default:
		first = r.work.Object()
	}
	if r.ref.Put(c, first) {
		m.iomapDioDone(c, r, end)
	}
}

// endOf says who completes a dio whose last bio ends after its submission.
//
// Source: fs/iomap/direct-io.c, Linux 6.6-rc7 and 7.3; kernel-semantics A2.3.
func (m *model) endOf(r *request, sync bool) policy {
	switch {
	case sync:
		return toWaiter
	case m.state[r.id].callerComp:
		return caller // an error, too: nothing asks
	case m.v.policy == inline && r.step.Error:
		return workqueue
	case !r.step.Writes(), m.v.policy == inline && !r.step.Shared && !r.step.Extending:
		return inline
	}
	return workqueue
}

// iomapDioDone is iomap_dio_done.
func (m *model) iomapDioDone(c *sim.Context, r *request, end policy) {
	switch end {
	case toWaiter:
		r.done.Complete(c) // wake the submitter, which completes
	case inline:
		m.iomapDioComplete(c, r)
		m.ioCompleteRW(c, r)
	case caller:
		if m.v.split {
			m.inodeDioEnd(c, r)
		}
		m.state[r.id].dioSlot = true // who looks does so after the step that comes
		m.ioCompleteRW(c, r)
	default:
		r.at = forWork
		if c.Tracing() {
			c.Note("queue_work s_dio_done_wq")
		}
		m.dioWq.QueueWorkOn(c, 0, r.work)
	}
}

// iomapDioCompleteWork is iomap_dio_complete_work, on s_dio_done_wq.
func (m *model) iomapDioCompleteWork(c *sim.Context, r *request) {
	m.iomapDioComplete(c, r)
	m.ioCompleteRW(c, r)
}

// iomapDioComplete is iomap_dio_complete: the file system's end_io, then inode_dio_end.
func (m *model) iomapDioComplete(c *sim.Context, r *request) {
	if r.extents != nil {
		c.MightSleep("end_io of the file system, which changes extents")
		r.extents.Store(c, true)
	}
	if !m.state[r.id].dioSlot || !m.v.split { // else inode_dio_end was in the hook
		m.inodeDioEnd(c, r)
	}
	m.state[r.id].callerComp, m.state[r.id].dioSlot = false, false // no longer of interest: who completed is no state
}

func (m *model) inodeDioEnd(c *sim.Context, r *request) {
	r.ino.DioEnd(c)
	m.annotateEnd(c, r)
	m.state[r.id].ended = true
	r.ino.Paid(r.owner)
	r.ender = c.Name()
}

// inodeDioWait is inode_dio_wait, in the sleep state of the version.
func (m *model) inodeDioWait(c *sim.Context, n *inode) error {
	mode := sim.Uninterruptible
	if m.v.interruptible {
		mode = sim.Interruptible
	}
	if m.file.Annotate != "none" && c.Task() != nil {
		c.Task().Acquire(&n.dep, lockdep.Exclusive, c.Site())
		c.Task().Release(&n.dep, c.Site())
	}
	return n.DioWait(c, mode)
}

// annotateBegin is the read acquire of the dio count: in the task that submits, for
// every I/O (class), or only for what the submitter itself must complete, in the name
// of the owner of the ring (owner).
func (m *model) annotateBegin(c *sim.Context, r *request, sync bool) {
	r.annotated = nil
	if m.file.Annotate == "none" || c.Task() == nil {
		return
	}
	switch m.file.Annotate {
	case "class":
		r.annotated = c
	case "owner":
		if !m.state[r.id].callerComp || m.v.split || r.ring.mode == sim.RingSQPoll {
			return
		}
		r.annotated = r.owner.Context()
	}
	// Without an edge from what is held (a trylock): with one, the report in the thread
	// would have been about the order of i_rwsem and the count, and not recursion.
	r.annotated.Task().Acquire(&r.ino.dep, lockdep.Shared|lockdep.Try, c.Site())
}

func (m *model) annotateEnd(c *sim.Context, r *request) {
	if r.annotated != nil {
		r.annotated.Task().Release(&r.ino.dep, c.Site())
		r.annotated = nil
	}
}

// checkDrained finds I/O that was in flight and has not done all of its work on the
// inode although the drain has returned.
func (m *model) checkDrained(c *sim.Context, n *inode) {
	var begun []*request // in the step that saw the count at zero
	for i, r := range m.reqs {
		if r.ino == n && r.extents != nil && m.state[i].begun {
			begun = append(begun, r)
		}
	}
	for _, r := range begun {
		if !r.extents.Load(c) {
			c.Fail(notDrained, "%q has drained inode %s, and the end_io of %s, which changes extents, has not run", c.Name(), n.name, r)
		}
	}
}
