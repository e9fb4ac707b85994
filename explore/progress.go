// SPDX-License-Identifier: Apache-2.0

package explore

import "time"

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
	case *graph:
		s.states.Store(t.g.states())
		s.fraction.Store(int64(t.g.fraction() * fractionUnit))
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
		total := float64(n.done + 1 + n.wut.len())
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
