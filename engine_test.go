// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"endio"
)

// backends runs a test on each backend that this machine has.
func backends(t *testing.T, fn func(t *testing.T, e *endio.Engine)) {
	backendsWith(t, endio.Options{}, fn)
}

func backendsWith(t *testing.T, o endio.Options, fn func(t *testing.T, e *endio.Engine)) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		t.Run(string(b), func(t *testing.T) {
			o := o
			o.Backend = b
			e, err := endio.Open(o)
			if err != nil {
				t.Skipf("no engine on %s here: %v", b, err)
			}
			defer func() {
				if err := e.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}()
			fn(t, e)
		})
	}
}

// open opens a file of size random bytes in a directory of the test.
func open(t *testing.T, e *endio.Engine, size int, opts ...endio.FileOption) (*endio.File, []byte) {
	t.Helper()
	dir, err := os.MkdirTemp(".", "testdata-tmp-") // a real file system: /tmp may not do direct I/O
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "file")
	data := make([]byte, size)
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := e.OpenFile(path, os.O_RDWR, 0, opts...)
	if errors.Is(err, endio.ErrNoDirect) {
		t.Skipf("no direct I/O here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, data
}

const block = 4096

func TestContexts(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, data := open(t, e, 64*block, endio.Direct)
		for _, in := range []endio.Where{endio.Inline, endio.Task} {
			t.Run(in.String(), func(t *testing.T) {
				var wg sync.WaitGroup
				var bad atomic.Int32
				ops := make([]*endio.Op, 64)
				for i := range ops {
					wg.Add(1)
					ops[i] = &endio.Op{
						File: f, Kind: endio.Read, In: in, Buf: e.AlignedBuffer(block), Off: int64(i * block),
						Done: func(c *endio.Context, op *endio.Op) {
							defer wg.Done()
							if c.Where() != in || op.Err != nil || op.N != block || !bytes.Equal(op.Buf, data[op.Off:op.Off+block]) {
								bad.Add(1)
							}
						},
					}
				}
				if err := e.Submit(ops...); err != nil {
					t.Fatal(err)
				}
				wg.Wait()
				if n := bad.Load(); n != 0 {
					t.Errorf("%d of %d handlers saw a wrong context or result", n, len(ops))
				}
			})
		}
		t.Run("caller", func(t *testing.T) {
			q, err := e.NewQueue(endio.QueueOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ran := 0
			for i := range 64 {
				err := q.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: e.AlignedBuffer(block), Off: int64(i * block),
					Done: func(c *endio.Context, op *endio.Op) {
						ran++
						if c.Where() != endio.Caller || op.Err != nil || !bytes.Equal(op.Buf, data[op.Off:op.Off+block]) {
							t.Errorf("handler of block %d: context %v, error %v", op.Off/block, c.Where(), op.Err)
						}
					}})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Drain(); err != nil || ran != 64 {
				t.Errorf("Drain = %v after %d handlers, want nil after 64", err, ran)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestBlocking(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, data := open(t, e, 64*block, endio.Direct)
		var wg sync.WaitGroup
		for g := range 64 {
			wg.Go(func() {
				buf := e.AlignedBuffer(block)
				for i := range 50 {
					at := int64((g*7+i)%64) * block
					if n, err := f.ReadAt(buf, at); n != block || err != nil || !bytes.Equal(buf, data[at:at+block]) {
						t.Errorf("ReadAt(%d) = %d, %v, or wrong data", at, n, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n, err := f.ReadAt(e.AlignedBuffer(2*block), 63*block); n != block || err != io.EOF {
			t.Errorf("ReadAt over the end = %d, %v, want %d, EOF", n, err, block)
		}
	})
}

// TestDrainByOwner is the pattern of the deadlock of October 2023: a task has
// direct writes in flight whose completions it runs itself, and waits for them in
// fallocate and truncate.
func TestDrainByOwner(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		q, err := e.NewQueue(endio.QueueOptions{Depth: 16})
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		ops := make([]*endio.Op, 16)
		for i := range ops {
			ops[i] = &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: int64(i * block),
				Done: func(_ *endio.Context, op *endio.Op) {
					ran++
					if op.Err != nil {
						t.Error(op.Err)
					}
				}}
		}
		const rounds = 100
		for i := range rounds {
			if err := q.Submit(ops...); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				err = f.Fallocate(endio.FallocAllocate, 0, int64(65+i)*block)
			} else {
				err = f.Truncate(int64(65+i) * block)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if ran != rounds*len(ops) {
			t.Errorf("%d handlers ran, want %d", ran, rounds*len(ops))
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestDrainOthers drains what another goroutine has in flight on its queue and does
// not reap.
func TestDrainOthers(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		q, err := e.NewQueue(endio.QueueOptions{})
		if err != nil {
			t.Fatal(err)
		}
		done := false
		op := &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Done: func(*endio.Context, *endio.Op) { done = true }}
		for range 200 {
			if err := q.Submit(op); err != nil {
				t.Fatal(err)
			}
			drained := make(chan error)
			go func() { drained <- f.Drain() }()
			if err := <-drained; err != nil {
				t.Fatal(err)
			}
			if done {
				t.Fatal("the handler ran without its owner")
			}
			if err := q.Drain(); err != nil || !done {
				t.Fatalf("Drain = %v, handler ran: %v", err, done)
			}
			done = false
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestInlineMustNotBlock(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block, endio.Direct)
		errs := make(chan error, 8)
		buf := e.AlignedBuffer(block)
		err := e.Submit(&endio.Op{File: f, Kind: endio.Read, In: endio.Inline, Buf: e.AlignedBuffer(block),
			Done: func(*endio.Context, *endio.Op) {
				_, err := f.ReadAt(buf, 0)
				errs <- err
				_, err = f.WriteAt(buf, 0)
				errs <- err
				errs <- f.Truncate(0)
				errs <- f.Drain()
				errs <- f.Sync()
				errs <- f.Close()
				errs <- e.Close()
				errs <- nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 7 {
			if err := <-errs; !errors.Is(err, endio.ErrWouldBlock) {
				t.Errorf("call %d in an Inline handler = %v, want ErrWouldBlock", i, err)
			}
		}
		<-errs
	})
}

func TestTaskMayBlock(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 16*block, endio.Direct)
		done := make(chan error, 1)
		err := e.Submit(&endio.Op{File: f, Kind: endio.Read, In: endio.Inline, Buf: e.AlignedBuffer(block),
			Done: func(c *endio.Context, op *endio.Op) {
				if c.CompleteInTask(op) {
					return
				}
				if !c.MayBlock() {
					done <- errors.New("deferred, and still must not block")
					return
				}
				_, err := f.WriteAt(op.Buf, block)
				done <- errors.Join(err, f.Truncate(8*block), f.Drain())
			}})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestBlockedHandler has a Task handler that waits for one that is completed behind
// it on the same shard.
func TestBlockedHandler(t *testing.T) {
	backendsWith(t, endio.Options{Shards: 1}, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 16*block, endio.Direct)
		const n = 100
		release := make(chan struct{})
		var ended sync.WaitGroup
		for i := range n {
			ended.Add(1)
			err := e.Submit(&endio.Op{File: f, Kind: endio.Read, In: endio.Task, Buf: e.AlignedBuffer(block),
				Done: func(*endio.Context, *endio.Op) {
					defer ended.Done()
					if i == n-1 {
						close(release)
					}
					<-release
				}})
			if err != nil {
				t.Fatal(err)
			}
		}
		ended.Wait()
	})
}

func TestPanic(t *testing.T) {
	got := make(chan endio.HandlerPanic, 1)
	backendsWith(t, endio.Options{OnPanic: func(p endio.HandlerPanic) { got <- p }}, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block)
		for _, in := range []endio.Where{endio.Inline, endio.Task} {
			err := e.Submit(&endio.Op{File: f, Kind: endio.Read, In: in, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) { panic("boom") }})
			if err != nil {
				t.Fatal(err)
			}
			if p := <-got; p.Value != "boom" || len(p.Stack) == 0 {
				t.Errorf("%v: reported %+v", in, p)
			}
			if _, err := f.ReadAt(make([]byte, 16), 0); err != nil {
				t.Errorf("%v: after the panic: %v", in, err)
			}
		}
	})
}

func TestSlowInline(t *testing.T) {
	got := make(chan endio.SlowHandler, 1)
	o := endio.Options{SlowInline: 5 * time.Millisecond, OnSlowHandler: func(s endio.SlowHandler) { got <- s }}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block)
		release := make(chan struct{})
		err := e.Submit(&endio.Op{File: f, Kind: endio.Read, In: endio.Inline, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) { <-release }})
		if err != nil {
			t.Fatal(err)
		}
		if s := <-got; s.For < 5*time.Millisecond || s.Handler == "" || s.Path != f.Name() {
			t.Errorf("reported %+v", s)
		}
		close(release)
	})
}

func TestBadInput(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block, endio.Direct)
		buf := e.AlignedBuffer(block)
		call := func(n int, err error) error { return err }
		for _, tt := range []struct {
			name string
			err  error
			want error
		}{
			{"unaligned offset", call(f.ReadAt(buf, 1)), endio.ErrAlignment},
			{"unaligned length", call(f.ReadAt(buf[:1], 0)), endio.ErrAlignment},
			{"unaligned buffer", call(f.WriteAt(e.AlignedBuffer(2 * block)[1:block+1], 0)), endio.ErrAlignment},
			{"negative offset", call(f.ReadAt(buf, -block)), endio.ErrInvalid},
			{"overflow", call(f.WriteAt(buf, 1<<63-block)), endio.ErrInvalid},
			{"negative size", f.Truncate(-1), endio.ErrInvalid},
			{"no handler", e.Submit(&endio.Op{File: f, Buf: buf}), endio.ErrNoHandler},
			{"empty fallocate", f.Fallocate(0, 0, 0), endio.ErrInvalid},
			{"too large", call(f.WriteAt(buf, 1<<62)), syscall.EFBIG},
		} {
			if !errors.Is(tt.err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
			}
		}
		if _, err := e.OpenFile(".", os.O_RDONLY, 0); !errors.Is(err, syscall.EISDIR) {
			t.Errorf("open of a directory: %v", err)
		}
		if _, err := e.OpenFile("no such file", os.O_RDONLY, 0); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("open of a missing file: %v", err)
		}
		ro, err := e.OpenFile(f.Name(), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ro.WriteAt(buf, 0); !errors.Is(err, endio.ErrReadOnly) {
			t.Errorf("write to a read-only file: %v", err)
		}
		if err := ro.Truncate(0); !errors.Is(err, endio.ErrReadOnly) {
			t.Errorf("truncate of a read-only file: %v", err)
		}
		if err := ro.Close(); err != nil {
			t.Error(err)
		}
		if _, err := ro.ReadAt(buf, 0); !errors.Is(err, endio.ErrClosed) {
			t.Errorf("read from a closed file: %v", err)
		}
	})
}

var _ = fmt.Sprint

// TestNilOperation: a nil operation is refused, and with it the good one before it, which can
// be submitted again.
func TestNilOperation(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block, endio.Direct)
		q, err := e.NewQueue(endio.QueueOptions{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{}, 1)
		good := &endio.Op{File: f, Buf: e.AlignedBuffer(block), Done: func(*endio.Context, *endio.Op) { done <- struct{}{} }}
		for name, submit := range map[string]func(...*endio.Op) error{"engine": e.Submit, "queue": q.Submit} {
			good.In = endio.Task // a queue makes it Caller
			for _, ops := range [][]*endio.Op{{nil}, {good, nil}} {
				if err := submit(ops...); !errors.Is(err, endio.ErrInvalid) || !strings.Contains(err.Error(), "an operation is nil") {
					t.Errorf("%s: %v, want %v", name, err, endio.ErrInvalid)
				}
			}
			if err := submit(good); err != nil {
				t.Errorf("%s: the good operation again: %v", name, err)
			}
			if err := q.Drain(); err != nil {
				t.Error(err)
			}
			<-done
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}
