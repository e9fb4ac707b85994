// SPDX-License-Identifier: Apache-2.0

package host

import "testing"

// TestQueuedWorkIsWatched has work in a queue for so long that nothing has run for
// many looks: the monitor must not sleep, or nobody sees its handler block.
func TestQueuedWorkIsWatched(t *testing.T) {
	m, err := New(Config{Shards: 1, MaxShards: 1, UseThreads: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
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
