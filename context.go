// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"sync/atomic"

	"endio/bio"
	"endio/machine/host"
)

// A Context tells a handler where it runs. It is the handler's for the duration
// of the call, and no other goroutine may use it.
type Context struct {
	e *Engine
	h *host.Context
	q *Queue // the owner's, in the Caller context

	op    *Op  // whose handler runs
	moved bool // CompleteInTask has taken op

	task struct { // what runs in the Task context, for the watchdog
		runs    atomic.Uint64 // begun and ended: odd while one runs
		handler atomic.Uintptr
		file    atomic.Pointer[host.File]
	}

	done   [len(kindNames)]tally // handlers run; written by the holder, read by Stats
	panics atomic.Int64
}

// newContext makes the engine's view of a host's context.
func (e *Engine) newContext(h *host.Context) any {
	c := &Context{e: e, h: h}
	e.mu.Lock()
	e.contexts = append(e.contexts, c)
	e.mu.Unlock()
	return c
}

// Engine returns the engine.
func (c *Context) Engine() *Engine { return c.e }

// Where returns the kind of context.
func (c *Context) Where() Where {
	switch {
	case c.h.Atomic():
		return Inline
	case c.q != nil:
		return Caller
	default:
		return Task
	}
}

// MayBlock reports whether the handler may block here: in every context but
// Inline.
func (c *Context) MayBlock() bool { return !c.h.Atomic() }

// Shard returns the number of the shard that runs the handler, from 0.
func (c *Context) Shard() int { return int(c.h.CPU()) }

// beginTask and endTask bracket a Task handler for the watchdog.
func (c *Context) beginTask(pc uintptr, f *host.File) {
	c.task.handler.Store(pc)
	c.task.file.Store(f)
	c.task.runs.Add(1)
}

func (c *Context) endTask() { c.task.runs.Add(1) }

// Queue returns the queue whose owner runs the handler, or nil.
func (c *Context) Queue() *Queue { return c.q }

// CompleteInTask moves the handler of op, which must be the one that runs, to a
// Task context. It returns true if the handler will be called again there: it
// must return at once and not touch op. It returns false if the handler may block
// where it is. It mirrors the kernel's bio_complete_in_task.
func (c *Context) CompleteInTask(op *Op) bool {
	if op != c.op || !c.h.Atomic() {
		return false
	}
	c.moved = true
	if !bio.CompleteLater(c.h, c.e.batches, &op.bio) {
		c.moved = false
		return false
	}
	return true
}

// Submit is [Engine.Submit] from a handler: the operations go to the shard of the
// handler, and to the kernel together with those of the handlers that follow.
// In the Caller context it is [Queue.Submit].
func (c *Context) Submit(ops ...*Op) error {
	if c.q != nil {
		return c.q.Submit(ops...)
	}
	return c.e.submit(c.h, c.h.CPU(), false, ops)
}
