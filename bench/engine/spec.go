// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// A spec is one measurement: a peer's turn in a row of a section.
type spec struct {
	Section string `json:"section"`
	Row     string `json:"row"`
	Peer    string `json:"peer"`

	How      string        `json:"how"` // see measureHere
	Path     string        `json:"path"`
	Bytes    int64         `json:"bytes"` // of the file
	Write    bool          `json:"write"`
	Cached   bool          `json:"cached"` // through the page cache, else direct
	Ordered  bool          `json:"ordered"`
	Depth    int           `json:"depth"` // or goroutines
	Block    int           `json:"block"` // bytes of an operation
	Delay    time.Duration `json:"delay"` // Options.TaskDelay
	Shards   int           `json:"shards"`
	Count    int           `json:"count"`  // operations, or files
	Cgroup   string        `json:"cgroup"` // to enter first
	Duration time.Duration `json:"duration"`
}

// Name names the measurement.
func (s spec) Name() string { return s.Section + "/" + s.Row + "/" + s.Peer }

// A measurement is what one process has measured: figures by name.
type measurement map[string]float64

// Figures.
const (
	kiops    = "kIOPS"
	cpuIO    = "CPU µs/op" // microseconds of CPU for one operation
	p50      = "p50 µs"
	p99      = "p99 µs"
	perRun   = "handlers/run"
	switches = "switches/op"
	mibs     = "MiB/s"
	cpuGiB   = "CPU s/GiB"
	left     = "MiB left"
	commits  = "commits/s"
	perCore  = "kIOPS/core"
	bytesOp  = "bytes/op"
	atOnce   = "in flight at the last submit"
)

// A section is a part of the report: rows with the same figures.
type section struct {
	name, title string
	figures     []string
}

var sections = []section{
	{"depth", "One goroutine that submits and reaps (Caller) beside fio: 4 KiB random reads", []string{kiops, cpuIO, p50, p99}},
	{"context", "Caller beside Task at depth 16: 4 KiB, loop device over RAM", []string{kiops, cpuIO, p50, p99, switches}},
	{"batch", "Task batches (kernel, E2: 1.1 handlers a run and 1.86 switches an I/O without delay, 80.4 and 0.09 with one tick)", []string{kiops, cpuIO, p50, p99, perRun, switches}},
	{"uncached", "Uncached streams in a memory limit, with the sync at the end", []string{mibs, cpuGiB, left}},
	{"calls", "Blocking calls from many goroutines: 4 KiB random reads", []string{kiops, cpuIO, p50, p99}},
	{"wal", "A write-ahead log of 4 KiB records, overwritten in order", []string{commits, cpuIO, p50, p99}},
	{"shards", "IOPS for each CPU used, by shards: 4 KiB random reads as Task", []string{kiops, cpuIO, perCore, p99}},
	{"inflight", "Operations in flight at once", []string{cpuIO, bytesOp, atOnce}},
	{"files", "Open files, read in turn at depth 64", []string{kiops, cpuIO, p99}},
}

// allSpecs returns the measurements that the settings ask for, in the order in
// which a round makes them: peers of one row next to each other.
func allSpecs(s settings, file, loop, stream *place) []spec {
	var all []spec
	add := func(one spec) {
		one.Duration = s.duration
		if one.Block == 0 {
			one.Block = 4096
		}
		if s.rows.MatchString(one.Name()) {
			all = append(all, one)
		}
	}
	on := func(p *place, one spec) spec {
		one.Path, one.Bytes = p.path, p.bytes
		return one
	}
	direct := []*place{file}
	if loop != nil {
		direct = append(direct, loop)
	}
	for _, p := range direct {
		for _, depth := range []int{16, 64} {
			row := fmt.Sprintf("%s/%d", p.name, depth)
			add(on(p, spec{Section: "depth", Row: row, Peer: "fio", How: "fio", Depth: depth}))
			add(on(p, spec{Section: "depth", Row: row, Peer: "caller", How: "caller", Depth: depth}))
		}
	}
	add(on(file, spec{Section: "depth", Row: "page cache/64", Peer: "fio", How: "fio", Cached: true, Depth: 64}))
	add(on(file, spec{Section: "depth", Row: "page cache/64", Peer: "caller", How: "caller", Cached: true, Depth: 64}))
	fast := direct[len(direct)-1]
	for _, write := range []bool{false, true} {
		row := fast.name + "/read/16"
		if write {
			row = fast.name + "/write/16"
		}
		add(on(fast, spec{Section: "context", Row: row, Peer: "task", How: "task", Write: write, Depth: 16}))
		add(on(fast, spec{Section: "context", Row: row, Peer: "inline", How: "inline", Write: write, Depth: 16}))
		add(on(fast, spec{Section: "context", Row: row, Peer: "caller", How: "caller", Write: write, Depth: 16}))
	}
	batches(add, on, fast)
	for _, write := range []bool{false, true} {
		row := "read"
		if write {
			row = "write"
		}
		for _, peer := range []string{"buffered", "RWF_DONTCACHE", "uncached"} {
			add(on(stream, spec{Section: "uncached", Row: row, Peer: peer, How: peer, Write: write, Block: 128 << 10, Cgroup: s.cgroup}))
		}
	}
	for _, p := range direct {
		for _, goroutines := range []int{64, 1024} {
			row := fmt.Sprintf("%s/%d", p.name, goroutines)
			add(on(p, spec{Section: "calls", Row: row, Peer: "os.File", How: "os.File", Depth: goroutines}))
			add(on(p, spec{Section: "calls", Row: row, Peer: "blocking", How: "blocking", Depth: goroutines}))
		}
	}
	add(on(file, spec{Section: "wal", Row: "4 at a time", Peer: "os.File", How: "fdatasync", Write: true, Depth: 1}))
	add(on(file, spec{Section: "wal", Row: "4 at a time", Peer: "os.File, 4 goroutines", How: "fdatasync", Write: true, Depth: 4}))
	add(on(file, spec{Section: "wal", Row: "4 at a time", Peer: "caller, DSync", How: "dsync", Write: true, Ordered: true, Depth: 4}))
	add(on(file, spec{Section: "wal", Row: "4 at a time", Peer: "os.File, groups", How: "fdatasync", Write: true, Depth: 1, Count: 4}))
	add(on(file, spec{Section: "wal", Row: "4 at a time", Peer: "caller, DSync, groups", How: "group", Write: true, Ordered: true, Depth: 4}))
	for _, depth := range []int{16, 64, 256} {
		for _, shards := range []int{1, 2} {
			add(on(fast, spec{Section: "shards", Row: fmt.Sprintf("depth %d", depth), Peer: fmt.Sprintf("%d", shards), How: "task", Depth: depth, Shards: shards}))
		}
	}
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		add(on(fast, spec{Section: "inflight", Row: fmt.Sprint(n), Peer: "task", How: "inflight", Count: n}))
	}
	for _, n := range []int{1, 100, 1000, 10_000} {
		add(on(file, spec{Section: "files", Row: fmt.Sprint(n), Peer: "caller", How: "files", Depth: 64, Count: n}))
	}
	return all
}

// tick is a jiffy of a kernel with HZ=250.
const tick = 4 * time.Millisecond

// batches are the rows about Options.TaskDelay.
func batches(add func(spec), on func(*place, spec) spec, p *place) {
	for _, one := range []spec{
		{Row: "128 KiB in order/1", Block: 128 << 10, Depth: 1, Ordered: true},
		{Row: "4 KiB at random/32", Block: 4096, Depth: 32},
		{Row: "4 KiB at random/1024", Block: 4096, Depth: 1024},
	} {
		one.Section, one.How = "batch", "task"
		one.Peer, one.Delay = "delay 0", 0
		add(on(p, one))
		one.Peer, one.Delay = "delay 100 µs", 100*time.Microsecond
		add(on(p, one))
		one.Peer, one.Delay = "delay 4 ms", tick
		add(on(p, one))
	}
}

// measure makes one measurement, in a process of its own.
func measure(s spec) (measurement, error) {
	if s.How == "fio" {
		return measureFio(s)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := measurement{}
	return m, runJSON(exec.Command(self, "-child", string(text)), &m)
}

// runJSON runs cmd and reads its output.
func runJSON(cmd *exec.Cmd, into any) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	// fio prints notes before its JSON.
	if start := bytes.IndexByte(out, '{'); start >= 0 {
		return json.Unmarshal(out[start:], into)
	}
	return errors.New("no JSON in the output")
}
