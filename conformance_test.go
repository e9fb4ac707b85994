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
	"testing"
	"time"

	"endio"
	"endio/internal/race"
	"endio/lockdep"
)

// run does one operation in a context and waits for its handler.
func run(t *testing.T, e *endio.Engine, in endio.Where, op *endio.Op) {
	t.Helper()
	op.In = in
	calls, done := 0, make(chan struct{}, 1)
	op.Done = func(c *endio.Context, got *endio.Op) {
		calls++
		if c.Where() != in {
			t.Errorf("%v at %d: handler in the %v context, want %v", op.Kind, op.Off, c.Where(), in)
		}
		if got != op {
			t.Errorf("the handler got another Op")
		}
		done <- struct{}{}
	}
	if in != endio.Caller {
		if err := e.Submit(op); err != nil {
			t.Fatal(err)
		}
		<-done
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := e.NewQueue(endio.QueueOptions{OwnThread: ownTurns.Add(1)%2 == 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Submit(op); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil || calls != 1 {
		t.Errorf("Close = %v after %d handlers, want nil after 1", err, calls)
	}
}

// ownTurns makes every other queue of run one of its own thread.
var ownTurns atomic.Int32

var contexts = []endio.Where{endio.Inline, endio.Task, endio.Caller}

// TestOddWrites writes pieces of any offset and length to a buffered file and to a
// slice, in each context, and compares.
func TestOddWrites(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, model := open(t, e, 3*block+17)
		rng := rand.New(rand.NewPCG(2, 3))
		for i := range 60 {
			off := rng.IntN(len(model) + 5000)
			p := make([]byte, rng.IntN(9000))
			for j := range p {
				p[j] = byte(rng.Uint32())
			}
			if grow := off + len(p) - len(model); grow > 0 && len(p) > 0 {
				model = append(model, make([]byte, grow)...)
			}
			if len(p) > 0 {
				copy(model[off:], p)
			}
			op := &endio.Op{File: f, Kind: endio.Write, Buf: p, Off: int64(off)}
			run(t, e, contexts[i%3], op)
			if op.Err != nil || op.N != len(p) {
				t.Fatalf("write of %d at %d = %d, %v", len(p), off, op.N, op.Err)
			}
		}
		got := make([]byte, len(model)+100)
		n, err := f.ReadAt(got, 0)
		if n != len(model) || err != io.EOF || !bytes.Equal(got[:n], model) {
			t.Errorf("ReadAt = %d, %v, want %d, EOF; equal %v", n, err, len(model), bytes.Equal(got[:n], model))
		}
	})
}

// TestPartialBlocks has many writers of sectors within the same blocks of a direct
// file: a file system that reads, changes and writes back a block would lose one
// of two such writes that overlap.
func TestPartialBlocks(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 0, endio.Direct)
		unit := f.Align().Offset
		if unit >= block {
			t.Skipf("direct I/O here is in blocks of %d: no part of one can be written", unit)
		}
		const rounds = 8
		n := 4 * block / unit
		for round := range rounds {
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					p := e.AlignedBuffer(unit)
					for j := range p {
						p[j] = byte(i + round)
					}
					if _, err := f.WriteAt(p, int64(i*unit)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got := e.AlignedBuffer(4 * block)
			if _, err := f.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if want := bytes.Repeat([]byte{byte(i + round)}, unit); !bytes.Equal(got[i*unit:(i+1)*unit], want) {
					t.Fatalf("round %d: sector %d was lost", round, i)
				}
			}
		}
	})
}

// TestVectored transfers lists of buffers of odd lengths, empty ones among them,
// and more than the kernel takes at a time.
func TestVectored(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 0)
		var bufs [][]byte
		var all []byte
		for i := range 2500 {
			b := bytes.Repeat([]byte{byte(i)}, i%13)
			bufs = append(bufs, b)
			all = append(all, b...)
		}
		for _, in := range contexts {
			op := &endio.Op{File: f, Kind: endio.Write, Bufs: bufs, Off: 100}
			run(t, e, in, op)
			if op.Err != nil || op.N != len(all) {
				t.Fatalf("%v: vectored write = %d, %v, want %d", in, op.N, op.Err, len(all))
			}
			into := [][]byte{make([]byte, 1000), nil, make([]byte, len(all)-1000), make([]byte, 50)}
			op = &endio.Op{File: f, Kind: endio.Read, Bufs: into, Off: 100}
			run(t, e, in, op)
			if op.N != len(all) || op.Err != io.EOF {
				t.Errorf("%v: vectored read = %d, %v, want %d, EOF", in, op.N, op.Err, len(all))
			}
			if got := append(append([]byte{}, into[0]...), into[2]...); !bytes.Equal(got, all) {
				t.Errorf("%v: vectored read has other data", in)
			}
			if err := f.Truncate(0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestLarge transfers 64 MiB at once.
func TestLarge(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 0)
		p := make([]byte, 64<<20)
		for i := range p {
			p[i] = byte(i * 7 >> 3)
		}
		op := &endio.Op{File: f, Kind: endio.Write, Buf: p, Off: 5}
		run(t, e, endio.Task, op)
		if op.N != len(p) || op.Err != nil {
			t.Fatalf("write = %d, %v", op.N, op.Err)
		}
		got := make([]byte, len(p))
		if n, err := f.ReadAt(got, 5); n != len(p) || err != nil || !bytes.Equal(got, p) {
			t.Errorf("ReadAt = %d, %v, or other data", n, err)
		}
	})
}

// TestCancel cancels operations before they are submitted, and while most wait for
// their turn in a queue of depth 2. Each ends once, with its data or the error.
func TestCancel(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, data := open(t, e, 64*block, endio.Direct)
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		late, cancelLate := context.WithDeadline(context.Background(), time.Unix(1, 0))
		defer cancelLate()
		for _, in := range contexts {
			for ctx, want := range map[context.Context]error{gone: context.Canceled, late: context.DeadlineExceeded} {
				buf := e.AlignedBuffer(block)
				op := &endio.Op{File: f, Kind: endio.Read, Buf: buf, Ctx: ctx}
				run(t, e, in, op)
				if !errors.Is(op.Err, want) || op.N != 0 || !bytes.Equal(buf, make([]byte, block)) {
					t.Errorf("%v: a read that was cancelled before = %d, %v, want 0, %v", in, op.N, op.Err, want)
				}
			}
		}
		const n = 1000
		q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		times := make([]int, n)
		cancelled := 0
		for i := range n {
			op := &endio.Op{File: f, Kind: endio.Read, Buf: e.AlignedBuffer(block), Off: int64(i % 64 * block), Ctx: ctx}
			op.Done = func(_ *endio.Context, op *endio.Op) {
				times[i]++
				switch {
				case errors.Is(op.Err, context.Canceled):
					cancelled++
				case op.Err != nil || !bytes.Equal(op.Buf, data[op.Off:op.Off+block]):
					t.Errorf("read %d = %d, %v, or wrong data", i, op.N, op.Err)
				}
			}
			if err := q.Submit(op); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		for i, k := range times {
			if k != 1 {
				t.Errorf("handler %d was called %d times", i, k)
			}
		}
		t.Logf("%d of %d were cancelled", cancelled, n)
	})
}

// TestSharedInode opens one file twice, by two names: a drain through one waits for
// what is in flight through the other.
func TestSharedInode(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 0, endio.Direct)
		if err := os.Link(f.Name(), f.Name()+".link"); err != nil {
			t.Skipf("no hard links here: %v", err)
		}
		g, err := e.OpenFile(f.Name()+".link", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		testDrainThrough(t, e, f, g)
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		// What is in flight on f is no longer g's matter, but f is still open.
		testDrainThrough(t, e, f, f)
	})
}

// testDrainThrough has writes in flight on f and drains g, the same inode: when
// that returns, none is in flight. Each write has a time at which it was over.
func testDrainThrough(t *testing.T, e *endio.Engine, f, g *endio.File) {
	t.Helper()
	q, err := e.NewQueue(endio.QueueOptions{Depth: 64})
	if err != nil {
		t.Fatal(err)
	}
	ops := make([]*endio.Op, 64)
	for i := range ops {
		ops[i] = &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(16 * block), Off: int64(i*16) * block, Stamp: true,
			Done: func(_ *endio.Context, op *endio.Op) {
				if op.Err != nil {
					t.Error(op.Err)
				}
			}}
	}
	for round := range 20 {
		if err := q.Submit(ops...); err != nil {
			t.Fatal(err)
		}
		drains := []func() error{
			g.Drain,
			func() error { return g.Truncate(64 * 16 * block) },
			func() error { return g.PunchHole(0, block) },
		}
		if unit := g.Align().Offset; unit > 1 && unit < block {
			// A direct write of a part of a block drains too.
			drains = append(drains, func() error {
				_, err := g.WriteAt(e.AlignedBuffer(unit), int64(unit))
				return err
			})
		}
		if err := drains[round%len(drains)](); err != nil && !unsupported(err) {
			t.Fatal(err)
		}
		drained := time.Now()
		if err := q.Drain(); err != nil {
			t.Fatal(err)
		}
		for i, op := range ops {
			if op.Completed.IsZero() || op.Completed.After(drained) {
				t.Fatalf("round %d: write %d was over %v after the drain", round, i, op.Completed.Sub(drained))
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// unsupported reports whether a file system or system lacks what was asked of it.
func unsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// TestCloseInFlight closes a file while I/O is in flight on it and more is
// submitted. What was accepted completes, with its data or ErrClosed.
func TestCloseInFlight(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		for range 10 {
			f, _ := open(t, e, 64*block, endio.Direct)
			var accepted, completed, closed atomic.Int64
			var wg sync.WaitGroup
			begun := make(chan struct{}, 4)
			for g := range 4 {
				wg.Go(func() {
					for i := 0; ; i++ {
						in := contexts[g%2]
						op := &endio.Op{File: f, Kind: endio.Read, In: in, Buf: e.AlignedBuffer(block), Off: int64(i%64) * block,
							Done: func(_ *endio.Context, op *endio.Op) {
								completed.Add(1)
								if errors.Is(op.Err, endio.ErrClosed) {
									closed.Add(1)
								} else if op.Err != nil {
									t.Error(op.Err)
								}
							}}
						err := e.Submit(op)
						if errors.Is(err, endio.ErrClosed) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						accepted.Add(1)
						if i == 20 {
							begun <- struct{}{}
						}
					}
				})
			}
			for range 4 {
				<-begun
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			// Handlers may still run; when the engine is closed, they have.
			t.Cleanup(func() {
				if a, c := accepted.Load(), completed.Load(); a != c {
					t.Errorf("%d operations were accepted and %d completed", a, c)
				}
			})
		}
	})
}

// TestAllContextsAtOnce has everything happen to one file together: operations in
// each context, blocking calls, sync, drains, holes and changes of size. Each of
// the goroutines has blocks of its own and knows what must be in them.
func TestAllContextsAtOnce(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		const owners, rounds = 6, 60
		f, _ := open(t, e, owners*block, endio.Direct)
		var wg sync.WaitGroup
		for g := range owners {
			wg.Go(func() {
				if err := ownBlock(e, f, g, rounds); err != nil {
					t.Errorf("owner %d: %v", g, err)
				}
			})
		}
		wg.Go(func() {
			for i := range rounds {
				size := int64(owners+i%4) * block
				err := f.Truncate(size)
				if i%3 == 1 {
					err = errors.Join(err, f.PunchHole((owners+1)*block, block))
				}
				if err == nil && i%3 == 2 {
					err = f.Sync()
				}
				if err != nil && !unsupported(err) {
					t.Error(err)
				}
			}
		})
		wg.Wait()
	})
}

// ownBlock writes block g of f and reads it back, again and again.
func ownBlock(e *endio.Engine, f *endio.File, g, rounds int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := e.NewQueue(endio.QueueOptions{OwnThread: g%2 == 1}) // one of two Callers
	if err != nil {
		return err
	}
	in := contexts[g%3]
	handled := 0
	done := make(chan struct{}, 1)
	op := &endio.Op{File: f, Off: int64(g) * block, Buf: e.AlignedBuffer(block), In: in}
	op.Done = func(c *endio.Context, _ *endio.Op) {
		handled++
		if c.Where() != endio.Caller {
			done <- struct{}{}
		}
	}
	do := func(kind endio.Kind) error {
		op.Kind = kind
		if in != endio.Caller {
			if err := e.Submit(op); err != nil {
				return err
			}
			<-done
			return op.Err
		}
		if err := q.Submit(op); err != nil {
			return err
		}
		return errors.Join(q.Drain(), op.Err)
	}
	for i := range rounds {
		for j := range op.Buf {
			op.Buf[j] = byte(g*31 + i)
		}
		if err := do(endio.Write); err != nil {
			return err
		}
		clear(op.Buf)
		if err := do(endio.Read); err != nil {
			return err
		}
		if want := bytes.Repeat([]byte{byte(g*31 + i)}, block); !bytes.Equal(op.Buf, want) {
			return fmt.Errorf("round %d: the block holds %d, want %d", i, op.Buf[0], want[0])
		}
	}
	if handled != 2*rounds {
		return fmt.Errorf("%d handlers ran, want %d", handled, 2*rounds)
	}
	return q.Close()
}

// TestNoAllocations counts allocations for each operation once things are warm. All of the
// process are counted, so the number of shards is given: an engine that follows the
// processors reads files of /proc each second, some 100 allocations that no operation makes.
func TestNoAllocations(t *testing.T) {
	if race.Enabled || lockdep.Enabled {
		t.Skip("the race detector and the validator allocate")
	}
	backendsWith(t, endio.Options{Shards: 2}, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		measure := func(name string, ops float64, fn func()) {
			t.Helper()
			for range 200 {
				fn()
			}
			if got := testing.AllocsPerRun(200, fn) / ops; got != 0 {
				t.Errorf("%s: %v allocations for each operation, want 0", name, got)
			}
		}
		for _, kind := range []endio.Kind{endio.Read, endio.Write} {
			for _, in := range contexts[:2] {
				done := make(chan struct{}, 1)
				op := &endio.Op{File: f, Kind: kind, In: in, Buf: e.AlignedBuffer(block), Done: func(*endio.Context, *endio.Op) { done <- struct{}{} }}
				measure(fmt.Sprint(in, " ", kind), 1, func() {
					if err := e.Submit(op); err != nil {
						t.Fatal(err)
					}
					<-done
				})
			}
			ops := make([]*endio.Op, 16)
			for i := range ops {
				ops[i] = &endio.Op{File: f, Kind: kind, Buf: e.AlignedBuffer(block), Off: int64(i * block), Done: func(*endio.Context, *endio.Op) {}}
			}
			runtime.LockOSThread()
			for _, o := range []endio.QueueOptions{{}, {OwnThread: true}, {OwnThread: true, Together: 4}} {
				q, err := e.NewQueue(o)
				if err != nil {
					t.Fatal(err)
				}
				measure(fmt.Sprintf("caller %v %+v", kind, o), 16, func() {
					if err := errors.Join(q.Submit(ops...), q.Drain()); err != nil {
						t.Fatal(err)
					}
				})
				if err := q.Close(); err != nil {
					t.Error(err)
				}
			}
			runtime.UnlockOSThread()
		}
		buf := e.AlignedBuffer(block)
		measure("ReadAt", 1, func() {
			if _, err := f.ReadAt(buf, 0); err != nil {
				t.Fatal(err)
			}
		})
		measure("WriteAt", 1, func() {
			if _, err := f.WriteAt(buf, 0); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// TestPartialWritesDrain submits direct writes that cover blocks of the file system
// in part, among writes of whole blocks, and truncates in between: each
// partial write has the inode for itself, and none is left when Truncate returns.
func TestPartialWritesDrain(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 64*block, endio.Direct)
		if f.Align().Offset >= block {
			t.Skipf("direct I/O here is of %d bytes at least: no write is partial", f.Align().Offset)
		}
		q, err := e.NewQueue(endio.QueueOptions{Depth: 16})
		if err != nil {
			t.Fatal(err)
		}
		part := f.Align().Offset
		const rounds = 20
		for round := range rounds {
			var ops []*endio.Op
			want := e.AlignedBuffer(8 * block)
			for i := range 8 * block / part {
				buf := e.AlignedBuffer(part)
				for j := range buf {
					buf[j] = byte(round + i)
				}
				copy(want[i*part:], buf)
				ops = append(ops, &endio.Op{File: f, Kind: endio.Write, Buf: buf, Off: int64(i * part), Done: func(_ *endio.Context, op *endio.Op) {
					if op.Err != nil || op.N != part {
						t.Errorf("write at %d: %d, %v", op.Off, op.N, op.Err)
					}
				}})
			}
			whole := &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: 32 * block, Done: func(_ *endio.Context, op *endio.Op) {
				if op.Err != nil {
					t.Error(op.Err)
				}
			}}
			if err := q.Submit(append(ops, whole)...); err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(64 * block); err != nil {
				t.Fatal(err)
			}
			// All came before the truncation, so all is there, whether handlers ran or not.
			got := e.AlignedBuffer(8 * block)
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("round %d: the partial writes are not all there (%v)", round, err)
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
