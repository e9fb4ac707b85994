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

// A row is one thing measured with several peers, of which the first is the one
// that ratios are to.
type row struct {
	Section string  `json:"section"`
	Name    string  `json:"name"`
	Cells   []*cell `json:"cells"`
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

func (r *report) row(section, name string) *row {
	for _, w := range r.Rows {
		if w.Section == section && w.Name == name {
			return w
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
	w := r.row(s.Section, s.Row)
	if w == nil {
		w = &row{Section: s.Section, Name: s.Row}
		r.Rows = append(r.Rows, w)
	}
	c := w.cell(s.Peer)
	if c == nil {
		c = &cell{Peer: s.Peer}
		w.Cells = append(w.Cells, c)
	}
	c.Rounds = append(c.Rounds, m)
}

// finish computes medians, spreads and limits.
func (r *report) finish() {
	for _, w := range r.Rows {
		for _, c := range w.Cells {
			var figures []string
			for _, s := range sections {
				if s.name == w.Section {
					figures = s.figures
				}
			}
			c.Median, c.Low, c.High = measurement{}, measurement{}, measurement{}
			for _, figure := range figures {
				var values []float64
				for _, m := range c.Rounds {
					values = append(values, m[figure])
				}
				slices.Sort(values)
				middle := len(values) / 2
				c.Low[figure], c.High[figure], c.Median[figure] = values[0], values[len(values)-1], values[middle]
				if len(values)%2 == 0 {
					c.Median[figure] = (values[middle-1] + values[middle]) / 2
				}
			}
		}
	}
	r.Limits = limits(r)
}

// number prints v with three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// lines returns the table of a section, a line for each cell; nil if nothing of
// it was measured.
func (r *report) lines(s section) [][]string {
	lines := [][]string{append(append([]string{"row", "peer"}, s.figures...), "ratios")}
	for _, w := range r.Rows {
		if w.Section != s.name {
			continue
		}
		for _, c := range w.Cells {
			line, ratios := []string{w.Name, c.Peer}, []string{}
			for _, f := range s.figures {
				line = append(line, fmt.Sprintf("%s (%s-%s)", number(c.Median[f]), number(c.Low[f]), number(c.High[f])))
				if base := w.Cells[0].Median[f]; base != 0 {
					ratios = append(ratios, fmt.Sprintf("%.2f", c.Median[f]/base))
				} else {
					ratios = append(ratios, "-")
				}
			}
			if c == w.Cells[0] {
				ratios = []string{"1"}
			}
			lines = append(lines, append(line, strings.Join(ratios, ", ")))
		}
	}
	if len(lines) == 1 {
		return nil
	}
	return lines
}

// header says how the figures were made.
func (r *report) header() string {
	return fmt.Sprintf("%s; %s; %d interleaved rounds of %gs, file of %d MiB; medians (lowest-highest round); ratios are to the first peer of the row, figure by figure",
		r.Time, strings.Join(r.Versions, "; "), r.Rounds, r.Seconds, r.MiB)
}

func (r *report) writeText(w io.Writer) error {
	fmt.Fprintln(w, r.header())
	for _, s := range sections {
		lines := r.lines(s)
		if lines == nil {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", s.title)
		tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		for _, line := range lines {
			fmt.Fprintln(tw, strings.Join(line, "\t"))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
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
	docBegin = "<!-- bench-engine: written by make bench-engine; do not edit -->"
	docEnd   = "<!-- bench-engine: end -->"
)

// writeDoc replaces the marked part of the file, or adds it at the end.
func (r *report) writeDoc(path string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n%s\n", docBegin, r.header())
	for _, s := range sections {
		lines := r.lines(s)
		if lines == nil {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n", s.title)
		for i, line := range lines {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|%s\n", strings.Repeat(" --- |", len(line)))
			}
		}
	}
	if r.hasPlot() {
		fmt.Fprintf(&b, "\n![CPU of one operation against shards, operations in flight and open files](%s)\n", plotFile)
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
