// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"time"

	"endio/bench/internal/rig"
)

var suite = &rig.Suite{
	Name: "bench-engine",
	Sections: []rig.Section{
		{Name: "depth", Title: "One goroutine that submits and reaps (Caller) beside fio: 4 KiB random reads", Figures: []string{rig.KIOPS, rig.CPU, rig.P50, rig.P99}},
		{Name: "context", Title: "Who runs the handler, at depth 16: 4 KiB, loop device over RAM (kernel, E1: the caller 37% more writes than a worker)", Figures: []string{rig.KIOPS, rig.CPU, rig.P50, rig.P99, rig.Switches}},
		{Name: "batch", Title: "Task batches (kernel, E2: 1.1 handlers a run and 1.86 switches an I/O without delay, 80.4 and 0.09 with one tick)",
			Figures: []string{rig.KIOPS, rig.CPU, rig.P50, rig.P99, rig.PerRun, rig.Switches}},
		{Name: "uncached", Title: "Uncached streams in a memory limit, with the sync at the end", Figures: []string{rig.MiBs, rig.CPUGiB, rig.Left}},
		{Name: "calls", Title: "Blocking calls from many goroutines: 4 KiB random reads", Figures: []string{rig.KIOPS, rig.CPU, rig.P50, rig.P99}},
		{Name: "fair", Title: "One small reader beside a flood on another open file: 4 KiB random reads", Figures: []string{rig.KIOPS, rig.P50, rig.P99, rig.FloodKIOPS}},
		{Name: "wal", Title: "A write-ahead log of 4 KiB records, overwritten in order", Figures: []string{rig.Commits, rig.CPU, rig.P50, rig.P99}},
		{Name: "shards", Title: "IOPS for each CPU used, by shards: 4 KiB random reads as Task", Figures: []string{rig.KIOPS, rig.CPU, rig.PerCore, rig.P99}},
		{Name: "inflight", Title: "Operations in flight at once", Figures: []string{rig.CPU, rig.BytesOp, rig.AtOnce}},
		{Name: "held", Title: "Memory of operations in flight, held by a device that gives no answer", Figures: []string{rig.Held, rig.Resident}},
		{Name: "files", Title: "Open files, read in turn at depth 64", Figures: []string{rig.KIOPS, rig.CPU, rig.P99}},
	},
	Specs: specs, Limits: limits, QuickMiB: 256, Plot: writePlot, Image: image,
}

// A list gathers specs of a place.
type list []rig.Spec

func (l *list) add(place string, specs ...rig.Spec) {
	for _, one := range specs {
		one.Place = place
		*l = append(*l, one)
	}
}

// specs returns all measurements.
func specs(file, ram string) []rig.Spec {
	var all list
	places, fast := []string{file}, file
	if ram != "" {
		places, fast = append(places, ram), ram
	}
	for _, p := range places {
		for _, depth := range []int{16, 64} {
			row := fmt.Sprintf("%s/%d", p, depth)
			together := rig.Together(depth)
			for _, one := range []rig.Spec{
				{Peer: "fio", How: "fio"},
				{Peer: "fio, together", How: "fio", Count: together},
				{Peer: "caller", How: "caller"},
				{Peer: "caller, own thread", How: "own"},
				{Peer: "caller, own thread, together", How: "own", Count: together},
			} {
				one.Section, one.Row, one.Depth, one.Turns = "depth", row, depth, true
				all.add(p, one)
			}
		}
	}
	// The bare system call in a loop is the ceiling for whoever has the kernel copy the data.
	all.add(file, rig.Spec{Section: "depth", Row: "page cache/64", Peer: "fio", How: "fio", Cached: true, Depth: 64},
		rig.Spec{Section: "depth", Row: "page cache/64", Peer: "pread", How: "pread", Cached: true, Depth: 1},
		rig.Spec{Section: "depth", Row: "page cache/64", Peer: "caller", How: "caller", Cached: true, Depth: 64})
	for _, write := range []bool{false, true} {
		row := fast + "/read/16"
		if write {
			row = fast + "/write/16"
		}
		for _, how := range []string{"handoff", "task", "inline", "caller"} {
			all.add(fast, rig.Spec{Section: "context", Row: row, Peer: how, How: how, Write: write, Depth: 16, Turns: true})
		}
	}
	batches(&all, fast)
	for _, write := range []bool{false, true} {
		row := "read"
		if write {
			row = "write"
		}
		for _, peer := range []string{"buffered", "RWF_DONTCACHE", "uncached"} {
			all.add(file, rig.Spec{Section: "uncached", Row: row, Peer: peer, How: peer, Write: write, Block: 128 << 10, Limited: true})
		}
	}
	for _, goroutines := range []int{64, 1024} {
		for _, p := range places {
			calls(&all, p, rig.Spec{Row: fmt.Sprintf("%s/%d", p, goroutines), Depth: goroutines})
		}
		calls(&all, file, rig.Spec{Row: fmt.Sprintf("page cache/%d", goroutines), Depth: goroutines, Cached: true})
	}
	fair(&all, file)
	logs(&all, file)
	scale(&all, file, fast)
	return all
}

// calls is a row about blocking calls.
func calls(all *list, place string, one rig.Spec) {
	one.Section = "calls"
	for _, how := range []string{"os.File", "blocking"} {
		one.Peer, one.How = how, how
		all.add(place, one)
	}
}

// tick is a jiffy of a kernel with HZ=250.
const tick = 4 * time.Millisecond

// batches are the rows about Options.TaskDelay.
func batches(all *list, place string) {
	for _, one := range []rig.Spec{
		{Row: "128 KiB in order/1", Block: 128 << 10, Depth: 1, Ordered: true},
		{Row: "4 KiB at random/32", Block: 4096, Depth: 32},
		{Row: "4 KiB at random/1024", Block: 4096, Depth: 1024},
	} {
		one.Section, one.How = "batch", "task"
		one.Peer, one.Delay = "delay 0", 0
		all.add(place, one)
		one.Peer, one.Delay = "delay 100 µs", 100*time.Microsecond
		all.add(place, one)
		one.Peer, one.Delay = "delay 4 ms", tick
		all.add(place, one)
	}
}

// Ways to write a log: commits is what each of them has.
const (
	logPlain  = "os.File"
	logMany   = "os.File, 4 goroutines"
	logDSync  = "caller, DSync"
	logGroups = "os.File, groups"
	logBoth   = "caller, DSync, groups"
)

func logs(all *list, place string) {
	for _, one := range []rig.Spec{
		{Peer: logPlain, How: "fdatasync", Depth: 1},
		{Peer: logMany, How: "fdatasync", Depth: 4},
		{Peer: logDSync, How: "dsync", Ordered: true, Depth: 4},
		{Peer: logGroups, How: "fdatasync", Depth: 1, Count: 4},
		{Peer: logBoth, How: "group", Ordered: true, Depth: 4},
	} {
		one.Section, one.Row, one.Write = "wal", "4 at a time", true
		all.add(place, one)
	}
}

// Who reads beside a flood, and how many operations that is.
const (
	readAlone    = "task, no flood"
	readTask     = "task"
	readBlocking = "blocking"
	readOS       = "os.File"

	floodOps = 4096
)

// fair are the rows about who waits for whom. os.File's flood is one of goroutines.
func fair(all *list, place string) {
	for _, one := range []rig.Spec{
		{Peer: readAlone, How: "beside task"},
		{Peer: readTask, How: "beside task", Count: floodOps},
		{Peer: readBlocking, How: "beside blocking", Count: floodOps},
		{Peer: readOS, How: "beside os.File", Count: floodOps},
	} {
		one.Section, one.Row, one.Depth = "fair", fmt.Sprintf("%s/%d", place, floodOps), 1
		all.add(place, one)
	}
}

// million is how many operations in flight the project promises.
const million = 1_000_000

// scale are the rows about much of something.
func scale(all *list, file, fast string) {
	for _, depth := range []int{16, 64, 256} {
		for _, shards := range []int{1, 2} {
			all.add(fast, rig.Spec{Section: "shards", Row: fmt.Sprintf("depth %d", depth), Peer: fmt.Sprint(shards), How: "task", Depth: depth, Shards: shards})
		}
	}
	for _, n := range []int{1000, 10_000, 100_000, million} {
		all.add(fast, rig.Spec{Section: "inflight", Row: fmt.Sprint(n), Peer: "task", How: "inflight", Count: n})
	}
	all.add(fast, rig.Spec{Section: "held", Row: fmt.Sprint(million), Peer: "task", How: "held", Count: million})
	for _, n := range []int{1, 100, 1000, 10_000} {
		all.add(file, rig.Spec{Section: "files", Row: fmt.Sprint(n), Peer: "caller", How: "files", Depth: 64, Count: n})
	}
}
