// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
)

// Number prints v with three digits that count.
func Number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// lines returns the table of a section, a line for each cell; nil if nothing of
// it was measured.
func (r *Report) lines(s Section) [][]string {
	lines := [][]string{append(append([]string{"row", "peer"}, s.Figures...), "ratios")}
	last := false // the last column says something
	for _, w := range r.Rows {
		if w.Section != s.Name {
			continue
		}
		for _, c := range w.Cells {
			line := []string{w.Name, c.Peer}
			for _, f := range s.Figures {
				line = append(line, c.figure(f))
			}
			remark := "1"
			switch {
			case len(c.Rounds) == 0:
				remark = "NOT MEASURED: " + strings.ReplaceAll(c.Failures[len(c.Failures)-1], "|", "/")
			case c != w.Cells[0]:
				remark = w.ratios(c.Peer, s.Figures)
			}
			last = last || remark != "1"
			lines = append(lines, append(line, remark))
		}
	}
	if len(lines) == 1 {
		return nil
	}
	for i := range lines {
		if !last {
			lines[i] = lines[i][:len(lines[i])-1]
		}
	}
	return lines
}

// figure prints a figure with its spread.
func (c *Cell) figure(f string) string {
	v, ok := c.Median[f]
	switch {
	case !ok:
		return "-"
	case c.Low[f] == c.High[f]:
		return Number(v)
	default:
		return fmt.Sprintf("%s (%s-%s)", Number(v), Number(c.Low[f]), Number(c.High[f]))
	}
}

// ratios prints those of a peer to the first one.
func (w *Row) ratios(peer string, figures []string) string {
	var list []string
	for _, f := range figures {
		if v := w.Ratio(peer, w.Cells[0].Peer, f); v.Off || v.Open != "" {
			list = append(list, "-")
		} else {
			list = append(list, fmt.Sprintf("%.2f", v.V))
		}
	}
	return strings.Join(list, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// header says how the figures were made, and how to read them.
func (r *Report) header() string {
	return r.origin() + "; medians (lowest-highest round); ratios, figure by figure, are to the first peer of the row in the same round, and their median"
}

// origin says how the figures were made.
func (r *Report) origin() string {
	days, look := r.Since, ""
	if r.Until != r.Since {
		days += " to " + r.Until
	}
	low, high := r.rounds()
	rounds := fmt.Sprintf("%d to %d interleaved rounds", low, high)
	if low == high {
		rounds = plural(high, "interleaved round")
	}
	if r.Seconds < lookTime.Seconds() {
		look = " (too short for more than a look: fio reports too little CPU)"
	}
	return fmt.Sprintf("%s; %s; %s of %gs%s, file of %d MiB",
		days, strings.Join(r.Versions, "; "), rounds, r.Seconds, look, r.MiB)
}

// writeText prints the report for a terminal.
func (r *Report) writeText(w io.Writer) error {
	fmt.Fprintln(w, r.header())
	for _, s := range r.suite.Sections {
		lines := r.lines(s)
		if lines == nil {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", s.Title)
		tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		for _, line := range lines {
			fmt.Fprintln(tw, strings.Join(line, "\t"))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	for _, s := range r.remarks() {
		fmt.Fprintln(w, s)
	}
	if r.partial != "" {
		fmt.Fprintf(w, "PARTIAL: %s\n", r.partial)
	}
	return nil
}

// remarks are what follows the tables: limits, places that were skipped, failures.
func (r *Report) remarks() []string {
	var all []string
	for _, l := range r.Limits {
		all = append(all, l.String())
	}
	return append(append(all, r.Skipped...), r.failures()...)
}

// markdown returns lines as a table of which the first line is the head.
func markdown(lines [][]string) string {
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat(" --- |", len(line)))
		}
	}
	return b.String()
}

// document returns the generated part of the document about the benchmarks.
func (r *Report) document() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.header())
	for _, s := range r.suite.Sections {
		if lines := r.lines(s); lines != nil {
			fmt.Fprintf(&b, "\n### %s\n\n%s", s.Title, markdown(lines))
		}
	}
	if r.suite.Image != nil {
		if image := r.suite.Image(r); image != "" {
			fmt.Fprintf(&b, "\n%s\n", image)
		}
	}
	b.WriteString("\nThe project's limits:\n\n")
	for _, s := range r.remarks() {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	return b.String()
}

// summary returns the generated part of the README.
func (r *Report) summary() string {
	return markdown(r.suite.Summary(r)) + "\nMedians; " + r.origin() + ".\n"
}

// replace puts text between the marks of name in the file at path. Where add is set,
// a file without them gets them at its end, and no file is an empty one.
func replace(path, name, text string, add bool) error {
	old, err := os.ReadFile(path)
	if err != nil && !(add && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	replaced, err := replaceIn(string(old), name, text, add)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(replaced), 0o666)
}

func replaceIn(old, name, text string, add bool) (string, error) {
	begin := fmt.Sprintf("<!-- %s: written by make %s; do not edit -->", name, strings.TrimSuffix(name, summarySuffix))
	end := fmt.Sprintf("<!-- %s: end -->", name)
	if !strings.Contains(old, begin) {
		if !add {
			return "", fmt.Errorf("it has no line %q, after which the text would go", begin)
		}
		old = strings.TrimLeft(strings.TrimRight(old, "\n")+"\n\n", "\n") + begin + "\n" + end + "\n"
	}
	before, rest, _ := strings.Cut(old, begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("the line %q is not followed by %q", begin, end)
	}
	return before + begin + "\n\n" + strings.TrimSpace(text) + "\n\n" + end + after, nil
}

// summarySuffix ends the name of the marks of a summary.
const summarySuffix = " summary"
