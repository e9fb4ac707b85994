// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio"
	"endio/machine/host"
)

// ownQueue opens a queue that is the calling thread's own, and closes it when the test
// ends, unless that was done. It locks the goroutine.
func ownQueue(t *testing.T, e *endio.Engine, together int) *endio.Queue {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	q, err := e.NewQueue(endio.QueueOptions{Depth: 16, OwnThread: true, Together: together})
	if err != nil {
		t.Fatal(err)
	}
	if !q.OwnThread() {
		_ = q.Close()
		t.Skip("no ring of a thread's own here: want Linux 6.1 and io_uring")
	}
	return q
}

// owns runs a test on an engine with rings, with waits for one and for several
// completions.
func owns(t *testing.T, o endio.Options, fn func(t *testing.T, e *endio.Engine, together int)) {
	o.Backend = endio.IOUring
	for _, together := range []int{1, 8} {
		name := map[int]string{1: "one", 8: "together"}[together]
		t.Run(name, func(t *testing.T) {
			e, err := endio.Open(o)
			if err != nil {
				t.Skipf("no rings here: %v", err)
			}
			defer func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			fn(t, e, together)
		})
	}
}

func writes(e *endio.Engine, f *endio.File, n int, done func(*endio.Context, *endio.Op)) []*endio.Op {
	ops := make([]*endio.Op, n)
	for i := range ops {
		ops[i] = &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: int64(i) * block, Done: done}
	}
	return ops
}

// TestOwnThread keeps operations in flight by handlers that submit again, and reaps in
// all ways: without waiting, for one, for several, for all.
func TestOwnThread(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		left, ran := 2000, 0
		ops := writes(e, f, 16, func(_ *endio.Context, op *endio.Op) {
			ran++
			if op.Err != nil || op.N != block {
				t.Errorf("write = %d, %v", op.N, op.Err)
			}
			if left--; left >= 16 {
				op.Off = (op.Off + 16*block) % (64 * block)
				if err := q.Submit(op); err != nil {
					t.Error(err)
				}
			}
		})
		if err := q.Submit(ops...); err != nil {
			t.Fatal(err)
		}
		for i := 0; q.InFlight() > 0 && !t.Failed(); i++ {
			want := i % 6
			before := ran
			n, err := q.Reap(want)
			if err != nil || n != ran-before || n < want && q.InFlight() > 0 {
				t.Fatalf("Reap(%d) = %d, %v after %d handlers", want, n, err, ran-before)
			}
		}
		// Without ever waiting: each look must make the kernel post what is over.
		if err := q.Submit(ops...); err != nil {
			t.Fatal(err)
		}
		for q.InFlight() > 0 {
			if _, err := q.Reap(0); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadDrains has the owner truncate what it has in flight itself, which must
// not take it longer than the I/O.
func TestOwnThreadDrains(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		other, _ := open(t, e, 64*block, endio.Direct)
		ran := 0
		ops := writes(e, f, 16, func(_ *endio.Context, op *endio.Op) {
			ran++
			if op.Err != nil {
				t.Error(op.Err)
			}
		})
		for i := range 100 {
			if err := q.Submit(ops...); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Truncate(int64(65+i)*block), other.Drain()); err != nil {
				t.Fatal(err)
			}
			if ran != 16*i {
				t.Fatalf("%d handlers ran, %d of them in a call that is not the queue's", ran, ran-16*i)
			}
			if err := q.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadIsDrainedWhenItComes has another goroutine drain, and the owner away: the
// drain ends when the owner next calls its queue, for whatever reason, or waits in
// another call of the engine.
func TestOwnThreadIsDrainedWhenItComes(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		other, _ := open(t, e, 64*block, endio.Direct)
		ops := writes(e, f, 8, func(_ *endio.Context, op *endio.Op) {
			if op.Err != nil {
				t.Error(op.Err)
			}
		})
		comes := map[string]func() error{
			"reap": func() error { _, err := q.Reap(8); return err },
			"look": func() (err error) {
				for q.InFlight() > 0 && err == nil {
					_, err = q.Reap(0)
				}
				return err
			},
			"truncate": func() error { return f.Truncate(64 * block) },
			"held read": func() error {
				// Held back by the drain, which waits for the owner, who waits for the drain.
				_, err := f.ReadAt(e.AlignedBuffer(block), 0)
				return err
			},
			"close file": func() error { return other.Close() },
		}
		for _, name := range []string{"reap", "look", "truncate", "held read"} {
			if err := q.Submit(ops...); err != nil {
				t.Fatal(err)
			}
			drained := make(chan error, 1)
			go func() { drained <- f.Drain() }()
			time.Sleep(2 * time.Millisecond) // sleep: time for what must not happen
			select {
			case err := <-drained:
				t.Fatalf("%s: the drain returned %v while the owner was away, who alone can complete", name, err)
			default:
			}
			if err := comes[name](); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if name != "look" && name != "reap" {
				// The owner's own drain came behind the other, so that is over.
				if err := <-drained; err != nil {
					t.Error(err)
				}
			}
			if err := q.Drain(); err != nil {
				t.Fatal(err)
			}
			if name == "look" || name == "reap" {
				if err := <-drained; err != nil {
					t.Error(err)
				}
			}
		}
		if err := errors.Join(comes["close file"](), q.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadHeldBack lets others start what they had held back of an owner's, while it
// waits for that, and cancels from another goroutine.
func TestOwnThreadHeldBack(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		for range 100 {
			excluded, submitted := make(chan struct{}), make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			ran, cancelled := 0, 0
			ops := writes(e, f, 16, func(_ *endio.Context, op *endio.Op) {
				ran++
				if errors.Is(op.Err, context.Canceled) {
					cancelled++
				} else if op.Err != nil {
					t.Error(op.Err)
				}
			})
			ops[15].Ctx = ctx
			var wg sync.WaitGroup
			wg.Go(func() {
				admit := f.Exclude()
				close(excluded)
				<-submitted
				cancel()
				admit()
			})
			<-excluded
			if err := q.Submit(ops...); err != nil {
				t.Fatal(err)
			}
			close(submitted)
			if err := q.Drain(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if ran != 16 || cancelled > 1 {
				t.Fatalf("%d handlers ran, %d of them cancelled, want 16 and at most 1", ran, cancelled)
			}
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadMany has several owners and drains from all sides, each owner coming back
// to its queue, and files that come and go under the rings.
func TestOwnThreadMany(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		const owners, rounds = 4, 40
		shared, _ := open(t, e, 64*block, endio.Direct)
		path := shared.Name()
		var wg sync.WaitGroup
		for g := range owners {
			wg.Go(func() {
				q := ownQueueOf(t, e, together)
				if q == nil {
					return
				}
				for i := range rounds {
					f := openPath(t, e, path, endio.Direct)
					ran := 0
					ops := writes(e, f, 8, func(_ *endio.Context, op *endio.Op) {
						ran++ // held back by another owner's drain it finds the file closed
						if op.Err != nil && !errors.Is(op.Err, endio.ErrClosed) {
							t.Error(op.Err)
						}
					})
					if err := q.Submit(ops...); err != nil {
						t.Error(err)
					}
					closed := make(chan error, 1)
					switch (i + g) % 3 {
					case 0:
						closed <- f.Close() // over what is in flight
					case 1:
						go func() { closed <- f.Close() }() // by another goroutine
					case 2:
						if err := shared.Truncate(int64(64+i) * block); err != nil {
							t.Error(err)
						}
						closed <- f.Close()
					}
					if err := q.Drain(); err != nil || ran != 8 {
						t.Errorf("Drain = %v after %d handlers, want 8", err, ran)
					}
					if err := <-closed; err != nil {
						t.Error(err)
					}
				}
				if err := q.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// ownQueueOf is ownQueue for goroutines that a test has started.
func ownQueueOf(t *testing.T, e *endio.Engine, together int) *endio.Queue {
	runtime.LockOSThread() // until the goroutine ends, and with it the thread
	q, err := e.NewQueue(endio.QueueOptions{Depth: 8, OwnThread: true, Together: together})
	if err != nil {
		t.Error(err)
		return nil
	}
	return q
}

// TestOwnThreadMisuse calls a queue from where it must not be called: each call is
// refused with what to do, and nothing is lost by it.
func TestOwnThreadMisuse(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		ran := 0
		op := writes(e, f, 1, func(*endio.Context, *endio.Op) { ran++ })[0]
		if _, err := e.NewQueue(endio.QueueOptions{OwnThread: true}); err == nil || !strings.Contains(err.Error(), "of its own already") {
			t.Errorf("a second queue of this thread: %v", err)
		}
		for _, n := range []int{-1, 65} {
			if _, err := e.NewQueue(endio.QueueOptions{OwnThread: true, Together: n}); !errors.Is(err, endio.ErrInvalid) {
				t.Errorf("Together %d: %v", n, err)
			}
		}
		if _, err := e.NewQueue(endio.QueueOptions{Together: 2}); !errors.Is(err, endio.ErrInvalid) {
			t.Errorf("Together without OwnThread: %v", err)
		}
		if err := q.Submit(op); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.Flush()
			_, reap := q.Reap(1)
			for name, err := range map[string]error{"Submit": q.Submit(op), "Reap": reap, "Drain": q.Drain(), "Close": q.Close()} {
				if !errors.Is(err, endio.ErrThread) || !strings.Contains(err.Error(), "LockOSThread") {
					t.Errorf("%s on another thread: %v", name, err)
				}
			}
		}()
		<-done
		if err := q.Drain(); err != nil || ran != 1 || op.Err != nil || op.N != block {
			t.Errorf("Drain = %v, %d handlers, write %d, %v", err, ran, op.N, op.Err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		again := ownQueue(t, e, together) // the thread may have another now
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadIsReported has an owner that does not come while somebody drains: the
// watchdog names its queue.
func TestOwnThreadIsReported(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	var reported atomic.Bool
	logger := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		reported.Store(true)
		return log.Write(p)
	}), nil))
	owns(t, endio.Options{OldAfter: 5 * time.Millisecond, Logger: logger}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		reported.Store(false)
		op := writes(e, f, 1, func(*endio.Context, *endio.Op) {})[0]
		if err := q.Submit(op); err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		go func() { drained <- f.Drain() }()
		for !reported.Load() {
			time.Sleep(time.Millisecond) // sleep: nobody is told of what is logged
		}
		if err := errors.Join(q.Drain(), <-drained, q.Close()); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if text := log.String(); !strings.Contains(text, "only completed by") || !strings.Contains(text, "own_linux_test.go:") || !strings.Contains(text, ", thread ") {
			t.Errorf("the log does not say which queue: %s", text)
		}
		log.Reset()
	})
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

// TestOwnThreadEnds closes the queue of an owner whose goroutine has ended, which had
// nothing in flight.
func TestOwnThreadEnds(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		f, _ := open(t, e, 64*block, endio.Direct)
		queue := make(chan *endio.Queue)
		go func() {
			q := ownQueueOf(t, e, together)
			defer func() { queue <- q }()
			if q != nil {
				if err := errors.Join(q.Submit(writes(e, f, 4, func(*endio.Context, *endio.Op) {})...), q.Drain()); err != nil {
					t.Error(err)
				}
			}
		}()
		q := <-queue
		if q == nil {
			return
		}
		if err := e.Close(); err == nil || !strings.Contains(err.Error(), "queues are open") {
			t.Errorf("the engine's Close with the queue open: %v", err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadIsWoken has others start what they had held back of an owner's, while it
// waits for several completions that do not come: it must be brought back to submit that.
func TestOwnThreadIsWoken(t *testing.T) {
	var slow atomic.Pointer[endio.File]
	faults := &host.Faults{Seed: 1, Rules: []host.FaultRule{{Hold: true, P: 1, Match: func(r *host.Request) bool {
		f := slow.Load()
		return f != nil && r.File.F.Name() == f.Name()
	}}}}
	owns(t, endio.Options{Faults: faults}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		held, _ := open(t, e, 64*block, endio.Direct)
		other, _ := open(t, e, 64*block, endio.Direct)
		slow.Store(held)
		before := faults.Counts()["hold"]
		ran := 0
		count := func(*endio.Context, *endio.Op) { ran++ }
		late := writes(e, other, 1, count)[0]
		for i := range late.Buf {
			late.Buf[i] = 0xa5
		}
		excluded, submitted, written := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(written)
			admit := other.Exclude()
			close(excluded)
			<-submitted
			for faults.Counts()["hold"] < before+8 {
				runtime.Gosched() // polls: nobody is told of what is held
			}
			time.Sleep(5 * time.Millisecond) // sleep: so that the owner waits, if it does
			admit()
			got := make([]byte, block)
			for !bytes.Equal(got, late.Buf) {
				time.Sleep(time.Millisecond) // sleep: nobody is told of what is written; its completion may have to wait
				b, err := os.ReadFile(other.Name())
				if err != nil {
					t.Error(err)
					break
				}
				copy(got, b)
			}
			faults.Release()
		}()
		<-excluded
		if err := q.Submit(append(writes(e, held, 8, count), late)...); err != nil {
			t.Fatal(err)
		}
		close(submitted)
		if err := q.Drain(); err != nil || ran != 9 {
			t.Errorf("Drain = %v after %d handlers, want 9", err, ran)
		}
		<-written
		slow.Store(nil)
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOwnThreadWaitsForNoMore asks for more handlers than are to come.
func TestOwnThreadWaitsForNoMore(t *testing.T) {
	owns(t, endio.Options{}, func(t *testing.T, e *endio.Engine, together int) {
		q := ownQueue(t, e, together)
		f, _ := open(t, e, 64*block, endio.Direct)
		for n := range 16 {
			if err := q.Submit(writes(e, f, n, func(*endio.Context, *endio.Op) {})...); err != nil {
				t.Fatal(err)
			}
			if got, err := q.Reap(100); err != nil || got != n {
				t.Fatalf("Reap(100) = %d, %v, want %d", got, err, n)
			}
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}
