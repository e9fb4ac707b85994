// SPDX-License-Identifier: Apache-2.0

package host

import (
	"slices"
	"testing"

	"endio/uring"
)

// slowDevice takes requests and completes none.
type slowDevice struct {
	started int
	flushes []int // how many requests each took
}

func (d *slowDevice) start(*Request, uint64) bool { d.started++; return true }
func (d *slowDevice) flush() error {
	d.flushes = append(d.flushes, d.started)
	d.started = 0
	return nil
}
func (d *slowDevice) unflushed() int          { return d.started }
func (d *slowDevice) publish() uint32         { return uint32(d.started) }
func (d *slowDevice) wait(uint32) error       { return nil }
func (d *slowDevice) ready() bool             { return false }
func (d *slowDevice) reap([]uring.CQE) int    { return 0 }
func (d *slowDevice) wake()                   {}
func (d *slowDevice) cancel(*Request, uint64) {}
func (d *slowDevice) close() error            { return nil }

func TestRequestsAreGathered(t *testing.T) {
	m, err := New(Config{Shards: 1, MaxShards: 1, UseThreads: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, c := range []struct {
		expected, submitted int
		want                []int
	}{
		{0, 9, []int{4, 4, 1}},
		{16, 9, []int{4, 4, 1}},
		{64, 40, []int{16, 16, 8}},
		{1000, 70, []int{32, 32, 6}},
	} {
		d := &slowDevice{}
		p := newPort(m, 0, d, 128)
		p.Expect(c.expected)
		for range c.submitted {
			p.Submit(false, &Request{})
		}
		p.Flush()
		if !slices.Equal(d.flushes, c.want) {
			t.Errorf("%d requests where %d are expected in flight were given to the device in parts of %v, want %v", c.submitted, c.expected, d.flushes, c.want)
		}
	}
}
