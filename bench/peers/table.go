// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A report is all measurements and what follows from them.
type report struct {
	Time     string   `json:"time"`
	Versions []string `json:"versions"`
	Rounds   int      `json:"rounds"`
	Seconds  float64  `json:"seconds_per_measurement"`
	MiB      int64    `json:"file_mib"`
	Skipped  []string `json:"skipped,omitempty"`
	Rows     []*row   `json:"rows"`
	Limits   []limit  `json:"limits"`
}

// A row is one thing measured with several peers.
type row struct {
	Name  string  `json:"name"`
	Cells []*cell `json:"cells"`
	spec  spec
}

// A cell is one peer's rounds, and their medians.
type cell struct {
	Peer   string        `json:"peer"`
	Rounds []measurement `json:"rounds"`
	Median measurement   `json:"median"`
	Low    measurement   `json:"low"`
	High   measurement   `json:"high"`
}

func newReport(s settings) *report {
	return &report{Time: time.Now().UTC().Format(time.DateOnly), Rounds: s.rounds, Seconds: s.duration.Seconds(), MiB: s.bytes >> 20}
}

func (r *report) row(name string) *row {
	for _, row := range r.Rows {
		if row.Name == name {
			return row
		}
	}
	return nil
}

func (w *row) cell(peer string) *cell {
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

func (r *report) add(s spec, m measurement) {
	w := r.row(s.Row())
	if w == nil {
		w = &row{Name: s.Row(), spec: s}
		r.Rows = append(r.Rows, w)
	}
	c := w.cell(s.Peer)
	if c == nil {
		c = &cell{Peer: s.Peer}
		w.Cells = append(w.Cells, c)
	}
	c.Rounds = append(c.Rounds, m)
}

// figures are the numbers of a measurement, one by one.
var figures = []func(m *measurement) *float64{
	func(m *measurement) *float64 { return &m.IOPS },
	func(m *measurement) *float64 { return &m.CPU },
	func(m *measurement) *float64 { return &m.P50 },
	func(m *measurement) *float64 { return &m.P99 },
	func(m *measurement) *float64 { return &m.Allocs },
	func(m *measurement) *float64 { return &m.MiB },
}

// finish computes medians, spreads and limits.
func (r *report) finish() {
	for _, w := range r.Rows {
		for _, c := range w.Cells {
			for _, figure := range figures {
				var values []float64
				for i := range c.Rounds {
					values = append(values, *figure(&c.Rounds[i]))
				}
				slices.Sort(values)
				*figure(&c.Low), *figure(&c.High) = values[0], values[len(values)-1]
				middle := len(values) / 2
				*figure(&c.Median) = values[middle]
				if len(values)%2 == 0 {
					*figure(&c.Median) = (values[middle-1] + values[middle]) / 2
				}
			}
			c.Median.Note = c.Rounds[0].Note
		}
	}
	r.Limits = limits(r)
}

// baseline returns the peer that ratios of a row are to.
func (w *row) baseline() *cell {
	if c := w.cell(peerFio); c != nil {
		return c
	}
	return w.cell(peerOS)
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// lines returns the table, a line for each cell.
func (r *report) lines() [][]string {
	lines := [][]string{{"row", "peer", "kIOPS (spread)", "CPU s/M (spread)", "p50 µs", "p99 µs (spread)", "allocs/op", "ratios IOPS, CPU, p50, p99"}}
	for _, w := range r.Rows {
		base := w.baseline()
		for _, c := range w.Cells {
			m := c.Median
			if w.spec.InFlight > 0 {
				lines = append(lines, []string{w.Name, c.Peer, "", "", "", "", "", fmt.Sprintf("%.0f MiB resident (%.0f to %.0f); %s", m.MiB, c.Low.MiB, c.High.MiB, m.Note)})
				continue
			}
			allocs := "-"
			if m.Allocs >= 0 {
				allocs = fmt.Sprintf("%.3f", m.Allocs)
			}
			ratios := "1"
			if base != nil && c != base {
				b := base.Median
				ratios = fmt.Sprintf("%s, %s, %s, %s of %s", ratio(m.IOPS, b.IOPS), ratio(m.CPU, b.CPU), ratio(m.P50, b.P50), ratio(m.P99, b.P99), base.Peer)
			}
			lines = append(lines, []string{w.Name, c.Peer,
				fmt.Sprintf("%.1f (%.1f-%.1f)", m.IOPS/1e3, c.Low.IOPS/1e3, c.High.IOPS/1e3),
				fmt.Sprintf("%.1f (%.1f-%.1f)", m.CPU, c.Low.CPU, c.High.CPU),
				fmt.Sprintf("%.0f", m.P50), fmt.Sprintf("%.0f (%.0f-%.0f)", m.P99, c.Low.P99, c.High.P99), allocs, ratios})
		}
	}
	return lines
}

// header says how the figures were made.
func (r *report) header() string {
	return fmt.Sprintf("%s; %s; %d interleaved rounds of %gs, file of %d MiB; medians (lowest to highest round)",
		r.Time, strings.Join(r.Versions, "; "), r.Rounds, r.Seconds, r.MiB)
}

func (r *report) writeText(w io.Writer) error {
	fmt.Fprintln(w, r.header())
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, line := range r.lines() {
		fmt.Fprintln(tw, strings.Join(line, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, s := range r.Skipped {
		fmt.Fprintln(w, s)
	}
	fmt.Fprintln(w)
	for _, l := range r.Limits {
		fmt.Fprintln(w, l)
	}
	return nil
}

// Marks of the part of the Markdown file that belongs to this command.
const (
	docBegin = "<!-- bench-peers: written by make bench-peers; do not edit -->"
	docEnd   = "<!-- bench-peers: end -->"
)

// writeDoc replaces the marked part of the file, or adds it at the end.
func (r *report) writeDoc(path string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n%s\n\n", docBegin, r.header())
	for i, line := range r.lines() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat(" --- |", len(line)))
		}
	}
	b.WriteString("\nThe project's limits:\n\n")
	for _, l := range r.Limits {
		fmt.Fprintf(&b, "- %v\n", l)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	fmt.Fprintf(&b, "\n%s", docEnd)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before, rest, found := strings.Cut(string(old), docBegin)
	after := "\n"
	if found {
		if _, after, found = strings.Cut(rest, docEnd); !found {
			return fmt.Errorf("%s: the mark %q has no end %q", path, docBegin, docEnd)
		}
	} else if before != "" {
		before = strings.TrimRight(before, "\n") + "\n\n"
	}
	return os.WriteFile(path, []byte(before+b.String()+after), 0o666)
}
