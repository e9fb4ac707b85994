// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"

	"endio/explore"
)

// ErrRestartSys is -ERESTARTSYS: a signal ended the wait, and the system call is
// to be restarted after it has been handled. See [Context.Syscall].
var ErrRestartSys = errors.New("ERESTARTSYS")

type waitQueue struct {
	k       *Kernel
	id      int
	name    string
	obj     explore.Object
	waiters []*Context
}

// A WaitQueue is wait_queue_head_t.
type WaitQueue struct{ waitQueue }

// NewWaitQueue makes an empty queue. c is nil in Init.
func (k *Kernel) NewWaitQueue(c *Context, name string) *WaitQueue {
	q := &WaitQueue{}
	q.waitQueue = waitQueue{k: k, id: k.partID(), name: name, obj: newObject(k.maker(c), name, -1)}
	k.add(q)
	return q
}

// Object returns the object that stands for the queue.
func (q *waitQueue) Object() explore.Object { return q.obj }

func (q *waitQueue) hash(h *explore.Hash) {
	v := uint64(len(q.waiters))
	for _, c := range q.waiters {
		v = mix(v, c.num())
	}
	h.Add(v)
}

// Prepare puts c on the queue: a wake-up from now on ends [WaitQueue.Schedule],
// also if it comes before. It is prepare_to_wait.
func (q *waitQueue) Prepare(c *Context) {
	c.stepOn("prepare to wait on", q.name, nil, acc{q.obj, explore.AtomicUpdate})
	q.enlist(c)
}

func (q *waitQueue) enlist(c *Context) {
	for _, o := range q.waiters {
		if o == c {
			return
		}
	}
	q.waiters = append(q.waiters, c)
	c.sleep.wq, c.sleep.woken = q, false
}

// Schedule sleeps until c was woken since Prepare, or a signal ends the sleep.
func (q *waitQueue) Schedule(c *Context, mode SleepState) {
	c.MightSleep("schedule")
	c.block("sleep on "+q.name, nil, mode, acc{q.obj, explore.AtomicUpdate})
}

// Finish takes c off the queue, finish_wait.
func (q *waitQueue) Finish(c *Context) {
	for i, o := range q.waiters {
		if o == c {
			q.waiters = append(q.waiters[:i], q.waiters[i+1:]...)
			break
		}
	}
	if c.sleep.wq == q {
		c.sleep.wq, c.sleep.woken = nil, false
	}
}

// Wake wakes all that sleep on the queue. Any context may call it.
func (q *waitQueue) Wake(c *Context) {
	c.stepOn("wake", q.name, nil, acc{q.obj, explore.AtomicUpdate})
	q.wakeAll()
}

func (q *waitQueue) wakeAll() {
	for _, o := range q.waiters {
		o.sleep.woken = true
	}
	q.waiters = q.waiters[:0]
}

// Wait is wait_event and its variants: it returns nil when cond is true, or
// [ErrRestartSys] when mode allows a signal to end the wait and one does. cond may
// take steps.
func (q *waitQueue) Wait(c *Context, mode SleepState, cond func(*Context) bool) error {
	c.MightSleep("wait_event " + q.name)
	for !cond(c) {
		q.Prepare(c)
		if cond(c) {
			q.Finish(c)
			return nil
		}
		if c.foldBool(c.signalled(mode)) {
			q.Finish(c)
			return ErrRestartSys
		}
		q.Schedule(c, mode)
		q.Finish(c)
		if c.foldBool(c.signalled(mode)) {
			if cond(c) {
				return nil
			}
			return ErrRestartSys
		}
	}
	return nil
}

// A Completion is struct completion: who waits for it goes on when it was
// completed, each complete for one waiter.
type Completion struct {
	name string
	obj  explore.Object
	done int
	tell func(w *explore.Wait) // see Tell
}

// Tell has f add to the report of a wait for x what it is for, who ends it, and why nobody does. It changes
// nothing but reports.
func (x *Completion) Tell(f func(w *explore.Wait)) { x.tell = f }

const completeAll = 1 << 30

// NewCompletion makes a completion that is not done. c is nil in Init.
func (k *Kernel) NewCompletion(c *Context, name string) *Completion {
	x := &Completion{name: name, obj: newObject(k.maker(c), name, -1)}
	k.add(x)
	return x
}

func (x *Completion) hash(h *explore.Hash) { h.Add(uint64(x.done)) }
func (x *Completion) ready(*Context) bool  { return x.done > 0 }
func (x *Completion) describe(_ *Context, w *explore.Wait) {
	w.For = "completion " + x.name
	if x.tell != nil {
		x.tell(w)
	}
}

// Object returns the object of the completion, for [Ref.Put].
func (x *Completion) Object() explore.Object { return x.obj }

// Complete lets one waiter go on. Any context may call it.
func (x *Completion) Complete(c *Context) {
	if !c.within("complete", x.name, x.obj) {
		c.stepOn("complete", x.name, nil, acc{x.obj, explore.AtomicUpdate})
	}
	if x.done < completeAll {
		x.done++
	}
}

// CompleteAll lets all waiters go on, those to come too.
func (x *Completion) CompleteAll(c *Context) {
	c.stepOn("complete_all", x.name, nil, acc{x.obj, explore.AtomicUpdate})
	x.done = completeAll
}

// Reinit makes it not done again.
func (x *Completion) Reinit(c *Context) {
	c.stepOn("reinit", x.name, nil, acc{x.obj, explore.AtomicUpdate})
	x.done = 0
}

// Wait sleeps until the completion is done.
func (x *Completion) Wait(c *Context) { _ = x.WaitState(c, Uninterruptible) }

// WaitState is Wait in a sleep state.
func (x *Completion) WaitState(c *Context, mode SleepState) error {
	c.MightSleep("wait_for_completion " + x.name)
	c.block("wait for "+x.name, x, mode, acc{x.obj, explore.AtomicUpdate})
	if !c.foldBool(x.done > 0) {
		return ErrRestartSys
	}
	if x.done < completeAll {
		x.done--
	}
	return nil
}
