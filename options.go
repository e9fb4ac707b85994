// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"log/slog"
	"time"

	"endio/machine/host"
)

// A Backend is how an engine does its I/O.
type Backend string

// Backends.
const (
	// Auto is io_uring where it can be had, else threads.
	Auto Backend = ""
	// IOUring is Linux's io_uring. Open fails where it can't be had.
	IOUring Backend = "io_uring"
	// Threads is a pool of threads that call pread and pwrite.
	Threads Backend = "threads"
)

// Options tune an [Engine]. The zero value is what most want.
type Options struct {
	// Shards is the number of shards; 0 means as many as there are processors to run
	// on, also when that changes: see [Engine.SetShards].
	Shards int

	// MaxShards bounds [Engine.SetShards]; 0 means the number of processors, or Shards
	// if that is more. At most 8192, and so is Shards.
	MaxShards int

	// Backend asks for one backend; [Auto] takes the best that there is.
	Backend Backend

	// Depth is how many operations a shard has in the kernel at a time, a power of
	// two from 2 to 16384; 0 means 64, and 256 for a queue of its own ([QueueOptions.Depth]). More can be
	// submitted: they wait their turn, file by file.
	Depth int

	// Threads is how many system calls the engine has under way at a time on the backend
	// [Threads], blocking calls included; each keeps a thread of the process. With io_uring it
	// is how many goroutines wait in the kernel at a time, each in its [Queue]: more of them wait
	// as other goroutines do, without a thread, which takes longer; and how many workers write
	// parts of blocks or drop pages ([Uncached]). 0 means 512, or a
	// quarter of what RLIMIT_NPROC and the cgroup's pids.max allow if that is less.
	Threads int

	// TaskPass is how many Task handlers a worker runs before it lets other work of
	// its shard run; 0 means 64.
	TaskPass int

	// TaskDelay is for how long completions may gather before a worker runs their
	// Task handlers: longer batches, fewer switches, later handlers. 0: at once.
	TaskDelay time.Duration

	// StallAfter is after what time a Task handler counts as blocked, so that
	// another worker runs those behind it; 0 means 1 ms.
	StallAfter time.Duration

	// SlowInline is after what time an Inline handler is reported, while it still
	// runs, to OnSlowHandler; 0 means 50 ms.
	SlowInline time.Duration

	// OnSlowHandler is told of a slow Inline handler, as Logger is told of things; nil
	// means a warning to Logger.
	OnSlowHandler func(SlowHandler)

	// OldAfter is after what time an operation in flight is reported to Logger, once,
	// with all that is known about it, and so is a Task handler that has not returned;
	// 0 means 30 s, less than 0 never.
	OldAfter time.Duration

	// OnPanic is told of a handler that panicked or called runtime.Goexit, in the goroutine and the context
	// of that handler; nil means an error to Logger, with the stack.
	OnPanic func(HandlerPanic)

	// Faults, if not nil, make the storage misbehave in the ways that a program must
	// be ready for: errors, short transfers, delays, disorder. For tests. Blocking calls
	// meet them only when many come at a time: the others are plain system calls.
	Faults *host.Faults

	// Logger gets warnings; nil means slog.Default(). It is called on a goroutine for
	// that, one warning after the other, and may use the engine, Close included. Close
	// waits for warnings that are on their way. (What OnPanic is told of is logged where
	// OnPanic would be called.)
	Logger *slog.Logger
}

// A SlowHandler is an Inline handler that runs for too long: everything that the
// shard completes waits for it.
type SlowHandler struct {
	Handler string        // the handler's function
	For     time.Duration // so far
	Path    string        // the file of its operation
}

// A HandlerPanic is a panic of a handler, which the engine has recovered, or a handler
// that has ended its goroutine: then Value is [ErrGoexit], and another goroutine of the
// engine goes on; in the Caller context the goroutine is the owner's, and its end is
// as after any runtime.Goexit: its deferred calls run, and may close the queue.
type HandlerPanic struct {
	Handler string // the handler's function
	Value   any    // what it panicked with
	Stack   []byte
}

// A FileOption changes how [Engine.OpenFile] opens a file.
type FileOption int

// File options.
const (
	// Direct bypasses the page cache (O_DIRECT). Offsets, lengths and buffers must
	// be aligned; [File.Align] says how, and [Engine.AlignedBuffer] helps. A flag of the
	// system (syscall.O_DIRECT) asks for the same.
	Direct FileOption = 1 << iota

	// Uncached goes through the page cache and leaves nothing there (RWF_DONTCACHE,
	// or the like done by hand where the kernel or file system lacks it). Of a
	// stream some MiB stay until the next Sync, until Close, or until the file was
	// idle for 50 ms. To drop pages may block, so handlers of operations on the file
	// that are to run Inline run in the Task context. On other systems than Linux it
	// does nothing.
	Uncached
)

// A FallocMode says what [File.Fallocate] does to a range.
type FallocMode uint32

// Modes of Fallocate, by the names and values of fallocate(2).
const (
	FallocAllocate      FallocMode = 0    // allocate; the file grows to hold the range
	FallocKeepSize      FallocMode = 0x01 // allocate, even beyond the size, which stays
	FallocPunchHole     FallocMode = 0x02 // free the range, which then reads as zeros; with FallocKeepSize
	FallocCollapseRange FallocMode = 0x08 // take the range out; what follows moves down
	FallocZeroRange     FallocMode = 0x10 // make the range zeros, allocated
	FallocInsertRange   FallocMode = 0x20 // insert a hole; what follows moves up
	FallocUnshare       FallocMode = 0x40 // make shared extents the file's own
)
