// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

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
		s.sec = second{task: int(e.task), at: j, prev: h.before(j), guarded: e.guarded, excl: e.excl,
			op: e.op, acc: h.accesses(j), conf: s.conflicts(h, j)}
		s.racesOf(x, &s.sec)
	}
	if s.hole == holeBlocked {
		return
	}
	for q := x.alive; q != 0; q &= q - 1 {
		id := trailing(q)
		t := x.tasks[id]
		if t.next.guard == nil {
			continue // only at the step bound
		}
		if len(s.secConf) != h.stride {
			s.secConf = make([]uint64, h.stride)
		}
		clear(s.secConf)
		h.conflicting(s.secConf, t.next.acc)
		s.sec = second{task: id, at: n, prev: h.lastOf(id), guarded: true, excl: t.next.exclusive, op: t.next.op, acc: t.next.acc, conf: s.secConf}
		s.racesOf(x, &s.sec)
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
	for w := n.wut.head; w != nil; w = w.next {
		todo &^= 1 << w.task
	}
	each(todo, func(id int) {
		acc := x.tasks[id].next.acc
		if f := x.hist.nextOf(id, i); f >= 0 {
			acc = x.hist.accesses(f)
		}
		n.wut.push(s.pool.get(uint8(id), acc))
	})
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
