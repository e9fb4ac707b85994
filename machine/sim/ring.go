// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"

	"endio/explore"
)

// A RingMode is how an io_uring was set up, as far as task work goes.
//
// Source: io_req_task_work_add, io_uring/io_uring.c, Linux 7.3; kernel-semantics.md, A1.3.
type RingMode uint8

// The modes.
const (
	RingDefault RingMode = iota
	RingCoop             // IORING_SETUP_COOP_TASKRUN
	RingSQPoll           // IORING_SETUP_SQPOLL
	RingDefer            // IORING_SETUP_DEFER_TASKRUN
)

// String returns the name of the mode.
func (m RingMode) String() string { return [...]string{"default", "coop", "sqpoll", "defer"}[m] }

// A Ring is an io_uring with its submitter.
type Ring struct {
	k     *Kernel
	mode  RingMode
	owner *Task
	sq    *Task
	obj   explore.Object
	local []taskWork // of RingDefer
	eager bool       // some of local wakes the submitter at once
	cq    int
	want  int // the submitter waits for that many CQEs
	tell  func(w *explore.Wait)
}

// Tell has f add to the report of a wait for CQEs who posts them, and why nobody does. It changes nothing but
// reports.
func (r *Ring) Tell(f func(w *explore.Wait)) { r.tell = f }

// Runner returns the task that runs the ring's task work.
func (r *Ring) Runner() *Task {
	if r.mode == RingSQPoll {
		return r.sq
	}
	return r.owner
}

// NewRing makes a ring of owner. c is nil in Init. With RingSQPoll it starts the SQ
// thread.
func (k *Kernel) NewRing(c *Context, owner *Task, mode RingMode) *Ring {
	r := &Ring{k: k, mode: mode, owner: owner, obj: newObject(k.maker(c), "ring", -1)}
	k.add(r)
	if mode == RingDefer {
		owner.rings = append(owner.rings, r)
	}
	if mode == RingSQPoll {
		r.sq = k.Go(c, "iou-sqp", TaskOptions{Daemon: true}, func(c *Context) {
			for {
				c.Forget(1)
				c.unpin()
				c.step("iou-sqp looks", (*hasWork)(c.task), acc{c.task.obj, explore.AtomicUpdate})
				c.runWork()
			}
		})
	}
	return r
}

type hasWork Task

func (t *hasWork) ready(*Context) bool                  { return len(t.work) > 0 }
func (t *hasWork) describe(_ *Context, w *explore.Wait) { w.For = "task work" }

func (r *Ring) hash(h *explore.Hash) {
	h.Add(uint64(r.cq) | uint64(r.want)<<16 | boolBit(r.eager)<<32)
	for _, w := range r.local {
		h.Add(w.id)
	}
}

// CQ returns the number of CQEs posted so far, without a step.
func (r *Ring) CQ() int { return r.cq }

// Object returns the object of the completion queue, for [Context.UserWait].
func (r *Ring) Object() explore.Object { return r.obj }

// WorkObject returns the object of the list to which task work is added, for [Ref.Put].
func (r *Ring) WorkObject() explore.Object {
	if r.mode == RingDefer {
		return r.obj
	}
	return r.Runner().obj
}

// Owner returns the task that submits.
func (r *Ring) Owner() *Task { return r.owner }

// AddTaskWork has fn run by the task that the ring's mode says, or, if that is exiting,
// by a kworker. Any context may call it. With RingDefer it wakes a submitter that waits for CQEs only if there is enough for it (lazy
// wake, as for reads and writes); see [Ring.AddEagerTaskWorkID].
func (r *Ring) AddTaskWork(c *Context, name string, fn func(*Context)) {
	r.AddTaskWorkID(c, 0, name, fn)
}

// AddTaskWorkID is AddTaskWork of work that is known by id, whoever adds it: what fn knows follows
// from id and memory that is declared. No two that are pending have the same.
func (r *Ring) AddTaskWorkID(c *Context, id uint64, name string, fn func(*Context)) {
	r.addTaskWork(c, id, name, false, fn)
}

// AddEagerTaskWorkID is AddTaskWorkID of work that wakes the submitter at once in any mode: there is more to come
// than its own CQE, or it is not of a read or write.
func (r *Ring) AddEagerTaskWorkID(c *Context, id uint64, name string, fn func(*Context)) {
	r.addTaskWork(c, id, name, true, fn)
}

func (r *Ring) addTaskWork(c *Context, id uint64, name string, eager bool, fn func(*Context)) {
	ok := true
	switch r.mode {
	case RingDefault:
		ok = r.owner.addWork(c, id, name, NotifySignal, fn)
	case RingCoop:
		ok = r.owner.addWork(c, id, name, NotifySignalNoIPI, fn)
	case RingSQPoll:
		ok = r.sq.addWork(c, id, name, NotifySignalNoIPI, fn)
	case RingDefer:
		// The one waiter looks at the length of the list: it is woken when
		// enough has gathered or something does not wait for that, and by nothing else.
		if !c.within("add to the ring's local work", "", r.obj) { // Exit declares the ring, too
			c.step("add to the ring's local work", nil, acc{r.obj, explore.AtomicUpdate}, acc{r.owner.obj, explore.AtomicRead})
		}
		if ok = !r.owner.exiting; ok {
			r.local = append(r.local, r.k.newTaskWork(c, id, name, fn))
			r.eager = r.eager || eager
		}
	}
	if !c.foldBool(ok) {
		r.k.fallback(c, name, fn)
	}
}

// fallback has a kworker run task work whose task exits.
func (k *Kernel) fallback(c *Context, name string, fn func(*Context)) {
	w := k.NewWork(c, "io_fallback "+name, 0, fn)
	k.systemWq.QueueWorkOn(c, 0, w)
}

// PostCQE posts one CQE. Task context. It is no step where the submitter posts its own: it alone looks at the queue.
func (r *Ring) PostCQE(c *Context) {
	if c != r.owner.c {
		c.step("post CQE", nil, acc{r.obj, explore.AtomicUpdate})
	} else if c.t.Tracing() {
		c.t.Note("post CQE")
	}
	r.cq++
}

// Enter is io_uring_enter with GETEVENTS: it runs task work and waits until n CQEs
// were posted in all. A signal makes it fail with [ErrInterrupted].
func (r *Ring) Enter(c *Context, n int) error {
	return c.Syscall("io_uring_enter", func(c *Context) error {
		for history := c.hist; ; c.hist = history {
			c.step("look at the CQ", nil, acc{r.obj, explore.AtomicUpdate}, acc{c.task.obj, explore.AtomicUpdate})
			local := r.local
			r.local, r.eager = nil, false
			c.foldWork(local)
			for _, w := range local {
				h := c.hist
				w.fn(c)
				c.Keep(h, 0)
			}
			if len(local) > 0 {
				continue
			}
			if c.foldBool(len(c.task.work) > 0 || c.task.notifySignal) {
				c.runWork()
				continue
			}
			if c.foldBool(r.cq >= n) {
				return nil
			}
			if c.foldBool(c.task.sigpending) {
				return fmt.Errorf("io_uring_enter: %w", ErrInterrupted)
			}
			r.want = n
			c.block("wait for CQEs", (*cqWait)(r), Interruptible, acc{r.obj, explore.AtomicUpdate})
			r.want = 0
		}
	})
}

type cqWait Ring

func (r *cqWait) ready(*Context) bool {
	return r.cq >= r.want || len(r.local) > 0 && (r.eager || r.cq+len(r.local) >= r.want)
}
func (r *cqWait) describe(_ *Context, w *explore.Wait) {
	w.For, w.By = fmt.Sprintf("CQE %d", r.want), "posted only by"
	if r.tell != nil {
		r.tell(w)
	}
}

// An IOWorkQueue is io-wq: threads of a process that issue requests which would
// block. They issue for their owner, and completions go to the owner.
//
// Source: io_uring/io-wq.c, Linux 7.3; kernel-semantics.md, A1.1.
type IOWorkQueue struct {
	k    *Kernel
	obj  explore.Object
	list []taskWork
	busy []bool // by worker
}

// Free reports whether a worker is idle. It takes no step: for reports.
func (q *IOWorkQueue) Free() bool { return slices.Contains(q.busy, false) }

type ioWorker struct {
	q *IOWorkQueue
	i int
}

// ready reports whether the worker may take a request. Idle workers are alike, so the first one
// goes.
func (w *ioWorker) ready(*Context) bool {
	return len(w.q.list) > 0 && !slices.Contains(w.q.busy[:w.i], false)
}

func (w *ioWorker) describe(_ *Context, d *explore.Wait) { d.For = "a request" }

// NewIOWorkQueue starts n workers. c is nil in Init.
func (k *Kernel) NewIOWorkQueue(c *Context, n int) *IOWorkQueue {
	q := &IOWorkQueue{k: k, obj: newObject(k.maker(c), "io-wq", -1), busy: make([]bool, n)}
	k.add(q)
	for i := range n {
		k.Go(c, fmt.Sprintf("iou-wrk-%d", i), TaskOptions{Daemon: true}, func(c *Context) {
			for {
				c.Forget(uint64(i))
				c.unpin()
				c.step("iou-wrk takes a request", &ioWorker{q, i}, acc{q.obj, explore.AtomicUpdate})
				w := q.list[0]
				q.list = append(q.list[:0:0], q.list[1:]...)
				q.busy[i] = true
				c.fold(w.id)
				w.fn(c)
				if n > 1 {
					c.step("iou-wrk is done", nil, acc{q.obj, explore.AtomicUpdate})
				}
				q.busy[i] = false
			}
		})
	}
	return q
}

func (q *IOWorkQueue) hash(h *explore.Hash) {
	h.Add(uint64(len(q.list)))
	for _, w := range q.list {
		h.Add(w.id)
	}
	for _, b := range q.busy {
		h.AddBool(b)
	}
}

// Queue gives a request to the workers.
func (q *IOWorkQueue) Queue(c *Context, name string, fn func(*Context)) { q.QueueID(c, 0, name, fn) }

// QueueID is Queue of a request that is known by id, as in [Ring.AddTaskWorkID].
func (q *IOWorkQueue) QueueID(c *Context, id uint64, name string, fn func(*Context)) {
	c.step("queue to io-wq", nil, acc{q.obj, explore.AtomicUpdate})
	q.list = append(q.list, q.k.newTaskWork(c, id, name, fn))
}
