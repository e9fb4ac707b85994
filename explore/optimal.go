// SPDX-License-Identifier: Apache-2.0

package explore

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
	pool       wakePool
	sec        second   // scratch: the later step of the races looked at
	secConf    []uint64 // scratch: its conflicts, if it is blocked
	hole       hole     // tests only
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

	// Faults in the search of states.
	holeWokenLate   hole = iota // what was run before a visit sleeps in what that visit woke
	holeLateChoices             // the other choices of a step see all that was run since as asleep
	holeNeverWoken              // a visit wakes nothing
	holeGivenLost               // a known way is gone with the first choices
	holeTodoSleeps              // behind known ways, what is still to be run sleeps
	holeGraphCount
)

// A node is a state on the current path.
type node struct {
	sleep   uint64   // tasks whose next step was explored here or need not be
	part    []*wake  // the same for one outcome of the choices in the step
	lent    int      // that many of part are of nodes above
	done    int      // branches explored
	cur     uint8    // the branch being explored
	planned *wake    // where the branch comes from, nil if picked freely
	barren  bool     // cur was planned but is not enabled
	wut     wakeList // branches still to explore
}

// takeKids takes over what is planned after the branch being explored.
func (n *node) takeKids() wakeList {
	if n.planned == nil {
		return wakeList{}
	}
	kids := n.planned.kids
	n.planned.kids = wakeList{}
	return kids
}

// fixed reports whether only one outcome of the choices in the branch is to be
// explored.
func (n *node) fixed() bool { return n.planned != nil && len(n.planned.choices) > 0 }

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

// push adds a node to the path, with the room of one that was there before.
func (s *optimal) push() *node {
	if d := len(s.nodes); d < cap(s.nodes) {
		s.nodes = s.nodes[:d+1]
		s.nodes[d] = node{part: s.nodes[d].part[:0]}
	} else {
		s.nodes = append(s.nodes, node{})
	}
	return &s.nodes[len(s.nodes)-1]
}

func (s *optimal) pick(x *Exec) int {
	d := x.depth
	s.prescribed = nil
	if s.branching {
		s.branching = false
		return s.take(x, s.nodes[d].wut.pop())
	}
	n := s.push()
	if d > 0 {
		s.inherit(x, d)
		n.wut = s.nodes[d-1].takeKids()
	}
	if !n.wut.empty() {
		return s.take(x, n.wut.pop())
	}
	todo := x.enabled &^ n.sleep
	if todo == 0 {
		s.nodes = s.nodes[:d]
		return -1
	}
	n.cur = uint8(prefer(x, todo))
	return int(n.cur)
}

// maxBarren bounds what is remembered of guards that were false: forgetting it
// costs time only.
const maxBarren = 1 << 20

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
		if len(s.barren) >= maxBarren {
			clear(s.barren)
		}
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
	if p.planned != nil && p.planned.kids.empty() && s.hole != holeSleepAll {
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
	n.lent = len(n.part)
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
			s.pool.put(n.planned)
		case n.fixed():
			n.part = append(n.part, n.planned)
		default:
			if s.choices, more = bumpChoice(s.choices, d+1); more {
				if n.planned != nil { // what was planned is for the first outcome
					s.pool.put(n.planned)
					n.planned = s.pool.get(n.cur, nil)
				}
				s.prepare(x, d+1)
				return
			}
			n.sleep |= 1 << n.cur
			if n.planned != nil {
				s.pool.put(n.planned)
			}
		}
		n.barren, n.planned = false, nil
		n.done++
		if !n.wut.empty() {
			s.branching = true
			s.choices = dropChoices(s.choices, d)
			s.prepare(x, d)
			return
		}
		for _, w := range n.part[n.lent:] {
			s.pool.put(w)
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
