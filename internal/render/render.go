// SPDX-License-Identifier: Apache-2.0

// Package render shows what the checker found: as text, as a picture, and as a
// file for the Perfetto UI. Time is the number of the step; a column is a CPU.
package render

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"endio/explore"
	"endio/internal/decide"
	"endio/scenario"
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
	wait    bool // no step: what a task was about to do at the end, and waits for
	mark    bool // no step: what has become of the CPU
}

// source is the place of a step as it is shown.
func source(file string, line int) string {
	if file == "" || line == 0 || strings.HasSuffix(file, "coro.go") {
		return ""
	}
	return fmt.Sprintf("%s/%s:%d", filepath.Base(filepath.Dir(file)), filepath.Base(file), line)
}

// rows are the steps, then who waits for what. offline are the CPUs that are off line at the start.
func rows(tr *explore.Trace, offline []int) []row {
	out := make([]row, 0, len(tr.Steps)+len(tr.Waits))
	last := map[int]string{}
	for _, cpu := range offline {
		out = append(out, row{lane: cpu, what: "off line", mark: true})
	}
	for i := range tr.Steps {
		s := &tr.Steps[i]
		r := row{number: i + 1, lane: s.Lane, task: s.Task, what: s.What(), preempt: s.Preempts}
		r.where = source(s.File, s.Line)
		for _, n := range s.Notes {
			if h, ok := strings.CutPrefix(n, "holds "); ok {
				r.holds = strings.TrimSuffix(strings.TrimPrefix(h, "["), "]")
				continue
			}
			r.notes = append(r.notes, n)
		}
		r.what = strings.TrimPrefix(r.what, s.Task+" ")
		r.changed = last[s.Lane] != s.Task
		last[s.Lane] = s.Task
		out = append(out, r)
		for _, m := range s.Marks {
			out = append(out, row{number: i + 1, lane: m.Lane, what: m.Text, mark: true})
			delete(last, m.Lane)
		}
	}
	for i := range tr.Waits {
		w := &tr.Waits[i]
		r := row{number: len(tr.Steps) + 1, lane: w.Lane, task: w.Task, what: strings.TrimPrefix(w.Step, w.Task+" "), where: source(w.File, w.Line), wait: true}
		r.notes = []string{"waits for " + w.What()}
		r.changed = last[w.Lane] != w.Task
		last[w.Lane] = w.Task
		out = append(out, r)
	}
	return out
}

// lanes is the number of columns: of all CPUs on which something happens, or that are off line.
func lanes(tr *explore.Trace, offline []int) int {
	n := tr.Lanes
	for _, cpu := range offline {
		n = max(n, cpu+1)
	}
	return n
}

// Legend explains the trace of [Text].
const Legend = `A column is a CPU, a line a step; time goes down. [name]: this task or interrupt runs on the CPU from here on.
*: the task before could have gone on (a preemption). end: nobody could go on; what this one was about to do, and
waits for. source: the line of the model, or of the engine, that takes the step.
`

// Widths are those of the columns of a table of answers.
type Widths struct{ Version, Config int }

// WidthsOf returns what the cases of a file need.
func WidthsOf(cases []scenario.Case) Widths {
	w := Widths{len("version"), len("config")}
	for _, c := range cases {
		w.Version, w.Config = max(w.Version, len(c.Version)), max(w.Config, len(c.Config.String()))
	}
	return w
}

// CaseHead is the head of a table of cases.
func CaseHead(w Widths) string {
	return fmt.Sprintf("     %-*s %-*s %-7s %-9s %6s %8s %6s", w.Version, "version", w.Config, "config", "verdict", "scope", "execs", "states", "secs")
}

// asked marks an answer that is neither good nor bad: the file expects nothing of the case.
const asked = "-"

// Line says the answer about a case, and below it what failed.
func Line(a *decide.Answer, w Widths) string {
	mark := "ok"
	if !a.Agrees() {
		mark = "BAD"
	} else if a.Expected == nil {
		mark = asked
	}
	text := fmt.Sprintf("%-4s %-*s %-*s %-7s %-9s %6d %8d %6.2f", mark, w.Version, a.Case.Version, w.Config,
		a.Case.Config, a.Verdict, a.Scope, a.Executions, a.States, a.Elapsed.Seconds())
	if a.Shared != nil {
		text += fmt.Sprintf("  as %s %s", a.Shared.Version, a.Shared.Config)
	}
	if a.Bound != "" {
		text += "\n" + indent("bounded by "+a.Bound)
	}
	if a.Failure != nil {
		text += "\n" + indent(a.Problem())
	}
	if !a.Agrees() {
		text += "\n     " + Expectation(a) // not broken: it begins with a place
	}
	return text
}

// screen is for how many characters a line the terminal output is made.
const screen = 80

// indent breaks a text into lines of a screen, behind an indentation.
func indent(text string) string {
	return "     " + strings.Join(wrap(text, screen-5), "\n       ")
}

// A Sum adds up the answers about one file.
type Sum struct {
	Holds, Fails, Unknown, Bad int
	Asked                      int // decided, and nothing was expected
	Executions, States         int64
	Elapsed                    time.Duration
	scopes                     map[string]bool
}

// Add adds one answer.
func (s *Sum) Add(a *decide.Answer) {
	switch a.Verdict {
	case explore.Holds:
		s.Holds++
	case explore.Fails:
		s.Fails++
	default:
		s.Unknown++
	}
	if !a.Agrees() {
		s.Bad++
	} else if a.Expected == nil {
		s.Asked++
	}
	s.Executions += a.Executions
	s.States += a.States
	s.Elapsed += a.Elapsed
	if s.scopes == nil {
		s.scopes = map[string]bool{}
	}
	s.scopes[a.Scope] = true
}

// SumHead is the head of a table of files.
func SumHead() string {
	return fmt.Sprintf("     %-26s %5s %5s %-9s %9s %9s %6s", "scenario", "hold", "fail", "scope", "execs", "states", "secs")
}

// Line is the line about a file.
func (s *Sum) Line(file string) string {
	mark := "ok"
	if s.Bad > 0 {
		mark = "BAD"
	} else if s.Asked == s.Holds+s.Fails {
		mark = asked
	}
	scope := "mixed"
	if len(s.scopes) == 1 {
		for scope = range s.scopes {
		}
	}
	text := fmt.Sprintf("%-4s %-26s %5d %5d %-9s %9d %9d %6.1f", mark, strings.TrimSuffix(filepath.Base(file), ".scn"),
		s.Holds, s.Fails, scope, s.Executions, s.States, s.Elapsed.Seconds())
	if s.Unknown > 0 {
		text += fmt.Sprintf("\n     %d cases are not decided", s.Unknown)
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
		b.WriteString("\n" + Columns(a.Trace, a.File.Offline))
	}
	if a.Failure != nil && a.Failure.Token != "" {
		fmt.Fprintf(&b, "\nreplay: endio check %s --version %s --config %s --replay %s\n", a.File.Name, a.Case.Version, a.Case.Config, a.Failure.Token)
	}
	return b.String()
}

// minCell is the narrowest column, in characters. Two fit on a screen.
const minCell = 22

// Columns is a trace as text: one column a CPU, a line with the name where another
// context begins to run there, * where a task was preempted. What a context holds, and
// remarks, have lines of their own. At the end stands what those who can't go on wait for. offline are the CPUs that
// are off line at the start.
func Columns(tr *explore.Trace, offline []int) string {
	rs, lanes := rows(tr, offline), lanes(tr, offline)
	source, need := len("source"), minCell
	for _, r := range rs {
		source = max(source, len(r.where))
		need = max(need, len(r.what)+3, len(r.task)+3)
	}
	width := min(max(minCell, (screen-7-source)/max(lanes, 1)), need)
	var b strings.Builder
	b.WriteString("step  ")
	for l := range lanes {
		fmt.Fprintf(&b, "%-*s", width, fmt.Sprintf("CPU %d", l))
	}
	b.WriteString(" source\n")
	line := func(number string, lane int, text, tail string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%4s  %s%-*s%s %s", number, strings.Repeat(" ", width*lane),
			width, text, strings.Repeat(" ", width*(lanes-1-lane)), tail), " ") + "\n")
	}
	for _, r := range rs {
		if r.mark {
			line("", r.lane, "--- "+r.what+" ---", "")
			continue
		}
		if r.changed {
			line("", r.lane, cut("["+r.task+"]", width), "")
		}
		number := fmt.Sprint(r.number)
		if r.wait {
			number = "end"
		}
		if r.preempt {
			number += "*"
		}
		where := r.where
		for _, part := range wrap(r.what, width-3) {
			line(number, r.lane, "  "+part, where)
			number, where = "", ""
		}
		notes := r.notes
		if r.holds != "" {
			notes = append([]string{"holds " + r.holds}, notes...)
		}
		for _, n := range notes {
			for k, part := range wrap(n, screen-12) {
				b.WriteString(strings.Repeat(" ", 8) + []string{"- ", "  "}[min(k, 1)] + part + "\n")
			}
		}
	}
	return b.String()
}
