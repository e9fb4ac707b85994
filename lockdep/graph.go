// SPDX-License-Identifier: Apache-2.0

package lockdep

// Dependency types of an edge prev -> next: prev held exclusively or shared, next
// taken by a non-recursive or a recursive acquire. One edge can be of several.
//
// Source: enum of DEP_*_BIT, kernel/locking/lockdep.c, Linux v6.12.
const (
	depEN uint8 = 1 << iota
	depER
	depSN
	depSR

	depFromExclusive = depEN | depER
	depToBlocking    = depEN | depSN
)

// An edge is a dependency: to was taken while from was held.
type edge struct {
	from, to *classRec
	dep      uint8    // dependency types seen
	stack    stackRef // where it was seen first
}

// depType returns the dependency type of next taken while prev is held.
func depType(prev, next *held) uint8 {
	switch {
	case prev.mode() == Exclusive && next.mode() != Recursive:
		return depEN
	case prev.mode() == Exclusive:
		return depER
	case next.mode() != Recursive:
		return depSN
	}
	return depSR
}

// findEdge returns the index of the edge between two classes, or -1.
// Preconditions: v.mu is held.
func (v *Validator) findEdge(from, to *classRec) int32 {
	if len(from.after) <= len(to.before) {
		for _, e := range from.after {
			if v.edges[e].to == to {
				return e
			}
		}
		return -1
	}
	for _, e := range to.before {
		if v.edges[e].from == from {
			return e
		}
	}
	return -1
}

// addEdge records the dependency prev -> next. Preconditions: v.mu is held.
func (v *Validator) addEdge(t *Task, prev, next *held, stack stackRef) {
	dep := depType(prev, next)
	if i := v.findEdge(prev.rec, next.rec); i >= 0 {
		if e := &v.edges[i]; e.dep&dep == 0 {
			e.dep |= dep
			v.learn(e.from, uint64(e.to.name)<<8|uint64(dep))
		}
		return
	}
	if len(v.edges) >= v.cfg.MaxEdges {
		v.reportLimit(t, limitEdges)
		return
	}
	i := int32(len(v.edges))
	v.edges = append(v.edges, edge{from: prev.rec, to: next.rec, dep: dep, stack: stack})
	v.learn(prev.rec, uint64(next.rec.name)<<8|uint64(dep))
	prev.rec.after = append(prev.rec.after, i)
	next.rec.before = append(next.rec.before, i)
}

// A node is a class reached by a search.
type node struct {
	rec    *classRec
	parent int32 // index of the node before it, -1 at the root
	edge   int32 // edge that led here, -1 at the root
	weak   bool  // see searcher
}

// usage returns the usage bits of the node's class that count at the end of a
// path: when the path ends weak, only those for writing do.
//
// Source: usage_match, kernel/locking/lockdep.c, Linux v6.12.
func (n *node) usage() uint32 {
	u := n.rec.usage.Load()
	if n.weak {
		u &^= maskAllReads
	}
	return u
}

// A searcher walks the graph breadth first along strong paths, so that what it
// finds first is the shortest. A path is strong if it nowhere goes -(*R)-> -(S*)->:
// a recursive reader does not wait for readers, so nothing is carried on there.
// Forwards, a node is weak if every edge that led to it ends in a recursive
// read; then only edges that start exclusive go on. Backwards, a node is weak if
// every edge that led to it starts shared; then only edges that end in a
// blocking acquire go on. The kernel visits each class once; here each is
// visited at most once weak and once not, so that no strong path is missed.
//
// Source: __bfs, kernel/locking/lockdep.c, and lockdep-design.rst, Linux v6.12.
type searcher struct {
	nodes []node
	gen   uint32
}

const (
	seenWeak uint8 = 1 << iota
	seenStrong
)

// run searches from root and returns the index of the first node that matches, or -1. With irq
// set it does not pass through per-CPU locks: no interrupt rule holds across
// them. Preconditions: v.mu is held.
func (s *searcher) run(v *Validator, root *classRec, weak, forward, irq bool, match func(*node) bool) int {
	s.gen++
	s.nodes = append(s.nodes[:0], node{rec: root, parent: -1, edge: -1, weak: weak})
	for i := 0; i < len(s.nodes); i++ {
		n := &s.nodes[i]
		if !s.visit(n) || irq && n.rec.class.Type == PerCPU {
			continue
		}
		if match(n) {
			return i
		}
		rec, weak := n.rec, n.weak
		if forward {
			s.expandForward(v, i, rec, weak)
		} else {
			s.expandBackward(v, i, rec, weak)
		}
	}
	return -1
}

// visit reports whether n is reached in a state that was not covered before.
func (s *searcher) visit(n *node) bool {
	r := n.rec
	if r.visit != s.gen {
		r.visit, r.seen = s.gen, 0
	}
	if r.seen&seenStrong != 0 || n.weak && r.seen&seenWeak != 0 {
		return false
	}
	if n.weak {
		r.seen |= seenWeak
	} else {
		r.seen |= seenStrong
	}
	return true
}

func (s *searcher) expandForward(v *Validator, i int, rec *classRec, weak bool) {
	for _, e := range rec.after {
		dep := v.edges[e].dep
		if weak {
			dep &= depFromExclusive
		}
		if dep != 0 {
			s.push(v.edges[e].to, i, e, dep&depToBlocking == 0)
		}
	}
}

func (s *searcher) expandBackward(v *Validator, i int, rec *classRec, weak bool) {
	for _, e := range rec.before {
		dep := v.edges[e].dep
		if weak {
			dep &= depToBlocking
		}
		if dep != 0 {
			s.push(v.edges[e].from, i, e, dep&depFromExclusive == 0)
		}
	}
}

// push enqueues rec unless a search state that covers it was visited already; the
// check keeps the queue at most as long as the edges are many.
func (s *searcher) push(rec *classRec, parent int, e int32, weak bool) {
	if rec.visit == s.gen && (rec.seen&seenStrong != 0 || weak && rec.seen&seenWeak != 0) {
		return
	}
	s.nodes = append(s.nodes, node{rec: rec, parent: int32(parent), edge: e, weak: weak})
}

// path returns the nodes from the root of the last search to node i.
func (s *searcher) path(i int) []node {
	var rev []node
	for n := int32(i); n >= 0; n = s.nodes[n].parent {
		rev = append(rev, s.nodes[n])
	}
	for a, b := 0, len(rev)-1; a < b; a, b = a+1, b-1 {
		rev[a], rev[b] = rev[b], rev[a]
	}
	return rev
}

// checkPrev checks the new dependency prev -> next and records it if it is good.
// Preconditions: v.mu is held.
//
// Source: check_prev_add, kernel/locking/lockdep.c, Linux v6.12.
func (v *Validator) checkPrev(t *Task, prev, next *held, stack stackRef) {
	if prev.rec == next.rec && ordered(prev, next) {
		return
	}
	i := v.findEdge(prev.rec, next.rec)
	if i >= 0 && v.edges[i].dep&depType(prev, next) != 0 {
		return // checked when it was recorded
	}
	cycle := v.search.run(v, next.rec, next.mode() == Recursive, true, false, func(n *node) bool {
		return n.rec == prev.rec && (prev.mode() == Exclusive || !n.weak)
	})
	if cycle >= 0 {
		v.reportCircular(t, prev, next, v.search.path(cycle))
		return
	}
	if v.cfg.Interrupts && !v.checkIRQEdge(t, prev, next) {
		return
	}
	v.addEdge(t, prev, next, stack)
}

// ordered reports whether the class has an order and it allows next after prev.
func ordered(prev, next *held) bool {
	less := prev.rec.class.Order
	return less != nil && less(prev.m, next.m) < 0
}
