// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync"
	"sync/atomic"

	"endio/uring"
)

// A call is a request whose submitter waits for it.
type call struct {
	Request
	w    *waiter
	res  int32
	done atomic.Bool
}

var calls = sync.Pool{New: func() any {
	c := &call{}
	c.Complete = completeCall
	c.User = c
	return c
}}

func completeCall(_ *Context, r *Request, res int32) {
	c := r.User.(*call)
	w := c.w // c may be reused as soon as done is set
	c.res = res
	c.done.Store(true)
	w.wake()
}

// Call performs a request through p and waits for it; the caller reaps if nobody
// else does. It returns the result or a negated errno.
func (p *Port) Call(op Op, f *File, buf []byte, off int64, flags uring.RWFlags, async bool) int32 {
	c := calls.Get().(*call)
	c.Op, c.File, c.Buf, c.Off, c.Flags, c.Async = op, f, buf, off, flags, async
	c.done.Store(false)
	c.w = newWaiter()
	p.submitCall(&c.Request)
	p.waitFor(c.w, &c.done)
	res := c.res
	c.w.free()
	c.w, c.Buf, c.File = nil, nil, nil
	calls.Put(c)
	return res
}
