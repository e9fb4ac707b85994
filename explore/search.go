// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// A Strategy says which executions a search makes. Build one with the functions
// of this package.
type Strategy struct {
	name    string
	scope   string // what is left out, or empty
	sampled bool
	build   func(o *Options) strategy
}

// String returns the name, for example "sleep sets".
func (s Strategy) String() string { return s.name }

// Naive explores every schedule, equivalent ones included. It is for
// comparison and for very small programs.
func Naive() Strategy {
	return Strategy{name: "all schedules", build: func(*Options) strategy { return &dfs{} }}
}

// SleepSets explores one execution of each class, and abandons many others on
// the way. It needs no more memory than the stack of one execution.
func SleepSets() Strategy {
	return Strategy{name: "sleep sets", build: func(*Options) strategy { return &dfs{useSleep: true} }}
}

// Optimal explores one execution of each class, with few or none abandoned: see
// the type optimal for the algorithm. It is the default.
func Optimal() Strategy {
	return Strategy{name: "optimal reduction", build: func(o *Options) strategy {
		s := newOptimal()
		s.hole = o.hole
		return s
	}}
}

// Cached explores every state once, or a few times. The program must declare its
// state with [Exec.OnState]; what it declares is compared as a 64-bit hash. Data
// races are looked for only in the executions made, and may be missed.
func Cached() Strategy {
	return Strategy{name: "state caching", build: func(o *Options) strategy { return newCached(o.MemoryBytes) }}
}

// PreemptionBound explores the executions with at most n preemptions, beginning
// with none. A preemption is a switch from a task that could have gone on, and
// whose next step is not [Step.Voluntary].
func PreemptionBound(n int) Strategy {
	return Strategy{name: fmt.Sprintf("at most %d preemptions", n), scope: fmt.Sprintf("%d preemptions", n),
		build: func(o *Options) strategy { return newBounded(n, o.MemoryBytes) }}
}

// Random makes n executions in which each step is taken by any of the enabled
// tasks with equal probability.
func Random(n int64, seed uint64) Strategy {
	return Strategy{name: fmt.Sprintf("random, seed %d", seed), sampled: true, build: func(*Options) strategy {
		return &walk{rng: rand.New(rand.NewPCG(seed, 1)), left: n}
	}}
}

// PCT makes n executions with random priorities that change depth-1 times. It
// finds faults that need few orderings faster than [Random]; depth 3 is a good
// start.
func PCT(n int64, depth int, seed uint64) Strategy {
	return Strategy{name: fmt.Sprintf("random priorities (PCT), depth %d, seed %d", depth, seed), sampled: true,
		build: func(*Options) strategy {
			return &pct{rng: rand.New(rand.NewPCG(seed, 2)), left: n, depth: max(depth, 1)}
		}}
}

// Options says how to search. The zero Options are good for small programs.
type Options struct {
	// Strategy is how to search; the zero Strategy is [Optimal].
	Strategy Strategy

	// MaxSteps bounds one execution, in steps; 0 means 10000. An execution
	// that reaches it fails with [StepBound].
	MaxSteps int

	// MaxExecutions bounds the search; 0 means no bound.
	MaxExecutions int64

	// MaxTime bounds the search; 0 means no bound.
	MaxTime time.Duration

	// MemoryBytes bounds what the search itself keeps; 0 means 2 GiB. A table
	// of states that is full is not extended, which costs time but no
	// coverage.
	MemoryBytes int64

	// KeepGoing goes on after a failure. A task that fails ends, and the
	// others go on. Result has the first MaxFailures different failures.
	KeepGoing bool

	// MaxFailures bounds Result.Failures with KeepGoing; 0 means 100.
	MaxFailures int

	// NoMinimise reports the first failure found as it is.
	NoMinimise bool

	hole  hole          // for tests: see optimal
	ids   *idTable      // for tests: makes searches agree on ids
	onRun func(x *Exec) // for tests: called after each execution that counts
}

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
	// "sampled, ...".
	Scope string

	Executions int64 // complete executions, including those that failed
	Pruned     int64 // executions abandoned because nothing new lay ahead
	Steps      int64
	States     int64 // distinct states, if the strategy knows them
	Elapsed    time.Duration

	// Failure is the first failure, nil if the verdict is not Fails.
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
	return fmt.Errorf("explore %s: unknown, %s: no failure in %d executions", r.Program, r.Scope, r.Executions)
}

// String returns verdict, scope and counts in one line.
func (r *Result) String() string {
	return fmt.Sprintf("%s: %s (%s; %s; %d executions, %d pruned, %.2f s)", r.Program, r.Verdict, r.Scope, r.Strategy,
		r.Executions, r.Pruned, r.Elapsed.Seconds())
}

// Explore searches p. The error is about the request, never about the program:
// see [Result] for that. It returns early, with verdict [Unknown], when ctx ends.
func Explore(ctx context.Context, p *Program, o Options) (*Result, error) {
	if p == nil || p.Init == nil {
		return nil, errors.New("explore: the program has no Init function")
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = 10000
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 2 << 30
	}
	if o.MaxFailures == 0 {
		o.MaxFailures = 100
	}
	if o.Strategy.build == nil {
		o.Strategy = Optimal()
	}
	start := time.Now()
	r := &Result{Program: p.Name, Strategy: o.Strategy.name}
	x := newExec(p, o.Strategy.build(&o), &o)
	defer x.coros.stop()
	bound := search(ctx, x, &o, r, start)
	r.conclude(&o, bound, x.strat)
	if r.Failure != nil {
		for _, f := range r.Failures {
			explain(p, f, &o)
		}
	}
	r.Elapsed = time.Since(start)
	return r, nil
}

// search runs the executions of one Exec. It returns what bounded it, or "".
func search(ctx context.Context, x *Exec, o *Options, r *Result, start time.Time) string {
	for n := int64(0); ; n++ {
		if o.MaxExecutions > 0 && r.Executions >= o.MaxExecutions {
			return fmt.Sprintf("%d executions", o.MaxExecutions)
		}
		if n&63 == 0 {
			if ctx.Err() != nil {
				return "a request to stop"
			}
			if o.MaxTime > 0 && time.Since(start) > o.MaxTime {
				return o.MaxTime.String()
			}
		}
		if !x.run() {
			return ""
		}
		r.Steps += int64(x.depth)
		if x.ended == pruned || x.ended == infeasible {
			r.Pruned++
		} else {
			r.Executions++
			if o.onRun != nil {
				o.onRun(x)
			}
		}
		if x.failure != nil && r.addAll(x, o) {
			return ""
		}
	}
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

func (r *Result) conclude(o *Options, bound string, s strategy) {
	scope := o.Strategy.scope
	switch s := s.(type) {
	case *cached:
		r.States = int64(s.seen.n)
	case *bounded:
		if s.complete {
			scope = "" // no execution needs more preemptions
		}
	}
	switch {
	case r.Failure != nil:
		r.Verdict = Fails
		r.Scope = "one failing execution is enough"
	case o.Strategy.sampled:
		r.Verdict = Unknown
		r.Scope = fmt.Sprintf("sampled, %s", o.Strategy.name)
	case bound != "":
		r.Verdict = Unknown
		r.Scope = "bounded by " + bound
	case scope != "":
		r.Verdict = Holds
		r.Scope = "bounded by " + scope
	default:
		r.Verdict = Holds
		r.Scope = "exhausted"
	}
}

// explain replays f and records its trace.
func explain(p *Program, f *Failure, o *Options) {
	if f.sched == nil {
		return
	}
	defer func() {
		if f.Trace != nil && !o.NoMinimise && !o.KeepGoing && f.Kind != Nondeterminism {
			*f = *minimise(p, f, o)
		}
	}()
	all, tr := replayOnce(p, f.sched, o, true)
	for _, g := range all {
		if f.same(g) {
			f.Trace, f.Steps, f.Preemptions = tr, g.Steps, g.Preemptions
			return
		}
	}
	f.Kind, f.Details = Nondeterminism, fmt.Sprintf("first seen: %s: %s\n%s", f.Kind, f.Text, f.Details)
	f.Text = "the program is not deterministic: replaying the failing execution does not fail in the same way"
	f.Trace = tr
}

// replayOnce makes the execution of a schedule and returns its failures and its
// trace.
func replayOnce(p *Program, s *schedule, o *Options, strict bool) ([]*Failure, *Trace) {
	tr := &tracer{}
	x := newExec(p, &replay{schedule: s, strict: strict}, o)
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
// has the failure, if the execution still fails.
func Replay(p *Program, token string, o Options) (*Result, error) {
	s, err := parseToken(token, p.Name)
	if err != nil {
		return nil, err
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = max(10000, len(s.tasks)+1)
	}
	r := &Result{Program: p.Name, Strategy: "replay", Scope: "one execution", Executions: 1}
	start := time.Now()
	all, tr := replayOnce(p, s, &o, true)
	r.Steps, r.Elapsed = int64(len(tr.Steps)), time.Since(start)
	r.Trace = tr
	for _, f := range all {
		f.Token, f.Trace, f.sched = token, tr, s
	}
	if len(all) > 0 {
		r.Failure, r.Failures, r.Verdict = all[0], all, Fails
	}
	return r, nil
}
