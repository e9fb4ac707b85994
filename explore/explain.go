// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// determinismTries is how often checkDeterminism makes an execution: a program that goes one of two
// ways at random is missed once in 32,768 times.
const determinismTries = 16

// checkDeterminism makes an execution many times. Most searches would notice later
// that the program is not deterministic, but not those that replay nothing.
func (s *searching) checkDeterminism(cur **Exec) {
	var first *Exec
	for range determinismTries {
		w := newWalk(1, 1, 1)
		r := strategy(&w)
		if first != nil {
			r = &replay{schedule: first.scheduled()}
		}
		x := s.replayer(r)
		*cur = x
		x.run()
		x.coros.stop()
		if first == nil {
			first = x
			continue
		}
		bounded := first.failure != nil && first.failure.Kind == StepBound // a replay may say livelock
		same := first.failure == nil && x.failure == nil || first.failure != nil && first.failure.same(x.failure)
		if !same && !bounded || !first.sameSteps(x) {
			if x.broken || x.failure != nil && x.failure.Kind == BadProgram {
				s.failed(x) // says more than that they differ
			} else {
				s.differs(first, x)
			}
			return
		}
	}
}

// repeats makes the execution of x again, apart from the search, and reports whether it went
// the same way. A search finds nondeterminism where it replays what it has seen, and some replay
// little: so it looks at a few of its executions.
func (s *searching) repeats(x *Exec) bool {
	if s.o.ids != nil { // see run
		return true
	}
	again := s.replayer(&replay{schedule: x.scheduled()})
	again.ids = x.ids // or equal executions get other numbers
	again.run()
	again.coros.stop()
	// Failures are not compared: a search looks for data races and cycles only in what is new, and others
	// end the execution.
	if x.sameSteps(again) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := x.parts(again)
	x.failure = f
	s.result.add(x, f, s.o)
	return false
}

// sameSteps reports whether two executions took the same steps with the same choices.
func (x *Exec) sameSteps(y *Exec) bool {
	if x.depth != y.depth || x.ended == quiescent && y.ended != quiescent || x.alive != y.alive ||
		!slices.Equal(x.scheduled().choices, y.scheduled().choices) {
		return false
	}
	for i := range x.depth {
		if e, g := &x.hist.events[i], &y.hist.events[i]; e.op != g.op || e.task != g.task {
			return false
		}
	}
	if x.stateFn == nil || y.stateFn == nil {
		return true
	}
	return x.leftState() == y.leftState()
}

// leftState hashes what is left of the program after an execution. What unwinding leaves
// may be a state that the program never sees, so it is no failure if that makes it panic.
func (x *Exec) leftState() (h Hash) {
	defer func() {
		if recover() != nil {
			h = Hash{}
		}
	}()
	x.stateFn(&h)
	return h
}

// parts describes where an execution with the same schedule as that of x parts from it.
func (x *Exec) parts(again *Exec) *Failure {
	f := &Failure{Kind: Nondeterminism, Text: "the program is not deterministic: two executions with the same schedule differ"}
	for i := range min(x.depth, again.depth) {
		if e, g := &x.hist.events[i], &again.hist.events[i]; e.op != g.op || e.task != g.task {
			f.Task = x.tasks[e.task].name
			f.Text = fmt.Sprintf("the program is not deterministic: after the same %d steps, task %q declares another step than before", i, f.Task)
			x.depth = i
			break
		}
	}
	return f
}

// differs reports where two executions with the same schedule part.
func (s *searching) differs(a, b *Exec) {
	a.failure = a.parts(b)
	s.failed(a)
}

// explain replays f, records its trace and makes it shorter.
func (s *searching) explain(f *Failure) {
	if f.sched == nil || f.Kind == BadProgram && f.Steps == 0 {
		return
	}
	if f.Kind == Nondeterminism {
		s.diagnose(f)
		return
	}
	all, tr := s.replayOnce(f.sched, true)
	for _, g := range all {
		if f.Kind == StepBound && g.Kind == Livelock {
			f.Kind, f.Text, f.Task = g.Kind, g.Text, g.Task // the declared states tell more
			s.result.Verdict, s.result.Scope = Fails, oneIsEnough
		}
		if !f.same(g) {
			continue
		}
		f.Details, f.Trace, f.Steps, f.Preemptions = g.Details, tr, g.Steps, g.Preemptions // details may say more in a traced execution
		if !s.o.NoMinimise && !s.o.KeepGoing && f.Kind != Livelock && f.Kind != StepBound {
			*f = *s.minimise(f)
		}
		return
	}
	f.Details = fmt.Sprintf("first seen: %s: %s\n%s", f.Kind, f.Text, f.Details)
	f.Kind = Nondeterminism
	f.Text = "the program is not deterministic: replaying the failing execution does not fail in the same way"
	f.Trace = tr
}

// diagnose replays the steps before a failure by nondeterminism a few times and
// says which places the task comes to.
func (s *searching) diagnose(f *Failure) {
	const tries = 32
	made := 0
	places := map[string]int{}
	var order []string
	for i := range tries {
		if i > 0 && s.expired() {
			f.LeftOut = "not made again as often as it should be: time"
			break
		}
		made = i + 1
		tr := &tracer{}
		x := s.replayer(&replay{schedule: f.sched, owing: true})
		x.tracing = tr
		x.run()
		for _, id := range x.order {
			t := x.tasks[id]
			if t.name != f.Task {
				continue
			}
			p := "has finished"
			if at := tr.places[id]; at.File != "" && !t.wasDone {
				p = fmt.Sprintf("%s at %s:%d", x.describe(t.next.acc), at.File, at.Line)
			}
			if places[p]++; places[p] == 1 {
				order = append(order, p)
			}
		}
		x.coros.stop()
	}
	for _, p := range order {
		f.Details = strings.TrimPrefix(fmt.Sprintf("%s\n%d of %d times: %s", f.Details, places[p], made, p), "\n")
	}
}

func (x *Exec) describe(acc []access) string {
	parts := make([]string, 0, len(acc))
	for _, a := range acc {
		parts = append(parts, a.kind.String()+" "+x.objectName(a.obj))
	}
	if len(parts) == 0 {
		return "step"
	}
	return strings.Join(parts, ", ")
}

// replayer returns an Exec to make single executions with.
func (s *searching) replayer(r strategy) *Exec {
	x := newExec(s.prog, r, s.o)
	x.heartbeat = s.heartbeat
	return x
}

// replayOnce makes the execution of a schedule and returns its failures and its
// trace.
func (s *searching) replayOnce(sched *schedule, strict bool) ([]*Failure, *Trace) {
	return s.replayBy(&replay{schedule: sched, owing: true, strict: strict})
}

func (s *searching) replayBy(r *replay) ([]*Failure, *Trace) {
	tr := &tracer{}
	x := s.replayer(r)
	x.tracing = tr
	x.run()
	x.coros.stop()
	var all []*Failure
	if x.failure != nil {
		all = append(append(all, x.failure), x.more...)
	}
	for _, f := range all {
		f.Steps, f.Preemptions = x.depth, x.preempts
	}
	return all, tr.trace(x)
}

// Replay makes the execution that token stands for, with a trace. The result
// has the failure, if the execution still fails. An error says that the token is damaged,
// or of another program or version, or what is wrong with the options.
func Replay(p *Program, token string, o Options) (*Result, error) {
	if p == nil || p.Init == nil {
		return nil, errors.New("replay: the program has no Init function")
	}
	sched, err := parseToken(token, p.Name)
	if err != nil {
		return nil, err
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = max(10000, len(sched.tasks)+1)
	}
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("replay %s: %w", p.Name, err)
	}
	s := newSearch(p, &o)
	done := make(chan struct{})
	var all []*Failure
	var tr *Trace
	by := &replay{schedule: sched, owing: true, strict: true}
	own(func() {
		defer close(done)
		s.heartbeat.adopt(goid())
		all, tr = s.replayBy(by)
	})
	if f, _ := s.heartbeat.watchdog(done, &o, nil); f != nil {
		return s.abandoned(f), nil
	}
	if misfit := by.unfit || by.chose < len(sched.choices); misfit && (len(all) == 0 || all[0].Kind != Nondeterminism) {
		return nil, fmt.Errorf("replay token %q: its choices do not fit: it is damaged, or the program is not the one that it was made with", token)
	}
	r := &Result{Program: p.Name, Strategy: "replay", Scope: "one execution", Executions: 1, Elapsed: time.Since(s.start), Trace: tr}
	if tr != nil {
		r.Steps = int64(len(tr.Steps))
	}
	for _, f := range all {
		f.Token, f.Trace, f.sched = token, tr, sched
	}
	if len(all) > 0 {
		r.Failure, r.Failures, r.Verdict = all[0], all, Fails
	}
	return r, nil
}
