// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"io"
	"math/bits"
	"os"
	"time"

	"endio"
	"endio/fiojob"
	"endio/lockdep"
)

// NewEngine returns e as what a run asks of the storage. The caller still closes
// e.
func NewEngine(e *endio.Engine) Engine { return &boundEngine{e} }

type boundEngine struct{ e *endio.Engine }

func (b *boundEngine) Backend() string {
	backend, why := b.e.Backend()
	if why == "" {
		return string(backend)
	}
	return string(backend) + " (" + why + ")"
}

func (b *boundEngine) Open(path string, flags int, perm os.FileMode, mode Mode) (File, error) {
	var options []endio.FileOption
	if mode.Direct {
		options = append(options, endio.Direct)
	}
	if mode.Uncached {
		options = append(options, endio.Uncached)
	}
	file, err := b.e.OpenFile(path, flags, perm, options...)
	if err != nil {
		return nil, err
	}
	return boundFile{file}, nil
}

type boundFile struct{ *endio.File }

func (f boundFile) Fallocate(off, bytes int64) error {
	return f.File.Fallocate(endio.FallocAllocate, off, bytes)
}

// NewQueue returns the kind of queue that the options ask for.
func (b *boundEngine) NewQueue(options QueueOptions) (Queue, error) {
	requests := make([]*Request, options.Depth)
	for i, buf := range b.buffers(options) {
		requests[i] = &Request{Buf: buf}
	}
	base := queue{requests: requests, clock: options.Clock, started: options.Started, done: make([]*Request, 0, options.Depth)}
	switch {
	case options.Blocking:
		return &blockingQueue{queue: base}, nil
	case options.Completion == fiojob.CompleteCaller:
		// A queue's depth is a power of two, from 2 to 1<<14; what is beyond waits its
		// turn in the queue.
		q, err := b.e.NewQueue(endio.QueueOptions{Depth: min(max(2, 1<<bits.Len(uint(options.Depth-1))), 1<<14)})
		if err != nil {
			return nil, err
		}
		c := &callerQueue{queue: base, q: q}
		c.ops(func(op *endio.Op) { op.In, op.Done = endio.Caller, c.handle })
		return c, nil
	}
	h := &handlerQueue{queue: base, e: b.e}
	h.more.L = &h.mu
	lockdep.Init(&h.mu)
	lockdep.Init(&h.more)
	where := endio.Task
	if options.Completion == fiojob.CompleteInline {
		where = endio.Inline
	}
	h.ops(func(op *endio.Op) { op.In, op.Done = where, h.handle })
	return h, nil
}

// buffers returns an aligned buffer for each request, registered with the ring
// if that is possible.
func (b *boundEngine) buffers(options QueueOptions) [][]byte {
	list := make([][]byte, options.Depth)
	pool, err := b.e.NewBuffers(options.Depth, options.BufferBytes)
	for i := range list {
		if err != nil {
			// More than can be registered as one piece: the same without registration.
			list[i] = b.e.AlignedBuffer(options.BufferBytes)
			continue
		}
		list[i] = pool.Get()[:options.BufferBytes]
	}
	return list
}

// A queue is what the three kinds of queues have in common.
type queue struct {
	requests []*Request
	done     []*Request
	clock    func() int64
	started  time.Time // when clock was 0
}

func (q *queue) Requests() []*Request { return q.requests }

// ops gives each request an Op, which set completes.
func (q *queue) ops(set func(*endio.Op)) {
	ops := make([]endio.Op, len(q.requests))
	for i, r := range q.requests {
		ops[i].User, ops[i].Stamp = r, true
		set(&ops[i])
		r.op = &ops[i]
	}
}

var kinds = [...]endio.Kind{OpRead: endio.Read, OpWrite: endio.Write, OpSync: endio.Sync, OpSyncData: endio.SyncData}

// aim fills in the Op of r.
func (r *Request) aim() *endio.Op {
	op := r.op
	op.File, op.Kind, op.Off = r.File.(boundFile).File, kinds[r.Kind], r.Off
	op.Buf = nil
	if r.Kind <= OpWrite {
		op.Buf = r.Buf[:r.Len]
	}
	return op
}

// finish takes the outcome of op over into its request.
func (q *queue) finish(op *endio.Op) *Request {
	r := op.User.(*Request)
	r.N, r.Err = op.N, op.Err
	if r.Err == io.EOF {
		r.Err = nil // short, which N says
	}
	r.Handled = q.clock()
	r.Completed = int64(op.Completed.Sub(q.started))
	return r
}

// accepted notes when the engine has taken requests over.
func (q *queue) accepted(requests []*Request, start int64) {
	end := q.clock()
	for _, r := range requests {
		r.Submitted, r.Accepted = start, end
	}
}

// A callerQueue completes requests in the goroutine that submits them.
type callerQueue struct {
	queue
	q       *endio.Queue
	batch   []*endio.Op
	arrived []*Request // completed, not yet returned by Reap
}

func (q *callerQueue) handle(_ *endio.Context, op *endio.Op) {
	q.arrived = append(q.arrived, q.finish(op))
}

func (q *callerQueue) Submit(requests []*Request) error {
	q.batch = q.batch[:0]
	for _, r := range requests {
		q.batch = append(q.batch, r.aim())
	}
	start := q.clock()
	for _, r := range requests {
		r.Submitted, r.Accepted = start, start
	}
	if err := q.q.Submit(q.batch...); err != nil {
		return err
	}
	q.accepted(requests, start)
	return nil
}

// Reap returns also what a blocking call of the same goroutine has completed
// meanwhile.
func (q *callerQueue) Reap(min int) ([]*Request, error) {
	if _, err := q.q.Reap(max(0, min-len(q.arrived))); err != nil {
		return nil, err
	}
	q.done, q.arrived = q.arrived, q.done[:0]
	return q.done, nil
}

func (q *callerQueue) Close() error { return q.q.Close() }

// A handlerQueue completes requests on workers or on the reaper, and hands them
// to the goroutine that reaps.
type handlerQueue struct {
	queue
	e     *endio.Engine
	batch []*endio.Op

	mu      lockdep.Mutex
	more    lockdep.Cond
	arrived []*Request // guarded by mu
	want    int        // how many the reaper waits for, 0 if it does not; guarded by mu
}

func (q *handlerQueue) handle(_ *endio.Context, op *endio.Op) {
	r := q.finish(op)
	lockdep.Owe(&q.more) // whoever reaps waits for this handler
	q.mu.Lock()
	q.arrived = append(q.arrived, r)
	wake := q.want > 0 && len(q.arrived) >= q.want
	q.mu.Unlock()
	if wake {
		q.more.Signal()
	}
	lockdep.Paid(&q.more)
}

func (q *handlerQueue) Submit(requests []*Request) error {
	q.batch = q.batch[:0]
	start := q.clock()
	for _, r := range requests {
		r.Submitted, r.Accepted = start, start // a handler may run before Submit returns
		q.batch = append(q.batch, r.aim())
	}
	return q.e.Submit(q.batch...)
}

func (q *handlerQueue) Reap(min int) ([]*Request, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.arrived) < min {
		q.want = min
		q.more.Wait()
	}
	q.want = 0
	q.done, q.arrived = q.arrived, q.done[:0]
	return q.done, nil
}

func (q *handlerQueue) Close() error { return nil }

// A blockingQueue makes one blocking call after the other.
type blockingQueue struct {
	queue
	arrived []*Request // returned by Reap
}

func (q *blockingQueue) Submit(requests []*Request) error {
	for _, r := range requests {
		r.Submitted = q.clock()
		r.Accepted = r.Submitted
		switch r.Kind {
		case OpRead:
			if r.N, r.Err = r.File.ReadAt(r.Buf[:r.Len], r.Off); r.Err == io.EOF {
				r.Err = nil
			}
		case OpWrite:
			r.N, r.Err = r.File.WriteAt(r.Buf[:r.Len], r.Off)
		case OpSync:
			r.N, r.Err = 0, r.File.Sync()
		case OpSyncData:
			r.N, r.Err = 0, r.File.SyncData()
		}
		r.Completed = q.clock()
		r.Handled = r.Completed
		q.done = append(q.done, r)
	}
	return nil
}

func (q *blockingQueue) Reap(int) ([]*Request, error) {
	// Reap is called again only after what it returned is handled, and Submit too
	// appends behind it: swap, so that neither overwrites the other.
	q.done, q.arrived = q.arrived[:0], q.done
	return q.arrived, nil
}

func (q *blockingQueue) Close() error { return nil }
