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

	// LeftOut says what was not done about the failure for want of time (Options.MaxTime), or is empty.
	LeftOut string

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
