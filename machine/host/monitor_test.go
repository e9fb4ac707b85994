// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"testing"
)

// TestQueuedWorkIsWatched has work in a queue for so long that nothing has run for
// many looks: the monitor must not sleep, or nobody sees its handler block.
func TestQueuedWorkIsWatched(t *testing.T) {
	m := oneShard(t)
	s := m.shards[0] // not started: nobody takes work from it
	m.mon.look()     // sees the ports for the first time
	if m.mon.look() {
		t.Fatal("an idle machine looks busy")
	}
	s.mu.Lock()
	s.head = &work{}
	s.mu.Unlock()
	for range 2 * quietLooks {
		if !m.mon.look() {
			t.Fatal("work that waits for its turn does not count: the monitor would sleep")
		}
	}
	s.mu.Lock()
	s.head = nil
	s.mu.Unlock()
}

// TestBusyPorts has the monitor look at ports with something in flight only.
func TestBusyPorts(t *testing.T) {
	m := oneShard(t)
	ports := make([]*Port, 100)
	for i := range ports {
		ports[i] = newPort(m, 0, &slowDevice{}, 8)
	}
	expect := func(when string, want ...*Port) {
		t.Helper()
		m.mon.look()
		got := m.busy.appendTo(nil)
		if len(got) != len(want) {
			t.Fatalf("%s: %d ports are looked at, want %d", when, len(got), len(want))
		}
		for i, p := range got {
			if p.busyAt != i || !slices.Contains(want, p) {
				t.Errorf("%s: port %d is at %d and says %d", when, p.id, i, p.busyAt)
			}
		}
	}
	expect("at first")
	for _, i := range []int{3, 50, 99} {
		ports[i].Submit(true, &Request{})
		ports[i].Submit(true, &Request{})
	}
	expect("with requests in flight", ports[3], ports[50], ports[99])
	ports[3].inFlight.Add(-1)
	expect("with one completed", ports[3], ports[50], ports[99])
	ports[3].inFlight.Add(-1)
	expect("with all of a port completed", ports[50], ports[99])
	if p := m.busy.lead(); p != ports[50] && p != ports[99] {
		t.Error("no port to lead, want one with requests in flight")
	} else {
		p.leadMu.Unlock()
	}
	ports[50].inFlight.Add(-2)
	ports[99].inFlight.Add(-2)
	expect("with all completed")
	ports[3].Submit(true, &Request{})
	expect("with requests again", ports[3])
	ports[3].inFlight.Add(-1)
}
