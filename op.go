// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"runtime/debug"
	"runtime/trace"
	"sync/atomic"
	"syscall"
	"time"

	"endio/bio"
	"endio/dio"
	"endio/lockdep"
	"endio/machine"
	"endio/machine/host"
	"endio/uring"
)

// A Kind is what an [Op] does.
type Kind uint8

// Kinds of operations. The exclusive ones (truncate and its like) only exist as
// blocking calls on [File].
const (
	Read     Kind = iota // into Buf or Bufs, at Off
	Write                // from Buf or Bufs, at Off
	Sync                 // data and metadata of the file, as fsync(2)
	SyncData             // data, and what metadata reading it back needs, as fdatasync(2)
)

var kindNames = [...]string{"read", "write", "sync", "syncdata"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// A Where says where the handler of an [Op] runs.
type Where uint8

// Contexts of a handler; see the package comment.
const (
	Inline Where = iota
	Task
	Caller
)

var whereNames = [...]string{"inline", "task", "caller"}

func (w Where) String() string {
	if int(w) < len(whereNames) {
		return whereNames[w]
	}
	return fmt.Sprintf("Where(%d)", uint8(w))
}

// An Op is one operation. Fill in the exported fields and submit it; from then on
// it belongs to the engine, until its handler is called, which may change it and
// submit it again. It must not be copied once submitted.
type Op struct {
	File *File
	Kind Kind
	In   Where // where Done runs; ignored by [Queue.Submit], which always means Caller

	// Buf is read into or written from; Bufs, if not nil, is used instead. All of
	// it is transferred, unless the operation fails or a read meets the end of
	// the file. On a File with [Direct] each buffer must be aligned.
	Buf  []byte
	Bufs [][]byte
	Off  int64 // in the file, in bytes

	// DSync makes a Write durable before it completes, with what metadata is needed
	// to read it back: as a file opened with O_DSYNC does for every write. On a
	// device that can, a direct overwrite costs one request and no flush of others
	// (FUA); several at a time beat a sync for all of them.
	DSync bool

	// Ctx, if not nil, cancels the operation when it is done: an operation that was
	// not given to the kernel, also one that an exclusive section holds back, completes
	// with Ctx.Err() at once; one that was is asked to stop, but what has reached a
	// device runs to its end, and its buffer is the engine's until then.
	Ctx context.Context

	// Done is the handler. It is called once, where In says; on a File with [Uncached]
	// Inline means Task, for to drop pages may block.
	Done func(c *Context, op *Op)

	// User is the user's; the engine does not look at it.
	User any

	// N and Err are the outcome: bytes transferred, and why not all. A read that
	// meets the end of the file has io.EOF if it got less than asked for.
	N   int
	Err error

	// Completed is when the engine learned that the I/O was over, if Stamp was set:
	// what passed between it and the handler is the time that the handler had to
	// wait for its context.
	Completed time.Time
	Stamp     bool

	bio    bio.Bio
	held   dio.Waiter
	req    host.Request
	want   int // bytes
	port   *host.Port
	inode  *dio.Inode
	iovs   []uring.Iovec // kept for reuse
	vec    [][]byte
	cancel *canceler // of an Op with Ctx
	tries  int       // EAGAIN
	times  uint64    // submitted: tells submissions apart in a list of what is held back
}

// bytesWanted returns the number of bytes to be transferred.
func (op *Op) bytesWanted() int {
	if op.Bufs == nil {
		return len(op.Buf)
	}
	n := 0
	for _, b := range op.Bufs {
		n += len(b)
	}
	return n
}

// handlerName names the function with entry pc.
func handlerName(pc uintptr) string {
	if f := runtime.FuncForPC(pc); f != nil {
		return f.Name()
	}
	return "unknown"
}

// prepare checks op and makes it ready to be issued through p.
func (op *Op) prepare(e *Engine, p *host.Port, owner bio.Owner) error {
	if op == nil {
		return &OpError{Op: "submit", Off: -1, Len: -1, Err: ErrInvalid, Hint: "an operation is nil"}
	}
	if op.Done == nil {
		return op.refuse(ErrNoHandler, "")
	}
	if op.bio.InFlight() {
		return op.refuse(ErrBusy, "")
	}
	f := op.File
	if f == nil {
		return op.refuse(ErrInvalid, "Op.File is nil")
	}
	if f.e != e {
		return op.refuse(ErrInvalid, "the file was opened on another engine")
	}
	op.want = 0
	r := &op.req
	switch op.Kind {
	case Read, Write:
		op.want = op.bytesWanted()
		if err := f.check(op.Kind, op.Buf, op.Bufs, op.Off, op.want); err != nil {
			return err
		}
		r.Flags = f.flags(op.Kind)
		if op.DSync && op.Kind == Write {
			r.Flags |= uring.RWDsync
		}
	case Sync:
		r.Op, r.Flags = host.OpSync, 0
	case SyncData:
		r.Op, r.Flags = host.OpSyncData, 0
	default:
		return op.refuse(ErrInvalid, "Op.Kind wants Read, Write, Sync or SyncData")
	}
	if op.In > Caller {
		return op.refuse(ErrInvalid, "Op.In wants Inline, Task or Caller")
	}
	r.File, r.Async = &f.host, false
	r.Complete, r.User, r.Tag, r.Handler = completeOp, op, uint8(op.In), reflect.ValueOf(op.Done).Pointer()
	op.N, op.Err, op.tries, op.Completed = 0, nil, 0, time.Time{}
	op.port, op.inode = p, f.inode.Inode
	op.bio.EndIO = endOp
	op.bio.Private = op
	op.bio.Owner = owner
	op.bio.Flags = 0
	op.held.Start, op.held.Op = startHeld, op
	inTask := owner == nil && (op.In == Task || f.uncached != nil)
	if inTask {
		op.bio.Flags = bio.CompleteInTask
	}
	r.Inline = owner == nil && !inTask
	return op.bio.Start()
}

// refuse is the error of an operation that is not started.
func (op *Op) refuse(err error, hint string) error {
	path := ""
	if op.File != nil {
		path = op.File.path
	}
	return &OpError{Op: op.Kind.String(), Path: path, Off: -1, Len: -1, Err: err, Hint: hint}
}

// aim points the request at what is left to transfer.
func (op *Op) aim() {
	if op.Kind > Write {
		return
	}
	r := &op.req
	r.Off = op.Off + int64(op.N)
	if op.Bufs == nil {
		r.Op = host.OpRead
		if op.Kind == Write {
			r.Op = host.OpWrite
		}
		r.Buf = op.Buf[op.N:min(len(op.Buf), op.N+maxTransfer)]
		return
	}
	r.Op = host.OpReadv
	if op.Kind == Write {
		r.Op = host.OpWritev
	}
	skip, room := op.N, maxTransfer
	op.iovs, op.vec = op.iovs[:0], op.vec[:0]
	for _, b := range op.Bufs {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		b = b[skip:]
		skip = 0
		if len(b) > room {
			b = b[:room]
		}
		if len(op.vec) == uring.MaxIovecs || len(b) == 0 {
			break
		}
		room -= len(b)
		op.vec = append(op.vec, b)
		op.iovs = append(op.iovs, uring.Iovec{})
		op.iovs[len(op.iovs)-1].Set(b)
	}
	r.Iovs, r.Vec = op.iovs, op.vec
}

// maxTransfer is what is asked of the kernel at once: it cuts longer transfers
// to that, and a multiple of every alignment keeps the next part aligned.
const maxTransfer = 1 << 30

// issue begins op on its inode and gives it to its port, or leaves it with the
// inode until an exclusive section ends.
func (op *Op) issue(c machine.Context) {
	op.times++
	ctx, k := op.Ctx, (*canceler)(nil)
	if ctx != nil {
		k = &canceler{op: op}
		op.cancel = k
		k.stop = context.AfterFunc(ctx, k.run)
	}
	switch {
	case op.Kind == Write && op.File.partial(op.Off, op.want):
		op.reserve(c, k)
	case op.inode.Begin(c, &op.held):
		op.start(false)
		return
	}
	// op may be over by now, and in use again: only k knows.
	if ctx != nil && ctx.Err() != nil {
		k.run() // the first run may have come before there was anything to take back
	}
}

// alone is a write that has to have its inode for itself.
type alone struct {
	op    *Op
	inode *dio.Inode
	bio   bio.Bio
	turn  *dio.Turn
	taken atomic.Bool // by who writes, or by who cancels: op is his
}

// reserve gets op in line for its inode, now, so that whoever drains the inode
// later waits for it; a worker does the waiting and the write. k is that of op.
func (op *Op) reserve(c machine.Context, k *canceler) {
	e := op.File.e
	a := &alone{op: op, inode: op.inode}
	a.bio.EndIO, a.bio.Private = runAlone, a
	if err := a.bio.Start(); err != nil {
		panic(err) // it is new, and has a handler
	}
	a.turn = a.inode.Reserve(c)
	e.addAlone(a)
	if k != nil {
		k.mu.Lock() // it may be running
		defer k.mu.Unlock()
		k.alone = a
	}
	op.inode = nil // is never counted: the turn stands for it
	e.batches.Defer(c, &a.bio)
}

// runAlone writes while no other I/O is in flight on the inode, and then lets op
// complete in the context that it asked for. A worker calls it.
func runAlone(c machine.Context, b *bio.Bio) {
	a := b.Private.(*alone)
	if err := a.inode.Await(c, a.turn); err != nil {
		panic(err) // workers may block
	}
	op := a.op
	if a.taken.Swap(true) {
		a.inode.Admit(c) // was cancelled: op is over, and may be in use again
		return
	}
	f, p := op.File, op.port
	switch {
	case f.closed.Load():
		op.Err = op.refuse(ErrClosed, "")
	case op.Ctx != nil && op.Ctx.Err() != nil:
		op.Err = op.Ctx.Err()
	default:
		op.writeAlone()
	}
	op.req.Op = host.OpNop
	f.e.removeAlone(a)
	a.inode.Admit(c)
	p.Submit(true, &op.req)
	p.Offer()
}

// writeAlone does the system calls of a write.
func (op *Op) writeAlone() {
	for op.aim(); ; op.aim() {
		if !op.more(op.File.e.m.ExecuteInTurn(&op.req)) {
			return
		}
	}
}

// start gives op, which has begun, to its port. What can't be done any more goes
// there too, to complete in the context that it asked for.
func (op *Op) start(flush bool) {
	op.aim()
	switch {
	case op.File.closed.Load():
		// Looked at after Begin: Close sets it and then waits for what has begun.
		op.Err = op.refuse(ErrClosed, "")
		op.req.Op = host.OpNop
	case op.Ctx != nil && op.Ctx.Err() != nil:
		op.req.Op = host.OpCancelled
	}
	op.port.Submit(flush, &op.req)
}

// startHeld issues an operation that an exclusive section has held back.
func startHeld(_ machine.Context, w *dio.Waiter) {
	op := w.Op.(*Op)
	p := op.port // op may be over, and in use again, when start returns
	op.start(true)
	// The owner may have gone to sleep while nothing of it was in flight, and
	// whoever starts its operation now may have no reason to wait in its port.
	p.Offer()
}

// A canceler connects one submission of an Op to its Ctx. It outlives it: the
// function that AfterFunc has started finds out here that it is late.
type canceler struct {
	stop func() bool

	mu    lockdep.Mutex
	op    *Op    // nil once the operation is over; guarded by mu
	alone *alone // of an operation that waits for its turn; guarded by mu
}

// run cancels the operation. It may be called more than once.
func (k *canceler) run() {
	op := k.takeBack()
	if op == nil {
		return
	}
	// It completes in the context that it asked for, so by way of its port.
	p := op.port
	op.req.Op = host.OpCancelled
	p.Submit(true, &op.req)
	p.Offer()
}

// takeBack returns the operation if it was held back and now is nobody's; else it
// asks the port that has it to stop it.
func (k *canceler) takeBack() *Op {
	k.mu.Lock()
	defer k.mu.Unlock()
	op := k.op
	if op == nil {
		return nil
	}
	switch a := k.alone; {
	case a != nil && a.taken.Swap(true):
		return nil // is being written, or was taken back before
	case a != nil:
		op.File.e.removeAlone(a)
		return op
	case op.inode != nil && op.inode.Withdraw(op.File.e.m.Anyone(), &op.held):
		op.inode = nil // has not begun
		return op
	}
	op.port.Cancel(&op.req)
	return nil
}

// over makes sure that nobody cancels what comes after.
func (k *canceler) over() {
	k.stop()
	k.mu.Lock()
	k.op = nil
	k.mu.Unlock()
}

// completeOp is the Complete of every asynchronous request: it goes on with what
// is left, or ends the operation.
func completeOp(c *host.Context, r *host.Request, res int32) {
	op := r.User.(*Op)
	if r.Op != host.OpNop && op.more(res) {
		op.goOn(r)
		return
	}
	op.finish(c, op.Err)
}

// goOn gives what is left to the port. Whoever cancels meanwhile may have found nothing to stop there, so
// that it is asked again. The operation may be over by then, and in use again: only k knows.
func (op *Op) goOn(r *host.Request) {
	ctx, k := op.Ctx, op.cancel
	op.aim()
	op.port.Submit(false, r)
	if k != nil && ctx.Err() != nil {
		k.run()
	}
}

// more takes one result in, and reports whether the operation has to go on: if something is left of it, and nobody
// has cancelled it.
func (op *Op) more(res int32) bool {
	if !op.unfinished(res) {
		return false
	}
	if op.Ctx != nil && op.Ctx.Err() != nil {
		op.Err = op.Ctx.Err()
		return false
	}
	return true
}

// unfinished takes one result in, and reports whether something is left to do.
func (op *Op) unfinished(res int32) bool {
	if res < 0 {
		errno := syscall.Errno(-res)
		switch errno {
		case syscall.EINTR:
			return true
		case errNotSupported:
			if op.File.plainCache(op.req.Flags) {
				op.req.Flags &^= uring.RWDontCache
				return true
			}
		case syscall.EAGAIN:
			// Refused without blocking, or the kernel was short of something: let
			// a worker of the kernel do it, which waits.
			if op.tries++; op.tries <= maxTries {
				op.req.Async = true
				return true
			}
		case syscall.ECANCELED:
			if op.Ctx != nil && op.Ctx.Err() != nil {
				op.Err = op.Ctx.Err()
				return false
			}
			// Nobody asked for it: the thread that had submitted it has exited, and with
			// it the kernel's workers that did (io_wq_exit_start, io_uring/io-wq.c).
			if op.tries++; op.tries <= maxTries {
				return true
			}
		}
		op.Err = op.File.opError(op.Kind.String(), op.Off, int64(op.want), int64(op.N), errno)
		return false
	}
	if op.Kind > Write {
		return false
	}
	op.N += int(res)
	switch {
	case op.N >= op.want:
		return false
	case op.Kind == Write && res == 0:
		op.Err = op.File.opError("write", op.Off, int64(op.want), int64(op.N), io.ErrShortWrite)
		return false
	case res == 0:
		op.Err = io.EOF
		return false
	case op.Kind == Read && op.File.direct && op.N%op.File.align.Offset != 0:
		op.Err = io.EOF // a direct read is short of a block only at the end of the file
		return false
	}
	return true
}

// maxTries bounds how often an operation that the kernel refuses with EAGAIN is
// tried: by a worker of the kernel, which waits for what is short, one try should
// do.
const maxTries = 100

// finish ends op in context c: the inode is released here, the handler runs
// where it may.
func (op *Op) finish(c machine.Context, err error) {
	if op.cancel != nil {
		op.cancel.over()
		op.cancel = nil
	}
	if op.Stamp {
		op.Completed = time.Now()
	}
	if u := op.File.uncached; u != nil {
		u.note(op.Kind, op.Off, op.N)
	}
	dio.Complete(c, op.File.e.batches, op.inode, &op.bio, err)
}

// endOp is the EndIO of every operation: it calls the handler.
func endOp(mc machine.Context, b *bio.Bio) {
	op := b.Private.(*Op)
	hc := mc.(*host.Context)
	c := hc.Private.(*Context)
	if f := op.File; f.uncached != nil {
		if mc.Atomic() && bio.CompleteLater(mc, f.e.batches, b) {
			return
		}
		f.uncached.settle(op.Kind)
		if b.Err == nil {
			if err := f.uncached.told(op.Kind, op.DSync); err != nil {
				b.Err = f.opError(op.Kind.String(), op.Off, int64(op.want), int64(op.N), err)
			}
		}
	}
	op.Err = b.Err
	op.call(c, hc)
}

// call runs the handler and survives it. Nothing may touch op after it.
func (op *Op) call(c *Context, hc *host.Context) {
	e, done := op.File.e, op.Done
	kind, n, failed := op.Kind, op.N, failure(op.Err) // the handler may use op again
	handler := op.req.Handler
	before := c.op
	c.op = op
	atomic, task := hc.Atomic(), false
	if atomic {
		hc.EnterInline(handler, &op.File.host)
	} else if task = c.q == nil && e.opts.OldAfter > 0; task {
		c.beginTask(handler, &op.File.host)
	}
	returned := false
	defer func() {
		v := recover()
		moved := c.moved
		c.op, c.moved = before, false
		if atomic {
			defer hc.ExitInline() // who is told of a panic is in this context too
		} else if task {
			defer c.endTask()
		}
		if !moved {
			c.done[kind].add(n, failed)
			if e.closing.Load() {
				e.idle.Wake(hc)
			}
		}
		if !returned {
			if v == nil {
				v = ErrGoexit
			}
			c.panics.Add(1)
			e.panicked(HandlerPanic{Handler: handlerName(handler), Value: v, Stack: debug.Stack()})
		}
	}()
	if q := c.q; q != nil {
		// Before the handler, which may drain the queue.
		q.inFlight--
		q.reaped++
	}
	if trace.IsEnabled() {
		defer trace.StartRegion(context.Background(), "endio."+c.Where().String()).End()
	}
	done(c, op)
	returned = true
}
