// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Explore searches p. The error is about the request, never about the program:
// see [Result] for that. It returns early, with verdict [Unknown], when ctx ends.
//
// If the program blocks outside the explorer, or starts goroutines, Explore
// returns a failure and leaves the goroutines that it can't end behind.
func Explore(ctx context.Context, p *Program, o Options) (*Result, error) {
	if p == nil || p.Init == nil {
		return nil, errors.New("explore: the program has no Init function")
	}
	if ctx == nil {
		return nil, fmt.Errorf("explore %s: the context is nil", p.Name)
	}
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("explore %s: %w", p.Name, err)
	}
	s := newSearch(p, &o)
	done := make(chan struct{})
	own(func() {
		defer close(done)
		s.run(ctx)
	})
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

// A searching is one call of [Explore].
type searching struct {
	prog                                        *Program
	o                                           *Options
	start                                       time.Time
	heartbeat                                   *heartbeat
	executions, pruned, steps, states, fraction atomic.Int64
	queue                                       *jobQueue     // nil if work is not shared
	divided                                     bool          // workers share one tree
	apart                                       bool          // they did before the search was resumed
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

// run makes the search and explains its failures.
func (s *searching) run(ctx context.Context) {
	s.heartbeat.adopt(goid())
	if s.o.ids == nil { // tests that compare strategies need no check, and count executions
		s.worker(s.checkDeterminism)
	}
	xs := s.workers()
	if s.err = s.begin(xs); s.err == nil && s.result.Failure == nil { // can be resumed, and is deterministic
		s.search(ctx, xs)
		if g, ok := xs[0].strat.(*graph); ok && s.again(ctx, xs[0], g.g) {
			s.o.depthFirst = true // goes on where the table is full
			xs = s.workers()
			s.search(ctx, xs)
		}
	}
	s.conclude(xs)
	if s.o.Checkpoint != "" && s.err == nil && s.result.Failure == nil && len(s.bounds) > 0 {
		s.err = s.writeCheckpoint(xs)
	}
	for _, f := range s.result.Failures {
		s.explain(f)
	}
	s.result.Elapsed = s.before + time.Since(s.start)
}

// search lets the workers search.
func (s *searching) search(ctx context.Context, xs []*Exec) {
	if len(xs) > 1 {
		s.runParallel(ctx, xs)
		return
	}
	s.worker(func(cur **Exec) {
		*cur = xs[0]
		s.bounded(s.loop(ctx, xs[0]))
	})
}

// again looks for livelocks among the states that were found. It reports whether states have to be searched once more, depth
// first: only that way can a search go on whose table is full.
func (s *searching) again(ctx context.Context, x *Exec, g *stateGraph) bool {
	over := func() bool {
		return s.result.Failure != nil && !s.o.KeepGoing || s.heartbeat.halt.Load() || len(s.bounds) > 0
	}
	if over() {
		return false
	}
	by := ""
	stopped := func() bool {
		s.heartbeat.beats.Add(1) // no task steps meanwhile, and none is stalled
		by = s.over(ctx)
		return by != "" || s.heartbeat.halt.Load()
	}
	cyclic, known := false, true
	if !g.full {
		cyclic, known = g.cyclic(stopped)
	}
	if cyclic && known {
		s.wake(ctx, x, g)
		if over() {
			return false
		}
		known = g.full || s.livelocks(x, g, stopped)
	}
	if !known {
		s.bounded(by)
	}
	return known && g.full
}

// wake makes the steps that sleep sets have left out. They lead to states that are known, but a cycle may
// have no other steps.
func (s *searching) wake(ctx context.Context, x *Exec, g *stateGraph) {
	g.wake()
	xs := s.workers()
	for _, y := range xs {
		y.ids, y.strat.(*graph).g = x.ids, g // the keys of states depend on the ids of objects
	}
	s.search(ctx, xs)
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
	case *graph:
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
		case *graph:
			next.g = first.(*graph).g
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
	own(func() {
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
	})
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

// loop runs the executions of one Exec. It returns what bounded it, or "".
func (s *searching) loop(ctx context.Context, x *Exec) string {
	o := s.o
	for n := int64(0); ; n++ {
		if o.MaxExecutions > 0 && s.executions.Load() >= o.MaxExecutions {
			return fmt.Sprintf("%d executions", o.MaxExecutions)
		}
		if s.heartbeat.halt.Load() {
			return s.heartbeat.bound()
		}
		if n&63 == 0 {
			s.estimate(x)
		}
		if by := s.over(ctx); by != "" { // at each: executions may be long
			return by
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
		if x.failure != nil && s.failed(x) || x.checked && x.failure == nil && !s.repeats(x) {
			s.heartbeat.halt.Store(true)
			return ""
		}
	}
}

// over returns what ends the search before its end, or "".
func (s *searching) over(ctx context.Context) string {
	switch {
	case ctx.Err() != nil:
		return "a request to stop"
	case s.expired():
		return s.o.MaxTime.String()
	}
	return ""
}

// failed notes the failures of the last execution. It returns true if the search
// is over.
func (s *searching) failed(x *Exec) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result.addAll(x, s.o)
}
