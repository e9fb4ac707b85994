// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"os"
	"time"

	"endio"
	"endio/fiojob"
	"endio/internal/verify"
)

// An Engine is what a run asks of the storage. Several goroutines may call its
// methods at the same time.
type Engine interface {
	// Open opens a file as os.OpenFile does.
	Open(path string, flags int, perm os.FileMode, mode Mode) (File, error)

	// NewQueue returns a queue for the calling goroutine, which alone may use
	// it.
	NewQueue(options QueueOptions) (Queue, error)

	// Backend says in a few words what moves the data, and why that.
	Backend() string
}

// A Mode says how the data of a file moves.
type Mode struct {
	Direct   bool // past the page cache
	Uncached bool // through the page cache, not kept there
}

// A File is an open file. Its methods block; a call of Fallocate, Truncate or
// PunchHole while operations on the file are in flight waits for them first,
// and must not need anybody but itself to complete them.
type File interface {
	ReadAt(buf []byte, off int64) (int, error)
	WriteAt(buf []byte, off int64) (int, error)
	Sync() error
	SyncData() error
	Truncate(size int64) error
	Fallocate(off, bytes int64) error
	PunchHole(off, bytes int64) error
	Size() (int64, error)
	Align() endio.Align
	Close() error
}

// QueueOptions describe a queue.
type QueueOptions struct {
	Depth      int // operations in flight, at most
	Blocking   bool
	Completion fiojob.Completion // if not Blocking

	// BufferBytes is the size of the buffer of each request; 0 for none.
	BufferBytes int

	// Clock returns the time in nanoseconds since Started, the start of the run.
	Clock   func() int64
	Started time.Time
}

// A Queue submits requests and returns them when they are complete.
type Queue interface {
	// Requests returns the queue's requests: Depth of them, each with a buffer
	// that is aligned for direct I/O.
	Requests() []*Request

	// Submit starts requests. All are accepted or, with an error, none is.
	Submit(requests []*Request) error

	// Reap waits until at least min requests have completed since the last
	// call, and returns all that have. The slice is valid until the next call.
	Reap(min int) ([]*Request, error)

	// Close waits for what is in flight and releases the queue.
	Close() error
}

// A Kind is what a request does.
type Kind uint8

// The kinds of requests.
const (
	OpRead Kind = iota
	OpWrite
	OpSync
	OpSyncData
)

// A Request is one operation. It belongs to the clone until Submit and after
// Reap, and to the queue in between.
type Request struct {
	Kind   Kind
	File   File
	Buf    []byte // the queue's whole buffer
	Len    int    // bytes of Buf to move
	Off    int64
	target *target
	trace  trace
	op     *endio.Op // of a queue of the real engine

	// Set by the queue. Times are from its clock.
	N         int
	Err       error
	Submitted int64 // when Submit was called
	Accepted  int64 // when the engine had taken it over
	Completed int64 // when its completion was seen
	Handled   int64 // when its completion ran
}

// A trace is what a clone remembers of a request in flight.
type trace struct {
	issued   int64    // when the clone decided on it
	verifies bool     // a read whose units are checked
	began    bool     // a write whose units are marked in the ledger
	covers   []ack    // for a sync: the writes that it makes durable
	expect   []uint32 // for a read that is checked: the generation of each unit

	// For a read of the verify phase: what each unit must be.
	entries []verify.Entry
}

// An ack is a write of one unit that waits to be durable.
type ack struct {
	target     *target
	offset     int64
	generation uint32
}
