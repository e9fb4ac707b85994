// SPDX-License-Identifier: Apache-2.0

// Package endio is asynchronous storage I/O in which every completion runs in a
// context of your choice, and in which draining a file can not hang.
//
// # Model
//
// An [Engine] has shards; each has a ring of the kernel's io_uring (or threads,
// where that can't be had). A [File] is opened on an engine. An operation is an
// [Op]; it is submitted, and later its handler, Op.Done, is called once:
//
//	Inline   on the reaper, at once; the handler must not block (with [Uncached] as Task)
//	Task     on a worker of the shard, in batches; the handler may block
//	Caller   by the goroutine that owns the [Queue], when it next enters it
//
// Caller is the fast path: one goroutine that submits and reaps in a loop. Task
// is for handlers that take locks, call back into the engine or start further
// work. Inline is for handlers that count, or pass the news on.
// [File.ReadAt] and its like block, and need no Op.
//
// # Rules
//
//   - Each accepted Op is completed exactly once. An Op that Submit refused is
//     not completed, and Submit said so.
//   - From submit to the call of its handler an Op and its buffer belong to the
//     engine, whatever is cancelled or closed meanwhile.
//   - [File.Truncate], [File.Fallocate], [File.PunchHole], [File.Drain] and
//     [File.Close] wait for all I/O in flight on the inode, through whichever
//     File or Queue it came, and hold back what comes later until they are done.
//     They never wait for a handler: an I/O is over for them when the kernel is
//     done with it. (For a queue with [QueueOptions.OwnThread] it is over when the
//     owner comes.)
//   - An Inline handler that calls what would block gets [ErrWouldBlock].
//   - A handler that panics is recovered and reported; its Op counts as completed.
//
// # Limits
//
// Any number of operations can be in flight; each shard and queue gives the kernel
// as many at a time as its ring has room for, and keeps the rest. Order between
// operations in flight is up to the kernel.
package endio
