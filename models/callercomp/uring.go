// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"errors"

	"endio/machine/sim"
)

// submit is io_uring_enter with one SQE, and those that are linked behind it, which stay where they are. With SQPOLL the SQ thread
// issues.
func (m *model) submit(c *sim.Context, r *request) {
	_ = c.Syscall("io_uring_enter", func(c *sim.Context) error {
		for n := r.next; n != nil; n = n.next {
			n.at = linked
		}
		switch {
		case r.forceAsync():
			m.ioQueueAsync(c, r)
		case r.ring.mode == sim.RingSQPoll:
			r.at = forSQ
			r.ring.AddTaskWorkID(c, r.workID(workIssue), "issue", func(c *sim.Context) { m.issue(c, r) })
		default:
			m.issue(c, r)
		}
		return nil
	})
}

// forceAsync is REQ_F_FORCE_ASYNC, which is set at prep for what always blocks.
func (r *request) forceAsync() bool {
	return r.step.Request == "fallocate" || r.step.Request == "truncate"
}

// issue is io_queue_sqe: the inline attempt, which must not block.
func (m *model) issue(c *sim.Context, r *request) {
	r.at, r.by = issued, c
	if err := m.ioRW(c, r, true); errors.Is(err, sim.ErrAgain) {
		m.ioQueueAsync(c, r)
	}
}

// ioQueueAsync hands a request to io-wq, whose workers issue it without NONBLOCK.
func (m *model) ioQueueAsync(c *sim.Context, r *request) {
	r.at = forWorker
	m.ioWq.QueueID(c, r.workID(workIssue), r.step.Request, func(c *sim.Context) {
		r.at, r.by = issued, c
		switch r.step.Request {
		case "fallocate", "truncate":
			for errors.Is(m.exclusiveCall(c, r.step.Request, r.ino), sim.ErrRestartSys) {
				c.RunWork() // an io-wq worker has its own task work to run first
			}
			m.ioReqComplete(c, r)
		default:
			if err := m.ioRW(c, r, m.v.nowaitWorkers); errors.Is(err, sim.ErrAgain) {
				m.ioQueueAsync(c, r)
			}
		}
	})
}

// ioRW is io_write and io_read.
//
// Source: io_uring/rw.c, Linux 6.6-rc7; kernel-semantics A1.4.
func (m *model) ioRW(c *sim.Context, r *request, nowait bool) error {
	write := r.step.Request == "write"
	if write {
		if err := m.kiocbStartWrite(c, nowait); err != nil {
			return err
		}
		r.sb = true
		m.state[r.id].callerComp = m.v.policy == caller // IOCB_DIO_CALLER_COMP, on every write
	}
	m.state[r.id].dioSlot = false
	queued, err := m.fsDio(c, r, nowait, false)
	switch {
	case err == nil && !queued:
		m.kiocbDone(c, r)
	case err != nil && write:
		r.sb = false
		m.sb.EndWrite(c)
	}
	return err
}

// kiocbDone ends a request whose I/O ended before its issue returned: by who has issued it, and not by the hook, unless it is an error.
//
// Source: kiocb_done, io_uring/rw.c, Linux 6.6 and 7.3; kernel-semantics A2.2.
func (m *model) kiocbDone(c *sim.Context, r *request) {
	if r.step.Error {
		m.ioCompleteRW(c, r)
		return
	}
	if r.step.Request == "write" {
		r.sb = false
		m.sb.EndWrite(c) // io_req_io_end: we are inline from the submission
	}
	if c == r.ring.Runner().Context() {
		m.postCQE(c, r)
		m.ioQueueNext(c, r, false)
		return
	}
	m.ioReqComplete(c, r)
}

// kiocbStartWrite takes the freeze level of sb_writers, which is held until the
// task work of the write. Before the fix of 2024 it blocks also under NOWAIT.
func (m *model) kiocbStartWrite(c *sim.Context, nowait bool) error {
	if nowait && m.v.tryFreeze {
		if !m.sb.StartWriteTry(c) {
			return sim.ErrAgain
		}
		return nil
	}
	m.sb.StartWrite(c)
	return nil
}

// ioCompleteRW is ki_complete of io_uring: it runs wherever the lower layer completes,
// and gives the rest to the submitter.
func (m *model) ioCompleteRW(c *sim.Context, r *request) {
	r.at = forTask
	if m.v.endInHook && r.step.Request == "write" {
		r.sb = false
		m.sb.EndWrite(c)
	}
	add := r.ring.AddTaskWorkID
	if r.next != nil {
		add = r.ring.AddEagerTaskWorkID // no lazy wake where something waits for the request
	}
	add(c, r.workID(workWrite), "io_req_rw_complete", func(c *sim.Context) { m.ioReqRWComplete(c, r) })
}

// ioReqRWComplete is the task work of a read or write.
func (m *model) ioReqRWComplete(c *sim.Context, r *request) {
	r.at, r.by = issued, c
	failed := r.step.Error
	if m.state[r.id].dioSlot {
		m.iomapDioComplete(c, r)
		failed = failed && m.v.marksFailed // the result is stored in the CQE, and nobody marks the request
	}
	if r.step.Request == "write" && !m.v.endInHook {
		r.sb = false
		m.sb.EndWrite(c) // io_req_io_end
	}
	m.postCQE(c, r)
	m.ioQueueNext(c, r, failed)
}

// ioReqComplete ends a request that a worker has done: one that is no read or write, or whose I/O ended in its issue.
func (m *model) ioReqComplete(c *sim.Context, r *request) {
	r.at = forTask
	r.ring.AddEagerTaskWorkID(c, r.workID(workDone), "io_req_complete", func(c *sim.Context) {
		r.at, r.by = issued, c
		m.postCQE(c, r)
		m.ioQueueNext(c, r, false)
	})
}

// ioQueueNext goes on with what is linked behind r, which has posted its CQE: by task work of the submitter, who issues
// it as if it were submitted now, or if r has failed cancels it.
//
// Source: io_req_find_next, io_req_task_submit, io_req_task_cancel, io_uring/io_uring.c, Linux 6.6; kernel-semantics A1.3.
func (m *model) ioQueueNext(c *sim.Context, r *request, failed bool) {
	n := r.next
	if n == nil {
		return
	}
	n.at = forIssue
	cancel := func(c *sim.Context) {
		n.at, n.by = issued, c
		m.postCQE(c, n)
		m.ioQueueNext(c, n, true)
	}
	if failed {
		r.ring.AddEagerTaskWorkID(c, n.workID(workCancel), "io_req_task_cancel", cancel)
		return
	}
	r.ring.AddEagerTaskWorkID(c, n.workID(workNext), "io_req_task_submit", func(c *sim.Context) {
		switch {
		case r.ring.Runner().Exiting():
			cancel(c)
		case r.step.Error: // r was not marked
			c.Fail(notCancelled, "%s is issued although %s, to which it is linked, has failed", n, r)
		case n.forceAsync():
			m.ioQueueAsync(c, n)
		default:
			m.issue(c, n)
		}
	})
}

func (m *model) postCQE(c *sim.Context, r *request) {
	if m.state[r.id].cqe {
		c.Fail(sim.RunTwice, "%s posts a second CQE", r)
	}
	m.state[r.id].cqe = true
	r.ring.PostCQE(c)
}
