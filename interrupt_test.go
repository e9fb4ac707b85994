// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"endio"
	"endio/machine/host"
)

// TestInterrupted lets a third of all requests and half of all waits end with EINTR: no
// operation and no blocking call fails, and nothing is logged.
func TestInterrupted(t *testing.T) {
	faults := &host.Faults{Interrupt: 0.5, Rules: []host.FaultRule{{P: 0.3, Errno: syscall.EINTR}}}
	var calls int64
	o := endio.Options{Faults: faults, Logger: slog.New(logger(func(text string) { t.Errorf("logged: %s", text) }))}
	procs := runtime.GOMAXPROCS(1) // so that an engine makes one call at a time without its ring
	defer runtime.GOMAXPROCS(procs)
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		const workers = 64
		f, data := open(t, e, workers*block, endio.Direct)
		for i := range 90 {
			op := &endio.Op{File: f, Kind: []endio.Kind{endio.Read, endio.Sync, endio.SyncData}[i%3], Buf: e.AlignedBuffer(block), Off: int64(i%workers) * block}
			run(t, e, contexts[i/3%3], op)
			if op.Err != nil {
				t.Errorf("%v: %v", op.Kind, op.Err)
			}
		}
		runtime.GOMAXPROCS(max(4, procs))
		defer runtime.GOMAXPROCS(1)
		before := faults.Counts()["error"]
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				at := int64(w) * block
				buf := e.AlignedBuffer(block)
				for range 20 {
					if _, err := f.ReadAt(buf, at); err != nil || !bytes.Equal(buf, data[at:at+block]) {
						t.Errorf("ReadAt: %v, or other data", err)
					}
					if _, err := f.WriteAt(buf, at); err != nil {
						t.Error(err)
					}
					if err := f.SyncData(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		calls += faults.Counts()["error"] - before
		if b, _ := e.Backend(); b == endio.IOUring && calls == 0 {
			t.Error("no blocking call was interrupted")
		}
	})
	if c := faults.Counts(); c["error"] == 0 || c["interrupt"] == 0 {
		t.Errorf("faults: %v", c)
	}
}
