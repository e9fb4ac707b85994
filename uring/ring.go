// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"math/bits"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// waitSlots is how many goroutines can be in a timed wait on one ring without
// an allocation; more allocate 40 bytes each.
const waitSlots = 32

// A Ring is one io_uring. Open it with [Open]; it must not be copied.
//
// A Ring takes no lock. Each field and method belongs to a side:
//
//	I  fixed by Open
//	S  submission side: one goroutine at a time, under the caller's lock
//	C  completion side: one goroutine at a time, under another lock
//	K  shared with the kernel, atomic
//	A  atomic, any goroutine
type Ring struct {
	fd         int          // I
	enterFD    uint32       // I, but see RegisterRingFD
	enterFlags uint32       // I, but see RegisterRingFD
	setup      SetupFlags   // I
	features   FeatureFlags // I
	rings      []byte       // I
	sqeMem     []byte       // I
	sqes       []SQE        // I; entries between tail and next: S
	cqes       []CQE        // I; entries between head and tail: C
	sqEntries  uint32       // I
	sqMask     uint32       // I
	cqMask     uint32       // I
	flushOn    uint32       // I: sqFlags that make Reap enter the kernel

	sqHead    *atomic.Uint32 // K: next SQE that the kernel will take
	sqTail    *atomic.Uint32 // K: end of what we published
	sqFlags   *atomic.Uint32 // K
	sqDropped *atomic.Uint32 // K
	cqHead    *atomic.Uint32 // K: next CQE that we will reap
	cqTail    *atomic.Uint32 // K: end of what the kernel posted
	cqLost    *atomic.Uint32 // K

	_        [64]byte // the two sides run on different CPUs
	next     uint32   // S: end of what Next handed out
	headSeen uint32   // S: a value that sqHead had
	_        [64]byte
	reaped   uint32 // C: equals cqHead
	_        [64]byte

	hold      atomic.Int64       // A: a time.Duration; see SetHold
	waitsFree atomic.Uint32      // A: bit i set: waits[i] is free
	waits     [waitSlots]waitArg // owned by whoever cleared the bit

	registered [][]byte // keeps registered buffers reachable; see register.go

	// fault, if set, stands in front of every enter. Tests only.
	fault func(submit, wait, flags uint32) (n uint32, errno syscall.Errno, handled bool)
}

// FD returns the descriptor of the ring, for messages from other rings and for
// poll(2). It is close-on-exec and valid until [Ring.Close].
func (r *Ring) FD() int { return r.fd }

// Setup returns the flags that the ring was opened with.
func (r *Ring) Setup() SetupFlags { return r.setup }

// Features returns what the kernel said about the ring.
func (r *Ring) Features() FeatureFlags { return r.features }

// SQEntries returns the size of the submission queue.
func (r *Ring) SQEntries() int { return int(r.sqEntries) }

// CQEntries returns the size of the completion queue.
func (r *Ring) CQEntries() int { return len(r.cqes) }

// SetHold changes how long a wait keeps the Go scheduler's P; see
// [Config.Hold]. It counts from the next wait on. Any goroutine.
func (r *Ring) SetHold(d time.Duration) {
	if d < 0 && preemptOff {
		d = holdUnpreempted
	}
	r.hold.Store(int64(d))
}

// holdUnpreempted is the limit of a wait that keeps its P where no signal of
// the runtime would end it.
const holdUnpreempted = time.Millisecond

// preemptOff tells that the runtime was asked not to send such signals.
var preemptOff = strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")

// Next returns the next free SQE, or nil if the submission queue is full:
// submit, then ask again. The SQE holds what an earlier request left there, so
// a Prep method must follow; an SQE that was handed out can't be returned, but
// can be made a [SQE.PrepNop]. Side: S.
func (r *Ring) Next() *SQE {
	n := r.next
	if n-r.headSeen >= r.sqEntries {
		r.headSeen = r.sqHead.Load()
		if n-r.headSeen >= r.sqEntries {
			return nil
		}
	}
	r.next = n + 1
	return &r.sqes[n&r.sqMask]
}

// Free returns how many SQEs [Ring.Next] would hand out now. Side: S.
func (r *Ring) Free() int {
	r.headSeen = r.sqHead.Load()
	return int(r.sqEntries - (r.next - r.headSeen))
}

// Unsubmitted returns how many SQEs were handed out and not yet taken by the
// kernel. Side: S.
func (r *Ring) Unsubmitted() int { return int(r.next - r.sqHead.Load()) }

// Publish lets the kernel see every SQE handed out so far, without a system
// call, and returns how many it has not taken yet. An [Ring.Enter] with that
// number, by any goroutine, submits them. Side: S.
func (r *Ring) Publish() uint32 {
	// The store orders our writes to the SQEs before it; the kernel loads the
	// tail with acquire (__io_sqring_entries, io_uring/io_uring.c).
	r.sqTail.Store(r.next)
	return r.next - r.sqHead.Load()
}

// Submit publishes and submits every SQE handed out so far, without waiting
// for completions, and returns how many the kernel took in this call.
//
// It returns an error only if some remain, and those stay queued in order; a
// later Submit sends them. EAGAIN: the kernel is short of memory or of request
// slots. EBUSY: completions must be reaped first (kernels before 5.19). EBADR:
// see [Ring.Lost]. EEXIST: not the owner of a SINGLE_ISSUER ring. An SQE that
// the kernel finds invalid counts as taken, and its CQE says so.
//
// Submit does not tell the Go scheduler: it is for requests that the kernel
// starts without blocking, which is what io_uring does by design. Side: S.
func (r *Ring) Submit() (int, error) { return r.submit(0) }

// SubmitAndFlush is [Ring.Submit] and [Ring.Flush] in one system call, which is
// what a DEFER_TASKRUN ring needs to make progress without a wait. It makes none if
// there is nothing to submit. Side: S.
func (r *Ring) SubmitAndFlush() (int, error) { return r.submit(enterGetEvents) }

func (r *Ring) submit(flags uint32) (int, error) {
	total := 0
	for n := r.Publish(); n > 0; n = r.next - r.sqHead.Load() {
		took, errno := r.enter(n, 0, flags, nil, false)
		total += int(took)
		if errno == syscall.EINTR {
			continue
		}
		if errno == 0 && took == 0 && r.next != r.sqHead.Load() {
			errno = syscall.EAGAIN
		}
		if errno != 0 {
			return total, errnoError(errno)
		}
	}
	return total, nil
}

// SubmitAndWait submits as [Ring.Submit] does and waits until n completions
// are ready, in one system call where it can. It returns how many SQEs the
// kernel took. One call is not always faster than two: to keep a device busy,
// Submit what is ready while other completions are still to be handled.
//
// timeout < 0 means no limit and 0 no waiting; if it passes, the error is
// [ErrTimeout]. Signals do not end the wait. The caller must be the only one
// that reaps. n is cut down to the size of the completion queue. Sides: S and C.
func (r *Ring) SubmitAndWait(n int, timeout time.Duration) (int, error) {
	want := uint32(min(max(n, 0), len(r.cqes)))
	if want == 0 || timeout == 0 {
		return r.submitAndPoll(want)
	}
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	total := 0
	for left := r.Publish(); ; left = r.next - r.sqHead.Load() {
		if left == 0 && r.Ready() >= int(want) {
			return total, nil
		}
		took, err := r.Enter(left, want, timeout)
		total += took
		if err != nil && err != ErrTimeout {
			return total, err
		}
		if timeout < 0 {
			continue
		}
		// The kernel reports ETIME only if it took no request and no
		// completion at all is there (io_cqring_wait), so ask the clock.
		timeout = time.Until(deadline)
		if timeout <= 0 && r.Ready() < int(want) {
			return total, ErrTimeout
		}
		timeout = max(timeout, 1) // 0 would not enter the kernel's wait
	}
}

// submitAndPoll is SubmitAndWait without waiting.
func (r *Ring) submitAndPoll(want uint32) (int, error) {
	took, err := r.Submit()
	if err != nil {
		return took, err
	}
	if r.Ready() < int(want) {
		if err := r.Flush(); err != nil {
			return took, err
		}
		if r.Ready() < int(want) {
			return took, ErrTimeout
		}
	}
	return took, nil
}

// Enter is one io_uring_enter: it submits up to submit published SQEs and then
// waits until wait completions are ready. It returns how many SQEs it took.
//
// Any goroutine may call it, with no lock, and several at once (a ring with
// SINGLE_ISSUER or DEFER_TASKRUN: its owner only). It may return early, with
// no error and nothing ready: after a signal, if fewer SQEs were taken than
// asked, or if another goroutine reaped. So a caller checks what it waits for
// and calls again, as with sync.Cond. And as with sync.Cond, a completion that
// another goroutine reaps just before this one enters is not seen here: see
// "Whoever waits reaps" in the package comment. wait > 1 is for a goroutine
// that reaps alone.
//
// timeout < 0 means no limit and 0 no waiting. If it passes, the error is
// [ErrTimeout] unless SQEs were taken or some completion is ready. Other errors
// are those of [Ring.Submit]; the SQEs not taken stay published.
func (r *Ring) Enter(submit, wait uint32, timeout time.Duration) (int, error) {
	if timeout == 0 {
		wait = 0
	}
	if wait == 0 {
		took, errno := r.enter(submit, 0, enterGetEvents, nil, false)
		return int(took), waitError(errno)
	}
	if hold := time.Duration(r.hold.Load()); hold != 0 {
		took, errno, done := r.enterHeld(submit, wait, timeout, hold)
		if done {
			return took, waitError(errno)
		}
		n, err := r.enterBlocking(0, wait, restAfter(timeout, hold))
		return took + n, err
	}
	return r.enterBlocking(submit, wait, timeout)
}

// enterBlocking is a wait that the scheduler knows of.
func (r *Ring) enterBlocking(submit, wait uint32, timeout time.Duration) (int, error) {
	if timeout < 0 {
		took, errno := r.enter(submit, wait, enterGetEvents, nil, false)
		return int(took), waitError(errno)
	}
	took, errno := r.enterTimed(submit, wait, timeout, false)
	return int(took), waitError(errno)
}

// enterHeld is the first part of a wait, which keeps the P. If nothing came in
// that time, and the caller's limit is not over, done is false.
func (r *Ring) enterHeld(submit, wait uint32, timeout, held time.Duration) (n int, errno syscall.Errno, done bool) {
	if timeout > 0 && (held < 0 || timeout < held) {
		held = timeout
	}
	var took uint32
	if held < 0 {
		took, errno = r.enter(submit, wait, enterGetEvents, nil, true)
	} else {
		took, errno = r.enterTimed(submit, wait, held, true)
	}
	// EINTR may be the runtime's wish to have the P: the goroutine yields it at
	// the next function call. Neither EINTR nor one completion too few is a
	// reason to go on if wait is 1: another goroutine may have reaped.
	expired := errno == errnoTime || errno == 0 && wait > 1 && r.Ready() < int(wait)
	return int(took), errno, !expired || held == timeout
}

// restAfter returns what is left of a limit after part of it; no limit stays.
func restAfter(timeout, part time.Duration) time.Duration {
	if timeout < 0 {
		return timeout
	}
	return timeout - part
}

// enterTimed is an enter with a limit; held says whether it keeps the P.
func (r *Ring) enterTimed(submit, wait uint32, timeout time.Duration, held bool) (uint32, syscall.Errno) {
	arg, slot := r.takeWaitArg()
	arg.timespec = Timespec{Sec: int64(timeout / time.Second), Nsec: int64(timeout % time.Second)}
	took, errno := r.enter(submit, wait, enterGetEvents|enterExtArg, arg, held)
	r.putWaitArg(slot)
	return took, errno
}

// Wait waits until n completions are ready, the timeout passes or a signal
// comes; see [Ring.Enter], whose rules are its own. It makes no system call if
// they are ready.
func (r *Ring) Wait(n uint32, timeout time.Duration) error {
	if r.Ready() >= int(n) {
		return nil
	}
	_, err := r.Enter(0, n, timeout)
	return err
}

// Ready returns how many completions lie in shared memory. It makes no system
// call, and any goroutine may call it; only for the one that reaps is the
// answer more than a hint.
func (r *Ring) Ready() int {
	// Head first: it never passes the tail that was loaded after it.
	head := r.cqHead.Load()
	return int(r.cqTail.Load() - head)
}

// Reap copies completions that are ready into dst, oldest first, returns how
// many, and gives their slots back to the kernel.
//
// If dst has room left and the kernel holds back completions that did not fit
// in the queue (or, with TASKRUN_FLAG, that only need a system call), Reap
// makes that call and takes those too. So fewer than len(dst) means that there
// was nothing more. Side: C.
func (r *Ring) Reap(dst []CQE) int {
	n := r.copyOut(dst)
	for n < len(dst) && r.sqFlags.Load()&r.flushOn != 0 {
		// Whatever goes wrong here, such as EEXIST off the owning thread,
		// leaves the completions with the kernel for the next Reap or Enter,
		// and Lost counts what can't be held.
		_ = r.Flush()
		more := r.copyOut(dst[n:])
		if more == 0 {
			break
		}
		n += more
	}
	return n
}

// copyOut moves ready completions to dst.
func (r *Ring) copyOut(dst []CQE) int {
	head := r.reaped
	// The load orders our reads of the CQEs, and of the buffers that they
	// complete, after it; the kernel stores the tail with release
	// (io_commit_cqring, io_uring/io_uring.h).
	n := min(r.cqTail.Load()-head, uint32(len(dst)))
	if n == 0 {
		return 0
	}
	first := head & r.cqMask
	done := copy(dst[:n], r.cqes[first:])
	copy(dst[done:n], r.cqes)
	r.reaped = head + n
	// The store orders our reads of the CQEs before it: the kernel overwrites
	// them only after it has seen the new head (io_get_cqe_overflow).
	r.cqHead.Store(r.reaped)
	return int(n)
}

// Flush enters the kernel so that completions which it holds back reach the
// queue, without waiting for any. [Ring.Reap] does it when needed; for a
// DEFER_TASKRUN ring without TASKRUN_FLAG nothing is posted until its owner
// calls Flush or waits. Rules: as [Ring.Enter].
func (r *Ring) Flush() error {
	_, errno := r.enter(0, 0, enterGetEvents, nil, false)
	return waitError(errno)
}

// Overflowed reports whether the kernel holds completions that did not fit in
// the queue. None is lost; [Ring.Reap] fetches them. Any goroutine.
func (r *Ring) Overflowed() bool { return r.sqFlags.Load()&sqCQOverflow != 0 }

// Lost returns how many completions the kernel had to drop because it found no
// memory to hold them while the completion queue was full. It is 0 unless the
// machine is out of memory; if it is not, requests exist that will never
// complete. A completion queue at least as large as the number of requests in
// flight rules it out. Any goroutine.
//
// Source: io_cqring_event_overflow and io_account_cq_overflow,
// io_uring/io_uring.c.
func (r *Ring) Lost() uint32 { return r.cqLost.Load() }

// Dropped returns how many SQEs the kernel dropped because their index was
// out of range. It is always 0 for this package's rings. Any goroutine.
func (r *Ring) Dropped() uint32 { return r.sqDropped.Load() }

// enter makes the system call: one that the scheduler knows of if it may wait,
// unless held says to keep the P.
func (r *Ring) enter(submit, wait, flags uint32, arg *waitArg, held bool) (uint32, syscall.Errno) {
	if r.fault != nil {
		if n, errno, handled := r.fault(submit, wait, flags); handled {
			return n, errno
		}
	}
	var n uint32
	var errno syscall.Errno
	switch {
	case wait == 0 || held:
		n, errno = enterRaw(r.enterFD, submit, wait, flags|r.enterFlags, arg)
	default:
		n, errno = enterWait(r.enterFD, submit, wait, flags|r.enterFlags, arg)
	}
	if errno != 0 {
		return 0, errno
	}
	return n, 0
}

// takeWaitArg returns an argument for a timed wait, on the heap because the
// kernel gets its address, and the slot to give back.
func (r *Ring) takeWaitArg() (*waitArg, uint32) {
	for {
		free := r.waitsFree.Load()
		if free == 0 {
			arg := new(waitArg)
			arg.link()
			return arg, waitSlots
		}
		slot := uint32(bits.TrailingZeros32(free))
		if r.waitsFree.CompareAndSwap(free, free&^(1<<slot)) {
			return &r.waits[slot], slot
		}
	}
}

func (r *Ring) putWaitArg(slot uint32) {
	if slot < waitSlots {
		r.waitsFree.Or(1 << slot)
	}
}

// waitError turns the errno of a wait into an error; a signal is none.
func waitError(errno syscall.Errno) error {
	if errno == 0 || errno == syscall.EINTR {
		return nil
	}
	return errnoError(errno)
}

// errnoError boxes errno; the runtime has boxes for values below 256, so this
// does not allocate.
func errnoError(errno syscall.Errno) error {
	if errno == errnoTime {
		return ErrTimeout
	}
	return errno
}

// Close releases the ring. It does not drain it: requests in flight go on, and
// the kernel may write into their buffers after Close has returned (measured on
// 6.18), so reap every one first; [Ring.Drain] helps. No other goroutine may be
// in a method. A second Close returns [ErrClosed].
func (r *Ring) Close() error {
	if r.fd < 0 {
		return ErrClosed
	}
	fd := r.fd
	r.fd = -1
	r.enterFD = ^uint32(0)
	err := unmapRing(r.sqeMem)
	if e := unmapRing(r.rings); err == nil {
		err = e
	}
	if e := closeFD(fd); err == nil {
		err = e
	}
	r.becomeClosed()
	return err
}

// becomeClosed makes later calls answer "full", "nothing ready" and EBADF
// instead of touching memory that is gone.
func (r *Ring) becomeClosed() {
	none := new(atomic.Uint32)
	r.sqHead, r.sqTail, r.sqFlags, r.sqDropped = none, none, none, none
	r.cqHead, r.cqTail, r.cqLost = none, none, none
	r.sqes, r.cqes, r.rings, r.sqeMem, r.registered = nil, nil, nil, nil, nil
	r.sqEntries, r.sqMask, r.cqMask = 0, 0, 0
	r.next, r.headSeen, r.reaped = 0, 0, 0
}
