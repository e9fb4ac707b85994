// SPDX-License-Identifier: Apache-2.0

package host

import (
	"runtime"
	"testing"
	"time"
)

// TestReportAfterGoexit queues a report behind one that ends its goroutine, and more than
// there is room for.
func TestReportAfterGoexit(t *testing.T) {
	m, err := New(Config{Shards: 1, UseThreads: true})
	if err != nil {
		t.Fatal(err)
	}
	m.Start()
	queued, second := make(chan struct{}), make(chan struct{})
	m.Report(func() {
		<-queued
		runtime.Goexit()
	})
	m.Report(func() { close(second) })
	ran := 0
	for range 2 * maxReports {
		m.Report(func() { ran++ })
	}
	close(queued)
	select {
	case <-second:
	case <-time.After(30 * time.Second):
		t.Fatal("a report behind one that ends its goroutine does not come")
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if ran < maxReports-2 || ran > maxReports {
		t.Errorf("%d of %d reports ran, want as many as may wait, %d", ran, 2*maxReports, maxReports)
	}
}

// TestGate lets many goroutines through a gate: never more than its limit, and all of
// them in the end.
func TestGate(t *testing.T) {
	var g gate
	g.init(3)
	most := make(chan int32, 1)
	most <- 0
	done := make(chan struct{})
	const n, times = 16, 500
	for range n {
		go func() {
			for range times {
				g.enter()
				m := <-most
				most <- max(m, g.in.Load())
				runtime.Gosched()
				g.leave()
			}
			done <- struct{}{}
		}()
	}
	for range n {
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("some wait at the gate for ever")
		}
	}
	if m := <-most; m != 3 || g.in.Load() != 0 {
		t.Errorf("at most %d were inside, and %d are in the end, want 3, 0", m, g.in.Load())
	}
}
