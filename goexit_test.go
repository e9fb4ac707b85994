// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio"
)

// endGoroutine ends the goroutine of a handler, in one of the ways in which that happens.
func endGoroutine(i int) {
	if i%2 == 0 {
		(&testing.T{}).FailNow() // of a test that nobody runs
	}
	runtime.Goexit()
}

// TestGoexit has handlers that end their goroutine, each in the middle of a batch, alone
// or while others drain the file and so reap: every handler runs once, every end is
// reported, and nobody but the handler's goroutine ends. No monitor helps out.
func TestGoexit(t *testing.T) {
	for _, in := range []endio.Where{endio.Inline, endio.Task} {
		for _, drained := range []bool{true, false} {
			t.Run(fmt.Sprint(in, "/drained ", drained), func(t *testing.T) { testGoexit(t, in, drained) })
		}
	}
}

func testGoexit(t *testing.T, in endio.Where, drained bool) {
	var reports atomic.Int64
	o := endio.Options{Shards: 2, Depth: 16, StallAfter: time.Hour, OnPanic: func(p endio.HandlerPanic) {
		if p.Value != endio.ErrGoexit || !strings.Contains(p.Handler, "goexits") || len(p.Stack) == 0 {
			t.Errorf("reported %v of %s", p.Value, p.Handler)
		}
		reports.Add(1)
	}}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		reports.Store(0)
		goexits(t, e, in, drained)
		const want = rounds * perRound / 3
		within(t, "the reports", func() { // each comes when its handler has ended
			for reports.Load() < want {
				runtime.Gosched()
			}
		})
		if n := reports.Load(); n != want || e.Stats().Panics != want {
			t.Errorf("%d ends of goroutines were reported, and %d counted, want %d", n, e.Stats().Panics, want)
		}
	})
}

const rounds, perRound = 40, 60

func goexits(t *testing.T, e *endio.Engine, in endio.Where, drained bool) {
	f, _ := open(t, e, 64*block)
	stop := make(chan struct{})
	var drainers sync.WaitGroup
	var survived atomic.Int32
	var failed atomic.Value // a drain, which may end after the test has: with what another failure has closed
	for range 2 {
		if !drained {
			survived.Add(1)
			continue
		}
		drainers.Add(1)
		go func() {
			defer drainers.Done()
			for {
				select {
				case <-stop:
					survived.Add(1)
					return
				default:
					if err := f.Drain(); err != nil {
						failed.Store(err)
						return
					}
				}
			}
		}()
	}
	for round := range rounds {
		var done sync.WaitGroup
		var ops []*endio.Op
		ran := make([]atomic.Int32, perRound)
		for i := range perRound {
			done.Add(1)
			ops = append(ops, &endio.Op{File: f, Kind: endio.Read, In: in, Buf: make([]byte, block), Off: int64(i) * block, Done: func(*endio.Context, *endio.Op) {
				defer done.Done()
				if ran[i].Add(1) != 1 {
					t.Error("a handler ran twice")
				}
				if i%3 == 0 {
					endGoroutine(i)
				}
			}})
		}
		if err := e.Submit(ops...); err != nil {
			t.Fatal(err)
		}
		within(t, "a round of handlers that end their goroutine", done.Wait)
		if round%8 == 0 {
			within(t, "SetShards", func() {
				if err := errors.Join(e.SetShards(1), e.SetShards(2)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	close(stop)
	within(t, "the drains", drainers.Wait)
	if n, err := survived.Load(), failed.Load(); n != 2 || err != nil {
		t.Errorf("%d of 2 goroutines that drained the file have survived the handlers of others; error %v", n, err)
	}
}

// TestGoexitOfOwner has a Caller handler that ends its goroutine, which is the owner's:
// what it has deferred closes the queue, and nothing is lost.
func TestGoexitOfOwner(t *testing.T) {
	var reports atomic.Int64
	backendsWith(t, endio.Options{OnPanic: func(endio.HandlerPanic) { reports.Add(1) }}, func(t *testing.T, e *endio.Engine) {
		reports.Store(0)
		f, _ := open(t, e, 64*block)
		ran, ended := 0, false
		owner := func() {
			q, err := e.NewQueue(endio.QueueOptions{Depth: 8})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() {
				ended = true
				if err := q.Close(); err != nil {
					t.Error(err)
				}
			}()
			for i := range 64 {
				op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, block), Off: int64(i) * block, Done: func(c *endio.Context, _ *endio.Op) {
					if ran++; ran%10 == 0 && !ended {
						// What the handler has submitted goes to the kernel all the same.
						err := c.Submit(&endio.Op{File: f, Kind: endio.Sync, Done: func(*endio.Context, *endio.Op) { ran++ }})
						if err != nil {
							t.Error(err)
						}
						endGoroutine(i)
					}
				}}
				if err := q.Submit(op); err != nil {
					t.Error(err)
				}
			}
			_ = q.Drain()
			t.Error("Drain has returned from a handler that ended its goroutine")
		}
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			defer wg.Done()
			owner()
		}()
		within(t, "the owner", wg.Wait)
		if ran != 65 || reports.Load() != 1 {
			t.Errorf("%d handlers ran, %d ends were reported, want 65, 1", ran, reports.Load())
		}
	})
}
