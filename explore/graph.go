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
	choices []choice // of the plan
	forced  int      // choices that are given of the step that leads to depth at
	at      int
	fresh   int       // depth of the first step that was not made before
	settled int       // steps below this depth have their other choices noted
	asleep  uint64    // at the last step: what sleeps or was run there before it
	ahead   []uint32  // known ways to be gone next, the first one last
	given   []choice  // of the step being made, if it is a known way
	found   search    // scratch
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
	key     uint64
	enabled uint64
	sleep   uint64 // tasks that need not be run
	todo    uint64 // to be run
	before  uint64 // run since the last visit that woke some
	via     uint32 // the way on which it was reached first, or noState
	ways    uint32 // head of the list of those that lead on from here
	depth   uint32
	others  bool // steps from here have other choices to be made: see stateGraph.others
	listed  bool // in open
	dry     bool // nothing was left to do here, nor in any state behind, when somebody looked
}

const stateNodeBytes = 56

// A way is a step that was made from one state to another.
type way struct {
	from, to uint32
	next     uint32 // of those with the same from; noState ends the list
	choice   uint32 // the choices of the step, in stateGraph.choices
	task     uint8
	nchoi    uint8
}

const wayBytes = 20

// chunks is a list that does not move when it grows, but for the first few.
type chunks[T any] struct {
	list [][]T
	n    uint32
}

// chunkBits is the binary logarithm of the values in a chunk.
const chunkBits = 12

func (c *chunks[T]) at(i uint32) *T { return &c.list[i>>chunkBits][i&(1<<chunkBits-1)] }

func (c *chunks[T]) add(v T) {
	k := int(c.n >> chunkBits)
	if k == len(c.list) {
		var room []T
		if k > 0 {
			room = make([]T, 0, 1<<chunkBits)
		}
		c.list = append(c.list, room)
	}
	c.list[k] = append(c.list[k], v)
	c.n++
}

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
	// For tests: the tasks of a state before other choices of steps from it. Any order must do.
	choicesLast bool

	mu      sync.Mutex
	idle    sync.Cond
	nodes   chunks[stateNode]
	index   []uint32 // open addressing: number of a node + 1
	ways    chunks[way]
	choices []choice              // of ways
	open    [][]uint32            // by depth: states that may have something to do
	shallow int                   // no state above has
	jobs    []graphJob            // other choices made in Init
	others  map[uint32][]graphJob // by state: other choices of steps that were made
	waiting int                   // in jobs and others
	deepest uint32                // depth of the deepest state, on the way on which it was reached first
	made    int64                 // steps
	left    int64                 // tasks to be run
	started bool
	running int // workers that have a job
	closed  bool
	full    bool // the memory is used up
	awake   bool // nothing sleeps any more
}

func newStateGraph(limit int64, verify bool) *stateGraph {
	g := &stateGraph{limit: limit, verify: verify, index: make([]uint32, 1<<9), others: map[uint32][]graphJob{}}
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

// wake lets nothing sleep: whatever was not run from a state because it leads to a state that is found otherwise is to be run.
//
// Livelocks need it. If the steps of a task that goes round for ever are independent of the last step of another, they
// sleep in all states behind that step, and no cycle is left there.
func (g *stateGraph) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awake, g.closed, g.running = true, false, 0
	for n := range g.nodes.n {
		s := g.nodes.at(n)
		s.dry = false
		if s.todo |= s.sleep & s.enabled; s.todo != 0 {
			g.left += int64(count(s.todo))
			g.list(n)
		}
		s.sleep = 0
	}
}

// states returns the number of states.
func (g *stateGraph) states() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int64(g.nodes.n)
}

func (g *stateGraph) keyOf(n uint32) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes.at(n).key
}

// fraction estimates how much is done.
func (g *stateGraph) fraction() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return float64(g.made) / float64(max(1, g.made+g.left+int64(g.waiting)))
}

// find returns the number of the state with that key, or where in index to put it.
func (g *stateGraph) find(key uint64) (n uint32, slot uint64) {
	mask := uint64(len(g.index) - 1)
	for slot = key & mask; g.index[slot] != 0; slot = (slot + 1) & mask {
		if n = g.index[slot] - 1; g.nodes.at(n).key == key {
			return n, slot
		}
	}
	return noState, slot
}

// grow makes room for one more state. It returns false if there is none.
func (g *stateGraph) grow() bool {
	if (int(g.nodes.n)+1)*4 <= len(g.index)*3 {
		return true
	}
	// The nodes and some ways each, and the index, twice while it is copied.
	if size := int64(len(g.index)); g.limit > 0 && size*(2*stateNodeBytes+4*wayBytes+12) > g.limit {
		return false
	}
	old := g.index
	g.index = make([]uint32, 2*len(old))
	for _, n := range old {
		if n != 0 {
			_, slot := g.find(g.nodes.at(n - 1).key)
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
		n = g.nodes.n
		depth := uint32(0) // on the way of the parent, which may differ from that of this execution
		if a.from != noState {
			depth = g.nodes.at(a.from).depth + 1
			g.deepest = max(g.deepest, depth)
		}
		g.index[slot] = n + 1
		g.nodes.add(stateNode{key: a.key, enabled: a.enabled, sleep: a.sleep, todo: a.enabled &^ a.sleep, via: g.lead(a, n), ways: noState, depth: depth})
		g.left += int64(count(g.nodes.at(n).todo))
	} else {
		g.lead(a, n)
		s := g.nodes.at(n)
		if woken := s.sleep &^ a.sleep & a.enabled; woken != 0 && g.hole != holeNeverWoken {
			s.todo |= woken
			if g.hole != holeWokenLate {
				s.before = 0
			}
			g.left += int64(count(woken))
		}
		s.sleep &= a.sleep
	}
	s := g.nodes.at(n)
	if s.todo == 0 {
		return n, -1, 0
	}
	next = trailing(s.todo)
	if a.prefer >= 0 && s.todo>>a.prefer&1 == 1 {
		next = a.prefer
	}
	return n, next, g.take(n, next)
}

// lead notes the way to the state n and returns its number.
func (g *stateGraph) lead(a *arrival, n uint32) uint32 {
	k := g.ways.n
	w := way{from: a.from, to: n, next: noState, task: a.task, choice: uint32(len(g.choices)), nchoi: uint8(len(a.choices))}
	g.choices = append(g.choices, a.choices...)
	if a.from != noState {
		s := g.nodes.at(a.from)
		w.next, s.ways = s.ways, k
	}
	g.ways.add(w)
	return k
}

// A search is for a state that has something left to do, behind one that has not.
type search struct {
	n    int
	node [searchNodes]uint32
	via  [searchNodes]uint32 // the way to it
	from [searchNodes]uint8  // before it, in node
}

// searchNodes is how many states are looked at, and searchDepth how many steps it may take to get there.
// To go there costs those steps; to begin anew costs the prefix, and to set up the program and
// to end it, which is worth some tens of steps.
const (
	searchNodes = 64
	searchDepth = 24
)

// seek returns known ways from n to a state that has something left to do, the
// first one last, or none.
func (g *stateGraph) seek(q *search, n uint32, depth int, ways []uint32) []uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	ways = ways[:0]
	if g.closed || g.nodes.at(n).dry {
		return ways
	}
	q.n = 1
	q.node[0] = n
	whole := true
	for i := 0; i < q.n; i++ {
	next:
		for w := g.nodes.at(q.node[i]).ways; w != noState; w = g.ways.at(w).next {
			to := g.ways.at(w).to
			s := g.nodes.at(to)
			if s.dry {
				continue
			}
			if s.todo != 0 || s.others {
				ways = append(ways, w)
				for ; i > 0; i = int(q.from[i]) {
					ways = append(ways, q.via[i])
				}
				if depth+len(ways) > int(g.deepest) {
					return ways[:0] // states may form a cycle: an execution must not be long for that
				}
				return ways
			}
			for _, m := range q.node[:q.n] {
				if m == to {
					continue next
				}
			}
			if q.n == searchNodes {
				whole = false
				continue
			}
			q.node[q.n], q.via[q.n], q.from[q.n] = to, w, uint8(i)
			q.n++
		}
	}
	if whole {
		for _, m := range q.node[:q.n] {
			g.nodes.at(m).dry = true
		}
	}
	return ways
}

// follow returns the task and the choices of a known way, and whence it leads.
func (g *stateGraph) follow(w uint32, given []choice) (task int, to uint32, choices []choice) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.ways.at(w)
	return int(v.task), v.to, append(given[:0], g.choices[v.choice:v.choice+uint32(v.nchoi)]...)
}

// resume returns something that is left to do in a state.
func (g *stateGraph) resume(n uint32, prefer int) (j graphJob, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j, ok = g.from(n, prefer); ok && g.hole == holeTodoSleeps {
		j.asleep |= g.nodes.at(n).todo
	}
	return j, ok
}

// from takes something that is left to do in the state n: other choices of a step, or a task, that is
// prefer if it may be.
func (g *stateGraph) from(n uint32, prefer int) (j graphJob, ok bool) {
	s := g.nodes.at(n)
	switch {
	case s.others && (!g.choicesLast || s.todo == 0):
		list := g.others[n]
		k := len(list) - 1
		j = list[k]
		if s.others = k > 0; s.others {
			g.others[n] = list[:k]
		} else {
			delete(g.others, n)
		}
		g.waiting--
		return j, true
	case s.todo != 0:
		next := trailing(s.todo)
		if prefer >= 0 && s.todo>>prefer&1 == 1 {
			next = prefer
		}
		return graphJob{from: n, task: uint8(next), asleep: g.take(n, next)}, true
	}
	return j, false
}

// take takes a task that is to be run from a state, and returns what sleeps while
// it runs.
func (g *stateGraph) take(n uint32, task int) (asleep uint64) {
	s := g.nodes.at(n)
	bit := uint64(1) << task
	if !g.awake {
		asleep = s.sleep | s.before
	}
	s.todo &^= bit
	s.before |= bit
	g.left--
	if s.todo != 0 {
		g.list(n)
	}
	return asleep
}

// list makes it known that something is left to do in the state n.
func (g *stateGraph) list(n uint32) {
	s := g.nodes.at(n)
	if s.listed {
		return
	}
	s.listed = true
	d := int(s.depth)
	for d >= len(g.open) {
		g.open = append(g.open, nil)
	}
	g.open[d] = append(g.open[d], n)
	g.shallow = min(g.shallow, d)
	g.idle.Signal()
}

// put adds a job.
func (g *stateGraph) put(j graphJob) {
	g.mu.Lock()
	g.waiting++
	if j.from == noState {
		g.jobs = append(g.jobs, j)
	} else {
		s := g.nodes.at(j.from)
		s.others, s.dry = true, false
		g.others[j.from] = append(g.others[j.from], j)
		g.list(j.from)
	}
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
	if k := len(g.jobs) - 1; k >= 0 {
		j = g.jobs[k]
		g.jobs = g.jobs[:k]
		g.waiting--
		return j, true
	}
	for ; g.shallow < len(g.open); g.shallow++ {
		list := &g.open[g.shallow]
		for k := len(*list) - 1; k >= 0; k-- {
			n := (*list)[k]
			if j, ok = g.from(n, -1); ok {
				return j, true
			}
			g.nodes.at(n).listed = false
			*list = (*list)[:k]
		}
	}
	return j, false
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
	depth := int(g.nodes.at(n).depth)
	for len(path) <= depth {
		path, plan = append(path, 0), append(plan, 0)
	}
	plan = plan[:depth]
	for i, m := depth, n; ; i-- {
		path[i] = m
		if i == 0 {
			break
		}
		w := g.ways.at(g.nodes.at(m).via)
		plan[i-1] = w.task
		m = w.from
	}
	for i, m := range path {
		w := g.ways.at(g.nodes.at(m).via)
		for _, c := range g.choices[w.choice : w.choice+uint32(w.nchoi)] {
			c.depth = int32(i)
			choices = append(choices, c)
		}
	}
	return path, plan, choices
}

// cyclic reports whether a state can be reached from itself: then depth-first search must
// look for livelocks. It takes seconds where there are many states, so it asks stopped at
// times; known is false if that said so before it was found out.
func (g *stateGraph) cyclic(stopped func() bool) (yes, known bool) {
	const often = 1 << 16
	// Topological order: states with no way left to them go, one after the other.
	into := make([]uint32, g.nodes.n)
	for i := range g.ways.n {
		if i%often == 0 && stopped() {
			return false, false
		}
		if w := g.ways.at(i); w.from != noState {
			into[w.to]++
		}
	}
	var free []uint32
	for i := range into {
		if into[i] == 0 {
			free = append(free, uint32(i))
		}
	}
	gone := 0
	for ; len(free) > 0; gone++ {
		if gone%often == 0 && stopped() {
			return false, false
		}
		n := free[len(free)-1]
		free = free[:len(free)-1]
		for w := g.nodes.at(n).ways; w != noState; w = g.ways.at(w).next {
			to := g.ways.at(w).to
			if into[to]--; into[to] == 0 {
				free = append(free, to)
			}
		}
	}
	return gone < int(g.nodes.n), true
}

func (s *graph) begin(x *Exec) bool {
	j, ok := s.g.next(s.busy)
	if s.busy = ok; !ok {
		return false
	}
	s.path, s.plan, s.choices = s.g.way(j.from, s.path, s.plan, s.choices)
	if s.g.hole == holeLateChoices && j.from != noState {
		s.g.mu.Lock()
		j.asleep |= s.g.nodes.at(j.from).before &^ (1 << j.task)
		s.g.mu.Unlock()
	}
	s.asleep, s.forced, s.settled = j.asleep, len(j.choices), -1
	s.fresh, s.at = len(s.plan), 0
	s.ahead, s.given = s.ahead[:0], s.given[:0]
	s.verify = nil
	switch {
	case j.from == noState:
	case len(j.choices) == 0 && (s.g.verify || x.epoch%verifyEvery == 0):
		s.settled = s.fresh
		s.verify = &j
	default:
		s.settled = s.fresh
		s.plan = append(s.plan, j.task)
		s.at = len(s.plan)
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

func (s *graph) choose(_ *Exec, n int) int {
	if len(s.given) == 0 {
		return 0
	}
	c := s.given[0]
	if c.n != int32(n) {
		panic(&nondeterminism{"Choose with another number of alternatives than before"})
	}
	s.given = append(s.given[:0], s.given[1:]...)
	return int(c.value)
}

// settle notes the other choices of the step that has led to depth d.
func (s *graph) settle(x *Exec, d int) {
	if d <= s.settled {
		return
	}
	s.settled = d
	made := s.made(x, d)
	given := 0
	if d == s.at {
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
		if !s.same(x, j.from) {
			return -1
		}
		return int(j.task)
	}
	s.given = s.given[:0]
	if len(s.ahead) > 0 {
		return s.goOn(x)
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
	if next < 0 && n != noState {
		return s.detour(x, n)
	}
	return next
}

// same reports whether the state is the one that n was when it was found, and fails the execution
// if it is not.
func (s *graph) same(x *Exec, n uint32) bool {
	if x.stateKey() == s.g.keyOf(n) {
		return true
	}
	x.ended = failed
	x.fail(&Failure{Kind: Nondeterminism, Text: fmt.Sprintf("a state found earlier is another one after its %d steps: "+
		"the program is not deterministic, or Exec.OnState and Step.State leave out something that decides its future", x.depth)}, nil)
	return false
}

// detour begins something that is left to do in the state n, or goes on known ways to a state in which
// something is. It returns the task that goes first, or -1.
func (s *graph) detour(x *Exec, n uint32) int {
	prefer := -1
	if x.last != nil {
		prefer = x.last.id
	}
	if j, ok := s.g.resume(n, prefer); ok {
		s.asleep, s.settled = j.asleep, x.depth
		s.given = append(s.given[:0], j.choices...)
		s.forced, s.at = len(j.choices), x.depth+1
		return int(j.task)
	}
	if s.ahead = s.g.seek(&s.found, n, x.depth, s.ahead); len(s.ahead) == 0 {
		return -1
	}
	return s.step(x)
}

// step takes the first of the known ways ahead.
func (s *graph) step(x *Exec) int {
	d := x.depth
	task, to, given := s.g.follow(s.ahead[len(s.ahead)-1], s.given)
	if s.given = given; s.g.hole == holeGivenLost {
		s.given = given[:0]
	}
	s.path = append(s.path[:d+1], to)
	s.settled = d + 1 // its other choices were noted
	return task
}

// goOn is called where a known way has led.
func (s *graph) goOn(x *Exec) int {
	n := s.path[x.depth]
	if s.g.verify && !s.same(x, n) {
		return -1
	}
	if s.ahead = s.ahead[:len(s.ahead)-1]; len(s.ahead) > 0 {
		return s.step(x)
	}
	return s.detour(x, n)
}

func (s *graph) end(x *Exec) {
	if x.ended == quiescent || x.ended == failed || x.ended == overrun {
		s.settle(x, x.depth)
	}
	s.old = append(s.old[:0], x.choices...)
}
