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

// Peers: what is measured.
const (
	peerFio      = "fio"      // io_uring, fixed buffers, registered files, batches
	peerOS       = "os.File"  // a goroutine for each of the depth
	peerCaller   = "caller"   // endio, one goroutine on one queue
	peerTask     = "task"     // endio, handlers on workers
	peerInline   = "inline"   // endio, handlers on the reaper
	peerBlocking = "blocking" // endio's ReadAt and WriteAt, a goroutine for each of the depth
)

// blockBytes is the size of each operation.
const blockBytes = 4096

// A spec is one measurement.
type spec struct {
	Place    string        `json:"place"` // "ext4" or "ram"
	Path     string        `json:"path"`
	Bytes    int64         `json:"bytes"` // of the file
	Write    bool          `json:"write"`
	Depth    int           `json:"depth"`
	Busy     int           `json:"busy"` // goroutines that spin meanwhile
	Peer     string        `json:"peer"`
	Duration time.Duration `json:"duration"`
	InFlight int           `json:"in_flight"` // not 0: measure the memory of so many operations in flight
}

// Row names what is compared: the spec without its peer.
func (s spec) Row() string {
	if s.InFlight > 0 {
		return fmt.Sprintf("%s/in flight/%d", s.Place, s.InFlight)
	}
	kind := "read"
	if s.Write {
		kind = "write"
	}
	row := fmt.Sprintf("%s/%s/%d", s.Place, kind, s.Depth)
	if s.Busy > 0 {
		row += "/busy"
	}
	return row
}

// Name names the measurement.
func (s spec) Name() string { return s.Row() + "/" + s.Peer }

// A measurement is what one process has measured.
type measurement struct {
	IOPS   float64 `json:"iops"`
	CPU    float64 `json:"cpu_s_per_million"`
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	Allocs float64 `json:"allocs_per_op"` // -1: not measured
	MiB    float64 `json:"mib"`           // of resident memory, for in flight
	Note   string  `json:"note,omitempty"`
}

// allSpecs returns the measurements that the settings ask for, in the order in
// which a round makes them: peers of one row next to each other.
func allSpecs(s settings, places []*place) []spec {
	var all []spec
	add := func(one spec, peers ...string) {
		for _, peer := range peers {
			one.Peer = peer
			one.Duration = s.duration
			if s.rows.MatchString(one.Name()) {
				all = append(all, one)
			}
		}
	}
	for _, p := range places {
		for _, write := range []bool{false, true} {
			for _, depth := range []int{1, 16, 64} {
				one := spec{Place: p.name, Path: p.path, Bytes: p.bytes, Write: write, Depth: depth}
				add(one, peerFio, peerCaller, peerTask, peerInline, peerBlocking, peerOS)
			}
		}
	}
	for _, p := range places {
		for _, write := range []bool{false, true} {
			add(spec{Place: p.name, Path: p.path, Bytes: p.bytes, Write: write, Depth: 1, Busy: 2}, peerOS, peerBlocking, peerCaller)
		}
	}
	for _, p := range places[:min(1, len(places))] {
		add(spec{Place: p.name, Path: p.path, Bytes: p.bytes, Depth: 64, InFlight: 100000}, peerTask)
	}
	return all
}

// measure makes one measurement, in a process of its own.
func measure(s spec) (measurement, error) {
	if s.Peer == peerFio {
		return measureFio(s)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return measurement{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return measurement{}, err
	}
	var m measurement
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
