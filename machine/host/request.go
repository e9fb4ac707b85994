// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"

	"endio/lockdep"
	"endio/uring"
)

// An Op is what a [Request] asks for.
type Op uint8

// Operations of a Request.
const (
	OpRead Op = iota
	OpWrite
	OpReadv
	OpWritev
	OpSync
	OpSyncData
	OpSyncRange // start and wait for write-back of Len bytes at Off
	OpNop
	OpCancelled // was cancelled before it was started: completes with -ECANCELED
)

// A Request is one operation on a file. It belongs to its port from
// [Port.Submit] until Complete is called.
type Request struct {
	Op     Op
	File   *File
	Buf    []byte        // of OpRead and OpWrite
	Iovs   []uring.Iovec // of OpReadv and OpWritev, with a ring
	Vec    [][]byte      // of OpReadv and OpWritev, with threads
	Off    int64
	Len    uint32 // of OpSyncRange, in bytes; 0: to the end
	Flags  uring.RWFlags
	Inline bool // Complete may call a handler of the user, in the atomic context
	Async  bool // let a kernel worker issue it: what was tried inline said EAGAIN

	// Complete is called once, under the port's reap lock, in the atomic context c:
	// it must not block. res is what the operation returns, or a negated errno.
	Complete func(c *Context, r *Request, res int32)

	slot uint32 // in the port's table while in flight
	gen  uint32 // of the slot
	User any    // of whoever submits

	// Tag and Handler, the entry of a function, are of whoever submits too: copied for
	// [Machine.Flights], when User may be in use again.
	Handler uintptr
	Tag     uint8

	next *Request // in a port's backlog, among those that were taken out of it, or in a pool's queue
	prev *Request // in a port's backlog; guarded by the submit lock, as line
	line *line    // of the port's backlog that the request is in; nil: none
	ud   uint64   // with threads: what the completion is to carry
}

// A File is an open file and where ports have it registered.
type File struct {
	F  *os.File // kept, so that it is not finalized while FD is in use
	FD int

	mu    lockdep.Mutex
	slots map[*Port]int32 // guarded by mu; a port's own copy is Port.files
}

// NewFile wraps f, which stays the caller's to close after [File.Forget].
func NewFile(f *os.File) *File {
	file := &File{F: f, FD: int(f.Fd())}
	nameLock(&file.mu, "file.slots")
	return file
}

// Forget takes f out of the tables of all ports: they hold a reference that would
// keep the file open. No request on f may be in flight.
func (f *File) Forget() {
	f.mu.Lock()
	slots := f.slots
	f.slots = nil
	f.mu.Unlock()
	for p, slot := range slots {
		p.forget(f, slot)
	}
}
