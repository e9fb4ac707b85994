// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

// A wake is a node of a wakeup tree: a step that is planned. It belongs to one node of the path, as one of
// its branches, planned or kept for its choices, or to another wake. Who is done with it gives it back (see wakePool).
type wake struct {
	task    uint8
	spec    bool // may turn out to be blocked
	acc     []access
	choices []int32
	kids    wakeList
	next    *wake // in the list that it is in, or in the pool
}

// A wakeList has branches in the order in which they are explored.
type wakeList struct{ head, tail *wake }

func (l *wakeList) empty() bool { return l.head == nil }

func (l *wakeList) push(w *wake) {
	w.next = nil
	if l.head == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

func (l *wakeList) pop() *wake {
	w := l.head
	if l.head = w.next; l.head == nil {
		l.tail = nil
	}
	w.next = nil
	return w
}

func (l wakeList) len() int {
	n := 0
	for w := l.head; w != nil; w = w.next {
		n++
	}
	return n
}

// A wakePool has wakes that nobody uses, with the room of their slices.
type wakePool struct{ free *wake }

// get returns a wake without choices and kids, whose accesses are a copy of acc.
func (p *wakePool) get(task uint8, acc []access) *wake {
	w := p.free
	if w == nil {
		w = &wake{}
	} else {
		p.free = w.next
	}
	*w = wake{task: task, acc: append(w.acc[:0], acc...), choices: w.choices[:0]}
	return w
}

// put takes a wake back with all that is below it.
func (p *wakePool) put(w *wake) {
	for !w.kids.empty() {
		p.put(w.kids.pop())
	}
	w.next = p.free
	p.free = w
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
		w, taken := s.match(x, i, *list, rest, tail)
		if w == nil {
			break
		}
		if taken {
			tail = nil
		}
		if w.kids.empty() {
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
			w := s.pool.get(ev.task, h.accesses(k))
			w.choices = appendChoices(w.choices, x.choices, k)
			list.push(w)
			list = &w.kids
		}
	}
	if tail != nil {
		w := s.pool.get(uint8(e.task), e.acc)
		w.spec = spec
		list.push(w)
	}
}

// match finds the branch of list that can come first in the rest of a sequence,
// and takes its step out of the rest. It reports whether that step was the tail.
func (s *optimal) match(x *Exec, i int, list wakeList, rest []uint64, tail *second) (found *wake, isTail bool) {
	h := &x.hist
	for w := list.head; w != nil; w = w.next {
		f := firstCommon(h.byTask[w.task], rest)
		switch {
		case f >= 0:
			if onlyBit(h.pastOf(f), rest, f) && (len(w.choices) == 0 || sameChoices(w.choices, x.choices, f)) {
				clearBit(rest, f)
				return w, false
			}
		case tail != nil && tail.task == int(w.task):
			if len(w.choices) == 0 && disjoint(s.b.p, rest) {
				return w, true
			}
		case !w.spec && s.independent(x, w.acc, rest, tail):
			if len(w.choices) == 0 {
				return w, false
			}
			if f := h.nextOf(int(w.task), i); f >= 0 && sameChoices(w.choices, x.choices, f) {
				return w, false
			}
		}
	}
	return nil, false
}

// appendChoices appends the outcomes of the choices made in event k.
func appendChoices(out []int32, choices []choice, k int) []int32 {
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
