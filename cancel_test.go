// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"endio"
	"endio/machine/host"
)

// soon is how many seconds a test waits for what has to come at once: it only tells a hang
// from a slow machine. They are counted one by one, so that one in which the process, or the
// machine, stood still counts once.
const soon = 30

// within fails the test, with the stacks of all goroutines, if fn does not return.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	for range soon {
		select {
		case <-done:
			return
		case <-time.After(time.Second):
		}
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%s does not end\n%s", what, buf[:runtime.Stack(buf, true)])
}

// heldKinds returns operations that an exclusive section holds back: a read, a write, a
// sync, and a write that has to have the inode for itself, if the file knows such.
func heldKinds(e *endio.Engine, f *endio.File) []*endio.Op {
	ops := []*endio.Op{
		{File: f, Kind: endio.Read, Buf: e.AlignedBuffer(block)},
		{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: block},
		{File: f, Kind: endio.Sync},
	}
	if part := f.Align().Offset; part < block {
		ops = append(ops, &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(part), Off: int64(part)})
	}
	return ops
}

// TestCancelHeld cancels operations that an exclusive section holds back: they
// complete with the error of their context while the section goes on, and those that
// nobody has cancelled wait for its end.
func TestCancelHeld(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		for _, in := range contexts {
			for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
				for i, op := range heldKinds(e, f) {
					t.Run(fmt.Sprint(in, "/", cause, "/", op.Kind, i), func(t *testing.T) { cancelHeld(t, e, f, in, cause, op) })
				}
			}
		}
		if n := f.Begun(); n != 0 {
			t.Errorf("%d operations have begun and not ended", n)
		}
	})
}

func cancelHeld(t *testing.T, e *endio.Engine, f *endio.File, in endio.Where, cause error, op *endio.Op) {
	ctx, cancel := context.WithCancel(context.Background())
	if cause == context.DeadlineExceeded {
		ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	}
	defer cancel()
	admit := f.Exclude()
	var q *endio.Queue
	submit := e.Submit
	if in == endio.Caller {
		var err error
		if q, err = e.NewQueue(endio.QueueOptions{Depth: 4}); err != nil {
			t.Fatal(err)
		}
		submit = q.Submit
	}
	var runs atomic.Int32
	done := make(chan struct{})
	op.In, op.Ctx = in, ctx
	op.Done = func(c *endio.Context, op *endio.Op) {
		if runs.Add(1) != 1 || c.Where() != in || !errors.Is(op.Err, cause) || op.N != 0 {
			t.Errorf("call %d of the handler, in the %v context: %d, %v, want %v, %v", runs.Load(), c.Where(), op.N, op.Err, in, cause)
		}
		close(done)
	}
	stays := make(chan error, 1)
	other := &endio.Op{File: f, Kind: endio.Read, In: endio.Task, Buf: e.AlignedBuffer(block),
		Done: func(_ *endio.Context, op *endio.Op) { stays <- op.Err }}
	if err := errors.Join(submit(op), e.Submit(other)); err != nil {
		t.Fatal(err)
	}
	if cause == context.Canceled {
		held := 0
		for _, l := range e.Flights() {
			if l.Held && l.Path == f.Name() && !l.Started {
				held++
			}
		}
		if held != 2 {
			t.Errorf("%d operations are listed as held back, want 2: %+v", held, e.Flights())
		}
		cancel()
	}
	within(t, "an operation that was cancelled while it was held back", func() {
		if q != nil {
			if err := q.Drain(); err != nil {
				t.Error(err)
			}
		}
		<-done
	})
	select {
	case err := <-stays:
		t.Errorf("an operation passed the exclusive section (%v)", err)
	default:
	}
	admit()
	within(t, "what was held back", func() {
		if err := <-stays; err != nil {
			t.Error(err)
		}
	})
	if q != nil {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := f.Drain(); err != nil || runs.Load() != 1 {
		t.Errorf("Drain = %v after %d calls of the handler, want 1", err, runs.Load())
	}
}

// TestCancelBeforeHeld submits operations that are cancelled already, or meanwhile:
// the cancel may come before there is anything to take back.
func TestCancelBeforeHeld(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		admit := f.Exclude()
		defer admit()
		for i := range 2000 {
			ops := heldKinds(e, f)
			op := ops[i%len(ops)]
			done := make(chan struct{})
			op.Ctx, op.In = ctx, contexts[i%2]
			op.Done = func(*endio.Context, *endio.Op) { close(done) }
			if err := e.Submit(op); err != nil {
				t.Fatal(err)
			}
			within(t, "an operation that was cancelled before it was held back", func() { <-done })
			if !errors.Is(op.Err, context.Canceled) {
				t.Errorf("%v: %v, want %v", op.Kind, op.Err, context.Canceled)
			}
		}
	})
}

// TestCancelHeldRaces lets cancels race with submits and with the ends of exclusive
// sections: each operation ends once, with its data or the error.
func TestCancelHeldRaces(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		q, err := e.NewQueue(endio.QueueOptions{Depth: 8})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(4, 4))
		var fine, cancelled atomic.Int64
		for range 200 {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			pause := func(n int) {
				for range n {
					runtime.Gosched()
				}
			}
			before, until := rng.IntN(200), rng.IntN(200)
			excluded := make(chan struct{})
			wg.Go(func() {
				admit := f.Exclude()
				close(excluded)
				pause(until)
				admit()
			})
			wg.Go(func() {
				pause(before)
				cancel()
			})
			<-excluded
			for i, op := range append(heldKinds(e, f), heldKinds(e, f)...) {
				runs := 0
				wg.Add(1)
				op.Ctx, op.In = ctx, contexts[i%3]
				op.Done = func(_ *endio.Context, op *endio.Op) {
					defer wg.Done()
					if runs++; runs != 1 {
						t.Error("a handler was called twice")
					}
					switch {
					case op.Err == nil:
						fine.Add(1)
					case errors.Is(op.Err, context.Canceled):
						cancelled.Add(1)
					default:
						t.Error(op.Err)
					}
				}
				if op.In == endio.Caller {
					err = q.Submit(op)
				} else {
					err = e.Submit(op)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			within(t, "a round of held operations and cancels", func() {
				if err := q.Drain(); err != nil {
					t.Error(err)
				}
				wg.Wait()
			})
			cancel()
			if err := f.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if n := f.Begun(); n != 0 {
			t.Errorf("%d operations have begun and not ended", n)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("%d ended with their data, %d were cancelled", fine.Load(), cancelled.Load())
	})
}

// TestCancelInLine cancels operations that are in line behind others that get no answer:
// they complete with the error of their context meanwhile.
func TestCancelInLine(t *testing.T) {
	faults := &host.Faults{}
	backendsWith(t, endio.Options{Faults: faults, Depth: 2, Shards: 1, MaxShards: 1}, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block)
		for _, in := range contexts {
			t.Run(in.String(), func(t *testing.T) { cancelInLine(t, e, f, faults, in) })
		}
	})
}

func cancelInLine(t *testing.T, e *endio.Engine, f *endio.File, faults *host.Faults, in endio.Where) {
	submit, reap := e.Submit, func() (int, error) { return 0, nil }
	if in == endio.Caller {
		q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		submit, reap = q.Submit, func() (int, error) { return q.Reap(3) }
	}
	faults.Hold()
	defer faults.Release()
	var ops []*endio.Op
	var cancels []context.CancelFunc
	cancelled := make(chan error, 8)
	for i := range cap(cancelled) {
		op := &endio.Op{File: f, Kind: endio.Read, In: in, Buf: make([]byte, block), Done: func(*endio.Context, *endio.Op) {}}
		if i >= 2 && i%2 == 0 { // behind two that get no answer, and among those that stay
			ctx, cancel := context.WithCancel(context.Background())
			op.Ctx, cancels = ctx, append(cancels, cancel)
			op.Done = func(c *endio.Context, op *endio.Op) {
				if c.Where() != in {
					t.Errorf("a handler in the %v context, want %v", c.Where(), in)
				}
				cancelled <- op.Err
			}
		}
		ops = append(ops, op)
	}
	if err := submit(ops...); err != nil {
		t.Fatal(err)
	}
	for _, cancel := range cancels {
		cancel()
	}
	within(t, "an operation that was cancelled in line", func() {
		if n, err := reap(); err != nil || in == endio.Caller && n != len(cancels) {
			t.Errorf("Reap = %d, %v, want %d handlers", n, err, len(cancels))
		}
		for range cancels {
			if err := <-cancelled; !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled operation = %v, want %v", err, context.Canceled)
			}
		}
	})
}

// TestCancelBeforeRetry cancels an operation that the kernel refuses for the moment: it is not tried again.
func TestCancelBeforeRetry(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EAGAIN, syscall.EINTR} {
		var cancel atomic.Pointer[context.CancelFunc] // of the operation that has not been refused yet
		refuse := func(*host.Request) bool {
			stop := cancel.Swap(nil)
			if stop != nil {
				(*stop)()
			}
			return stop != nil
		}
		faults := &host.Faults{Rules: []host.FaultRule{{Ops: []host.Op{host.OpRead}, Errno: errno, P: 1, Match: refuse}}}
		backendsWith(t, endio.Options{Faults: faults}, func(t *testing.T, e *endio.Engine) {
			f, _ := open(t, e, 4*block)
			ctx, stop := context.WithCancel(context.Background())
			cancel.Store(&stop)
			done := make(chan error, 1)
			op := &endio.Op{File: f, Kind: endio.Read, Buf: e.AlignedBuffer(block), In: endio.Task, Ctx: ctx, Done: func(_ *endio.Context, op *endio.Op) { done <- op.Err }}
			if err := e.Submit(op); err != nil {
				t.Fatal(err)
			}
			within(t, "the operation", func() {
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("after %v: %v, want %v", errno, err, context.Canceled)
				}
			})
		})
	}
}
