// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"endio"
)

// TestFlightsOfReusedOps lists what is in flight while handlers use their operations
// again, which under -race must not be seen half written.
func TestFlightsOfReusedOps(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 1<<16)
		defer f.Close()
		q, err := e.NewQueue(endio.QueueOptions{Depth: 8})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		var seen atomic.Bool
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				for _, flight := range e.Flights() {
					seen.Store(true)
					if flight.In != endio.Caller.String() || flight.Op != "read" || flight.Len != 512 {
						t.Errorf("listed as %+v", flight)
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		left := 5000
		for range 8 {
			op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 512)}
			op.Done = func(_ *endio.Context, op *endio.Op) {
				// Until something was seen, which may take a while on a busy machine.
				if left--; (left > 0 || !seen.Load()) && op.Err == nil {
					op.Off = int64((left & 127) * 512)
					op.Err = q.Submit(op)
				}
				if op.Err != nil {
					t.Error(op.Err)
				}
			}
			if err := q.Submit(op); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Drain(); err != nil {
			t.Error(err)
		}
		close(done)
		wg.Wait()
	})
}

// TestFlightsOfCalls lists calls that wait for their inode, and those that have it.
func TestFlightsOfCalls(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, block)
		other, err := e.OpenFile(f.Name(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		admit := f.Exclude()
		var calls sync.WaitGroup
		for _, call := range []func() error{
			func() error { return f.Truncate(100) },
			func() error { return f.Fallocate(endio.FallocAllocate, 512, 1024) },
			f.Drain, other.Close,
		} {
			calls.Go(func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		}
		want := map[string]endio.Flight{
			"truncate":  {Op: "truncate", Path: f.Name(), Off: 100, In: "call", Held: true},
			"fallocate": {Op: "fallocate", Path: f.Name(), Off: 512, Len: 1024, In: "call", Held: true},
			"drain":     {Op: "drain", Path: f.Name(), Off: -1, In: "call", Held: true},
			"close":     {Op: "close", Path: f.Name(), Off: -1, In: "call", Held: true},
		}
		list := e.Flights()
		for len(list) < len(want) {
			runtime.Gosched()
			list = e.Flights()
		}
		for _, got := range list {
			if got.Age = 0; got != want[got.Op] {
				t.Errorf("listed is %+v, want %+v", got, want[got.Op])
			}
		}
		admit()
		calls.Wait()
		if list := e.Flights(); len(list) != 0 {
			t.Errorf("after their end, listed is %+v", list)
		}
	})
}
