// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"fmt"
	"path/filepath"
	"runtime"

	"endio/batch"
	"endio/machine"
	"endio/machine/host"
)

// A Queue is the Caller context of one goroutine, its owner: what the owner
// submits through it, the owner completes, when it next enters the queue. Only
// one goroutine may use a Queue at a time. Other goroutines never wait for the
// owner, but with [QueueOptions.OwnThread]: the I/O of a queue whose owner is busy
// elsewhere ends without it, and only the handlers wait.
type Queue struct {
	e     *Engine
	port  *host.Port
	c     *Context
	owner *batch.Owner

	closed   bool
	depth    int // of Reap, inside of handlers
	inFlight int // submitted, handlers not run

	reaped int64 // handlers run
}

// QueueOptions tune [Engine.NewQueue]. The zero value is what most want.
type QueueOptions struct {
	// Depth is how many operations the kernel has at a time, a power of two from 2 to
	// 16384; 0 means [Options.Depth], or 256. More can be submitted: they wait their turn.
	Depth int

	// OwnThread makes the queue that of the calling thread, to which its goroutine must be
	// locked (runtime.LockOSThread) until the queue is closed: for loops that own a thread, and come
	// back to their queue all the time. The kernel then has to interrupt nobody to
	// complete an operation. What it costs: an operation is over when the owner comes, and not
	// before. Whoever drains a file with operations of the queue in flight waits until the owner
	// next calls the queue, or a call of this package that waits; so the owner must not
	// wait for anybody who may drain, by a channel or a lock, and must close
	// the queue before its goroutine ends. A cancel waits for the owner too, and so does a file that another
	// goroutine closes, before the system lets go of it. Calls from another thread fail with
	// [ErrThread]. One such queue to a thread. Before Linux 6.1 and without io_uring it is a queue
	// like others.
	OwnThread bool

	// Together lets a Reap of an OwnThread queue that was asked for several handlers wait
	// for up to so many completions before it runs the first. That means fewer wake-ups, but the
	// first handler waits for the last of these operations: do not use it for files on devices
	// of different speed. 0 means 1; at most 64.
	Together int
}

// NewQueue returns a queue for the calling goroutine, or for another one to which
// it is handed. Close it when done: the engine can't be closed before.
func (e *Engine) NewQueue(o QueueOptions) (*Queue, error) {
	if o.Depth == 0 {
		o.Depth = e.opts.Depth
	}
	if o.Depth == 0 {
		o.Depth = host.QueueEntries
	}
	if o.Depth < 2 || o.Depth > 1<<14 || o.Depth&(o.Depth-1) != 0 {
		return nil, fmt.Errorf("new queue: depth %d: %w: want a power of two from 2 to %d", o.Depth, ErrInvalid, 1<<14)
	}
	if o.Together < 0 || o.Together > host.MaxTogether || o.Together > 1 && !o.OwnThread {
		return nil, fmt.Errorf("new queue: together %d: %w: want 0 to %d, and more than 1 only with OwnThread", o.Together, ErrInvalid, host.MaxTogether)
	}
	cpu := e.m.NextCPU()
	open := e.m.OpenPort
	if o.OwnThread {
		_, file, line, _ := runtime.Caller(1)
		opener := fmt.Sprintf("opened at %s:%d", filepath.Base(file), line)
		open = func(cpu machine.CPU, entries int) (*host.Port, error) {
			return e.m.OpenOwnPort(cpu, entries, max(1, o.Together), opener)
		}
	}
	q := &Queue{e: e, owner: batch.NewOwner(e.m)}
	if !e.addQueue(q) {
		return nil, fmt.Errorf("new queue: engine: %w", ErrClosed)
	}
	p, err := open(cpu, o.Depth)
	if err != nil {
		e.removeQueue(q)
		return nil, fmt.Errorf("new queue: %w", err)
	}
	q.port = p
	q.c = e.m.NewContext(cpu, q.owner, p).Private.(*Context)
	e.mu.Lock()
	q.c.q = q // Stats looks at it
	e.mu.Unlock()
	return q, nil
}

// addQueue counts q among the open queues, unless the engine is closed. That comes before
// its port is opened: Close takes all ports apart, and ends none that comes later.
func (e *Engine) addQueue(q *Queue) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.queues[q] = struct{}{}
	return true
}

func (e *Engine) removeQueue(q *Queue) {
	e.mu.Lock()
	delete(e.queues, q)
	e.mu.Unlock()
}

// Submit starts operations; their handlers run in the Caller context. On an
// error none of them was started; errors are those of [Engine.Submit] and
// [ErrThread]. Called by a handler, it gives the operations to the kernel together
// with those of the handlers that follow, or after some milliseconds if the
// handler runs for so long.
func (q *Queue) Submit(ops ...*Op) error {
	if q.closed {
		return fmt.Errorf("submit: queue: %w", ErrClosed)
	}
	if err := q.checkThread("submit"); err != nil {
		return err
	}
	for i, op := range ops {
		if op != nil { // else prepare refuses it
			op.In = Caller
		}
		if err := op.prepare(q.e, q.port, q.owner); err != nil {
			for _, op := range ops[:i] {
				op.bio.Abandon()
			}
			return err
		}
	}
	q.inFlight += len(ops)
	for _, op := range ops {
		op.issue(q.c.h)
	}
	if q.depth == 0 {
		q.port.Flush()
	}
	return nil
}

// InFlight returns how many operations were submitted whose handlers have not run.
func (q *Queue) InFlight() int { return q.inFlight }

// Reap runs the handlers of what has completed, and returns how many have run. It
// waits until those are at least n, or until nothing is in flight; with n of 0 it
// does not wait. A handler may call Reap: what that runs counts for the outer one too.
// It fails with [ErrClosed], [ErrThread], or [ErrWouldBlock] in an Inline handler.
func (q *Queue) Reap(n int) (int, error) {
	if q.closed {
		return 0, fmt.Errorf("reap: queue: %w", ErrClosed)
	}
	if q.e.m.InInline() {
		return 0, fmt.Errorf("reap: %w", ErrWouldBlock)
	}
	if err := q.checkThread("reap"); err != nil {
		return 0, err
	}
	start := q.reaped
	q.port.Expect(q.inFlight)
	if n <= 0 {
		q.port.Post() // there will be no wait
	}
	q.depth++
	defer q.leave() // a handler may end the goroutine
	for {
		q.port.Reap()
		for q.RunOne(q.c.h) {
		}
		done := int(q.reaped - start)
		if done >= n || q.inFlight == 0 {
			break
		}
		if !q.port.Lead(q.c.h, n-done) {
			q.owner.Wait(q.c.h, reapTarget{q, q.reaped + 1})
		}
	}
	return int(q.reaped - start), nil
}

// leave is the end of a Reap: what handlers have submitted goes to the kernel.
func (q *Queue) leave() {
	q.depth--
	q.port.Flush()
}

// reapTarget is ready when so many handlers have run.
type reapTarget struct {
	q  *Queue
	at int64
}

func (t reapTarget) Ready(machine.Context) bool { return t.q.reaped >= t.at || t.q.inFlight == 0 }

// Drain runs handlers until nothing is in flight.
func (q *Queue) Drain() error {
	for q.inFlight > 0 {
		if _, err := q.Reap(q.inFlight); err != nil {
			return err
		}
	}
	return nil
}

// Flush gives what handlers have submitted to the kernel. On another thread than that of a
// queue with [QueueOptions.OwnThread] it does nothing.
func (q *Queue) Flush() { q.port.Flush() }

// checkThread refuses calls that the kernel would refuse. Handlers run in a Reap that was
// looked at already.
func (q *Queue) checkThread(op string) error {
	if q.depth > 0 || q.port.Owned() {
		return nil
	}
	return fmt.Errorf("%s: queue: %w: lock the goroutine to its thread (runtime.LockOSThread) before NewQueue, and keep it locked until Close", op, ErrThread)
}

// OwnThread reports whether the queue has a ring of its thread's own, as
// [QueueOptions.OwnThread] asks for.
func (q *Queue) OwnThread() bool { return q.port.Owner() != 0 }

// RunOne runs the handler of one operation that is over, and reports whether there
// was one. It is not for users: Reap calls it.
func (q *Queue) RunOne(c machine.Context) bool { return q.owner.RunOne(c) }

// Ready reports whether RunOne has something to run. It is not for users.
func (q *Queue) Ready(c machine.Context) bool { return q.owner.Ready(c) }

// Close drains the queue, which runs its handlers, and closes it. Its handlers can't
// close it ([ErrInHandler]). A queue with [QueueOptions.OwnThread] that has nothing in
// flight can be closed on any thread; one that has fails with [ErrThread] on another.
func (q *Queue) Close() error {
	if q.closed {
		return fmt.Errorf("close queue: %w", ErrClosed)
	}
	if q.depth > 0 {
		return fmt.Errorf("close queue: %w", ErrInHandler)
	}
	if q.e.m.InInline() {
		return fmt.Errorf("close queue: %w", ErrWouldBlock)
	}
	if err := q.checkThread("close"); err != nil && q.inFlight > 0 {
		if q.port.OwnerEnded() {
			return fmt.Errorf("close queue: %w, which has ended with %d operations in flight: nobody can complete them any more; close the queue before its goroutine ends", ErrThread, q.inFlight)
		}
		return err
	}
	if err := q.Drain(); err != nil {
		return err
	}
	q.closed = true
	q.e.retire(q.c)
	err := q.e.m.ClosePort(q.port)
	q.e.removeQueue(q)
	return err
}
