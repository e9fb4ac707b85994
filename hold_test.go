// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio"
	"endio/machine/host"
)

// TestHold lets the device give no answer: whatever it has done, nothing completes
// and all is in flight, until it is released; and again.
func TestHold(t *testing.T) {
	faults := &host.Faults{Seed: 1}
	backendsWith(t, endio.Options{Faults: faults, Depth: 256}, func(t *testing.T, e *endio.Engine) {
		const n = 3000 // more than the rings take
		f := openPath(t, e, newFile(t, 4*block))
		var wg sync.WaitGroup
		var done atomic.Int64
		ops := make([]endio.Op, n)
		for range 2 {
			before := faults.Counts()["hold"]
			faults.Hold()
			done.Store(0)
			for i := range ops {
				wg.Add(1)
				ops[i] = endio.Op{File: f, Kind: endio.Read, In: endio.Task, Buf: make([]byte, block), Done: func(_ *endio.Context, op *endio.Op) {
					if op.Err != nil || op.N != block {
						t.Errorf("%d bytes, %v", op.N, op.Err)
					}
					done.Add(1)
					wg.Done()
				}}
				if err := e.Submit(&ops[i]); err != nil {
					t.Fatal(err)
				}
			}
			for faults.Counts()["hold"] < before+200 {
				time.Sleep(time.Millisecond) // sleep: nobody is told of what is held
			}
			if d, in := done.Load(), e.Stats().InFlight; d != 0 || in != n {
				t.Errorf("held: %d of %d have completed and %d are in flight", d, n, in)
			}
			faults.Release()
			wg.Wait()
		}
	})
}

// TestReleaseBeforeItIsReaped releases a request that a rule holds while the device has it: it
// completes when it is reaped, and does not wait for another release.
func TestReleaseBeforeItIsReaped(t *testing.T) {
	faults := silence()
	backendsWith(t, endio.Options{Shards: 1, Faults: faults}, func(t *testing.T, e *endio.Engine) {
		f := openPath(t, e, newFile(t, block))
		q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 3), Done: func(*endio.Context, *endio.Op) {}}); err != nil {
			t.Fatal(err)
		}
		faults.Release()
		within(t, "a queue whose request was released", func() {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}
