// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"io"
	"runtime"
	"sync/atomic"
	"syscall"

	"endio/dio"
	"endio/machine"
	"endio/machine/host"
	"endio/uring"
)

// calls does the blocking calls of files. A few at a time go to the kernel as
// plain system calls, which nothing beats for one; more go through a ring, where
// one of the callers waits and reaps for all, unless the page cache has what they read. A plain call of each would keep
// a thread busy, and the scheduler with the threads.
type calls struct {
	e     *Engine
	port  *host.Port // nil: always plain
	plain int64      // so many calls at a time are plain

	slots []callSlot // of plain calls

	_      [128]byte
	active atomic.Int64
	done   [len(kindNames)]tally
}

func newCalls(e *Engine) (*calls, error) {
	k := &calls{e: e, plain: int64(runtime.GOMAXPROCS(0))}
	if b, _ := e.Backend(); b == IOUring {
		p, err := e.m.OpenPort(0, callDepth)
		if err != nil {
			return nil, err
		}
		k.port = p
	}
	n := k.plain
	if k.port == nil {
		n = maxCallSlots
	}
	k.slots = make([]callSlot, n)
	return k, nil
}

// maxCallSlots is how many plain calls can be listed where all are plain.
const maxCallSlots = 1024

// A callSlot says what one plain call does, for [Engine.Flights].
type callSlot struct {
	state  atomic.Uint64 // grows; of 3: 0: free, 1: being filled in, 2: a call is under way
	file   atomic.Pointer[File]
	op     atomic.Uint32 // host.Op
	off, n atomic.Int64
	_      [64]byte
}

// list takes a slot for the active-th of the calls under way; nil if there is none.
func (k *calls) list(active int64, op host.Op, f *File, p []byte, off int64) *callSlot {
	for i := range k.slots {
		s := &k.slots[(int(active)+i)%len(k.slots)]
		if state := s.state.Load(); state%3 == 0 && s.state.CompareAndSwap(state, state+1) {
			s.file.Store(f)
			s.op.Store(uint32(op))
			s.off.Store(off)
			s.n.Store(int64(len(p)))
			s.state.Store(state + 2)
			return s
		}
	}
	return nil
}

// over gives back the slot.
func (s *callSlot) over() {
	if s != nil {
		s.state.Add(1)
	}
}

// each calls fn for each plain call that is listed.
func (k *calls) each(fn func(s *callSlot, state uint64, f Flight)) {
	for i := range k.slots {
		s := &k.slots[i]
		state := s.state.Load()
		if state%3 != 2 {
			continue
		}
		f := Flight{Op: flightOps[host.Op(s.op.Load())], Path: s.file.Load().path, Off: s.off.Load(), Len: int(s.n.Load()), In: "call", Started: true, Led: true}
		if s.state.Load() == state {
			fn(s, state, f)
		}
	}
}

// callDepth is how many blocking calls the ring takes at a time.
const callDepth = 1024

// enter begins an I/O of a blocking call on f; it waits while an exclusive section
// holds I/O back. The caller calls leave.
func (k *calls) enter(f *File, kind Kind, off int64, n int) {
	c := k.e.m.Anyone()
	f.inode.Enter(c)
	if f.inode.TryBegin(c) {
		return
	}
	h := &heldCall{wq: k.e.m.NewWaitQueue("call.held"), f: f, kind: kind, off: off, n: n}
	h.held.Op = h
	h.held.Start = func(c machine.Context, w *dio.Waiter) {
		h := w.Op.(*heldCall)
		h.begun.Store(true)
		h.wq.Wake(c)
	}
	if f.inode.Begin(c, &h.held) {
		return
	}
	for !h.Ready(c) {
		h.wq.Sleep(c, h)
	}
}

// leave ends an I/O of a blocking call on f.
func (k *calls) leave(f *File) {
	c := k.e.m.Anyone()
	f.inode.Leave(c)
	f.inode.End(c)
}

// A heldCall is a blocking call that an exclusive section holds back.
type heldCall struct {
	held  dio.Waiter
	begun atomic.Bool
	wq    machine.WaitQueue

	f    *File // what the call is, for a list
	kind Kind
	off  int64
	n    int
}

// Ready makes a heldCall a [machine.Condition].
func (h *heldCall) Ready(machine.Context) bool { return h.begun.Load() }

// transfer reads or writes all of p at off.
func (k *calls) transfer(f *File, kind Kind, p []byte, off int64) (int, error) {
	if k.e.m.InInline() {
		return 0, f.opError(kind.String(), off, int64(len(p)), 0, ErrWouldBlock)
	}
	if err := f.check(kind, p, nil, off, len(p)); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if kind == Write && f.partial(off, len(p)) {
		var n int
		err := f.exclusive("write", off, int64(len(p)), func() (err error) {
			if n, err = k.move(f, kind, p, off); err != nil {
				err = f.opError("write", off, int64(len(p)), int64(n), err)
			}
			return err
		})
		return n, err
	}
	k.enter(f, kind, off, len(p))
	defer k.leave(f)
	if f.closed.Load() {
		return 0, f.opError(kind.String(), off, int64(len(p)), 0, ErrClosed)
	}
	n, err := k.move(f, kind, p, off)
	if err != nil && err != io.EOF {
		err = f.opError(kind.String(), off, int64(len(p)), int64(n), err)
	}
	return n, err
}

// move does a transfer, on whose inode an I/O has begun.
func (k *calls) move(f *File, kind Kind, p []byte, off int64) (int, error) {
	n, err := k.moveAll(f, kind, p, off)
	if u := f.uncached; u != nil {
		u.note(kind, off, n)
		u.settle(kind)
		if err == nil {
			err = u.told(kind, false)
		}
	}
	k.done[kind].add(n, failure(err))
	return n, err
}

// moveAll does the system calls or requests of a transfer.
func (k *calls) moveAll(f *File, kind Kind, p []byte, off int64) (int, error) {
	op := host.OpRead
	if kind == Write {
		op = host.OpWrite
	}
	n, tries := 0, 0
	for n < len(p) {
		flags := f.flags(kind)
		part := p[n:min(len(p), n+maxTransfer)]
		res := k.do(op, f, part, off+int64(n), flags, tries > 0)
		switch {
		case res > 0:
			n += int(res)
			if kind == Read && f.direct && n%f.align.Offset != 0 && n < len(p) {
				return n, io.EOF
			}
		case res == 0 && kind == Read:
			return n, io.EOF
		case res == 0:
			return n, io.ErrShortWrite
		default:
			switch errno := syscall.Errno(-res); {
			case errno == errNotSupported && f.plainCache(flags):
			case errno == syscall.EINTR:
			case (errno == syscall.EAGAIN || errno == syscall.ECANCELED) && tries < maxTries:
				tries++ // ECANCELED: see Op.more
			default:
				return n, errno
			}
		}
	}
	return n, nil
}

// do is one system call or request.
func (k *calls) do(op host.Op, f *File, p []byte, off int64, flags uring.RWFlags, async bool) int32 {
	defer k.active.Add(-1)
	if active := k.active.Add(1); active <= k.plain || k.port == nil {
		r := host.Request{Op: op, File: &f.host, Buf: p, Off: off, Flags: flags}
		defer k.list(active, op, f, p, off).over()
		return k.e.m.Execute(&r)
	}
	if op == host.OpRead && !f.direct && !async && f.cached.likely() {
		r := host.Request{Op: op, File: &f.host, Buf: p, Off: off, Flags: flags | uring.RWNowait}
		if res := k.e.m.Execute(&r); res != -int32(syscall.EAGAIN) && res != -int32(syscall.EOPNOTSUPP) {
			f.cached.hit()
			return res
		}
		f.cached.miss()
	}
	return k.port.Call(op, &f.host, p, off, flags, async)
}

// A guess says whether the page cache has what the next read of a file asks for. What
// it has is read by a call that does not block, for a third of what the way through the
// ring costs; in vain, such a call costs a tenth of that way.
type guess struct{ misses atomic.Uint32 } // since the last hit, with the calls that were not made

// likely reports whether to ask the page cache: seldom where it never has anything.
func (g *guess) likely() bool {
	n := g.misses.Load()
	if n < 8 || n%32 == 0 {
		return true
	}
	g.miss()
	return false
}

func (g *guess) hit() {
	if g.misses.Load() != 0 {
		g.misses.Store(0)
	}
}

func (g *guess) miss() { g.misses.Add(1) }

// sync makes f durable.
func (k *calls) sync(f *File, kind Kind) error {
	op := host.OpSync
	if kind == SyncData {
		op = host.OpSyncData
	}
	if k.e.m.InInline() {
		return f.opError(kind.String(), -1, -1, 0, ErrWouldBlock)
	}
	k.enter(f, kind, -1, 0)
	defer k.leave(f)
	if f.closed.Load() {
		return f.opError(kind.String(), -1, -1, 0, ErrClosed)
	}
	for tries := 0; ; tries++ {
		res := k.do(op, f, nil, 0, 0, false)
		if errno := syscall.Errno(-res); res < 0 && (errno == syscall.EINTR || errno == syscall.ECANCELED && tries < maxTries) {
			continue
		}
		var err error
		if res < 0 {
			err = syscall.Errno(-res)
		} else if f.uncached != nil {
			f.uncached.settle(kind)
			err = f.uncached.told(kind, false)
		}
		k.done[kind].add(0, err != nil)
		if err != nil {
			err = f.opError(kind.String(), -1, -1, 0, err)
		}
		return err
	}
}
