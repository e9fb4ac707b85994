// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"time"
)

// A Verdict is the answer of a search.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota // nothing failed, and not everything was looked at
	Holds                  // no execution in the scope fails
	Fails
)

// String returns "unknown", "holds" or "fails".
func (v Verdict) String() string { return [...]string{"unknown", "holds", "fails"}[v] }

// A Result is the outcome of a search.
type Result struct {
	Program  string
	Strategy string
	Verdict  Verdict

	// Scope says what the verdict is about: "exhausted", "bounded by ...", or
	// "sampled, ...". It is "bounded by executions that end" where all of those
	// were looked at, but livelocks may be missed: if states form a cycle, or may
	// do so because workers shared the work, and the search was one of
	// [PreemptionBound], or one of [Cached] with a checkpoint or a full table.
	Scope string

	Executions int64 // complete executions, including those that failed
	Pruned     int64 // executions abandoned because nothing new lay ahead
	Steps      int64
	States     int64 // distinct states, if the strategy knows them
	Elapsed    time.Duration

	// Failure is the first failure. It is nil if there is none; with verdict
	// Unknown it may be a [StepBound].
	Failure *Failure

	// Failures has all different ones, with KeepGoing.
	Failures []*Failure

	// Trace is the execution that [Replay] made.
	Trace *Trace
}

// Err returns the failure as an error, an error that says how far the search
// came if the verdict is Unknown, or nil if the program holds.
func (r *Result) Err() error {
	switch r.Verdict {
	case Holds:
		return nil
	case Fails:
		return r.Failure
	}
	if r.Failure != nil {
		return r.Failure
	}
	return fmt.Errorf("explore %s: unknown, %s: no failure in %d executions", r.Program, r.Scope, r.Executions)
}

// String returns verdict, scope and counts in one line.
func (r *Result) String() string {
	return fmt.Sprintf("%s: %s (%s; %s; %d executions, %d pruned, %.2f s)", r.Program, r.Verdict, r.Scope, r.Strategy,
		r.Executions, r.Pruned, r.Elapsed.Seconds())
}

// abandoned is the result of a search that the watchdog has given up.
func (s *searching) abandoned(f *Failure) *Result {
	r := &Result{Program: s.prog.Name, Strategy: s.o.Strategy.name, Verdict: Fails, Scope: oneIsEnough,
		Failure: f, Failures: []*Failure{f}, Elapsed: time.Since(s.start)}
	s.count(r)
	return r
}

func (s *searching) count(r *Result) {
	r.Executions, r.Pruned, r.Steps = s.executions.Load(), s.pruned.Load(), s.steps.Load()
}

// addAll notes the failures of the last execution. It returns true if the
// search is over.
func (r *Result) addAll(x *Exec, o *Options) bool {
	over := r.add(x, x.failure, o)
	for _, f := range x.more {
		over = r.add(x, f, o) || over
	}
	return over
}

func (r *Result) add(x *Exec, f *Failure, o *Options) bool {
	for _, g := range r.Failures {
		if f.same(g) {
			return false
		}
	}
	s := x.scheduled()
	f.Steps, f.Preemptions = len(s.tasks), x.preempts
	f.Token = s.token(x.prog.Name)
	f.sched = s
	r.Failures = append(r.Failures, f)
	if r.Failure == nil {
		r.Failure = f
	}
	return !o.KeepGoing || len(r.Failures) >= o.MaxFailures
}

// oneIsEnough is the scope of a verdict that the program fails.
const oneIsEnough = "one failing execution is enough"

// conclude fills in the verdict.
func (s *searching) conclude(xs []*Exec) {
	r, o := s.result, s.o
	s.count(r)
	scope := o.Strategy.scope
	loops := false // there are endless executions, or that is not known, and they were not looked through
	for _, x := range xs {
		switch st := x.strat.(type) {
		case *cached:
			r.States = st.seen.states()
			loops = loops || st.way.loops || s.divided || s.apart
		case *graph:
			r.States = st.g.states()
		case *bounded:
			if st.complete {
				scope = "" // no execution needs more preemptions
			}
			loops = loops || st.way.loops
		}
	}
	if scope == "" && loops {
		scope = "executions that end"
	}
	switch {
	case r.Failure != nil && r.Failure.Kind == StepBound && len(r.Failures) == 1:
		r.Verdict = Unknown // suspected only; explain may find a livelock
		r.Scope = fmt.Sprintf("bounded by %d steps", o.MaxSteps)
	case r.Failure != nil:
		r.Verdict = Fails
		r.Scope = oneIsEnough
	case o.Strategy.sampled:
		r.Verdict = Unknown
		r.Scope = "sampled"
		if len(s.bounds) > 0 {
			r.Scope += ", bounded by " + s.bounds[0]
		}
	case len(s.bounds) > 0:
		r.Verdict = Unknown
		r.Scope = "bounded by " + s.bounds[0]
	case scope != "":
		r.Verdict = Holds
		r.Scope = "bounded by " + scope
	default:
		r.Verdict = Holds
		r.Scope = "exhausted"
	}
}
