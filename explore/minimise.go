// SPDX-License-Identifier: Apache-2.0

package explore

import "time"

// minimise looks for a shorter execution that fails like f: first by leaving
// out what did not happen before the failure and by putting the rest in an order
// with few switches, then by searching with fewer preemptions. It returns f
// itself if there is none.
func (s *searching) minimise(f *Failure) *Failure {
	best := f
	if g := s.condense(best); g != nil {
		best = g
	}
	if g := s.fewerPreemptions(best); g != nil {
		best = g
		if g := s.condense(best); g != nil {
			best = g
		}
	}
	if s.expired() {
		best.LeftOut = "trace not minimised: time"
	}
	return best
}

// expired reports whether the time for the search is over.
func (s *searching) expired() bool { return s.o.MaxTime > 0 && time.Since(s.start) > s.o.MaxTime }

// The search for an execution with fewer preemptions is given up after this.
const (
	minimiseExecutions = 20000
	minimiseTime       = 2 * time.Second
)

func (s *searching) fewerPreemptions(f *Failure) *Failure {
	if f.Preemptions == 0 || s.expired() {
		return nil
	}
	x := s.replayer(newBounded(f.Preemptions-1, 64<<20))
	defer x.coros.stop()
	start := time.Now()
	for n := 0; n < minimiseExecutions && time.Since(start) < minimiseTime && !s.expired(); n++ {
		if !x.run() {
			return nil
		}
		if f.same(x.failure) {
			g := x.failure
			g.sched = x.scheduled()
			return s.measure(g)
		}
	}
	return nil
}

// measure replays g and fills in its length. It returns nil if g does not fail
// again.
func (s *searching) measure(g *Failure) *Failure {
	all, tr := s.replayOnce(g.sched, true)
	for _, h := range all {
		if g.same(h) {
			h.sched, h.Trace = g.sched, tr
			h.Token = g.sched.token(s.prog.Name)
			return h
		}
	}
	return nil
}

// condense reorders the execution of f. It returns nil if that gains nothing.
func (s *searching) condense(f *Failure) *Failure {
	if s.expired() {
		return nil
	}
	x := s.replayer(&replay{schedule: f.sched, owing: true, strict: true})
	x.run()
	defer x.coros.stop()
	if !f.same(x.failure) {
		return nil
	}
	n := x.depth
	keep := make([]uint64, x.hist.stride)
	if x.ended == failed && n > 0 {
		or(keep, x.hist.pastOf(n-1)) // the failure is in the last step
	} else {
		fill(keep, 0, n)
	}
	best := f
	for first := range MaxTasks {
		if s.expired() {
			break
		}
		order := linearise(&x.hist, keep, first)
		if order == nil {
			continue
		}
		if g := s.tryOrder(x, order); g != nil && f.same(g) && g.shorter(best) {
			best = g
		}
	}
	if best == f {
		return nil
	}
	return best
}

// shorter reports whether f is easier to read than g.
func (f *Failure) shorter(g *Failure) bool {
	if f.Preemptions != g.Preemptions {
		return f.Preemptions < g.Preemptions
	}
	return f.Steps < g.Steps
}

// linearise returns the events of keep in an order that respects what happened
// before what and stays with a task as long as it can, starting with first. It
// returns nil if first has no event that can come first.
func linearise(h *history, keep []uint64, first int) []int {
	rest := append([]uint64(nil), keep...)
	var order []int
	next := func(task int) int {
		e := firstCommon(h.byTask[task], rest)
		if e < 0 || !onlyBit(h.pastOf(e), rest, e) {
			return -1
		}
		return e
	}
	cur := first
	for !empty(rest) {
		e := next(cur)
		for id := 0; e < 0 && id < MaxTasks; id++ {
			if e = next(id); e >= 0 {
				cur = id
			}
		}
		if len(order) == 0 && cur != first {
			return nil
		}
		order = append(order, e)
		clearBit(rest, e)
	}
	return order
}

// script runs given tasks, by stable id, and then stops unless all is done.
type script struct {
	plan    []uint8
	choices []choice
	used    bool
}

func (s *script) begin(x *Exec) bool {
	if s.used {
		return false
	}
	s.used = true
	x.hist.rewind(0)
	x.plan, x.planChoice = s.plan, s.choices
	return true
}

func (s *script) pick(*Exec) int        { return -1 }
func (s *script) choose(*Exec, int) int { return 0 }
func (s *script) end(*Exec)             {}

// tryOrder runs the events of x in another order.
func (s *searching) tryOrder(x *Exec, order []int) *Failure {
	sc := &script{}
	for _, c := range x.choices {
		if c.depth == 0 {
			sc.choices = append(sc.choices, c)
		}
	}
	for pos, e := range order {
		sc.plan = append(sc.plan, x.hist.events[e].task)
		for _, c := range x.choices {
			if int(c.depth) == e+1 {
				c.depth = int32(pos + 1)
				sc.choices = append(sc.choices, c)
			}
		}
	}
	y := s.replayer(sc)
	y.ids = x.ids
	y.run()
	defer y.coros.stop()
	if y.failure == nil {
		return nil
	}
	g := y.failure
	g.sched = y.scheduled()
	return s.measure(g)
}
