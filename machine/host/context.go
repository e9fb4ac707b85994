// SPDX-License-Identifier: Apache-2.0

package host

import (
	"endio/lockdep"
	"endio/machine"
)

// A Context is a [machine.Context] of the host. Those made by [Machine.Anyone]
// may be used by many goroutines at once; any other belongs to one at a time.
type Context struct {
	m      *Machine
	cpu    machine.CPU
	atomic bool
	helper Helper // what the holder owes; nil: nothing
	port   *Port  // where the holder reaps first; nil: anywhere

	// Private is for the engine: its own view of this context.
	Private any
}

// A Helper runs what one goroutine owes. Package batch's Owner is one.
type Helper interface {
	// RunOne runs one completion, and reports whether there was one.
	RunOne(c machine.Context) bool
	// Ready reports whether RunOne has something to run.
	Ready(c machine.Context) bool
}

// CPU returns the shard of the context, or another one while that is offline.
func (c *Context) CPU() machine.CPU { return c.m.onlineNear(c.cpu) }

// Atomic reports whether the holder may not block: it reaps a port.
func (c *Context) Atomic() bool { return c.atomic }

// InTask reports the opposite of Atomic: the host can tell.
func (c *Context) InTask() bool { return !c.atomic }

// Task returns the validator's handle of the running goroutine, or nil without
// the build tag lockdep.
func (c *Context) Task() *lockdep.Task {
	if !lockdep.Enabled {
		return nil
	}
	return lockdep.Current()
}

// Help runs one completion that only the holder can run.
func (c *Context) Help() bool {
	return c.helper != nil && !c.atomic && c.helper.RunOne(c)
}

// owes reports whether Help would run something.
func (c *Context) owes() bool {
	return c.helper != nil && !c.atomic && c.helper.Ready(c)
}

// owedQueue returns the queue that is woken when the holder owes something new, if
// the helper says which that is (batch.Owner does): a sleep on another queue must end
// then too.
func (c *Context) owedQueue() *waitQueue {
	h, ok := c.helper.(interface{ Queue() machine.WaitQueue })
	if !ok || c.atomic {
		return nil
	}
	q, _ := h.Queue().(*waitQueue)
	return q
}

// Machine returns the machine of the context.
func (c *Context) Machine() *Machine { return c.m }

// Port returns the port that the holder reaps first, or nil.
func (c *Context) Port() *Port { return c.port }
