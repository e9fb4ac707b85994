// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"slices"
	"strings"
)

// A TraceWait is what a task that could not go on was waiting for when an execution ended.
type TraceWait struct {
	Task   string
	TaskID int // index into Trace.Tasks
	Lane   int
	Step   string // what the task was about to do, as in [TraceStep.What]
	File   string // and where
	Line   int
	For    string   // what it waits for
	By     string   // how Owners end the wait, for example "held by"
	Owners []string // who can end it
	Why    string   // see Wait.Why
}

// String says the wait in words, for example: task "a" waits for lock m, held by task "b".
func (w *TraceWait) String() string {
	return fmt.Sprintf("task %q waits for %s", w.Task, w.What())
}

// What says what is waited for, and who ends that.
func (w *TraceWait) What() string {
	text := w.For
	for i, o := range w.Owners {
		sep := ", " + w.By
		if i > 0 {
			sep = " and"
		}
		text += fmt.Sprintf("%s task %q", sep, o)
	}
	if w.Why != "" {
		text += ": " + w.Why
	}
	return text
}

// waiting are the waits of those that can't go on, and who asks for a report has to know of. A daemon that has
// nothing to do is none of them.
type waiting struct {
	order []*Task
	of    map[*Task]*Wait
}

func (x *Exec) waiting() *waiting {
	ws := &waiting{of: map[*Task]*Wait{}}
	x.Tasks(func(t *Task) {
		if t.finished || t.next.guard == nil || x.ended != quiescent && t.next.guard.Enabled() {
			return
		}
		w := x.waitOf(t)
		ws.of[t] = &w
		if !t.daemon || len(w.Owners) > 0 || w.Busy {
			ws.order = append(ws.order, t)
		}
	})
	return ws
}

// Waits says who waits for what, a line each, for the details of a failure. Hooks may call it.
func (x *Exec) Waits() string { return x.waiting().String() }

// String is a line for each of them.
func (ws *waiting) String() string {
	var lines []string
	for _, t := range ws.order {
		lines = append(lines, ws.trace(t).String())
	}
	return strings.Join(lines, "\n")
}

// Chain says in one line what t waits for, who alone ends that, what that one waits for, and so on, until nobody
// is left or the chain comes back. Hooks may call it.
func (x *Exec) Chain(t *Task) string {
	ws := x.waiting()
	return ws.chain(t, findCycle(t, ws.of))
}

func (ws *waiting) trace(t *Task) *TraceWait {
	w := ws.of[t]
	out := &TraceWait{Task: t.name, Lane: int(t.next.lane), For: w.For, By: w.by(), Why: w.Why}
	for _, o := range w.Owners {
		if !slices.Contains(out.Owners, o.name) {
			out.Owners = append(out.Owners, o.name)
		}
	}
	return out
}

func (w *Wait) by() string {
	if w.By != "" {
		return w.By
	}
	return "held by"
}

// chain follows who ends the waits, from t on; along a cycle if there is one.
func (ws *waiting) chain(t *Task, cycle []*Task) string {
	var b strings.Builder
	fmt.Fprintf(&b, "task %q", t.name)
	lead := " "
	seen := map[*Task]bool{}
	for {
		w := ws.of[t]
		seen[t] = true
		fmt.Fprintf(&b, "%swaits for %s", lead, w.For)
		why := func() {
			if w.Why != "" {
				fmt.Fprintf(&b, " (%s)", w.Why)
			}
		}
		next := ws.next(t, cycle)
		if next == nil {
			why()
			return b.String()
		}
		fmt.Fprintf(&b, ", %s task %q", w.by(), next.name)
		switch {
		case next == t:
			b.WriteString(" itself")
			why()
			return b.String()
		case next.finished:
			b.WriteString(", which has ended")
			why()
			return b.String()
		case seen[next] || ws.of[next] == nil:
			why()
			return b.String()
		}
		why()
		t, lead = next, ", which "
	}
}

// next is the one of the owners of what t waits for that is told of: that of the cycle, or one that waits itself.
func (ws *waiting) next(t *Task, cycle []*Task) *Task {
	owners := ws.of[t].Owners
	for i, c := range cycle {
		if n := cycle[(i+1)%len(cycle)]; c == t && slices.Contains(owners, n) {
			return n
		}
	}
	for _, o := range owners {
		if ws.of[o] != nil {
			return o
		}
	}
	if len(owners) > 0 {
		return owners[0]
	}
	return nil
}

// stuck reports why the program can't go on: a cycle of waits, or work lost.
func (x *Exec) stuck() *Failure {
	ws := x.waiting()
	f := &Failure{Details: ws.String()}
	var first *Task
	for _, t := range ws.order {
		if first == nil && !t.daemon {
			first = t
		}
	}
	var cycle []*Task
	x.Tasks(func(t *Task) {
		if cycle == nil && ws.of[t] != nil {
			cycle = findCycle(t, ws.of)
		}
	})
	if cycle != nil {
		from := cycle[0]
		for _, t := range cycle { // begin with who is not there to serve others
			if from.daemon && !t.daemon {
				from = t
			}
		}
		f.Kind, f.Text = Deadlock, ws.chain(from, cycle)
		return f
	}
	f.Kind, f.Text = LostWork, ws.chain(first, nil)+", and no task is left that could end the wait"
	return f
}

// waitOf asks the waiter of t's next step.
func (x *Exec) waitOf(t *Task) Wait {
	var w Wait
	if t.next.wait != nil {
		t.next.wait.DescribeWait(&w)
	}
	if w.For == "" {
		names := make([]string, 0, len(t.next.acc))
		for _, a := range t.next.acc {
			names = append(names, x.objectName(a.obj))
		}
		w.For = "a condition on " + strings.Join(names, ", ")
	}
	return w
}

// Wait describes what a blocked task waits for, for use in hooks.
func (x *Exec) Wait(t *Task) Wait { return x.waitOf(t) }

// findCycle follows owners from t and returns the first cycle that leads back to t.
func findCycle(t *Task, waits map[*Task]*Wait) []*Task {
	seen := map[*Task]bool{}
	var walk func(u *Task, path []*Task) []*Task
	walk = func(u *Task, path []*Task) []*Task {
		path = append(path, u)
		for _, o := range waits[u].Owners {
			if o == t {
				return path
			}
			if _, blocked := waits[o]; blocked && !seen[o] {
				seen[o] = true
				if c := walk(o, path); c != nil {
					return c
				}
			}
		}
		return nil
	}
	if waits[t] == nil {
		return nil
	}
	return walk(t, nil)
}

// blocked records, for the trace, who could not go on when the execution ended.
func (tr *tracer) blocked(x *Exec) {
	defer func() {
		if p := recover(); p != nil && p != any(unwinding) {
			tr.waits = nil // a guard of the program's panics: that is reported elsewhere
		}
	}()
	ws := x.waiting()
	for _, t := range ws.order {
		w := ws.trace(t)
		if f := tr.places[t.id]; f.File != "" {
			w.File, w.Line = f.File, f.Line
		}
		w.Step = t.next.label
		if w.Step == "" {
			w.Step = x.describe(t.next.acc)
		}
		for i, id := range x.order {
			if int(id) == t.id {
				w.TaskID = i
			}
		}
		tr.waits = append(tr.waits, *w)
	}
}
