// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Strategy says which executions a search makes. Build one with the functions
// of this package.
type Strategy struct {
	name    string
	scope   string // what is left out, or empty
	sampled bool
	seed    uint64
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
	return Strategy{name: fmt.Sprintf("random, seed %d", seed), sampled: true, seed: seed, build: func(*Options) strategy {
		w := newWalk(n, seed, 1)
		return &w
	}}
}

// PCT makes n executions with random priorities that change depth-1 times. It
// finds faults that need few orderings faster than [Random]; depth 3 is a good
// start.
func PCT(n int64, depth int, seed uint64) Strategy {
	return Strategy{name: fmt.Sprintf("random priorities (PCT), depth %d, seed %d", depth, seed), sampled: true, seed: seed,
		build: func(*Options) strategy {
			return &pct{walk: newWalk(n, seed, 2), depth: max(depth, 1)}
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

	// Workers is the number of goroutines that search in parallel; 0 means 1.
	Workers int

	// Checkpoint names a file. If the search ends before it has looked at
	// everything, and without a failure, it writes there what is left to do.
	Checkpoint string

	// Resume continues the search that the file of Checkpoint tells of, if the
	// file exists. Program, strategy and MaxSteps must be the same.
	Resume bool

	// Progress, if not nil, is called from time to time, on a goroutine of its
	// own, while the search goes on.
	Progress func(Progress)

	// ProgressEvery is the time between calls of Progress; 0 means 1 s.
	ProgressEvery time.Duration

	// StallTimeout is how long a task may take for one step, in wall-clock
	// time, before the search gives up with [Stalled]; 0 means 10 s.
	StallTimeout time.Duration

	// NoMinimise reports the first failure found as it is.
	NoMinimise bool

	hole  hole          // for tests: see optimal
	ids   *idTable      // for tests: makes searches agree on ids
	onRun func(x *Exec) // for tests: called after each execution that counts
}

// Progress says how far a search has come.
type Progress struct {
	Executions int64
	Pruned     int64
	Steps      int64
	States     int64 // 0 if the strategy does not know
	Elapsed    time.Duration

	// Fraction estimates how much of the search is done, from 0 to 1: it weighs
	// every branch of the current path equally. Branches not yet known make it
	// too high. It is negative if there is no estimate.
	Fraction float64
}

// Remaining estimates the time to go; negative if there is no estimate.
func (p Progress) Remaining() time.Duration {
	if p.Fraction <= 0 {
		return -1
	}
	return time.Duration(float64(p.Elapsed) * (1 - p.Fraction) / p.Fraction)
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

// Explore searches p. The error is about the request, never about the program:
// see [Result] for that. It returns early, with verdict [Unknown], when ctx ends.
//
// If the program blocks outside the explorer, or starts goroutines, Explore
// returns a failure and leaves the goroutines that it can't end behind.
func Explore(ctx context.Context, p *Program, o Options) (*Result, error) {
	if p == nil || p.Init == nil {
		return nil, errors.New("explore: the program has no Init function")
	}
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("explore %s: %w", p.Name, err)
	}
	s := newSearch(p, &o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx)
	}()
	f, bound := s.heartbeat.watchdog(done, &o, s.report)
	if f != nil {
		return s.abandoned(f), nil
	}
	if s.err != nil {
		return nil, fmt.Errorf("explore %s: %w", p.Name, s.err)
	}
	if bound != "" && s.result.Verdict != Fails {
		s.result.Verdict, s.result.Scope = Unknown, "bounded by "+bound
	}
	return s.result, nil
}

// complete fills in the defaults.
func (o *Options) complete() error {
	for _, n := range []struct {
		name  string
		value int64
	}{{"MaxSteps", int64(o.MaxSteps)}, {"MaxExecutions", o.MaxExecutions}, {"MaxTime", int64(o.MaxTime)},
		{"MemoryBytes", o.MemoryBytes}, {"MaxFailures", int64(o.MaxFailures)}, {"Workers", int64(o.Workers)},
		{"StallTimeout", int64(o.StallTimeout)},
		{"ProgressEvery", int64(o.ProgressEvery)}} {
		if n.value < 0 {
			return fmt.Errorf("option %s is %d: it must not be negative", n.name, n.value)
		}
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
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 10 * time.Second
	}
	if o.ProgressEvery == 0 {
		o.ProgressEvery = time.Second
	}
	if o.Resume && o.Checkpoint == "" {
		return errors.New("option Resume needs the name of a file in Checkpoint")
	}
	if o.Strategy.build == nil {
		o.Strategy = Optimal()
	}
	return nil
}

// A searching is one call of [Explore].
type searching struct {
	prog                                        *Program
	o                                           *Options
	start                                       time.Time
	heartbeat                                   *heartbeat
	executions, pruned, steps, states, fraction atomic.Int64
	queue                                       *jobQueue     // nil if work is not shared
	divided                                     bool          // workers share one tree
	before                                      time.Duration // spent before the search was resumed
	resumed                                     bool
	err                                         error

	mu     sync.Mutex // guards result and bounds while workers run
	result *Result
	bounds []string
	parts  []savedPart // of a checkpoint, not begun yet
	jobs   []job       // the same
}

func newSearch(p *Program, o *Options) *searching {
	return &searching{prog: p, o: o, start: time.Now(), heartbeat: newHeartbeat(),
		result: &Result{Program: p.Name, Strategy: o.Strategy.name}}
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

// run makes the search and explains its failures.
func (s *searching) run(ctx context.Context) {
	s.heartbeat.adopt(goid())
	if s.o.ids == nil { // tests that compare strategies need no check, and count executions
		s.worker(s.checkDeterminism)
	}
	xs := s.workers()
	if s.err = s.begin(xs); s.err != nil || s.result.Failure != nil {
		// can't be resumed, or the program is not deterministic
	} else if len(xs) > 1 {
		s.runParallel(ctx, xs)
	} else {
		s.worker(func(cur **Exec) {
			*cur = xs[0]
			s.bounded(s.loop(ctx, xs[0]))
		})
	}
	s.conclude(xs)
	if s.o.Checkpoint != "" && s.err == nil && s.result.Verdict == Unknown && (len(s.bounds) > 0 || s.heartbeat.halt.Load()) {
		s.err = s.writeCheckpoint(xs)
	}
	for _, f := range s.result.Failures {
		s.explain(f)
	}
	s.result.Elapsed = s.before + time.Since(s.start)
}

// begin resumes an earlier search, if asked to.
func (s *searching) begin(xs []*Exec) error {
	if s.o.Checkpoint == "" || !s.o.Resume {
		return nil
	}
	c, err := s.readCheckpoint()
	if err != nil || c == nil {
		return err
	}
	s.resume(c, xs)
	return nil
}

// workers makes an Exec for each worker. Strategies that can't be divided have
// one.
func (s *searching) workers() []*Exec {
	first := s.o.Strategy.build(s.o)
	xs := []*Exec{s.replayer(first)}
	n := s.o.Workers
	switch first := first.(type) {
	case *dfs, *cached:
		s.divided = n > 1
	case *walk:
		first.part(0, int64(n), s.o.Strategy.seed)
	case *pct:
		first.part(0, int64(n), s.o.Strategy.seed)
	default:
		n = 1
	}
	shared := &sharedIDs{}
	for i := int64(1); i < int64(n); i++ {
		next := s.o.Strategy.build(s.o)
		switch next := next.(type) {
		case *dfs:
			next.over = true // until it is given a part
		case *cached:
			next.over = true
			next.seen = first.(*cached).seen
		case *walk:
			next.part(i, int64(n), s.o.Strategy.seed)
		case *pct:
			next.part(i, int64(n), s.o.Strategy.seed)
		}
		xs = append(xs, s.replayer(next))
	}
	if n > 1 {
		for _, x := range xs {
			x.ids = &idTable{share: shared}
		}
	}
	return xs
}

// worker calls f on a goroutine of its own, because a task that calls
// runtime.Goexit takes the goroutine along. f sets cur to the Exec that it uses.
func (s *searching) worker(f func(cur **Exec)) {
	var cur *Exec
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		id := goid()
		s.heartbeat.adopt(id)
		defer s.heartbeat.disown(id)
		regular := false
		defer func() {
			if !regular && cur != nil && cur.failure != nil {
				s.failed(cur)
			}
		}()
		f(&cur)
		regular = true
		cur.coros.stop()
	}()
	<-ended
}

// bounded notes what bounded a worker, unless it is "".
func (s *searching) bounded(by string) {
	if by == "" {
		return
	}
	s.mu.Lock()
	s.bounds = append(s.bounds, by)
	s.mu.Unlock()
}

// checkDeterminism makes an execution twice. Most searches would notice later
// that the program is not deterministic, but not those that replay nothing.
func (s *searching) checkDeterminism(cur **Exec) {
	var first *Exec
	for range 3 {
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
		if !same && !bounded || first.hist.class(first.depth) != x.hist.class(x.depth) {
			s.differs(first, x)
			return
		}
	}
}

// differs reports where two executions with the same schedule part.
func (s *searching) differs(a, b *Exec) {
	f := &Failure{Kind: Nondeterminism, Text: "the program is not deterministic: two executions with the same schedule differ"}
	for i := range min(a.depth, b.depth) {
		if a.hist.events[i].op != b.hist.events[i].op || a.hist.events[i].task != b.hist.events[i].task {
			f.Task = a.tasks[a.hist.events[i].task].name
			f.Text = fmt.Sprintf("the program is not deterministic: after the same %d steps, task %q declares another step than before", i, f.Task)
			a.depth = i
			break
		}
	}
	a.failure = f
	s.failed(a)
}

// loop runs the executions of one Exec. It returns what bounded it, or "".
func (s *searching) loop(ctx context.Context, x *Exec) string {
	o := s.o
	for n := int64(0); ; n++ {
		if o.MaxExecutions > 0 && s.executions.Load() >= o.MaxExecutions {
			return fmt.Sprintf("%d executions", o.MaxExecutions)
		}
		if s.heartbeat.halt.Load() {
			return ""
		}
		if n&63 == 0 {
			s.estimate(x)
			if ctx.Err() != nil {
				return "a request to stop"
			}
			if o.MaxTime > 0 && time.Since(s.start) > o.MaxTime {
				return o.MaxTime.String()
			}
		}
		s.share(x)
		if !x.run() {
			if s.nextPart(x) || s.nextJob(x) {
				continue
			}
			return ""
		}
		s.steps.Add(int64(x.depth))
		if x.ended == pruned || x.ended == infeasible {
			s.pruned.Add(1)
		} else {
			s.executions.Add(1)
			if o.onRun != nil {
				o.onRun(x)
			}
		}
		if x.failure != nil && s.failed(x) {
			s.heartbeat.halt.Store(true)
			return ""
		}
	}
}

// failed notes the failures of the last execution. It returns true if the search
// is over.
func (s *searching) failed(x *Exec) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result.addAll(x, s.o)
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

// report calls Options.Progress.
func (s *searching) report() {
	p := Progress{Executions: s.executions.Load(), Pruned: s.pruned.Load(), Steps: s.steps.Load(),
		States: s.states.Load(), Elapsed: s.before + time.Since(s.start), Fraction: -1}
	if f := s.fraction.Load(); f > 0 {
		p.Fraction = float64(f) / fractionUnit
	}
	s.o.Progress(p)
}

// fractionUnit is the resolution of the estimate of progress.
const fractionUnit = 1 << 40

// estimate notes how far a worker has come.
func (s *searching) estimate(x *Exec) {
	if s.o.Progress == nil {
		return
	}
	switch t := x.strat.(type) {
	case *cached:
		s.states.Store(t.seen.states())
	case *optimal:
		s.fraction.Store(int64(t.fraction() * fractionUnit))
	case *dfs:
		if !s.divided {
			s.fraction.Store(int64(t.fraction() * fractionUnit))
		}
	case *walk:
		s.fraction.Store(int64(float64(t.total-t.left) / float64(t.total) * fractionUnit))
	case *pct:
		s.fraction.Store(int64(float64(t.total-t.left) / float64(t.total) * fractionUnit))
	}
}

// fraction estimates how much of the tree is explored.
func (s *optimal) fraction() float64 {
	done, weight := 0.0, 1.0
	for i := range s.nodes {
		n := &s.nodes[i]
		total := float64(n.done + 1 + len(n.wut))
		done += weight * float64(n.done) / total
		weight /= total
	}
	return done
}

// fraction estimates how much of the tree is explored.
func (s *dfs) fraction() float64 {
	done, weight := 0.0, 1.0
	for i := range s.nodes {
		n := &s.nodes[i]
		total := float64(max(1, count(n.enabled&^n.sleep)))
		done += weight * float64(count(n.done&^n.sleep)) / total
		weight /= total
	}
	return done
}

// oneIsEnough is the scope of a verdict that the program fails.
const oneIsEnough = "one failing execution is enough"

// conclude fills in the verdict.
func (s *searching) conclude(xs []*Exec) {
	r, o := s.result, s.o
	s.count(r)
	scope := o.Strategy.scope
	for _, x := range xs {
		switch s := x.strat.(type) {
		case *cached:
			r.States = s.seen.states()
		case *bounded:
			if s.complete {
				scope = "" // no execution needs more preemptions
			}
		}
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
		f.Trace, f.Steps, f.Preemptions = tr, g.Steps, g.Preemptions
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
	places := map[string]int{}
	var order []string
	for range tries {
		tr := &tracer{}
		x := s.replayer(&replay{schedule: f.sched})
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
		f.Details = strings.TrimPrefix(fmt.Sprintf("%s\n%d of %d times: %s", f.Details, places[p], tries, p), "\n")
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
	tr := &tracer{}
	x := s.replayer(&replay{schedule: sched, strict: strict})
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
	go func() {
		defer close(done)
		s.heartbeat.adopt(goid())
		all, tr = s.replayOnce(sched, true)
	}()
	if f, _ := s.heartbeat.watchdog(done, &o, nil); f != nil {
		return s.abandoned(f), nil
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
