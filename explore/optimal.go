// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

// optimal is depth-first search with optimal dynamic partial order reduction:
// source sets, wakeup trees and sleep sets. Without guards and choices it makes
// exactly one execution of each class and abandons none.
//
// At the end of each execution it looks for races: pairs of dependent steps of
// two tasks that could have come in the other order. For each it makes a
// sequence of steps that begins before the race and takes the second step
// first, and plants it in the wakeup tree of the node before the race, unless
// the sequence is covered by what was or will be explored there.
//
// Guards need more than the published algorithm has. A guarded step races not
// only with the last dependent step but with each, because the ones between may
// be what enables it (a lock is released before it is taken again). The steps
// that a task is still blocked in at the end race too, or deadlocks would
// vanish. Whether the guard allows the second step to come first is often not
// known before it is tried: such sequences are speculative, and are abandoned
// where the guard is false. docs/explore.md has the argument why this is
// complete.
//
// Source: Abdulla, Aronis, Jonsson, Sagonas, Optimal Dynamic Partial Order
// Reduction, POPL 2014, algorithm 2; notation of J. ACM 64(4), 2017.
type optimal struct {
	nodes      []node
	plan       []uint8
	choices    []choice
	prescribed []int32
	branching  bool // the last node's branch is still to be taken
	over       bool
	barren     map[uint64]struct{} // identities of steps whose guard is false
	conf       [][]uint64          // scratch: conflicts of each event, if stamped
	stamp      []uint64
	run        uint64
	hole       hole // tests only
	b          scratch
}

// A hole is a fault that tests plant in the reduction, to see that the
// comparison with the plain search notices.
type hole uint8

const (
	noHole            hole = iota
	holeBlocked            // ignore the pending steps of blocked tasks
	holeLastOnly           // guarded steps race only with the last dependent step
	holeSleepAll           // never wake sleeping tasks
	holeReadsCommute       // ignore races of a read with a later write
	holeSkipOld            // ignore races in the replayed prefix
	holeShortSequence      // plant the second step alone
	holeNoVariants         // with several objects, assume all independent steps come first
	holeCount
)

// A node is a state on the current path.
type node struct {
	sleep   uint64  // tasks whose next step was explored here or need not be
	part    []*wake // the same for one outcome of the choices in the step
	done    int     // branches explored
	cur     uint8   // the branch being explored
	planned *wake   // where the branch comes from, nil if picked freely
	barren  bool    // cur was planned but is not enabled
	wut     []*wake // branches still to explore
}

// kids returns what is planned after the branch being explored.
func (n *node) kids() []*wake {
	if n.planned == nil {
		return nil
	}
	return n.planned.kids
}

// fixed reports whether only one outcome of the choices in the branch is to be
// explored.
func (n *node) fixed() bool { return n.planned != nil && len(n.planned.choices) > 0 }

// A wake is a node of a wakeup tree: a step that is planned.
type wake struct {
	task    uint8
	spec    bool // may turn out to be blocked
	acc     []access
	choices []int32
	kids    []*wake
}

// scratch holds bit sets that one race needs; all have stride words.
type scratch struct {
	width                    int
	racing, v, d, p, hist, x []uint64
	raw                      []uint64
}

func (s *scratch) size(width int) {
	if s.width == width {
		return
	}
	s.width = width
	s.raw = make([]uint64, 6*width)
	for i, b := range []*[]uint64{&s.racing, &s.v, &s.d, &s.p, &s.hist, &s.x} {
		*b = s.raw[i*width : (i+1)*width]
	}
}

func newOptimal() *optimal { return &optimal{barren: map[uint64]struct{}{}} }

func (s *optimal) begin(x *Exec) bool {
	if s.over {
		return false
	}
	s.prescribed = nil
	x.plan, x.planChoice = s.plan, s.choices
	return true
}

func (s *optimal) choose(_ *Exec, n int) int {
	if len(s.prescribed) == 0 {
		return 0
	}
	c := int(s.prescribed[0])
	s.prescribed = s.prescribed[1:]
	return min(c, n-1)
}

func (s *optimal) pick(x *Exec) int {
	d := x.depth
	s.prescribed = nil
	if s.branching {
		s.branching = false
		w := s.nodes[d].wut[0]
		s.nodes[d].wut = s.nodes[d].wut[1:]
		return s.take(x, w)
	}
	s.nodes = append(s.nodes, node{})
	n := &s.nodes[d]
	if d > 0 {
		s.inherit(x, d)
		n.wut = s.nodes[d-1].kids()
	}
	if len(n.wut) > 0 {
		w := n.wut[0]
		n.wut = n.wut[1:]
		return s.take(x, w)
	}
	todo := x.enabled &^ n.sleep
	if todo == 0 {
		s.nodes = s.nodes[:d]
		return -1
	}
	n.cur = uint8(prefer(x, todo))
	return int(n.cur)
}

// take follows a planned step, if it is enabled.
func (s *optimal) take(x *Exec, w *wake) int {
	n := &s.nodes[x.depth]
	n.cur, n.barren, n.planned = w.task, false, w
	if x.enabled>>w.task&1 == 0 {
		n.barren = true
		x.ended = infeasible
		t := x.tasks[w.task]
		s.b.size(x.hist.stride)
		fill(s.b.hist, 0, len(x.hist.events))
		s.barren[s.identity(x, t.id, t.next.op, t.next.acc, s.b.hist)] = struct{}{}
		return -1
	}
	s.prescribed = w.choices
	return int(w.task)
}

// inherit computes the sleep set of the node at depth d, from the one before:
// those that slept and are independent of the step between.
//
// At the end of a planned sequence all are awake: what sleeps conflicts with the
// sequence, or it would have been covered. Only where that could not be made
// sure of when it was planned does clearing the set here change anything, and
// then it is needed: sound reduction by races needs that what sleeps at the
// start of a free exploration can not be moved past all of it.
func (s *optimal) inherit(x *Exec, d int) {
	p, n := &s.nodes[d-1], &s.nodes[d]
	n.part = n.part[:0]
	if p.planned != nil && len(p.planned.kids) == 0 && s.hole != holeSleepAll {
		return
	}
	n.sleep = p.sleep &^ (1 << p.cur)
	if s.hole == holeSleepAll {
		return
	}
	step := x.hist.accesses(d - 1)
	for q := n.sleep; q != 0; q &= q - 1 {
		if conflict(x.tasks[trailing(q)].next.acc, step) {
			n.sleep &^= q & -q
		}
	}
	for _, w := range p.part {
		if w.task != p.cur && !conflict(w.acc, step) {
			n.part = append(n.part, w)
		}
	}
}

func (s *optimal) end(x *Exec) {
	s.choices = append(s.choices[:0], x.choices...)
	if x.ended == quiescent || x.ended == overrun {
		s.races(x)
	}
	s.backtrack(x)
}

// backtrack finds the deepest node with something left to explore.
func (s *optimal) backtrack(x *Exec) {
	var more bool
	for d := len(s.nodes) - 1; d >= 0; d-- {
		n := &s.nodes[d]
		s.nodes = s.nodes[:d+1]
		switch {
		case n.barren:
		case n.fixed():
			n.part = append(n.part, n.planned)
		default:
			if s.choices, more = bumpChoice(s.choices, d+1); more {
				if n.planned != nil {
					n.planned = &wake{task: n.cur} // what was planned is for the first outcome
				}
				s.prepare(x, d+1)
				return
			}
			n.sleep |= 1 << n.cur
		}
		n.barren, n.planned = false, nil
		n.done++
		if len(n.wut) > 0 {
			s.branching = true
			s.choices = dropChoices(s.choices, d)
			s.prepare(x, d)
			return
		}
	}
	s.nodes = s.nodes[:0]
	if s.choices, more = bumpChoice(s.choices, 0); more {
		s.prepare(x, 0)
		return
	}
	s.over = true
}

// dropChoices removes the choices made after more than d steps.
func dropChoices(choices []choice, d int) []choice {
	for k := len(choices); k > 0 && int(choices[k-1].depth) > d; k-- {
		choices = choices[:k-1]
	}
	return choices
}

func (s *optimal) prepare(x *Exec, steps int) {
	s.plan = s.plan[:0]
	for i := range s.nodes[:steps] {
		s.plan = append(s.plan, s.nodes[i].cur)
	}
	x.hist.rewind(steps)
}

// A second is the later step of a race: an event, or the step that a task is
// blocked in at the end.
type second struct {
	task    int
	at      int // depth, or the number of events if blocked
	prev    int // the task's event before it, or -1
	guarded bool
	excl    bool
	op      uint64
	acc     []access
	conf    []uint64 // events that conflict with it
}

// races looks at all races of the execution and plants their reversals.
func (s *optimal) races(x *Exec) {
	h := &x.hist
	s.b.size(h.stride)
	s.run++
	n := len(h.events)
	for j := range n {
		e := &h.events[j]
		s.racesOf(x, &second{task: int(e.task), at: j, prev: h.before(j), guarded: e.guarded, excl: e.excl,
			op: e.op, acc: h.accesses(j), conf: s.conflicts(h, j)})
	}
	if s.hole == holeBlocked {
		return
	}
	each(x.alive, func(id int) {
		t := x.tasks[id]
		if t.next.guard == nil {
			return // only at the step bound
		}
		conf := make([]uint64, h.stride)
		h.conflicting(conf, t.next.acc)
		s.racesOf(x, &second{task: id, at: n, prev: h.lastOf(id), guarded: true, excl: t.next.exclusive, op: t.next.op, acc: t.next.acc, conf: conf})
	})
}

// before returns the event of the same task before event j, or the one that
// started the task, or -1.
func (h *history) before(j int) int {
	b := h.byTask[h.events[j].task]
	w := j >> 6
	m := b[w] & (uint64(1)<<(j&63) - 1)
	for {
		if m != 0 {
			return w<<6 + 63 - bits.LeadingZeros64(m)
		}
		if w--; w < 0 {
			return int(h.spawnAt[h.events[j].task])
		}
		m = b[w]
	}
}

// conflicting adds to set the events that conflict with the accesses.
func (h *history) conflicting(set []uint64, acc []access) {
	for _, a := range acc {
		if int(a.obj) >= len(h.objs) || !h.objs[a.obj].used {
			continue
		}
		o := &h.objs[a.obj]
		or(set, o.writes)
		if a.kind.modifies() {
			or(set, o.reads)
		}
	}
}

// conflicts returns all events that conflict with event j, computed once a run.
func (s *optimal) conflicts(h *history, j int) []uint64 {
	for len(s.conf) <= j {
		s.conf = append(s.conf, nil)
		s.stamp = append(s.stamp, 0)
	}
	if s.stamp[j] == s.run {
		return s.conf[j]
	}
	s.stamp[j] = s.run
	if len(s.conf[j]) != h.stride {
		s.conf[j] = make([]uint64, h.stride)
	}
	c := s.conf[j]
	clear(c)
	h.conflicting(c, h.accesses(j))
	return c
}

// racesOf finds the earlier steps of the races of e and reverses each.
func (s *optimal) racesOf(x *Exec, e *second) {
	h := &x.hist
	r := s.b.racing
	copy(r, e.conf)
	limit(r, e.at)
	if e.prev >= 0 {
		andNot(r, h.pastOf(e.prev))
	}
	for i := lastBit(r); i >= 0; i = lastBit(r) {
		clearBit(r, i)
		if int(h.events[i].task) == e.task {
			continue
		}
		if s.hole == holeReadsCommute && !writes(h.accesses(i)) || s.hole == holeSkipOld && e.at < len(s.plan) {
			continue
		}
		if !e.guarded || s.hole == holeLastOnly {
			andNot(r, h.pastOf(i)) // those happen before i: not adjacent
		}
		s.reverse(x, i, e)
	}
}

func writes(acc []access) bool {
	for _, a := range acc {
		if a.kind.modifies() {
			return true
		}
	}
	return false
}

// reverse plants what takes e before event i.
func (s *optimal) reverse(x *Exec, i int, e *second) {
	h := &x.hist
	n := len(h.events)
	v := s.b.v
	fill(v, i+1, n)
	andNot(v, h.afterOf(i))
	copy(s.b.d, v)
	s.plant(x, i, e)
	if !e.guarded || len(e.acc) == 1 || s.hole == holeNoVariants {
		return
	}
	s.variants(x, i, e)
}

// variants plants, for a guard over several objects, also the sequences that
// leave out steps which conflict with e: one of them may be what blocks it.
func (s *optimal) variants(x *Exec, i int, e *second) {
	h := &x.hist
	xs := s.b.x
	copy(xs, s.b.v)
	limit(xs, e.at)
	and(xs, e.conf)
	if e.prev >= 0 {
		andNot(xs, h.pastOf(e.prev))
	}
	var blockers []int
	for k := lastBit(xs); k >= 0; k = lastBit(xs) {
		clearBit(xs, k)
		blockers = append(blockers, k)
	}
	if len(blockers) == 0 {
		return
	}
	if len(blockers) > 6 {
		s.plantAll(x, i)
		return
	}
	full := append([]uint64(nil), s.b.v...)
	var seen [][]uint64
	seen = append(seen, full)
	for m := 1; m < 1<<len(blockers); m++ {
		d := append([]uint64(nil), full...)
		for k, b := range blockers {
			if m>>k&1 == 1 {
				clearBit(d, b)
				andNot(d, h.afterOf(b))
			}
		}
		if !contains(seen, d) {
			seen = append(seen, d)
			copy(s.b.d, d)
			s.plant(x, i, e)
		}
	}
}

func contains(sets [][]uint64, d []uint64) bool {
	for _, o := range sets {
		same := true
		for i := range d {
			same = same && o[i] == d[i]
		}
		if same {
			return true
		}
	}
	return false
}

// plantAll makes all tasks that are enabled before event i branches there: the
// last resort, which is always complete.
func (s *optimal) plantAll(x *Exec, i int) {
	n := &s.nodes[i]
	todo := x.hist.events[i].enabled &^ n.sleep &^ (1 << n.cur)
	for _, w := range n.wut {
		todo &^= 1 << w.task
	}
	each(todo, func(id int) {
		acc := x.tasks[id].next.acc
		if f := x.hist.nextOf(id, i); f >= 0 {
			acc = x.hist.accesses(f)
		}
		n.wut = append(n.wut, &wake{task: uint8(id), acc: append([]access(nil), acc...)})
	})
}

// nextOf returns the first event of a task at depth i or later, or -1.
func (h *history) nextOf(task, i int) int {
	b := h.byTask[task]
	w := i >> 6
	m := b[w] &^ (uint64(1)<<(i&63) - 1)
	for {
		if m != 0 {
			return w<<6 + bits.TrailingZeros64(m)
		}
		if w++; w >= len(b) {
			return -1
		}
		m = b[w]
	}
}

// plant puts the steps of s.b.d and then e into the wakeup tree of node i,
// unless e can't happen there or the sequence is covered.
func (s *optimal) plant(x *Exec, i int, e *second) {
	h := &x.hist
	d, p := s.b.d, s.b.p
	if s.hole == holeShortSequence {
		clear(d)
	}
	clear(p)
	touched := false // some step of d conflicts with e
	for w := range d {
		for b := d[w] & e.conf[w]; b != 0; b &= b - 1 {
			k := w<<6 + bits.TrailingZeros64(b)
			or(p, h.pastOf(k))
			touched = touched || e.prev < 0 || h.pastOf(e.prev)[k>>6]>>(k&63)&1 == 0
		}
	}
	if e.prev >= 0 {
		or(p, h.pastOf(e.prev))
	}
	and(p, d)
	spec, possible := s.feasible(x, i, e, touched)
	if !possible {
		return
	}
	if !s.covered(x, i, e) {
		s.insert(x, i, e, spec)
	}
}

// feasible tells whether e can happen after s.b.d, taken from node i, as far as
// that is known: spec is true if it must be tried. touched says whether a step
// of s.b.d that e's task does not know of conflicts with e.
func (s *optimal) feasible(x *Exec, i int, e *second, touched bool) (spec, possible bool) {
	h := &x.hist
	if !e.guarded {
		return false, true
	}
	if e.prev < i && !touched {
		return false, h.events[i].enabled>>e.task&1 == 1
	}
	copy(s.b.hist, s.b.d)
	orRange(s.b.hist, i)
	if e.excl {
		o := &h.objs[e.acc[0].obj]
		k := lastCommon(o.writes, s.b.hist)
		if k < 0 {
			return false, true
		}
		switch h.kindOf(k, e.acc[0].obj) {
		case Acquire:
			return false, false
		case Release:
			return false, true
		}
	}
	_, barren := s.barren[s.identity(x, e.task, e.op, e.acc, s.b.hist)]
	return true, !barren
}

// kindOf returns how event k uses an object.
func (h *history) kindOf(k int, obj int32) Kind {
	for _, a := range h.accesses(k) {
		if a.obj == obj {
			return a.kind
		}
	}
	return Observe
}

// covered reports whether a task that sleeps at node i can come first in the
// sequence: then the sequence was explored after that task.
func (s *optimal) covered(x *Exec, i int, e *second) bool {
	h := &x.hist
	for q := s.nodes[i].sleep; q != 0; q &= q - 1 {
		id := trailing(q)
		if f := h.nextOf(id, i); s.first(x, id, f, e) {
			return true
		}
	}
	for _, w := range s.nodes[i].part {
		f := h.nextOf(int(w.task), i)
		if f >= 0 && f != e.at && sameChoices(w.choices, x.choices, f) && s.first(x, int(w.task), f, e) {
			return true
		}
	}
	return false
}

// first reports whether a task, whose next step is event f, or the one declared
// at the end if f is negative, can come first in the sequence of s.b.d and e: its
// step does, or the task is not part of it and independent of all of it.
func (s *optimal) first(x *Exec, id, f int, e *second) bool {
	h := &x.hist
	d := s.b.d
	switch {
	case id == e.task && (f < 0 || f == e.at):
		return empty(s.b.p)
	case f >= 0 && d[f>>6]>>(f&63)&1 == 1:
		return onlyBit(h.pastOf(f), d, f)
	case f >= 0:
		return disjoint(s.conflicts(h, f), d) && !conflict(h.accesses(f), e.acc)
	}
	return s.independent(x, x.tasks[id].next.acc, d, e)
}

// independent reports whether a step with these accesses conflicts neither with
// the events of set nor with e.
func (s *optimal) independent(x *Exec, acc []access, set []uint64, e *second) bool {
	if e != nil && conflict(acc, e.acc) {
		return false
	}
	for _, a := range acc {
		if int(a.obj) >= len(x.hist.objs) || !x.hist.objs[a.obj].used {
			continue
		}
		o := &x.hist.objs[a.obj]
		if !disjoint(o.writes, set) || a.kind.modifies() && !disjoint(o.reads, set) {
			return false
		}
	}
	return true
}

// insert adds the sequence of s.b.d and e to the wakeup tree of node i. It walks
// down branches that can come first in what is left of the sequence.
func (s *optimal) insert(x *Exec, i int, e *second, spec bool) {
	h := &x.hist
	list := &s.nodes[i].wut
	rest := s.b.d
	tail := e
	for {
		w := s.match(x, i, *list, rest, &tail)
		if w == nil {
			break
		}
		if len(w.kids) == 0 {
			return // everything is explored after it
		}
		list = &w.kids
		if tail == nil && empty(rest) {
			return
		}
	}
	for v := range rest {
		for b := rest[v]; b != 0; b &= b - 1 {
			k := v<<6 + bits.TrailingZeros64(b)
			ev := &h.events[k]
			w := &wake{task: ev.task, acc: append([]access(nil), h.accesses(k)...), choices: choicesOf(x.choices, k)}
			*list = append(*list, w)
			list = &w.kids
		}
	}
	if tail != nil {
		*list = append(*list, &wake{task: uint8(e.task), spec: spec, acc: append([]access(nil), e.acc...)})
	}
}

// match finds the branch of list that can come first in the rest of a sequence,
// and takes its step out of the rest.
func (s *optimal) match(x *Exec, i int, list []*wake, rest []uint64, tail **second) *wake {
	h := &x.hist
	for _, w := range list {
		f := firstCommon(h.byTask[w.task], rest)
		switch {
		case f >= 0:
			if onlyBit(h.pastOf(f), rest, f) && (len(w.choices) == 0 || sameChoices(w.choices, x.choices, f)) {
				clearBit(rest, f)
				return w
			}
		case *tail != nil && (*tail).task == int(w.task):
			if len(w.choices) == 0 && disjoint(s.b.p, rest) {
				*tail = nil
				return w
			}
		case !w.spec && s.independent(x, w.acc, rest, *tail):
			if len(w.choices) == 0 {
				return w
			}
			if f := h.nextOf(int(w.task), i); f >= 0 && sameChoices(w.choices, x.choices, f) {
				return w
			}
		}
	}
	return nil
}

// choicesOf returns the outcomes of the choices made in event k.
func choicesOf(choices []choice, k int) []int32 {
	var out []int32
	for _, c := range choices {
		if int(c.depth) == k+1 {
			out = append(out, c.value)
		}
	}
	return out
}

func sameChoices(want []int32, choices []choice, k int) bool {
	n := 0
	for _, c := range choices {
		if int(c.depth) != k+1 {
			continue
		}
		if n >= len(want) || want[n] != c.value {
			return false
		}
		n++
	}
	return n == len(want)
}

// identity returns what the identity of a task's step would be after the events
// in set.
func (s *optimal) identity(x *Exec, task int, op uint64, acc []access, set []uint64) uint64 {
	h := &x.hist
	id := h.seed(op, task)
	if p := lastCommon(h.byTask[task], set); p >= 0 {
		id = mix(id, h.events[p].hash)
	} else if p := int(h.spawnAt[task]); p >= 0 {
		id = mix(id, h.events[p].hash)
	}
	for _, a := range acc {
		id = mix(id, h.preceded(a, set))
	}
	return id
}

// preceded returns a hash of the identities of the events in set that an access
// would depend on directly.
func (h *history) preceded(a access, set []uint64) uint64 {
	if int(a.obj) >= len(h.objs) || !h.objs[a.obj].used {
		return 0
	}
	o := &h.objs[a.obj]
	var id uint64
	last := lastCommon(o.writes, set)
	if last >= 0 {
		id = h.events[last].hash
	}
	if !a.kind.modifies() {
		return id
	}
	for w := range o.reads {
		for b := o.reads[w] & set[w]; b != 0; b &= b - 1 {
			if r := w<<6 + bits.TrailingZeros64(b); r > last {
				id += mix(h.events[r].hash, 7)
			}
		}
	}
	return id
}
