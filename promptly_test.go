// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"endio"
	"endio/machine/host"
)

// silence lets reads of 3 bytes get no answer until its Release.
func silence() *host.Faults {
	return &host.Faults{Rules: []host.FaultRule{{
		Match: func(r *host.Request) bool { return r.Op == host.OpRead && len(r.Buf) == 3 }, P: 1, Hold: true,
	}}}
}

// TestStartsWhileItsHandlerBlocks has a handler submit a write, which goes to the kernel with
// what later handlers submit, and then keep its goroutine until the write can be seen in the
// file. Somebody else has to start it: also where a goroutine is in the kernel for that
// port already, waiting for a request that gets no answer.
func TestStartsWhileItsHandlerBlocks(t *testing.T) {
	for _, c := range []struct {
		name        string
		in          endio.Where
		mute, drain bool // another request of the port gets no answer; and a goroutine waits for it
	}{
		{"owner", endio.Caller, false, false},
		{"owner and a request without answer", endio.Caller, true, false},
		{"owner and a drain", endio.Caller, true, true},
		{"task", endio.Task, false, false},
		{"task and a request without answer", endio.Task, true, false},
		{"task and a drain", endio.Task, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults := silence()
			backendsWith(t, endio.Options{Shards: 1, Faults: faults}, func(t *testing.T, e *endio.Engine) {
				path := newFile(t, block)
				f, other := openPath(t, e, path), openPath(t, e, newFile(t, block))
				submit, drained := e.Submit, make(chan error, 1)
				var q *endio.Queue
				if c.in == endio.Caller {
					var err error
					if q, err = e.NewQueue(endio.QueueOptions{}); err != nil {
						t.Fatal(err)
					}
					submit = q.Submit
				}
				if c.mute {
					if err := submit(&endio.Op{File: other, Kind: endio.Read, In: c.in, Buf: make([]byte, 3), Done: func(*endio.Context, *endio.Op) {}}); err != nil {
						t.Fatal(err)
					}
				}
				if c.drain {
					go func() { drained <- other.Drain() }()
				} else {
					drained <- nil
				}
				over := make(chan error, 1)
				first := &endio.Op{File: f, Kind: endio.Read, In: c.in, Buf: make([]byte, 2), Done: func(ctx *endio.Context, _ *endio.Op) {
					time.Sleep(20 * time.Millisecond) // sleep: others go into the kernel, and know nothing of what comes now
					var took time.Duration
					for i := range 4 {
						began := time.Now()
						err := ctx.Submit(&endio.Op{File: f, Kind: endio.Write, In: c.in, Buf: []byte{1}, Off: int64(i), Done: func(*endio.Context, *endio.Op) {}})
						if err == nil {
							err = awaitByte(path, i)
						}
						if err != nil {
							over <- err
							return
						}
						took = max(took, time.Since(began))
					}
					t.Logf("the last to be seen of 4 was so after %v", took)
					over <- nil
				}}
				if err := submit(first); err != nil {
					t.Fatal(err)
				}
				if q != nil {
					if _, err := q.Reap(1); err != nil {
						t.Error(err)
					}
				}
				if err := <-over; err != nil {
					t.Error(err)
				}
				faults.Release()
				if q != nil {
					if err := q.Close(); err != nil {
						t.Error(err)
					}
				}
				if err := <-drained; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// awaitByte returns when the byte at off of the file is not 0.
func awaitByte(path string, off int) error {
	for began := time.Now(); time.Since(began) < soon*time.Second; time.Sleep(50 * time.Microsecond) { // sleep: a file tells nobody
		if data, err := os.ReadFile(path); err != nil {
			return err
		} else if data[off] != 0 {
			return nil
		}
	}
	return errors.New("a write that a handler has submitted was not started while the handler blocked")
}
