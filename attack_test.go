// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"endio"
	"endio/machine/host"
)

// newFile makes a file of size zeros next to the tests.
func newFile(t *testing.T, size int64) string {
	t.Helper()
	dir, err := os.MkdirTemp(".", "testdata-tmp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openPath(t *testing.T, e *endio.Engine, path string, opts ...endio.FileOption) *endio.File {
	t.Helper()
	f, err := e.OpenFile(path, os.O_RDWR, 0, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestDrainWhileOwnersAreAway drains a file whose I/O is on the queue of a goroutine
// that is busy elsewhere, while another queue, which has I/O on another file,
// could lead the waiter astray: it may wait in the ring of that one.
func TestDrainWhileOwnersAreAway(t *testing.T) {
	o := endio.Options{Faults: &host.Faults{Seed: 1, Delay: 0.99, MaxDelay: 20 * time.Millisecond}}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		const queues = 6
		var files [queues]*endio.File
		var qs [queues]*endio.Queue
		var ops [queues]*endio.Op
		for i := range files {
			files[i] = openPath(t, e, newFile(t, 4*block))
			q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
			if err != nil {
				t.Fatal(err)
			}
			qs[i] = q
			ops[i] = &endio.Op{File: files[i], Kind: endio.Read, Buf: make([]byte, block), Done: func(*endio.Context, *endio.Op) {}}
		}
		for range 10 {
			for i, q := range qs {
				if err := q.Submit(ops[i]); err != nil {
					t.Fatal(err)
				}
			}
			// The owner, which is this goroutine, does nothing for its queues meanwhile.
			var wg sync.WaitGroup
			for _, f := range files {
				wg.Go(func() {
					if err := f.Drain(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			// One waiter, and I/O on all queues: whichever ring it enters, it comes back.
			for i, q := range qs {
				if err := q.Drain(); err != nil {
					t.Fatal(err)
				}
				if err := q.Submit(ops[i]); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range files {
				if err := f.Truncate(4 * block); err != nil {
					t.Fatal(err)
				}
			}
			for _, q := range qs {
				if err := q.Drain(); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, q := range qs {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestDrainAstray is the same with the delays chosen: the waiter enters the ring of
// the first queue, whose owner then reaps itself, and the I/O that is waited for
// ends on the second, whose owner does not look.
func TestDrainAstray(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		a, b := openPath(t, e, newFile(t, 4*block)), openPath(t, e, newFile(t, 64<<20), endio.Direct)
		busy, err := e.NewQueue(endio.QueueOptions{Depth: 4})
		if err != nil {
			t.Fatal(err)
		}
		away, err := e.NewQueue(endio.QueueOptions{Depth: 4})
		if err != nil {
			t.Fatal(err)
		}
		opA := &endio.Op{File: a, Kind: endio.Read, Buf: make([]byte, block), Done: func(*endio.Context, *endio.Op) {}}
		opB := &endio.Op{File: b, Kind: endio.Read, Buf: e.AlignedBuffer(8 << 20), Done: func(*endio.Context, *endio.Op) {}}
		for range 200 {
			if err := errors.Join(busy.Submit(opA), away.Submit(opB)); err != nil {
				t.Fatal(err)
			}
			drained := make(chan error, 1)
			go func() { drained <- b.Drain() }()
			for busy.InFlight() > 0 { // never waits, so never leads
				if _, err := busy.Reap(0); err != nil {
					t.Fatal(err)
				}
				runtime.Gosched()
			}
			if err := <-drained; err != nil {
				t.Fatal(err)
			}
			if err := away.Drain(); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(busy.Close(), away.Close()); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseRaces lets Engine.Close race with submitters, blocking calls, drains,
// closes of files, and cancellation.
func TestCloseRaces(t *testing.T) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		t.Run(string(b), func(t *testing.T) {
			path := newFile(t, 64*block)
			for round := range 60 {
				closeRace(t, b, path, uint64(round))
			}
		})
	}
}

func closeRace(t *testing.T, b endio.Backend, path string, seed uint64) {
	o := endio.Options{Backend: b, Shards: 2, Depth: 8}
	if seed%2 == 1 {
		o.Faults = &host.Faults{Seed: seed, Delay: 0.2, Short: 0.2, ShortUnit: 512, Full: 0.1, Interrupt: 0.2, TwinWake: 0.1, LateWake: 0.2, Reorder: 0.3}
	}
	e, err := endio.Open(o)
	if err != nil {
		t.Skip(err)
	}
	f, err := e.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var accepted, handled atomic.Int64
	var wg sync.WaitGroup
	loop := func(fn func(rng *rand.Rand) error) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 9))
			for {
				err := fn(rng)
				switch {
				case errors.Is(err, endio.ErrClosed):
					return
				case err != nil && err != io.EOF && !errors.Is(err, context.Canceled):
					t.Error(err)
					return
				}
			}
		})
	}
	for _, in := range []endio.Where{endio.Inline, endio.Task} {
		for k := range 2 {
			loop(func(rng *rand.Rand) error {
				kind := endio.Kind(rng.IntN(4))
				op := &endio.Op{File: f, Kind: kind, In: in, Buf: make([]byte, 2*block), Off: rng.Int64N(62) * block,
					Done: func(*endio.Context, *endio.Op) { handled.Add(1) }}
				if k == 1 {
					op.Ctx = ctx
				}
				accepted.Add(1)
				err := e.Submit(op)
				if err != nil {
					accepted.Add(-1)
				}
				return err
			})
		}
	}
	loop(func(rng *rand.Rand) error {
		_, err := f.ReadAt(make([]byte, 512), rng.Int64N(64)*block)
		return err
	})
	loop(func(*rand.Rand) error { return f.Drain() })
	loop(func(*rand.Rand) error { return f.PunchHole(0, block) })
	loop(func(*rand.Rand) error {
		g, err := e.OpenFile(path, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		_, err = g.ReadAt(make([]byte, 512), 0)
		if cerr := g.Close(); err == nil {
			err = cerr
		}
		return err
	})
	time.Sleep(time.Duration(seed%5) * time.Millisecond) // sleep: to cancel anywhere in their lives
	cancel()
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	if a, h := accepted.Load(), handled.Load(); a != h {
		t.Errorf("%d operations were accepted, %d handlers ran", a, h)
	}
}

// TestOnlineUnderLoad changes which shards are online while operations run in all
// contexts. Each completes exactly once. ENDIO_SOAK is for how long (make soak: 10m;
// CI: 30s), and then an operation that is older than a second fails it.
func TestOnlineUnderLoad(t *testing.T) {
	soak := 500 * time.Millisecond
	if d, err := time.ParseDuration(os.Getenv("ENDIO_SOAK")); err == nil {
		soak = d
	}
	o := endio.Options{Shards: 3, Depth: 16}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) { shardsUnderLoad(t, e, 3, soak) })
}

// TestCloseInHandler closes what runs the handler.
func TestCloseInHandler(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f := openPath(t, e, newFile(t, 4*block))
		q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
		if err != nil {
			t.Fatal(err)
		}
		var got error
		err = q.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) { got = q.Close() }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Reap(1); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(got, endio.ErrInHandler) {
			t.Errorf("Close of a queue in its handler = %v, want ErrInHandler", got)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		result := make(chan error)
		err = e.Submit(&endio.Op{File: f, In: endio.Task, Kind: endio.Read, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) { result <- e.Close() }})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, endio.ErrInHandler) {
			t.Errorf("Engine.Close in a Task handler = %v, want ErrInHandler", err)
		}
	})
}

// TestHeldThenClosed closes a file while operations on it are held back: they get
// ErrClosed, and the descriptor's next owner is not touched by them.
func TestHeldThenClosed(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		path := newFile(t, 64*block)
		for round := range 100 {
			f := openPath(t, e, path)
			var done sync.WaitGroup
			var closed, fine atomic.Int32
			submit := func() {
				done.Add(1)
				op := &endio.Op{File: f, Kind: endio.Read, In: endio.Where(round % 2), Buf: make([]byte, block), Done: func(_ *endio.Context, op *endio.Op) {
					defer done.Done()
					switch {
					case op.Err == nil:
						fine.Add(1)
					case errors.Is(op.Err, endio.ErrClosed):
						closed.Add(1)
					default:
						t.Error(op.Err)
					}
				}}
				if err := e.Submit(op); err != nil {
					done.Done()
					if !errors.Is(err, endio.ErrClosed) {
						t.Error(err)
					}
				}
			}
			var wg sync.WaitGroup
			wg.Go(func() { _ = f.Drain() })
			wg.Go(func() {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
			for range 20 {
				submit()
			}
			wg.Wait()
			done.Wait()
		}
	})
}

// TestQueuesComeAndGo opens and closes queues while others drain the file; and the same where
// most of them wait without a thread.
func TestQueuesComeAndGo(t *testing.T) {
	for _, threads := range []int{0, 1} {
		t.Run(fmt.Sprint("threads=", threads), func(t *testing.T) { queuesComeAndGo(t, threads) })
	}
}

func queuesComeAndGo(t *testing.T, threads int) {
	backendsWith(t, endio.Options{Threads: threads}, func(t *testing.T, e *endio.Engine) {
		f := openPath(t, e, newFile(t, 64*block))
		stop := make(chan struct{})
		var drainers, owners sync.WaitGroup
		for range 2 {
			drainers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := f.Drain(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for range 4 {
			owners.Go(func() {
				for range 40 {
					q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
					if err != nil {
						t.Error(err)
						return
					}
					ran := 0
					for i := range 20 {
						op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, block), Off: int64(i) * block, Done: func(*endio.Context, *endio.Op) { ran++ }}
						if err := q.Submit(op); err != nil {
							t.Error(err)
						}
					}
					if err := q.Close(); err != nil || ran != 20 {
						t.Errorf("Close: %v; %d handlers ran, want 20", err, ran)
					}
				}
			})
		}
		owners.Wait()
		close(stop)
		drainers.Wait()
	})
}

// TestThousandsOfBlockedHandlers blocks many Task handlers, and asks whether one
// more runs.
func TestThousandsOfBlockedHandlers(t *testing.T) {
	const n = 3000
	backendsWith(t, endio.Options{Shards: 1}, func(t *testing.T, e *endio.Engine) {
		f := openPath(t, e, newFile(t, 4*block))
		release := make(chan struct{})
		var ended sync.WaitGroup
		for i := range n {
			ended.Add(1)
			op := &endio.Op{File: f, Kind: endio.Read, In: endio.Task, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) {
				defer ended.Done()
				if i == n-1 {
					close(release)
					return
				}
				<-release
			}}
			if err := e.Submit(op); err != nil {
				t.Fatal(err)
			}
		}
		ended.Wait()
	})
}

// TestFaultyEngine runs checked I/O in all contexts and through blocking calls on
// storage that does everything it may do.
func TestFaultyEngine(t *testing.T) {
	for seed := range uint64(4) {
		faults := &host.Faults{Seed: seed, Short: 0.3, ShortUnit: 512, Delay: 0.2, Reorder: 0.5, Interrupt: 0.3, LateWake: 0.3, TwinWake: 0.2, Full: 0.2,
			Rules: []host.FaultRule{
				{P: 0.05, Errno: syscall.EINTR},
				{P: 0.05, Errno: syscall.EAGAIN},
				{Ops: []host.Op{host.OpWrite, host.OpWritev}, P: 0.02, Errno: syscall.EIO},
				{Ops: []host.Op{host.OpWrite}, P: 0.02, Errno: syscall.ENOSPC, Done: true},
			}}
		// With one thread to wait in rings, most queues wait without one.
		backendsWith(t, endio.Options{Shards: 2, Depth: 16, Threads: int(seed % 2), Faults: faults}, func(t *testing.T, e *endio.Engine) {
			faultyRun(t, e, seed)
		})
		if c := faults.Counts(); c["error"] == 0 || c["short"] == 0 || c["delay"] == 0 || c["full"] == 0 || c["interrupt"] == 0 {
			t.Errorf("seed %d: some faults never struck: %v", seed, c)
		}
	}
}

// faultyRun lets workers own a part of a file each, write and read it, and compare:
// a write that failed leaves each byte old or new.
func faultyRun(t *testing.T, e *endio.Engine, seed uint64) {
	const workers, part = 8, 16 * block
	path := newFile(t, workers*part)
	f := openPath(t, e, path)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			var q *endio.Queue
			if w%4 == 2 {
				var err error
				if q, err = e.NewQueue(endio.QueueOptions{Depth: 4}); err != nil {
					t.Error(err)
					return
				}
				defer func() {
					if err := q.Close(); err != nil {
						t.Error(err)
					}
				}()
			}
			do := func(op *endio.Op) {
				switch {
				case w%4 == 3 && op.Bufs == nil && op.Kind == endio.Read:
					op.N, op.Err = f.ReadAt(op.Buf, op.Off)
					return
				case w%4 == 3 && op.Bufs == nil && op.Kind == endio.Write:
					op.N, op.Err = f.WriteAt(op.Buf, op.Off)
					return
				case q != nil:
					op.Done = func(*endio.Context, *endio.Op) {}
					if err := q.Submit(op); err != nil {
						t.Error(err)
					}
					if err := q.Drain(); err != nil {
						t.Error(err)
					}
					return
				}
				done := make(chan struct{})
				op.In = endio.Where(w % 2)
				op.Done = func(*endio.Context, *endio.Op) { close(done) }
				if err := e.Submit(op); err != nil {
					t.Error(err)
					return
				}
				<-done
			}
			base := int64(w * part)
			old, dirty := make([]byte, part), make([]byte, part) // what is there; or maybe there
			known := make([]bool, part)
			for i := range known {
				known[i] = true
			}
			for range 150 {
				off, n := rng.IntN(part-1), 0
				n = 1 + rng.IntN(min(part-off, 5*block))
				buf := make([]byte, n)
				op := &endio.Op{File: f, Kind: endio.Kind(rng.IntN(2)), Off: base + int64(off)}
				if cut := rng.IntN(n); rng.IntN(3) == 0 && cut > 0 {
					op.Bufs = [][]byte{buf[:cut], {}, buf[cut:]}
				} else {
					op.Buf = buf
				}
				if op.Kind == endio.Write {
					for i := range buf {
						buf[i] = byte(rng.Uint32())
					}
				}
				if rng.IntN(40) == 0 {
					if err := f.Drain(); err != nil {
						t.Error(err)
					}
				}
				do(op)
				for i, b := range buf {
					switch at := off + i; {
					case op.Kind == endio.Write && op.Err == nil:
						old[at], known[at] = b, true
					case op.Kind == endio.Write:
						dirty[at] = b
						known[at] = known[at] && old[at] == b
					case op.Err == nil && known[at] && old[at] != b:
						t.Errorf("worker %d: byte %d is %d, want %d", w, at, b, old[at])
						return
					}
				}
				if op.Err == nil && op.N != n {
					t.Errorf("worker %d: %v of %d bytes transferred %d without an error", w, op.Kind, n, op.N)
				}
				if op.Err != nil && !errors.Is(op.Err, syscall.EIO) && !errors.Is(op.Err, syscall.ENOSPC) {
					t.Errorf("worker %d: %v", w, op.Err)
				}
			}
		})
	}
	wg.Wait()
}

// TestStatsOfQueues counts while queues are opened and closed, for the race detector.
func TestStatsOfQueues(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		var wg sync.WaitGroup
		var over atomic.Bool
		wg.Go(func() {
			for !over.Load() {
				if s := e.Stats(); s.Task != 0 {
					t.Errorf("%d handlers of queues count as those of workers", s.Task)
				}
			}
		})
		f := openPath(t, e, newFile(t, block))
		for range 200 {
			q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
			if err != nil {
				t.Fatal(err)
			}
			op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, block), Done: func(*endio.Context, *endio.Op) {}}
			if err := errors.Join(q.Submit(op), q.Close()); err != nil {
				t.Fatal(err)
			}
		}
		over.Store(true)
		wg.Wait()
	})
}

// TestCloseBesideQueues closes engines while a queue is opened and closed: either the engine
// says that a queue is open, or it closes, and no ring is closed twice.
func TestCloseBesideQueues(t *testing.T) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		t.Run(string(b), func(t *testing.T) {
			for range 200 {
				e, err := endio.Open(endio.Options{Backend: b, Shards: 1, MaxShards: 1, Depth: 2})
				if err != nil {
					t.Skip(err)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					for range 3 {
						q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
						if errors.Is(err, endio.ErrClosed) {
							return
						}
						if err = errors.Join(err, q.Close()); err != nil {
							t.Errorf("a queue beside Engine.Close: %v", err)
						}
					}
				})
				for err = e.Close(); err != nil && strings.Contains(err.Error(), "queues are open"); err = e.Close() {
					runtime.Gosched()
				}
				if err != nil {
					t.Errorf("Close: %v", err)
				}
				wg.Wait()
			}
		})
	}
}
