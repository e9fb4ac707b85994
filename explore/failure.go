// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"strings"
)

// A FailKind classifies failures. Programs may use kinds of their own.
type FailKind string

// The kinds that the explorer itself reports.
const (
	Assertion      FailKind = "assertion"
	Panic          FailKind = "panic"
	Deadlock       FailKind = "deadlock"   // tasks wait for each other
	LostWork       FailKind = "lost work"  // a task waits and nobody is left to end the wait
	Livelock       FailKind = "livelock"   // a fair cycle of states
	StepBound      FailKind = "step bound" // suspected only
	DataRace       FailKind = "data race"  // unordered plain accesses
	Nondeterminism FailKind = "nondeterminism"
	Stalled        FailKind = "stalled" // blocked or endless outside the explorer
	StrayGoroutine FailKind = "stray goroutine"
	MemoryLimit    FailKind = "memory limit"
	BadProgram     FailKind = "bad program" // breaks a rule of the package
)

// A Failure is one way in which a program does not hold.
type Failure struct {
	Kind    FailKind
	Text    string // one line
	Details string // more lines, or empty
	Task    string // the task that failed, or empty

	// Token replays the execution; see [Replay]. Empty if there is nothing to
	// replay.
	Token string

	// Steps and Preemptions tell the length of the trace.
	Steps       int
	Preemptions int

	// Trace is the execution that fails, minimised if possible; nil if none
	// could be recorded.
	Trace *Trace

	sched *schedule
}

// Error makes a Failure an error: kind, text and task.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %s", f.Kind, f.Text) }

// Same reports whether g is the same failure as f, in whichever execution.
func (f *Failure) same(g *Failure) bool {
	return g != nil && f.Kind == g.Kind && f.Text == g.Text && f.Task == g.Task
}

type badProgram struct{ text string }

func (b *badProgram) Error() string { return b.text }

type nondeterminism struct{ text string }

func (n *nondeterminism) Error() string { return n.text }

// panicFailure makes a failure of a recovered panic.
func panicFailure(t *Task, p any, stack []byte) *Failure {
	f := &Failure{Kind: Panic, Text: fmt.Sprint(p), Details: panicPlace(string(stack))}
	switch e := p.(type) {
	case *badProgram:
		f.Kind = BadProgram
	case *nondeterminism:
		f.Kind = Nondeterminism
		f.Text = "the program is not deterministic: " + e.text
	}
	if t != nil {
		f.Task = t.name
	}
	return f
}

// panicPlace cuts a stack to what lies between the panic and this package.
func panicPlace(stack string) string {
	lines := strings.Split(stack, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "panic(") && i+2 < len(lines) {
			lines = lines[i+2:]
			break
		}
	}
	var out []string
	for i := 0; i+1 < len(lines); i += 2 {
		if strings.HasPrefix(lines[i], packagePrefix+"(*Task).body") ||
			strings.HasPrefix(lines[i], packagePrefix+"(*Exec).init") {
			break
		}
		out = append(out, lines[i], lines[i+1])
	}
	return strings.Join(out, "\n")
}

const packagePrefix = "endio/explore."

// stuck reports why the program can't go on: a cycle of waits, or work lost.
func (x *Exec) stuck() *Failure {
	var b strings.Builder
	waits := map[*Task]Wait{}
	first := ""
	x.Tasks(func(t *Task) {
		if t.finished {
			return
		}
		w := x.waitOf(t)
		waits[t] = w
		if t.daemon && len(w.Owners) == 0 {
			return
		}
		fmt.Fprintf(&b, "task %q waits for %s", t.name, w.For)
		for i, o := range w.Owners {
			sep := ", held by "
			if i > 0 {
				sep = " and "
			}
			fmt.Fprintf(&b, "%stask %q", sep, o.name)
		}
		b.WriteByte('\n')
		if first == "" && !t.daemon {
			first = fmt.Sprintf("task %q waits for %s", t.name, w.For)
		}
	})
	details := strings.TrimSuffix(b.String(), "\n")
	var cycle []*Task
	x.Tasks(func(t *Task) {
		if cycle == nil && !t.finished {
			cycle = findCycle(t, waits)
		}
	})
	if cycle == nil {
		return &Failure{Kind: LostWork, Text: first + ", and no task is left that could end the wait", Details: details}
	}
	var c strings.Builder
	for _, t := range cycle {
		fmt.Fprintf(&c, "task %q waits for %s of ", t.name, waits[t].For)
	}
	fmt.Fprintf(&c, "task %q", cycle[0].name)
	return &Failure{Kind: Deadlock, Text: c.String(), Details: details}
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
func findCycle(t *Task, waits map[*Task]Wait) []*Task {
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
	return walk(t, nil)
}
