// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
)

// A Trace is one execution as data, for rendering.
type Trace struct {
	Program string
	Steps   []TraceStep
	Lanes   int // one more than the largest lane
	Tasks   []string
	Waits   []TraceWait // who could not go on at the end
}

// A TraceStep is one step of a [Trace].
type TraceStep struct {
	Task     string
	TaskID   int // index into Trace.Tasks: tasks in the order of creation
	Lane     int
	Label    string // what the program calls the step, or empty
	Func     string // the function that declared the step
	File     string
	Line     int
	Accesses []TraceAccess
	Choices  []int    // outcomes of the choices made in the step
	Notes    []string // remarks of the program, see [Task.Note]
	Marks    []TraceMark
	Holds    []string // what the task holds after the step
	Preempts bool     // the task before could have gone on
}

// A TraceMark says what has become of a lane; see [Task.Mark].
type TraceMark struct {
	Lane int
	Text string
}

// A TraceAccess is one access of a step.
type TraceAccess struct {
	Object string
	Kind   Kind
}

// What returns the step in words: its label or its accesses.
func (s *TraceStep) What() string {
	if s.Label != "" {
		return s.Label
	}
	parts := make([]string, 0, len(s.Accesses))
	for _, a := range s.Accesses {
		parts = append(parts, a.Kind.String()+" "+a.Object)
	}
	if len(parts) == 0 {
		return "step"
	}
	return strings.Join(parts, ", ")
}

// Where returns file:line of the step, or an empty string.
func (s *TraceStep) Where() string {
	if s.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", filepath.Base(s.File), s.Line)
}

// tracer records the steps of an execution.
type tracer struct {
	steps    []TraceStep
	places   [MaxTasks]runtime.Frame // where the next step was declared
	held     [MaxTasks][]string
	waits    []TraceWait
	preempts int
}

func (tr *tracer) step(x *Exec, t *Task) {
	s := &t.next
	f := tr.places[t.id]
	ts := TraceStep{Task: t.name, Lane: int(s.lane), Label: s.label, Func: f.Function, File: f.File, Line: f.Line,
		Preempts: x.preempts > tr.preempts}
	tr.preempts = x.preempts
	for i, id := range x.order {
		if int(id) == t.id {
			ts.TaskID = i
		}
	}
	for _, a := range s.acc {
		name := x.objectName(a.obj)
		ts.Accesses = append(ts.Accesses, TraceAccess{name, a.kind})
		switch a.kind {
		case Acquire:
			tr.held[t.id] = append(tr.held[t.id], name)
		case Release:
			tr.held[t.id] = without(tr.held[t.id], name)
		}
	}
	ts.Holds = append([]string(nil), tr.held[t.id]...)
	tr.steps = append(tr.steps, ts)
}

func without(list []string, name string) []string {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == name {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

func (tr *tracer) note(text string) {
	if n := len(tr.steps); n > 0 {
		tr.steps[n-1].Notes = append(tr.steps[n-1].Notes, text)
	}
}

func (tr *tracer) trace(x *Exec) *Trace {
	out := &Trace{Program: x.prog.Name, Steps: tr.steps, Waits: tr.waits}
	for _, id := range x.order {
		out.Tasks = append(out.Tasks, x.tasks[id].name)
	}
	for i := range out.Steps {
		out.Lanes = max(out.Lanes, out.Steps[i].Lane+1)
		for _, m := range out.Steps[i].Marks {
			out.Lanes = max(out.Lanes, m.Lane+1)
		}
	}
	for i := range out.Waits {
		out.Lanes = max(out.Lanes, out.Waits[i].Lane+1)
	}
	for _, c := range x.choices {
		if i := int(c.depth) - 1; i >= 0 && i < len(out.Steps) {
			out.Steps[i].Choices = append(out.Steps[i].Choices, int(c.value))
		}
	}
	return out
}

// place finds the source line that declares the current step, outside this
// package and the packages that the program asks to skip.
func (x *Exec) place() runtime.Frame {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.File, "_test.go") || !x.skips(f.Function) {
			return f
		}
		if !more {
			return runtime.Frame{}
		}
	}
}

func (x *Exec) skips(function string) bool {
	if strings.HasPrefix(function, packagePrefix) || strings.HasPrefix(function, "iter.") {
		return true
	}
	for _, p := range x.prog.SkipFrames {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}

// WriteText renders the trace as text: a line for each step, with one column
// for each lane, or for each task if all are in one lane.
func (tr *Trace) WriteText(w io.Writer) error {
	columns, column := tr.columns()
	width := 24
	for i := range tr.Steps {
		width = min(max(width, len(tr.Steps[i].cell())), 44)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%4s ", "step")
	for _, c := range columns {
		fmt.Fprintf(&b, " %-*.*s", width, width, c)
	}
	b.WriteString(" where\n")
	for i := range tr.Steps {
		s := &tr.Steps[i]
		mark := ' '
		if s.Preempts {
			mark = '*'
		}
		fmt.Fprintf(&b, "%4d%c", i+1, mark)
		for c := range columns {
			text := ""
			if c == column(s) {
				text = s.cell()
			}
			fmt.Fprintf(&b, " %-*.*s", width, width, text)
		}
		fmt.Fprintf(&b, " %s", s.Where())
		if len(s.Holds) > 0 {
			fmt.Fprintf(&b, "  holds %s", strings.Join(s.Holds, ", "))
		}
		if len(s.Choices) > 0 {
			fmt.Fprintf(&b, "  chose %v", s.Choices)
		}
		for _, n := range s.Notes {
			fmt.Fprintf(&b, "  (%s)", n)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *TraceStep) cell() string { return s.Task + ": " + s.What() }

func (tr *Trace) columns() (names []string, of func(*TraceStep) int) {
	if tr.Lanes > 1 {
		for i := range tr.Lanes {
			names = append(names, fmt.Sprintf("CPU %d", i))
		}
		return names, func(s *TraceStep) int { return s.Lane }
	}
	return tr.Tasks, func(s *TraceStep) int { return s.TaskID }
}

// String returns the text of [Trace.WriteText].
func (tr *Trace) String() string {
	var b strings.Builder
	_ = tr.WriteText(&b) // a strings.Builder can't fail
	return b.String()
}
