// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"math/bits"
	"sync"
)

// graph explores states in any order, where depth-first search would always go back to
// the last state that has something left. An execution goes on through a state that was
// seen before as long as something is left to do there, and the next one starts at the
// shallowest state that has: so most steps of most executions are new, and prefixes are
// short. All workers share the states and what is left to do in them.
//
// Sleep sets do not need the depth-first order. A state keeps the tasks that sleep in it
// (in all visits: the intersection), those that are still to be run, and those that were run
// since the last visit that woke some, which sleep in what is explored later. Why all states
// are found: let w be a path from a state of which no task that sleeps there can come first,
// also after exchanging independent steps. Of the tasks that can come first in w, all are run;
// take those that were woken by the last visit, and of them the one that was run first. What
// slept then can't come first in w, or it would be woken later still; what was run before it since
// that visit can't, or it would have been taken. So nothing that can come first in the rest of w
// sleeps after it, and the rest of w is explored by induction.
//
// Source: P. Godefroid, Partial-Order Methods for the Verification of
// Concurrent Systems, 1996, section 5.4 (state matching and sleep sets, depth first).
type graph struct {
	g    *stateGraph
	path []uint32 // by depth: the state before the step

	plan    []uint8
	choices []choice  // of the plan
	forced  int       // choices of the last step that are given
	fresh   int       // depth of the first step that was not made before
	settled int       // steps below this depth have their other choices noted
	asleep  uint64    // at the last step: what sleeps or was run there before it
	busy    bool      // has a job
	verify  *graphJob // whose state is to be compared first
	old     []choice  // of the execution before
}

// verifyEvery is how often an execution compares the state from which it goes on with what
// it was before, unless Options.VerifyStates.
const verifyEvery = 64

// noState is the parent of the first state.
const noState = ^uint32(0)

// A stateNode is what is known of a state.
type stateNode struct {
	key    uint64
	sleep  uint64 // tasks that need not be run
	todo   uint64 // to be run
	before uint64 // run since the last visit that woke some
	parent uint32 // from which it was reached first
	choice uint32 // the choices of that step, in stateGraph.choices
	depth  uint32
	task   uint8
	nchoi  uint8
	listed bool // in open
}

const stateNodeBytes = 48

// A graphJob is a step to be made: from a state (or, if that is noState, Init), with the
// first choices given.
type graphJob struct {
	from    uint32
	task    uint8
	asleep  uint64
	choices []choice
}

// A stateGraph is shared by the workers of a search.
type stateGraph struct {
	limit  int64
	verify bool // all executions
	hole   hole
	// For tests: new states before other choices of steps that were made. Any order must do.
	choicesLast bool

	mu      sync.Mutex
	idle    sync.Cond
	nodes   []stateNode
	index   []uint32   // open addressing: number of a node + 1
	choices []choice   // of first ways to states
	open    [][]uint32 // by depth: states that may have something to do
	shallow int        // no state above has
	jobs    []graphJob // other choices of steps that were made
	edges   []uint64   // from<<32|to: ways to states that had been seen
	made    int64      // steps
	left    int64      // tasks to be run
	started bool
	running int // workers that have a job
	closed  bool
	full    bool // the memory is used up
}

func newStateGraph(limit int64, verify bool) *stateGraph {
	g := &stateGraph{limit: limit, verify: verify, index: make([]uint32, 1<<9)}
	g.idle.L = &g.mu
	return g
}

// stop ends the search for all workers.
func (g *stateGraph) stop() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.idle.Broadcast()
}

// states returns the number of states.
func (g *stateGraph) states() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int64(len(g.nodes))
}

func (g *stateGraph) keyOf(n uint32) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[n].key
}

// fraction estimates how much is done.
func (g *stateGraph) fraction() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(g.made) / float64(max(1, g.made+g.left+int64(len(g.jobs))))
}

// find returns the number of the state with that key, or where in index to put it.
func (g *stateGraph) find(key uint64) (n uint32, slot uint64) {
	mask := uint64(len(g.index) - 1)
	for slot = key & mask; g.index[slot] != 0; slot = (slot + 1) & mask {
		if n = g.index[slot] - 1; g.nodes[n].key == key {
			return n, slot
		}
	}
	return noState, slot
}

// grow makes room for one more state. It returns false if there is none.
func (g *stateGraph) grow() bool {
	if (len(g.nodes)+1)*4 <= len(g.index)*3 {
		return true
	}
	// The nodes, twice while they are copied, ways, and the index.
	if size := int64(len(g.index)); g.limit > 0 && size*(3*stateNodeBytes+8+8) > g.limit {
		return false
	}
	old := g.index
	g.index = make([]uint32, 2*len(old))
	for _, n := range old {
		if n != 0 {
			_, slot := g.find(g.nodes[n-1].key)
			g.index[slot] = n
		}
	}
	return true
}

// arrival is what a step led to.
type arrival struct {
	key, sleep, enabled uint64
	from                uint32
	task                uint8
	choices             []choice // made in the step
	prefer              int      // task to be run next, if it is to be
}

// arrive notes a visit to a state and returns its number, the task to be run
// there next, or -1, and what sleeps while it runs.
func (g *stateGraph) arrive(a *arrival) (n uint32, next int, asleep uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made++
	n, _ = g.find(a.key)
	if n == noState {
		if !g.grow() {
			g.full, g.closed = true, true
			return noState, -1, 0
		}
		_, slot := g.find(a.key)
		n = uint32(len(g.nodes))
		depth := uint32(0) // on the way of the parent, which may differ from that of this execution
		if a.from != noState {
			depth = g.nodes[a.from].depth + 1
		}
		g.index[slot] = n + 1
		g.nodes = append(g.nodes, stateNode{key: a.key, sleep: a.sleep, todo: a.enabled &^ a.sleep, parent: a.from,
			task: a.task, depth: depth, choice: uint32(len(g.choices)), nchoi: uint8(len(a.choices))})
		g.choices = append(g.choices, a.choices...)
		g.left += int64(count(g.nodes[n].todo))
	} else {
		if a.from != noState {
			g.edges = append(g.edges, uint64(a.from)<<32|uint64(n))
		}
		s := &g.nodes[n]
		if woken := s.sleep &^ a.sleep & a.enabled; woken != 0 && g.hole != holeNeverWoken {
			s.todo |= woken
			if g.hole != holeWokenLate {
				s.before = 0
			}
			g.left += int64(count(woken))
		}
		s.sleep &= a.sleep
	}
	s := &g.nodes[n]
	if s.todo == 0 {
		return n, -1, 0
	}
	next = trailing(s.todo)
	if a.prefer >= 0 && s.todo>>a.prefer&1 == 1 {
		next = a.prefer
	}
	return n, next, g.take(n, next)
}

// take takes a task that is to be run from a state, and returns what sleeps while
// it runs.
func (g *stateGraph) take(n uint32, task int) (asleep uint64) {
	s := &g.nodes[n]
	bit := uint64(1) << task
	asleep = s.sleep | s.before
	s.todo &^= bit
	s.before |= bit
	g.left--
	if s.todo != 0 && !s.listed {
		s.listed = true
		d := int(s.depth)
		for d >= len(g.open) {
			g.open = append(g.open, nil)
		}
		g.open[d] = append(g.open[d], n)
		g.shallow = min(g.shallow, d)
		g.idle.Signal()
	}
	return asleep
}

// put adds a job.
func (g *stateGraph) put(j graphJob) {
	g.mu.Lock()
	g.jobs = append(g.jobs, j)
	g.mu.Unlock()
	g.idle.Signal()
}

// next returns a job. It waits while there is none but others may find some.
func (g *stateGraph) next(wasBusy bool) (j graphJob, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wasBusy {
		g.running--
	}
	for {
		if !g.closed {
			j, ok = g.job()
		}
		if ok {
			g.running++
			return j, true
		}
		if g.closed || g.running == 0 {
			g.closed = true
			g.idle.Broadcast()
			return j, false
		}
		g.idle.Wait()
	}
}

func (g *stateGraph) job() (j graphJob, ok bool) {
	if !g.started {
		g.started = true
		return graphJob{from: noState}, true
	}
	if !g.choicesLast || !g.someOpen() {
		if k := len(g.jobs) - 1; k >= 0 {
			j = g.jobs[k]
			g.jobs = g.jobs[:k]
			return j, true
		}
	}
	for ; g.shallow < len(g.open); g.shallow++ {
		list := &g.open[g.shallow]
		for k := len(*list) - 1; k >= 0; k-- {
			n := (*list)[k]
			s := &g.nodes[n]
			if s.todo == 0 {
				s.listed = false
				*list = (*list)[:k]
				continue
			}
			task := trailing(s.todo)
			return graphJob{from: n, task: uint8(task), asleep: g.take(n, task)}, true
		}
	}
	return j, false
}

// someOpen returns whether a state has tasks to be run.
func (g *stateGraph) someOpen() bool {
	for _, list := range g.open[min(g.shallow, len(g.open)):] {
		for _, n := range list {
			if g.nodes[n].todo != 0 {
				return true
			}
		}
	}
	return false
}

// way returns how a state is reached from the beginning: by depth, the states, the
// tasks that take the steps between them, and their choices.
func (g *stateGraph) way(n uint32, path []uint32, plan []uint8, choices []choice) ([]uint32, []uint8, []choice) {
	g.mu.Lock()
	defer g.mu.Unlock()
	path, plan, choices = path[:0], plan[:0], choices[:0]
	if n == noState {
		return path, plan, choices
	}
	depth := int(g.nodes[n].depth)
	for len(path) <= depth {
		path, plan = append(path, 0), append(plan, 0)
	}
	plan = plan[:depth]
	for i, m := depth, n; ; i-- {
		path[i] = m
		s := &g.nodes[m]
		if i == 0 {
			break
		}
		plan[i-1] = s.task
		m = s.parent
	}
	for i, m := range path {
		s := &g.nodes[m]
		for _, c := range g.choices[s.choice : s.choice+uint32(s.nchoi)] {
			c.depth = int32(i)
			choices = append(choices, c)
		}
	}
	return path, plan, choices
}

// cyclic reports whether a state can be reached from itself: then depth-first search must
// look for livelocks.
func (g *stateGraph) cyclic() bool {
	if len(g.edges) == 0 {
		return false
	}
	// Topological order: states with no way left to them go, one after the other.
	into := make([]uint32, len(g.nodes))
	start := make([]uint32, len(g.nodes)+1)
	way := func(f func(from, to uint32)) {
		for i := range g.nodes {
			if p := g.nodes[i].parent; p != noState {
				f(p, uint32(i))
			}
		}
		for _, e := range g.edges {
			f(uint32(e>>32), uint32(e))
		}
	}
	ways := 0
	way(func(from, to uint32) { into[to]++; start[from+1]++; ways++ })
	for i := range g.nodes {
		start[i+1] += start[i]
	}
	fill := append([]uint32(nil), start[:len(g.nodes)]...)
	out := make([]uint32, ways)
	way(func(from, to uint32) { out[fill[from]] = to; fill[from]++ })
	var free []uint32
	for i := range into {
		if into[i] == 0 {
			free = append(free, uint32(i))
		}
	}
	gone := 0
	for ; len(free) > 0; gone++ {
		n := free[len(free)-1]
		free = free[:len(free)-1]
		for _, to := range out[start[n]:start[n+1]] {
			if into[to]--; into[to] == 0 {
				free = append(free, to)
			}
		}
	}
	return gone < len(g.nodes)
}

func (s *graph) begin(x *Exec) bool {
	j, ok := s.g.next(s.busy)
	if s.busy = ok; !ok {
		return false
	}
	s.path, s.plan, s.choices = s.g.way(j.from, s.path, s.plan, s.choices)
	if s.g.hole == holeLateChoices && j.from != noState {
		s.g.mu.Lock()
		j.asleep |= s.g.nodes[j.from].before &^ (1 << j.task)
		s.g.mu.Unlock()
	}
	s.asleep, s.forced, s.settled = j.asleep, len(j.choices), -1
	s.fresh = len(s.plan)
	s.verify = nil
	switch {
	case j.from == noState:
	case len(j.choices) == 0 && (s.g.verify || x.epoch%verifyEvery == 0):
		s.settled = s.fresh
		s.verify = &j
	default:
		s.settled = s.fresh
		s.plan = append(s.plan, j.task)
	}
	for _, c := range j.choices {
		c.depth = int32(len(s.plan))
		s.choices = append(s.choices, c)
	}
	x.plan, x.planChoice, x.trusted = s.plan, s.choices, len(s.plan)
	x.hist.rewind(s.common(x))
	return true
}

// common returns how many steps the plan shares with the execution before, choices
// included.
func (s *graph) common(x *Exec) int {
	n := min(s.fresh, len(x.hist.events))
	for i := range max(len(s.choices), len(s.old)) {
		switch {
		case i < len(s.choices) && i < len(s.old) && s.choices[i] == s.old[i]:
			continue
		case i < len(s.choices):
			n = min(n, int(s.choices[i].depth)-1)
		}
		if i < len(s.old) {
			n = min(n, int(s.old[i].depth)-1)
		}
		break
	}
	for i := range n {
		if x.hist.events[i].task != s.plan[i] {
			return i
		}
	}
	return max(n, 0)
}

func (s *graph) choose(*Exec, int) int { return 0 }

// settle notes the other choices of the step that has led to depth d.
func (s *graph) settle(x *Exec, d int) {
	if d <= s.settled {
		return
	}
	s.settled = d
	made := s.made(x, d)
	given := 0
	if d == len(s.plan) && d != s.fresh || d == 0 {
		given = s.forced
	}
	for k := given; k < len(made); k++ {
		for v := int32(1); v < made[k].n; v++ {
			j := graphJob{from: noState, asleep: s.asleep, choices: append([]choice(nil), made[:k+1]...)}
			j.choices[k].value = v
			if d > 0 {
				j.from, j.task = s.path[d-1], uint8(x.last.id)
			}
			s.g.put(j)
		}
	}
}

// made returns the choices of the step that has led to depth d, or, for 0, of Init.
func (s *graph) made(x *Exec, d int) []choice {
	k := len(x.choices)
	for k > 0 && int(x.choices[k-1].depth) == d {
		k--
	}
	return x.choices[k:]
}

func (s *graph) pick(x *Exec) int {
	d := x.depth
	if j := s.verify; j != nil {
		s.verify = nil
		if x.stateKey() != s.g.keyOf(j.from) {
			x.ended = failed
			x.fail(&Failure{Kind: Nondeterminism, Text: fmt.Sprintf("a state found earlier is another one after its %d steps: "+
				"the program is not deterministic, or Exec.OnState and Step.State leave out something that decides its future", d)}, nil)
			return -1
		}
		return int(j.task)
	}
	s.settle(x, d)
	a := arrival{key: x.stateKey(), enabled: x.enabled, from: noState, choices: s.made(x, d), prefer: -1}
	if d > 0 {
		a.from, a.task, a.prefer = s.path[d-1], uint8(x.last.id), x.last.id
		a.sleep = s.asleep &^ (1 << x.last.id)
		step := x.hist.accesses(d - 1)
		for q := a.sleep; q != 0; q &= q - 1 {
			if conflict(x.tasks[bits.TrailingZeros64(q)].next.acc, step) {
				a.sleep &^= q & -q
			}
		}
	}
	n, next, asleep := s.g.arrive(&a)
	s.path = append(s.path[:d], n)
	s.asleep = asleep
	return next
}

func (s *graph) end(x *Exec) {
	if x.ended == quiescent || x.ended == failed || x.ended == overrun {
		s.settle(x, x.depth)
	}
	s.old = append(s.old[:0], x.choices...)
}
