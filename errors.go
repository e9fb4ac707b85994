// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Errors that [errors.Is] finds in what this package returns, beside those of the
// system (syscall.Errno, and with it fs.ErrNotExist and its like).
var (
	// ErrClosed: the file, queue or engine is closed. It is [os.ErrClosed].
	ErrClosed = os.ErrClosed

	// ErrWouldBlock: an Inline handler called what has to wait. Move the handler
	// with [Context.CompleteInTask], or ask for the Task context.
	ErrWouldBlock = errors.New("would block in an Inline handler")

	// ErrInHandler: a handler closed what runs it, and would wait for itself.
	ErrInHandler = errors.New("called by a handler for which it would have to wait")

	// ErrThread: a queue with [QueueOptions.OwnThread] was called on another thread.
	ErrThread = errors.New("called on another thread than the queue's own")

	// ErrGoexit: a handler has ended its goroutine with runtime.Goexit, as FailNow of a
	// test does. It is the Value of a [HandlerPanic].
	ErrGoexit = errors.New("the handler ended its goroutine (runtime.Goexit)")

	// ErrAlignment: direct I/O that is not aligned as the file needs it.
	ErrAlignment = errors.New("not aligned for direct I/O")

	// ErrNoHandler: an Op without Done.
	ErrNoHandler = errors.New("the operation has no handler (Op.Done)")

	// ErrBusy: an Op that is in flight was submitted again.
	ErrBusy = errors.New("the operation is in flight already")

	// ErrInvalid: an argument that makes no sense. It is [os.ErrInvalid].
	ErrInvalid = os.ErrInvalid

	// ErrReadOnly and ErrWriteOnly: the file was not opened for this.
	ErrReadOnly  = errors.New("the file was opened read-only")
	ErrWriteOnly = errors.New("the file was opened write-only")

	// ErrNoDirect: the file system has no direct I/O.
	ErrNoDirect = errors.New("the file system has no direct I/O")
)

// errNotAFile: neither a regular file nor a block device.
var errNotAFile = errors.New("not a regular file or block device")

// An OpError says which operation failed, on what, and why.
// Test the cause with [errors.Is], for example errors.Is(err, syscall.ENOSPC).
type OpError struct {
	Op   string // "read", "write", "truncate", ...
	Path string // the file, as it was named when it was opened; "" if there is none
	Off  int64  // byte offset; -1 if the operation has none
	Len  int64  // bytes asked for; -1 if the operation has none
	Done int64  // bytes that were transferred all the same
	Err  error
	Hint string // what to do; may be empty
}

func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Path != "" {
		b.WriteString(" " + e.Path)
	}
	if e.Len >= 0 {
		fmt.Fprintf(&b, " %d bytes", e.Len)
	}
	if e.Off >= 0 {
		fmt.Fprintf(&b, " at %d", e.Off)
	}
	if e.Done > 0 {
		fmt.Fprintf(&b, " (after %d bytes)", e.Done)
	}
	b.WriteString(": " + e.Err.Error())
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

func (e *OpError) Unwrap() error { return e.Err }
