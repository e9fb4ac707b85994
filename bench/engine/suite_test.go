// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"endio/bench/internal/rig"
)

func row(section, name string, cells ...*rig.Cell) *rig.Row {
	return &rig.Row{Section: section, Name: name, Cells: cells}
}

func cell(peer string, m rig.Measurement) *rig.Cell {
	return &rig.Cell{Peer: peer, Rounds: []rig.Measurement{m}, Median: m, Low: m, High: m}
}

func sample() *rig.Report {
	left := cell("uncached", rig.Measurement{rig.MiBs: 90, rig.Left: 0})
	left.High = rig.Measurement{rig.Left: 3}
	return &rig.Report{Rows: []*rig.Row{
		row("depth", "ext4/16", cell("fio", rig.Measurement{rig.KIOPS: 100, rig.CPU: 4}), cell("caller", rig.Measurement{rig.KIOPS: 100, rig.CPU: 3.2})),
		row("depth", "ram/16", cell("fio", rig.Measurement{rig.KIOPS: 100, rig.CPU: 4}), cell("caller", rig.Measurement{rig.KIOPS: 99, rig.CPU: 1})),
		row("depth", "ram/64", cell("fio", rig.Measurement{}), cell("caller", rig.Measurement{rig.KIOPS: 99, rig.CPU: 1})),
		row("depth", "page cache/64", cell("fio", rig.Measurement{rig.KIOPS: 100}), cell("caller", rig.Measurement{rig.KIOPS: 129})),
		row("context", "ram/write/16", cell("handoff", rig.Measurement{rig.KIOPS: 100, rig.CPU: 3}), cell("task", rig.Measurement{rig.KIOPS: 99, rig.CPU: 3}),
			cell("caller", rig.Measurement{rig.KIOPS: 137, rig.CPU: 2})),
		row("uncached", "read", cell("buffered", rig.Measurement{rig.MiBs: 90}), left),
		row("calls", "ext4/64", cell("os.File", rig.Measurement{rig.KIOPS: 10, rig.CPU: 10}), cell("blocking", rig.Measurement{rig.KIOPS: 15, rig.CPU: 5.1})),
		row("calls", "ext4/1024", cell("os.File", rig.Measurement{}), cell("blocking", rig.Measurement{rig.KIOPS: 12})),
		row("wal", "4 at a time", cell(logPlain, rig.Measurement{rig.Commits: 100}), cell(logDSync, rig.Measurement{rig.Commits: 199})),
		row("shards", "depth 16", cell("1", rig.Measurement{rig.CPU: 2}), cell("2", rig.Measurement{rig.CPU: 3})),
		row("shards", "depth 64", cell("1", rig.Measurement{rig.CPU: 2}), cell("2", rig.Measurement{rig.CPU: 2})),
		row("inflight", "1000", cell("task", rig.Measurement{rig.CPU: 2})),
		row("inflight", "10000", cell("task", rig.Measurement{rig.CPU: 4})),
		row("held", "1000000", cell("task", rig.Measurement{rig.Held: million})),
		row("files", "1", cell("caller", rig.Measurement{rig.CPU: 2})),
	}}
}

func TestLimits(t *testing.T) {
	want := []string{
		"holds  depth/ext4/16: caller IOPS / fio's is 1.00 and CPU 0.80: the better of IOPS / 1.1 and, at fio's IOPS, 0.9 / CPU 1.12, want at least 1",
		"MISSED depth/ram/16: caller IOPS / fio's is 0.99 and CPU 0.25: the better of IOPS / 1.1 and, at fio's IOPS, 0.9 / CPU 0.9, want at least 1",
		"OPEN   depth/ram/64: caller beside fio: the better of IOPS / 1.1 and, at fio's IOPS, 0.9 / CPU not measured (fio has no kIOPS), want at least 1",
		"MISSED depth/page cache/64: caller IOPS / fio's 1.29, want at least 1.3",
		"holds  context/ram/write/16: caller IOPS / those of a hand-off 1.37, want at least 1",
		"holds  context/ram/write/16: caller CPU / that of a hand-off 0.667, want at most 0.8",
		"MISSED context/ram/write/16: task IOPS / those of a hand-off 0.99, want at least 1",
		"MISSED context/ram/write/16: task CPU / that of a hand-off 1, want at most 0.8",
		"holds  uncached/read: uncached MiB/s / buffered 1, want at least 1",
		"MISSED uncached/read: most MiB left resident in a round 3, want at most 0",
		"holds  calls/ext4/64: blocking IOPS / os.File's 1.5, want at least 1.5",
		"MISSED calls/ext4/64: blocking CPU / os.File's 0.51, want at most 0.5",
		"holds  calls/ext4/1024: blocking IOPS / those of 64 goroutines 0.8, want at least 0.8",
		"MISSED wal/4 at a time: caller, DSync: commits/s / os.File 1.99, want at least 2",
		"holds  shards/depth 16: CPU of one operation, 2 shards / 1 1.5, want at most 1.5",
		"holds  shards/depth 64: CPU of one operation, 2 shards / 1 1, want at most 1.5",
		"holds  held/1000000: in flight at once 1e+06, want at least 1e+06",
		"MISSED inflight/all: CPU of one operation, dearest / cheapest number in flight 2, want at most 1.5",
	}
	var got []string
	for _, l := range limits(sample()) {
		got = append(got, l.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPlot(t *testing.T) {
	dir := t.TempDir()
	if err := writePlot(sample(), dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, plotFile))
	if err != nil || !strings.Contains(string(text), "operations in flight") {
		t.Errorf("%v, %d bytes", err, len(text))
	}
	if got := image(sample()); !strings.Contains(got, plotFile) {
		t.Errorf("image %q", got)
	}
	if got := image(&rig.Report{}); got != "" {
		t.Errorf("image of nothing: %q", got)
	}
}

func TestSpecs(t *testing.T) { rig.CheckSpecs(t, suite) }
