// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"endio/machine"
)

// TestHotplugOrder takes a CPU down and up, with and without an abort after each
// number of callbacks, and looks at the order in which two subsystems hear of it: that of
// machine.Hotplug, which is the kernel's.
func TestHotplugOrder(t *testing.T) {
	seen := make(map[string]bool)
	for seed := range uint64(60) {
		for _, up := range []bool{false, true} {
			faults := &Faults{Seed: seed}
			m, err := New(Config{Shards: 2, UseThreads: true, Faults: faults})
			if err != nil {
				t.Fatal(err)
			}
			var log []string
			for _, name := range []string{"a", "b"} {
				note := func(what string) func(c machine.Context, cpu machine.CPU) {
					return func(c machine.Context, cpu machine.CPU) {
						if (c.CPU() == cpu) != (what != "dead") || cpu != 1 {
							t.Errorf("%s of CPU %d is called on CPU %d", what, cpu, c.CPU())
						}
						log = append(log, what+" "+name)
					}
				}
				m.AddHotplug(machine.Hotplug{Name: name, Online: note("online"), Down: note("down"), Dead: note("dead")})
			}
			m.Start()
			way := "down"
			if up {
				if err := m.SetOnline(1, false); err != nil {
					t.Fatal(err)
				}
				log, way = nil, "up"
				faults.AbortUp = 0.5
			} else {
				faults.Abort = 0.5
			}
			err = m.SetOnline(1, up)
			if m.Online(1) != (up == (err == nil)) || err != nil && !errors.Is(err, ErrAborted) {
				t.Errorf("%s: online %v, %v", way, m.Online(1), err)
			}
			seen[fmt.Sprint(way, " ", err != nil, ": ", strings.Join(log, ", "))] = true
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	want := []string{
		"down false: down b, down a, dead b, dead a",
		"down true: ", "down true: down b, online b", "down true: down b, down a, online a, online b",
		"up false: online a, online b",
		"up true: dead b, dead a", "up true: online a, down a, dead b, dead a", "up true: online a, online b, down b, down a, dead b, dead a",
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("never seen: %s", w)
		}
		delete(seen, w)
	}
	for s := range seen {
		t.Errorf("wrong: %s", s)
	}
}
