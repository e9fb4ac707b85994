// SPDX-License-Identifier: Apache-2.0

package explore

// bounded explores the executions with at most limit preemptions: first those
// with none, then those with one, and so on. The first failure it meets has the
// fewest preemptions. It stops at prefixes that are equivalent to one seen
// before, with the same task running and no fewer preemptions left; other
// reduction would be unsound here, because the one execution of a class that is
// kept might need more preemptions than the bound.
//
// Source: Musuvathi, Qadeer, Iterative Context Bounding for Systematic Testing
// of Multithreaded Programs, PLDI 2007; and, for the equivalent prefixes, their
// Partial-Order Reduction for Context-Bounded State Exploration, MSR-TR-2007-12.
type bounded struct {
	dfs
	limit, round int
	cut          bool // the bound left something out in this round
	seen         *stateTable
	memory       int64
	path         []boundNode
	way          statePath // if the program declares its states
	complete     bool
}

type boundNode struct {
	free  uint64 // taking one of these is no preemption
	used  int
	class uint64 // of the steps before
}

func newBounded(limit int, memory int64) *bounded {
	return &bounded{limit: limit, memory: memory, seen: newStateTable(memory)}
}

func (s *bounded) begin(x *Exec) bool {
	if s.over {
		if !s.cut {
			s.complete = true
			return false
		}
		if s.round == s.limit {
			return false
		}
		s.round++
		memory := s.memory
		s.dfs = dfs{}
		s.path, s.cut, s.seen = s.path[:0], false, newStateTable(memory)
		x.hist.rewind(0)
	}
	return s.dfs.begin(x)
}

func (s *bounded) pick(x *Exec) int {
	d := x.depth
	b := boundNode{free: x.enabled, class: x.hist.root}
	if d > 0 {
		p := s.path[d-1]
		b.used = p.used
		if p.free>>s.nodes[d-1].cur&1 == 0 {
			b.used++
		}
		b.class = p.class + mix(x.hist.events[d-1].hash, 11)
		if last := x.last; x.enabled>>last.id&1 == 1 && !last.next.voluntary {
			b.free = 1 << last.id
		}
	}
	n := dfsNode{enabled: x.enabled}
	if b.used >= s.round {
		s.cut = s.cut || n.enabled != b.free
		n.enabled = b.free
	}
	state := uint64(0)
	if x.stateFn != nil {
		state = x.stateKey()
	}
	s.way.push(d, state)
	key := s.key(x, b, state)
	// The table keeps, as a mask, for which numbers of used preemptions the
	// prefix was seen: a bit that is clear stands for a visit.
	visits := ^uint64(0) << min(b.used, 63)
	if old, found := s.seen.lookup(key, ^visits); found && old>>min(b.used, 63)&1 == 0 {
		if state != 0 {
			s.way.met(x, d, state)
		}
		return -1
	}
	n.cur = uint8(prefer(x, n.enabled))
	s.nodes = append(s.nodes[:d], n)
	s.path = append(s.path[:d], b)
	return int(n.cur)
}

// key identifies what can follow: the class of the prefix, or the state if the
// program declares it, and the task that can go on for free.
func (s *bounded) key(x *Exec, b boundNode, state uint64) uint64 {
	k := b.class
	if state != 0 {
		k = state
	}
	if x.last != nil {
		k = mix(k, uint64(x.last.id)+1)
	}
	return max(mix(k, 3), 1)
}
