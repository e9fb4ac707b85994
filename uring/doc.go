// SPDX-License-Identifier: Apache-2.0

// Package uring drives io_uring, the Linux kernel's interface for asynchronous
// I/O, on the raw system calls.
//
// A [Ring] is two queues in memory shared with the kernel: the caller writes
// requests ([SQE]) into the submission queue and reads results ([CQE]) from the
// completion queue. A round looks like this:
//
//	sqe := r.Next()                    // nil: the queue is full, Submit first
//	sqe.PrepRead(fd, buf, offset, 42)  // 42 comes back as CQE.UserData
//	n, err := r.SubmitAndWait(1, -1)   // one system call
//	k := r.Reap(cqes[:])               // copies completions out
//
// None of these calls allocates. The package holds no policy: who submits, who
// reaps, and what to do with a short read are the caller's business. On systems
// other than Linux it compiles, and [Open] and [Probe] return [ErrUnsupported].
//
// # Who may call what
//
// A Ring takes no lock. Its methods belong to one of two sides, and each side
// wants one goroutine at a time, which the caller sees to with a lock for each:
//
//	submission (S): Next, Free, Unsubmitted, Publish, Submit, SubmitAndFlush, and the SQEs
//	completion (C): Reap
//	both:           SubmitAndWait, Drain, Close
//	neither:        Enter, Wait, Flush, Ready, Overflowed, Lost, Wake, CancelAll
//
// The last may be called by any goroutine at any time before Close, several at
// once, with no lock; so nobody need hold a lock while it waits in the kernel.
//
// Rings opened with the zero [Config] can be used from any thread, so a
// goroutine can submit on one thread and another reap on a second. That rules
// out SINGLE_ISSUER and DEFER_TASKRUN, with which only the thread that opened
// the ring may submit or wait (others get EEXIST) and with which a completion
// of a thread that is busy elsewhere is never posted. They are there as options
// for a loop that owns its thread (runtime.LockOSThread).
//
// # Whoever waits reaps
//
// Several goroutines may wait in one ring, each for a request of its own, and
// whichever wakes reaps for all. The kernel counts from the completion queue's
// head at the time of entry: a goroutine that enters after another reaped its
// completion waits for the next one, which may never come. So a goroutine that
// is about to wait must say so under the completion lock, and one that reaps a
// completion on which such a goroutine waits must [Ring.Wake] the ring, or pass
// it the news in another way.
//
// # Order of memory
//
// Head and tail indices are Go atomics, which are sequentially consistent and
// thus at least the acquire and release that the kernel pairs with them. What a
// goroutine wrote to an SQE or a buffer before Publish or Submit is seen by the
// kernel; what the kernel wrote to a buffer before it posted a CQE is seen by
// the goroutine that reaped the CQE, and by any other to which that one passes
// it as the Go memory model asks (lock, channel, atomic). The race detector
// does not see the kernel's accesses: reading a buffer that is in flight is a
// race that it can't report.
//
// # Buffers
//
// The kernel holds addresses, not references. Until the last completion of a
// request was reaped its buffers (and iovecs) must stay reachable, from a
// structure of the caller's, and must not be used for anything else, whatever
// was cancelled or closed meanwhile. Go's heap does not move, its stacks do: the Prep methods make
// the compiler put every buffer given to them on the heap, so a local
// array works too, but an address computed in another way would not.
//
// # What the kernel does not lose
//
// A full submission queue makes Next return nil. Completions that do not fit in
// the completion queue are kept by the kernel and fetched by Reap. EINTR is
// absorbed; after EAGAIN and EBUSY the requests are still queued for the next
// Submit. Only a kernel without memory can drop a completion; [Ring.Lost]
// counts it.
//
// # Hazards
//
// Closing a ring does not drain it ([Ring.Close], [Ring.Drain]). After a
// thread exited, what it had submitted to pipes and the like ends with ECANCELED
// when its event comes; direct I/O completes, but for what had been given to a
// worker of the kernel and not begun there, which ends with ECANCELED at once
// (io_wq_exit_start, io_uring/io-wq.c). A goroutine that ends while locked
// to its thread ends the thread, unless it is the first one. A descriptor may be closed once
// its request was submitted; closed before, the request fails with EBADF or, if
// the number is taken again, works on another file. Each thread that submits
// work which has to block gets io-wq workers of its own ([Ring.MaxIOWorkers]).
//
// Facts about the kernel are cited with file and function, of Linux v6.18.
package uring
