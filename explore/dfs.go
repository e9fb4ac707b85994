// SPDX-License-Identifier: Apache-2.0

package explore

// dfs is depth-first search over all schedules, with sleep sets or with
// nothing. It is the slow and obvious search that the others are compared with.
//
// Source: P. Godefroid, Partial-Order Methods for the Verification of
// Concurrent Systems, 1996, section 5 (sleep sets).
type dfs struct {
	useSleep bool
	nodes    []dfsNode
	plan     []uint8
	choices  []choice
	over     bool
	base     int  // nodes above belong to others
	part     bool // a part of the tree, from another worker
}

type dfsNode struct {
	enabled uint64
	done    uint64 // explored from here, before cur
	given   uint64 // explored by other workers, after cur
	sleep   uint64 // explored elsewhere
	cur     uint8
}

func (s *dfs) begin(x *Exec) bool {
	if s.over {
		return false
	}
	x.plan, x.planChoice = s.plan, s.choices
	return true
}

func (s *dfs) choose(*Exec, int) int { return 0 }

func (s *dfs) pick(x *Exec) int {
	d := x.depth
	n := dfsNode{enabled: x.enabled}
	if d > 0 && s.useSleep {
		n.sleep = s.inherit(x, d-1)
	}
	todo := n.enabled &^ n.sleep
	if todo == 0 {
		return -1
	}
	n.cur = uint8(prefer(x, todo))
	s.nodes = append(s.nodes[:d], n)
	return int(n.cur)
}

// inherit returns the sleep set after the step at depth d: those that slept or
// are done there and are independent of the step.
func (s *dfs) inherit(x *Exec, d int) uint64 {
	p := &s.nodes[d]
	asleep := (p.sleep | p.done) &^ (1 << p.cur)
	step := x.hist.accesses(d)
	for q := asleep; q != 0; q &= q - 1 {
		if conflict(x.tasks[trailing(q)].next.acc, step) {
			asleep &^= q & -q
		}
	}
	return asleep
}

func (s *dfs) end(x *Exec) {
	s.choices = append(s.choices[:0], x.choices...)
	for d := min(x.depth, len(s.nodes)); d > s.base; d-- {
		n := &s.nodes[d-1]
		if s.bump(d) {
			s.prepare(x, d, d)
			return
		}
		n.done |= n.given | 1<<n.cur
		n.given = 0
		if todo := n.enabled &^ n.sleep &^ n.done; todo != 0 {
			n.cur = uint8(trailing(todo))
			s.prepare(x, d, d-1)
			return
		}
	}
	if !s.part && s.bump(0) {
		s.prepare(x, 0, 0)
		return
	}
	s.over = true
}

func (s *dfs) bump(d int) (ok bool) {
	s.choices, ok = bumpChoice(s.choices, d)
	return ok
}

// bumpChoice goes to the next outcome of the last choice made after d steps,
// dropping all later choices. It returns false if there is none.
func bumpChoice(choices []choice, d int) ([]choice, bool) {
	for k := len(choices) - 1; k >= 0 && int(choices[k].depth) >= d; k-- {
		c := &choices[k]
		if next := (c.value + 1) % c.n; int(c.depth) == d && next != c.first {
			c.value = next
			return choices[:k+1], true
		}
		choices = choices[:k]
	}
	return choices, false
}

func (s *dfs) prepare(x *Exec, steps, known int) {
	s.nodes = s.nodes[:steps]
	s.plan = s.plan[:0]
	for i := range s.nodes {
		s.plan = append(s.plan, s.nodes[i].cur)
	}
	x.hist.rewind(known)
}

// prefer returns the task that took the last step if it is in the set, because
// that costs no switch and no preemption, and otherwise the first.
func prefer(x *Exec, set uint64) int {
	if x.last != nil && set>>x.last.id&1 == 1 {
		return x.last.id
	}
	return trailing(set)
}
