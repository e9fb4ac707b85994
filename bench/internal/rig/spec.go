// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package rig is what the benchmarks of the engine have in common: files and devices
// to measure on, measurements in processes of their own, interleaved rounds, medians,
// limits, and the tables that go into documents.
//
// A command describes its rows as a [Suite] and hands it to [Main].
package rig

import (
	"math"
	"slices"
	"time"
)

// A Spec is one measurement: a peer's turn in a row of a section.
type Spec struct {
	Section string `json:"section"`
	Row     string `json:"row"`
	Peer    string `json:"peer"`

	How      string        `json:"how"`   // one of the keys of ways, or "fio"
	Place    string        `json:"place"` // name of the place
	Path     string        `json:"path"`  // of the place, filled in by the rig
	Bytes    int64         `json:"bytes"` // likewise
	Write    bool          `json:"write"`
	Cached   bool          `json:"cached"` // through the page cache, else direct
	Ordered  bool          `json:"ordered"`
	Depth    int           `json:"depth"` // or goroutines
	Busy     int           `json:"busy"`  // goroutines that spin meanwhile, on as many processors
	Block    int           `json:"block"` // bytes of an operation; 0 means 4096
	Delay    time.Duration `json:"delay"` // Options.TaskDelay
	Shards   int           `json:"shards"`
	Count    int           `json:"count"`   // operations, files, records of a group, or what fio and a thread's own queue do together
	Limited  bool          `json:"limited"` // in a control group with a memory limit, if there can be one
	Cgroup   string        `json:"cgroup"`  // filled in by the rig
	Duration time.Duration `json:"duration"`
	Turns    bool          `json:"turns"`   // measured in turns with the others of the row that are: see measureTurns
	Profile  string        `json:"profile"` // file for the CPU profile; "": none
}

// Together is how many operations of a depth are worth submitting, and waiting for, together: half of them, up to 16.
func Together(depth int) int { return min(depth/2, 16) }

// RowName names what is compared.
func (s Spec) RowName() string { return s.Section + "/" + s.Row }

// Name names the measurement; -rows matches it.
func (s Spec) Name() string { return s.RowName() + "/" + s.Peer }

// A Measurement is what one process has measured: figures by name. A figure that is
// absent was not measured.
type Measurement map[string]float64

// Figures.
const (
	KIOPS      = "kIOPS"
	CPU        = "CPU µs/op" // microseconds of CPU for one operation
	P50        = "p50 µs"
	P99        = "p99 µs"
	P99Turn    = "p99 by turns µs" // of goroutines that make blocking calls; see fair
	FloodKIOPS = "flood kIOPS"
	Allocs     = "allocs/op"
	PerRun     = "handlers/run"
	Switches   = "switches/op"
	MiBs       = "MiB/s"
	CPUGiB     = "CPU s/GiB"
	Left       = "MiB left"
	Commits    = "commits/s"
	PerCore    = "kIOPS/core"
	BytesOp    = "bytes/op"
	AtOnce     = "in flight at the last submit"
	Held       = "in flight when memory was read"
	Resident   = "MiB resident"
)

// A Section is a part of the report: rows with the same figures.
type Section struct {
	Name, Title string
	Figures     []string
}

// A Suite is what one command measures.
type Suite struct {
	// Name is that of the make target, of the marks in documents, and of temporary files.
	Name string

	Sections []Section

	// Specs returns all measurements, in the order in which a round makes them: peers of
	// one row next to each other, first the one that ratios are to. file and ram are the
	// names of the places; ram is "" where there can be no loop device.
	Specs func(file, ram string) []Spec

	// Limits returns the promises about the rows of r.
	Limits func(r *Report) []Limit

	QuickMiB int64 // size of the file with -quick

	// Summary, if not nil, returns the table for the README, with its header.
	Summary func(r *Report) [][]string

	// Plot, if not nil, draws r into a file of a directory, and Image returns the
	// Markdown that shows it; "" if there is nothing to show.
	Plot  func(r *Report, dir string) error
	Image func(r *Report) string
}

func (s *Suite) figures(section string) []string {
	for _, one := range s.Sections {
		if one.Name == section {
			return one.Figures
		}
	}
	return nil
}

// A unit is a row's turn in a round: it is measured as a whole or not at all.
type unit struct {
	name  string
	specs []Spec
}

// units gathers specs that follow each other by row.
func units(specs []Spec) []unit {
	var all []unit
	for _, s := range specs {
		if n := len(all); n == 0 || all[n-1].name != s.RowName() {
			all = append(all, unit{name: s.RowName()})
		}
		u := &all[len(all)-1]
		u.specs = append(u.specs, s)
	}
	return all
}

// rounds returns how many rounds of the unit r has, whether they failed or not.
func (u unit) rounds(r *Report) int {
	least := math.MaxInt
	for _, s := range u.specs {
		n := 0
		if c := r.Row(s.Section, s.Row).Cell(s.Peer); c != nil {
			n = len(c.Rounds) + len(c.Failures)
		}
		least = min(least, n)
	}
	return least
}

// next returns the unit that is to be measured next: of those with the fewest rounds
// the first that fits; nil if all have what they shall have, or none fits.
func next(all []unit, r *Report, want int, fits func(unit) bool) *unit {
	order := make([]*unit, 0, len(all))
	for i := range all {
		if all[i].rounds(r) < want {
			order = append(order, &all[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *unit) int { return a.rounds(r) - b.rounds(r) })
	for _, u := range order {
		if fits(*u) {
			return u
		}
	}
	return nil
}
