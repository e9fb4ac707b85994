// SPDX-License-Identifier: Apache-2.0

// Package callercomp models direct I/O that is completed by its caller: the
// io_uring and iomap side of IOCB_DIO_CALLER_COMP (Jens Axboe, "Improve async iomap
// DIO performance", 2023-07; in 6.6-rc1), the deadlock that was reported against 6.6-rc
// and the remedies of that thread (2023-10), and what came after.
//
// # Structure
//
// uring.go is io_uring: issue with NOWAIT, the punt to io-wq, io_complete_rw, task
// work, links. iomap.go is __iomap_dio_rw, the end of a bio, and iomap_dio_complete with its
// three policies. calls.go has the system calls: fallocate, truncate, clone, plain
// reads and writes, freeze. The functions have the kernel's names in Go case and the
// kernel's order of statements. program.go makes a program of a scenario, and
// engine.go runs the same scenario on this project's own package dio.
//
// # What is checked
//
// No task waits for what only it can do; each request posts one CQE; nothing is issued that
// is linked to a request that failed; a drain returns
// only when what was in flight has done its work on the inode (the file system's
// end_io before inode_dio_end); with the property no-eintr, system calls that never
// failed with EINTR still do not.
//
// The freeze level of sb_writers is held until the task work of a write, in every
// version (since 6.1); 6.19 only tries it where it may not block.
//
// In the kernel kiocb.dio_complete shares a union with ki_waitq of buffered reads: the model has a slot of its own, and no buffered reads.
//
// Source of the facts: the thread, and notes on Linux 6.6 to 7.3 (A1 to A4), which are not
// in this repository. Nothing is copied: the code is written from the description.
package callercomp
