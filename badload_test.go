// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"endio"
)

// misuse is what the goroutines of TestBadInputUnderLoad that do everything wrong share.
type misuse struct {
	t       *testing.T
	e       *endio.Engine
	f       *endio.File // direct; what is wrong with it must not change it
	ro      *endio.File
	gone    *endio.File // closed
	foreign *endio.File // of another engine
	ran     atomic.Int64
	panics  atomic.Int64 // to be reported
}

// never is the handler of what must be refused.
func (m *misuse) never(*endio.Context, *endio.Op) { m.ran.Add(1) }

// refusals are calls with what has to come of each. q is the caller's own queue, buf a block
// that is aligned, and shut a queue that is closed.
func (m *misuse) refusals(q, shut *endio.Queue, buf []byte, in endio.Where) map[string]func() (got, want error) {
	submit := func(want error, ops ...*endio.Op) func() (error, error) {
		return func() (error, error) {
			for _, op := range ops {
				op.In = in
			}
			if in == endio.Caller {
				return q.Submit(ops...), want
			}
			return m.e.Submit(ops...), want
		}
	}
	call := func(want error, fn func() error) func() (error, error) {
		return func() (error, error) { return fn(), want }
	}
	op := func(f *endio.File, buf []byte, off int64) *endio.Op {
		return &endio.Op{File: f, Kind: endio.Write, Buf: buf, Off: off, Done: m.never}
	}
	good, twice := op(m.f, buf, 0), op(m.f, buf, 0)
	odd := endio.Kind(99)
	return map[string]func() (error, error){
		"negative offset":      submit(endio.ErrInvalid, op(m.f, buf, -block)),
		"overflow":             submit(endio.ErrInvalid, op(m.f, buf, 1<<63-block)),
		"unaligned offset":     submit(endio.ErrAlignment, op(m.f, buf, 1)),
		"unaligned length":     submit(endio.ErrAlignment, op(m.f, buf[:3], 0)),
		"unaligned part":       submit(endio.ErrAlignment, &endio.Op{File: m.f, Kind: endio.Write, Bufs: [][]byte{buf, buf[:5]}, Done: m.never}),
		"no file":              submit(endio.ErrInvalid, op(nil, buf, 0)),
		"no handler":           submit(endio.ErrNoHandler, &endio.Op{File: m.f, Kind: endio.Write, Buf: buf}),
		"odd kind":             submit(endio.ErrInvalid, &endio.Op{File: m.f, Kind: odd, Buf: buf, Done: m.never}),
		"another engine's":     submit(endio.ErrInvalid, op(m.foreign, buf, 0)),
		"read-only":            submit(endio.ErrReadOnly, op(m.ro, buf, 0)),
		"good before bad":      submit(endio.ErrInvalid, good, op(m.f, buf, -1<<40)),
		"twice in one call":    submit(endio.ErrBusy, twice, twice),
		"closed queue":         call(endio.ErrClosed, func() error { return shut.Submit(op(m.f, buf, 0)) }),
		"reap of closed queue": call(endio.ErrClosed, func() error { _, err := shut.Reap(1); return err }),
		"odd context":          call(endio.ErrInvalid, func() error { return m.e.Submit(&endio.Op{File: m.f, In: 77, Buf: buf, Done: m.never}) }),
		"caller without queue": call(endio.ErrInvalid, func() error { return m.e.Submit(&endio.Op{File: m.f, In: endio.Caller, Buf: buf, Done: m.never}) }),
		"odd depth":            call(endio.ErrInvalid, func() error { _, err := m.e.NewQueue(endio.QueueOptions{Depth: 3}); return err }),
		"shards":               call(endio.ErrInvalid, func() error { return m.e.SetShards(99) }),
		"negative size":        call(endio.ErrInvalid, func() error { return m.f.Truncate(-1) }),
		"empty fallocate":      call(endio.ErrInvalid, func() error { return m.f.Fallocate(0, 0, 0) }),
		"truncate read-only":   call(endio.ErrReadOnly, func() error { return m.ro.Truncate(0) }),
		"drain of closed":      call(endio.ErrClosed, func() error { return m.gone.Drain() }),
		"closed twice":         call(endio.ErrClosed, func() error { return m.gone.Close() }),
		"read of closed":       call(endio.ErrClosed, func() error { _, err := m.gone.ReadAt(buf, 0); return err }),
		"blocking, unaligned":  call(endio.ErrAlignment, func() error { _, err := m.f.WriteAt(buf[:7], 0); return err }),
		"append":               call(endio.ErrInvalid, func() error { _, err := m.e.OpenFile(m.f.Name(), os.O_RDWR|os.O_APPEND, 0); return err }),
		"options that exclude": call(endio.ErrInvalid, func() error {
			_, err := m.e.OpenFile(m.f.Name(), os.O_RDWR, 0, endio.Direct, endio.Uncached)
			return err
		}),
		"missing": call(os.ErrNotExist, func() error { _, err := m.e.OpenFile("no/such/file", os.O_RDONLY, 0); return err }),
		"engine with open queues": call(nil, func() error {
			if m.e.Close() == nil {
				return errors.New("was closed")
			}
			return nil
		}),
	}
}

// accepted are operations that are taken, and whose handlers or contexts misbehave.
func (m *misuse) accepted(q *endio.Queue, buf []byte, in endio.Where) {
	var wg sync.WaitGroup
	submit := func(op *endio.Op) {
		op.File, op.Buf, op.In = m.f, buf, in
		wg.Add(1)
		done := op.Done
		op.Done = func(c *endio.Context, op *endio.Op) {
			defer wg.Done()
			done(c, op)
		}
		err := error(nil)
		if in == endio.Caller {
			err = errors.Join(q.Submit(op), q.Drain())
		} else {
			err = m.e.Submit(op)
		}
		if err != nil {
			m.t.Error(err)
			wg.Done()
		}
		wg.Wait()
	}
	m.panics.Add(1)
	submit(&endio.Op{Done: func(*endio.Context, *endio.Op) { panic("a handler that panics") }})
	submit(&endio.Op{Off: 1 << 40, Done: func(_ *endio.Context, op *endio.Op) {
		if op.Err != io.EOF {
			m.t.Errorf("read far beyond the end: %v", op.Err)
		}
	}})
	submit(&endio.Op{Kind: endio.Write, Off: 1 << 62, Done: func(_ *endio.Context, op *endio.Op) {
		var where *endio.OpError
		if !errors.Is(op.Err, syscall.EFBIG) {
			m.t.Errorf("write beyond the largest file: %v", op.Err)
		} else if errors.As(op.Err, &where) && where.Path != m.f.Name() {
			m.t.Errorf("write beyond the largest file: %v names another file", op.Err)
		}
	}})
	over, cancel := context.WithCancel(context.Background())
	cancel()
	submit(&endio.Op{Ctx: over, Done: func(_ *endio.Context, op *endio.Op) {
		if op.Err != nil && op.Err != context.Canceled {
			m.t.Errorf("read with a context that is over: %v", op.Err)
		}
	}})
	submit(&endio.Op{Done: func(c *endio.Context, _ *endio.Op) {
		_, err := m.f.ReadAt(m.e.AlignedBuffer(block), 0)
		if blocks := errors.Is(err, endio.ErrWouldBlock); blocks == c.MayBlock() {
			m.t.Errorf("%v: a blocking read in a handler: %v", c.Where(), err)
		}
		if err := m.e.Close(); err == nil {
			m.t.Errorf("%v: a handler has closed the engine", c.Where())
		}
	}})
}

// TestBadInputUnderLoad has many goroutines do everything wrong that can be done, in
// each context, while as many do good work on other parts of the same files, and check what they read.
func TestBadInputUnderLoad(t *testing.T) {
	var reported atomic.Int64
	o := endio.Options{Shards: 2, Depth: 8, OnPanic: func(endio.HandlerPanic) { reported.Add(1) }}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		reported.Store(0)
		const workers, rounds = 4, 12 // of each context and blocking calls; good ones as many as bad
		path := newFile(t, (1+4*workers)*16*block)
		m := &misuse{t: t, e: e, f: openPath(t, e, path, endio.Direct)}
		if m.f.Align().Offset == 1 {
			t.Skip("no direct I/O here")
		}
		other, err := endio.Open(endio.Options{Shards: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		m.foreign = openPath(t, other, path, endio.Direct)
		m.gone = openPath(t, e, path)
		if m.ro, err = e.OpenFile(path, os.O_RDONLY, 0, endio.Direct); err != nil {
			t.Fatal(err)
		}
		if err := m.gone.Close(); err != nil {
			t.Fatal(err)
		}
		var good, bad sync.WaitGroup
		var left atomic.Int32
		left.Store(4 * workers)
		for i := range 4 * workers {
			good.Go(func() {
				defer left.Add(-1)
				if err := goodWork(e, m.f, i, rounds); err != nil {
					t.Errorf("good goroutine %d: %v", i, err)
				}
			})
		}
		for i := range 3 * workers {
			bad.Go(func() { m.doWrong(i, &left) })
		}
		good.Wait()
		bad.Wait()
		if n := m.ran.Load(); n != 0 {
			t.Errorf("%d handlers of operations that were refused have run", n)
		}
		if n := e.Stats().Panics; reported.Load() != m.panics.Load() || n != m.panics.Load() {
			t.Errorf("%d panics were reported and %d counted, want %d", reported.Load(), n, m.panics.Load())
		}
		within(t, "the last request", func() { // a request counts as in flight until the handlers of its batch have run
			for e.Stats().InFlight != 0 {
				runtime.Gosched()
			}
		})
		head := e.AlignedBuffer(block)
		if _, err := m.f.ReadAt(head, 0); err != nil || !bytes.Equal(head, make([]byte, block)) {
			t.Errorf("the block that only refused operations aimed at has changed (%v)", err)
		}
	})
}

// doWrong does what is wrong, in one context, for as long as others do good work.
func (m *misuse) doWrong(i int, left *atomic.Int32) {
	in := contexts[i%3]
	q, err := m.e.NewQueue(endio.QueueOptions{Depth: 4})
	shut, err2 := m.e.NewQueue(endio.QueueOptions{Depth: 2})
	if err := errors.Join(err, err2); err != nil {
		m.t.Error(err)
		return
	}
	if err := shut.Close(); err != nil {
		m.t.Error(err)
	}
	buf := m.e.AlignedBuffer(block)
	for left.Load() > 0 {
		for name, fn := range m.refusals(q, shut, buf, in) {
			got, want := fn()
			if !errors.Is(got, want) || want == nil && got != nil {
				m.t.Errorf("%v: %s: %v, want %v", in, name, got, want)
			}
		}
		m.accepted(q, buf, in)
	}
	if err := q.Close(); err != nil {
		m.t.Error(err)
	}
}

// goodWork writes and reads back blocks of its own, in one context or by blocking calls.
func goodWork(e *endio.Engine, f *endio.File, i, rounds int) error {
	q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
	if err != nil {
		return err
	}
	defer q.Close()
	rng := rand.New(rand.NewPCG(7, uint64(i)))
	transfer := func(kind endio.Kind, buf []byte, off int64) error {
		if i%4 == 3 {
			if kind == endio.Write {
				_, err := f.WriteAt(buf, off)
				return err
			}
			_, err := f.ReadAt(buf, off)
			return err
		}
		done := make(chan error, 1)
		op := &endio.Op{File: f, Kind: kind, In: contexts[i%4], Buf: buf, Off: off, Done: func(_ *endio.Context, op *endio.Op) {
			if op.Err == nil && op.N != len(buf) {
				op.Err = fmt.Errorf("%d of %d bytes without an error", op.N, len(buf))
			}
			done <- op.Err
		}}
		if op.In == endio.Caller {
			if err := errors.Join(q.Submit(op), q.Drain()); err != nil {
				return err
			}
		} else if err := e.Submit(op); err != nil {
			return err
		}
		return <-done
	}
	buf, got := e.AlignedBuffer(block), e.AlignedBuffer(block)
	for round := range rounds {
		for b := range 16 {
			for j := range buf {
				buf[j] = byte(rng.Uint32())
			}
			off := int64((i+1)*16+b) * block
			if err := errors.Join(transfer(endio.Write, buf, off), transfer(endio.Read, got, off)); err != nil {
				return err
			}
			if !bytes.Equal(buf, got) {
				return fmt.Errorf("round %d: block %d is not what was written", round, b)
			}
		}
	}
	return nil
}
