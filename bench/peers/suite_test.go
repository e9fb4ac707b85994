// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"

	"endio/bench/internal/rig"
)

// report returns one with medians as given, by row and peer.
func report(rows map[string]map[string]rig.Measurement) *rig.Report {
	r := &rig.Report{File: "ext4"}
	for name, cells := range rows {
		section, row, _ := strings.Cut(name, "/")
		w := &rig.Row{Section: section, Name: row}
		for peer, m := range cells {
			w.Cells = append(w.Cells, &rig.Cell{Peer: peer, Median: m})
		}
		r.Rows = append(r.Rows, w)
	}
	return r
}

func TestLimits(t *testing.T) {
	r := report(map[string]map[string]rig.Measurement{
		"depth/ext4/read/64": {
			fio:      {rig.KIOPS: 100, rig.CPU: 4, rig.P99: 100},
			caller:   {rig.KIOPS: 99, rig.CPU: 4.4, rig.Allocs: 0},
			own:      {rig.KIOPS: 101, rig.CPU: 4.5, rig.Allocs: 0},
			task:     {rig.CPU: 6.1, rig.P99: 150, rig.Allocs: 0.5},
			blocking: {rig.KIOPS: 130, rig.CPU: 7, rig.P99: 21, rig.P99Turn: 20},
			osFile:   {rig.KIOPS: 100, rig.CPU: 10, rig.P99: 100, rig.P99Turn: 100},
		},
		"depth/ram/read/64": {blocking: {rig.KIOPS: 1}, osFile: {rig.KIOPS: 1}},
		"depth/ext4/read/1": {fio: {rig.KIOPS: 1, rig.CPU: 1}, caller: {}, blocking: {rig.P50: 1.1}, osFile: {rig.P50: 1}},
		"busy/ext4/read/1":  {osFile: {rig.P50: 10, rig.P99: 10}, blocking: {rig.P50: 12, rig.P99: 13}},
		"held/100000":       {task: {rig.Resident: 199}},
	})
	want := []string{
		"MISSED depth/ext4/read/64: caller IOPS / fio's 0.99, want at least 1",
		"holds  depth/ext4/read/64: caller CPU / fio's 1.1, want at most 1.1",
		"holds  depth/ext4/read/64: caller, own thread IOPS / fio's 1.01, want at least 1",
		"MISSED depth/ext4/read/64: caller, own thread CPU / fio's 1.12, want at most 1.1",
		"holds  depth/ext4/read/64: caller, own thread allocations per operation 0, want at most 0.01",
		"MISSED depth/ext4/read/64: task CPU / fio's 1.52, want at most 1.5",
		"holds  depth/ext4/read/64: task p99 / fio's 1.5, want at most 1.5",
		"holds  depth/ext4/read/64: blocking p99 by turns / os.File's 0.2, want at most 0.2",
		"holds  depth/ext4/read/64: blocking IOPS / os.File's 1.3, want at least 1.3",
		"holds  depth/ext4/read/64: blocking CPU / os.File's 0.7, want at most 0.7",
		"MISSED depth/ext4/read/64: blocking p99 / os.File's 0.21, want at most 0.2",
		"holds  depth/ext4/read/64: caller allocations per operation 0, want at most 0.01",
		"MISSED depth/ext4/read/64: task allocations per operation 0.5, want at most 0.01",
		"MISSED depth/ext4/read/1: blocking p50 / os.File's 1.1, want at most 1.05",
		"OPEN   depth/ext4/read/1: caller allocations per operation not measured (caller has no allocs/op), want at most 0.01",
		"holds  busy/ext4/read/1: blocking p50 / os.File's 1.2, want at most 1.2",
		"MISSED busy/ext4/read/1: blocking p99 / os.File's 1.3, want at most 1.2",
		"holds  held/100000: MiB resident 199, want at most 200",
	}
	var got []string
	for _, l := range limits(r) {
		got = append(got, l.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSummary(t *testing.T) {
	r := report(map[string]map[string]rig.Measurement{
		"depth/ext4/read/16":  {fio: {rig.KIOPS: 100, rig.CPU: 4, rig.P99: 200}, caller: {rig.KIOPS: 120, rig.CPU: 5, rig.P99: 100}},
		"depth/ext4/write/64": {fio: {rig.KIOPS: 100}, caller: {}},
		"busy/ext4/read/1":    {osFile: {rig.P50: 10, rig.P99: 20}, blocking: {rig.P50: 5, rig.P99: 10}},
		"held/100000":         {task: {rig.Resident: 59.6}},
	})
	want := [][]string{
		{"4 KiB, direct, on ext4", "peer", "endio", "endio / peer"},
		{"random reads, 16 in flight", "fio: 100 kIOPS, CPU 4.00 µs/op, p99 200 µs", "caller: 120 kIOPS, CPU 5.00 µs/op, p99 100 µs", "IOPS 1.20, CPU 1.25, p99 0.50"},
		{"one reader, all processors busy", "os.File: p50 10.0 µs, p99 20.0 µs", "blocking: p50 5.00 µs, p99 10.0 µs", "p50 0.50, p99 0.50"},
		{"100000 operations in flight at once", "", "59.6 MiB resident", ""},
	}
	got := summary(r)
	if !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestSpecs looks for what would mix up the tables: measurements of one name, rows
// that are torn apart, sections that are not shown.
func TestSpecs(t *testing.T) {
	rig.CheckSpecs(t, suite)
	if got := len(specs("ext4", "")); got != 2*(7+9+9)+2*3+1 {
		t.Errorf("%d measurements without a loop device", got)
	}
}
