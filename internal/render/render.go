// SPDX-License-Identifier: Apache-2.0

// Package render shows what the checker found: as text, as a picture, and as a
// file for the Perfetto UI. Time is the number of the step; a column is a CPU.
package render

import (
	"fmt"
	"path/filepath"
	"strings"

	"endio/explore"
	"endio/internal/decide"
)

// A row is one step of a trace as all renderers show it.
type row struct {
	number  int
	lane    int
	task    string
	what    string
	where   string
	holds   string
	notes   []string
	changed bool // another task than at the step before in this column
	preempt bool
}

func rows(tr *explore.Trace) []row {
	out := make([]row, 0, len(tr.Steps))
	last := map[int]string{}
	for i := range tr.Steps {
		s := &tr.Steps[i]
		r := row{number: i + 1, lane: s.Lane, task: s.Task, what: s.What(), preempt: s.Preempts}
		if s.File != "" && s.Line > 0 && !strings.HasSuffix(s.File, "coro.go") {
			r.where = fmt.Sprintf("%s/%s:%d", filepath.Base(filepath.Dir(s.File)), filepath.Base(s.File), s.Line)
		}
		for _, n := range s.Notes {
			if h, ok := strings.CutPrefix(n, "holds "); ok {
				r.holds = strings.Trim(h, "[]")
				continue
			}
			r.notes = append(r.notes, n)
		}
		r.what = strings.TrimPrefix(r.what, s.Task+" ")
		r.changed = last[s.Lane] != s.Task
		last[s.Lane] = s.Task
		out = append(out, r)
	}
	return out
}

// Line is the one line that says the answer about a case.
func Line(a *decide.Answer) string {
	mark := "ok  "
	if !a.Agrees() {
		mark = "BAD "
	}
	scope := a.Scope
	if a.Bound != "" {
		scope += " by " + a.Bound
	}
	text := fmt.Sprintf("%s %-34s %-22s %-16s %-7s %s, %d executions", mark, filepath.Base(a.File.Name), a.Case.Version,
		a.Case.Config, a.Verdict, scope, a.Executions)
	if a.States > 0 {
		text += fmt.Sprintf(", %d states", a.States)
	}
	text += fmt.Sprintf(", %.2f s", a.Elapsed.Seconds())
	if a.Failure != nil {
		text += "\n       " + a.Problem()
	}
	if !a.Agrees() {
		text += "\n       " + Expectation(a)
	}
	return text
}

// Expectation says what the file expects.
func Expectation(a *decide.Answer) string {
	e := a.Expected
	switch {
	case e == nil:
		return "the file expects nothing of this case"
	case e.Holds:
		return fmt.Sprintf("%s:%d: expected to hold", e.Pos.File, e.Pos.Line)
	}
	return fmt.Sprintf("%s:%d: expected to fail with %s", e.Pos.File, e.Pos.Line, e.Kind)
}

// Text is the report of a failure: what broke, who waits for whom, and the trace.
func Text(a *decide.Answer) string {
	var b strings.Builder
	if f := a.Failure; f != nil {
		fmt.Fprintf(&b, "%s, version %s, %s\n", a.File.Name, a.Case.Version, a.Case.Config)
		fmt.Fprintf(&b, "%s: %s\n", decide.KindWord(f.Kind), f.Text)
		if f.Details != "" {
			fmt.Fprintf(&b, "\n%s\n", strings.TrimRight(f.Details, "\n"))
		}
	}
	if a.Trace != nil {
		b.WriteString("\n" + Columns(a.Trace))
	}
	if a.Failure != nil && a.Failure.Token != "" {
		fmt.Fprintf(&b, "\nreplay: endio check %s --version %s --config %s --replay %s\n", a.File.Name, a.Case.Version, a.Case.Config, a.Failure.Token)
	}
	return b.String()
}

// maxCell is the widest column, in characters.
const maxCell = 46

// Columns is a trace as text: one column a CPU, a line with the name where another
// context begins to run there, * where a task was preempted.
func Columns(tr *explore.Trace) string {
	rs := rows(tr)
	width := 20
	for _, r := range rs {
		width = min(max(width, len(r.what)+2), maxCell)
	}
	var b strings.Builder
	b.WriteString("step ")
	for l := range tr.Lanes {
		fmt.Fprintf(&b, " %-*s", width, fmt.Sprintf("CPU %d", l))
	}
	b.WriteString(" source\n")
	line := func(number string, lane int, text, tail string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%4s  %s%-*.*s%s%s", number, strings.Repeat(strings.Repeat(" ", width+1), lane),
			width, width, text, strings.Repeat(strings.Repeat(" ", width+1), tr.Lanes-1-lane), tail), " ") + "\n")
	}
	for _, r := range rs {
		if r.changed {
			line("", r.lane, "["+r.task+"]", "")
		}
		number := fmt.Sprint(r.number)
		if r.preempt {
			number += "*"
		}
		tail := " " + r.where
		if r.holds != "" {
			tail += "  holds " + r.holds
		}
		for _, n := range r.notes {
			tail += "  (" + n + ")"
		}
		line(number, r.lane, "  "+r.what, tail)
	}
	return b.String()
}
