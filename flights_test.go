// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
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
