// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// A Report is all measurements and what follows from them.
type Report struct {
	Suite    string   `json:"suite"`
	Since    string   `json:"since"` // days of the first and the last measurement
	Until    string   `json:"until"`
	Versions []string `json:"versions"`
	Seconds  float64  `json:"seconds_per_measurement"`
	MiB      int64    `json:"file_mib"`
	File     string   `json:"file_on"` // name of the place
	Skipped  []string `json:"skipped,omitempty"`
	Rows     []*Row   `json:"rows"`
	Limits   []Limit  `json:"limits"`

	suite   *Suite
	partial string // why the run ended early; "" if it did not
}

// A Row is one thing measured with several peers, of which the first is the one
// that ratios are to.
type Row struct {
	Section string  `json:"section"`
	Name    string  `json:"name"`
	Cells   []*Cell `json:"cells"`
}

// A Cell is one peer's rounds, and their medians.
type Cell struct {
	Peer     string        `json:"peer"`
	Rounds   []Measurement `json:"rounds"`
	Failures []string      `json:"failures,omitempty"` // rounds that failed, and why
	Median   Measurement   `json:"median"`
	Low      Measurement   `json:"low"`
	High     Measurement   `json:"high"`
}

func newReport(s *Suite, o settings, file string) *Report {
	today := time.Now().UTC().Format(time.DateOnly)
	return &Report{Suite: s.Name, Since: today, Until: today, Versions: versions(), Seconds: o.duration.Seconds(), MiB: o.bytes >> 20, File: file, suite: s}
}

// Row returns a row; nil if nothing of it was measured.
func (r *Report) Row(section, name string) *Row {
	for _, w := range r.Rows {
		if w.Section == section && w.Name == name {
			return w
		}
	}
	return nil
}

// Cell returns a peer's cell; nil if it was not measured.
func (w *Row) Cell(peer string) *Cell {
	if w == nil {
		return nil
	}
	for _, c := range w.Cells {
		if c.Peer == peer {
			return c
		}
	}
	return nil
}

// An outcome is a measurement or why there is none.
type outcome struct {
	spec Spec
	m    Measurement
	err  error
}

func (r *Report) add(o outcome) {
	w := r.Row(o.spec.Section, o.spec.Row)
	if w == nil {
		w = &Row{Section: o.spec.Section, Name: o.spec.Row}
		r.Rows = append(r.Rows, w)
	}
	c := w.Cell(o.spec.Peer)
	if c == nil {
		c = &Cell{Peer: o.spec.Peer}
		w.Cells = append(w.Cells, c)
	}
	if o.err != nil {
		c.Failures = append(c.Failures, strings.Join(strings.Fields(o.err.Error()), " "))
		return
	}
	c.Rounds = append(c.Rounds, o.m)
}

// finish puts rows and peers in the order of all specs, and computes medians, spreads
// and limits.
func (r *Report) finish(order []Spec) {
	rows, peers := make(map[string]int), make(map[string]int)
	for i, s := range order {
		if _, ok := rows[s.RowName()]; !ok {
			rows[s.RowName()] = i
		}
		peers[s.Name()] = i
	}
	slices.SortStableFunc(r.Rows, func(a, b *Row) int { return rows[a.Section+"/"+a.Name] - rows[b.Section+"/"+b.Name] })
	for _, w := range r.Rows {
		name := w.Section + "/" + w.Name + "/"
		slices.SortStableFunc(w.Cells, func(a, b *Cell) int { return peers[name+a.Peer] - peers[name+b.Peer] })
		for _, c := range w.Cells {
			c.summarize(r.suite.figures(w.Section))
		}
	}
	r.Limits = r.suite.Limits(r)
}

// summarize computes medians and spreads over the rounds that have a figure.
func (c *Cell) summarize(figures []string) {
	c.Median, c.Low, c.High = Measurement{}, Measurement{}, Measurement{}
	for _, figure := range figures {
		var values []float64
		for _, m := range c.Rounds {
			if v, ok := m[figure]; ok {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			continue
		}
		slices.Sort(values)
		c.Low[figure], c.High[figure], c.Median[figure] = values[0], values[len(values)-1], median(values)
	}
}

// median returns that of sorted values.
func median(sorted []float64) float64 {
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// rounds returns the fewest and the most rounds that a peer of a row has.
func (r *Report) rounds() (low, high int) {
	low = math.MaxInt
	for _, w := range r.Rows {
		for _, c := range w.Cells {
			n := len(c.Rounds) + len(c.Failures)
			low, high = min(low, n), max(high, n)
		}
	}
	return min(low, high), high
}

// failures names the measurements of which rounds failed.
func (r *Report) failures() []string {
	var all []string
	for _, w := range r.Rows {
		for _, c := range w.Cells {
			if n := len(c.Failures); n > 0 {
				all = append(all, fmt.Sprintf("failed in %d of %d rounds: %s/%s/%s: %s", n, n+len(c.Rounds), w.Section, w.Name, c.Peer, c.Failures[n-1]))
			}
		}
	}
	return all
}

// join takes what earlier runs have measured from the file at path, if there is one.
// It refuses what was measured of something else, or in another way.
func (r *Report) join(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("-append: %w", err)
	}
	var old Report
	if err := json.Unmarshal(text, &old); err != nil {
		return fmt.Errorf("-append %s: not a file of measurements: %w", path, err)
	}
	for _, one := range []struct {
		what     string
		was, now any
	}{
		{"suite", old.Suite, r.Suite},
		{"versions", strings.Join(old.Versions, "; "), strings.Join(r.Versions, "; ")},
		{"seconds of a measurement", old.Seconds, r.Seconds},
		{"MiB of the file", old.MiB, r.MiB},
		{"file system", old.File, r.File},
	} {
		if one.was != one.now {
			return fmt.Errorf("-append %s: measured with %s %v, and this run has %v: give another file, or remove it to begin anew", path, one.what, one.was, one.now)
		}
	}
	r.Since, r.Rows = old.Since, old.Rows
	return nil
}

// write writes the report into the file at path, which has the old or the new content
// at any time.
func (r *Report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
