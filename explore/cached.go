// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"sync"
	"sync/atomic"
)

// cached is depth-first search with sleep sets that stops at states it has
// seen. It needs a program that declares its state (see [Exec.OnState]).
//
// Source: P. Godefroid, Partial-Order Methods for the Verification of
// Concurrent Systems, 1996, section 5.4 (state matching and sleep sets).
type cached struct {
	dfs
	seen *sharedTable
	way  statePath
}

// A statePath is the states on the way to the present one.
type statePath struct {
	keys  []uint64
	loops bool // one was met again
}

func (w *statePath) push(d int, key uint64) { w.keys = append(w.keys[:d], key) }

// met looks for the state at depth d among those before it: see [checkCycle].
func (w *statePath) met(x *Exec, d int, key uint64) {
	w.loops = checkCycle(x, w.keys, d, key, nil, nil) || w.loops
}

func newCached(memory int64) *cached {
	return &cached{dfs: dfs{useSleep: true}, seen: newSharedTable(memory)}
}

func (s *cached) pick(x *Exec) int {
	d := x.depth
	n := dfsNode{enabled: x.enabled}
	if d > 0 {
		n.sleep = s.inherit(x, d-1)
	}
	key := x.stateKey()
	todo := n.enabled &^ n.sleep
	old, found := s.seen.lookup(key, n.sleep)
	if !found && s.seen.full.Load() {
		old, found = s.onPath(key, d)
	}
	if found {
		if s.way.met(x, d, key); x.failure != nil && x.failing {
			return -1
		}
		todo = n.enabled & old &^ n.sleep
		n.enabled = todo // of the rest all was explored from here before
		n.sleep &= old
	}
	if todo == 0 {
		return -1
	}
	n.cur = uint8(prefer(x, todo))
	s.nodes = append(s.nodes[:d], n)
	s.way.push(d, key)
	return int(n.cur)
}

// onPath looks for a state on the path, for when the table is full: without it a
// cycle of states would be followed up to the step bound.
func (s *cached) onPath(key uint64, d int) (slept uint64, found bool) {
	for k := min(d, len(s.way.keys)) - 1; k >= s.base; k-- {
		if s.way.keys[k] == key {
			return s.nodes[k].sleep, true
		}
	}
	return 0, false
}

// checkCycle looks for the state at depth d on the path to it, and reports whether it is there. Then the steps since
// then can be repeated for ever; they are a livelock if that is fair to all tasks
// and leaves a task that is no daemon unfinished. It is not a complete search for
// livelocks: a cycle may be closed through a state that is not on the path, and one that is fair may go
// round several of those that are found here. But where states form a cycle, a search of one worker meets one here.
//
// Who calls it may know of each state on the path whether something is owed there, and what in this one ([Exec.owes]).
func checkCycle(x *Exec, keys []uint64, d int, key uint64, owed []bool, owes *Failure) (met bool) {
	always, took := x.enabled, uint64(0)
	for k := min(d, len(keys)) - 1; k >= 0; k-- {
		always &= x.hist.events[k].enabled
		took |= 1 << x.hist.events[k].task
		if k >= len(owed) || !owed[k] {
			owes = nil
		}
		if keys[k] != key {
			continue
		}
		if met = true; always&^took == 0 {
			x.livelock(took, owes)
			return true
		}
	}
	return met
}

// livelock reports steps of the tasks in took that can be repeated for ever. Where only daemons are left that
// is no failure of itself, but the execution never comes to its end, where it would be asked what it owes: it
// fails if it owes something in each of the states that repeat.
func (x *Exec) livelock(took uint64, owes *Failure) {
	var victim *Task
	names := ""
	x.Tasks(func(t *Task) {
		if !t.finished && !t.daemon && victim == nil {
			victim = t
		}
		if took>>t.id&1 == 1 {
			names += " " + t.name
		}
	})
	if victim == nil {
		if owes != nil {
			owes.Text += "; only daemons go on, for ever:" + names
			x.ended = failed
			x.fail(owes, nil)
		}
		return
	}
	x.ended = failed
	x.fail(&Failure{Kind: Livelock, Task: victim.name,
		Text: "the state repeats while task \"" + victim.name + "\" never finishes; the steps between can go on for ever, taken by:" + names}, victim)
}

// declaredState adds what the program declares of its state.
func (x *Exec) declaredState(h *Hash) {
	x.aside = inState
	defer x.leave()
	if x.stateFn == nil {
		panic(&badProgram{"the strategy matches states, but the program does not declare its state: call Exec.OnState in Init"})
	}
	x.stateFn(h)
}

// stateKey returns the hash of the current state.
func (x *Exec) stateKey() uint64 {
	h := &x.hash
	*h = Hash{}
	x.declaredState(h)
	var tasks uint64
	for _, id := range x.order {
		t := x.tasks[id]
		v := mix(uint64(id)+1, 1)
		if !t.finished {
			v = mix(mix(v, t.next.op), t.next.state)
		}
		tasks += mix(v, 5)
	}
	h.Add(tasks)
	s := h.Sum()
	key := mix(s[0], s[1])
	if key == 0 {
		key = 1
	}
	return key
}

// A sharedTable is a stateTable for several workers: shards with a lock each.
type sharedTable struct {
	full   atomic.Bool // a shard could not grow
	shards [tableShards]struct {
		mu    sync.Mutex
		table *stateTable
		_     [40]byte // keeps the locks of two shards out of one cache line
	}
}

const tableShards = 64

func newSharedTable(limit int64) *sharedTable {
	st := &sharedTable{}
	for i := range st.shards {
		st.shards[i].table = newStateTable(max(limit/tableShards, 1))
	}
	return st
}

func (st *sharedTable) lookup(key, sleep uint64) (old uint64, found bool) {
	s := &st.shards[key>>58]
	s.mu.Lock()
	old, found = s.table.lookup(key, sleep)
	full := s.table.full
	s.mu.Unlock()
	if full {
		st.full.Store(true)
	}
	return old, found
}

// dump returns all states and the tasks that slept there.
func (st *sharedTable) dump() (keys, slept []uint64) {
	for i := range st.shards {
		t := st.shards[i].table
		for k, key := range t.keys {
			if key != 0 {
				keys, slept = append(keys, key), append(slept, t.sleep[k])
			}
		}
	}
	return keys, slept
}

// states returns the number of states in the table.
func (st *sharedTable) states() int64 {
	n := 0
	for i := range st.shards {
		s := &st.shards[i]
		s.mu.Lock()
		n += s.table.n
		s.mu.Unlock()
	}
	return int64(n)
}

// A stateTable maps states to the tasks that slept when they were explored. It
// uses open addressing with 16 bytes a slot, of which at most 7 in 8 are in use.
type stateTable struct {
	keys  []uint64 // 0 is free
	sleep []uint64
	n     int
	limit int64 // bytes
	full  bool
}

const stateSlotBytes = 16

func newStateTable(limit int64) *stateTable {
	const first = 1 << 8
	return &stateTable{keys: make([]uint64, first), sleep: make([]uint64, first), limit: limit}
}

// lookup returns the tasks that slept in the state at earlier visits, and makes
// a note of this visit, at which those in sleep do. When the table is full, new
// states are not noted, and will be explored again if they come up again.
func (st *stateTable) lookup(key, sleep uint64) (old uint64, found bool) {
	mask := uint64(len(st.keys) - 1)
	i := key & mask
	for st.keys[i] != 0 {
		if st.keys[i] == key {
			old = st.sleep[i]
			st.sleep[i] = old & sleep
			return old, true
		}
		i = (i + 1) & mask
	}
	if (st.n+1)*8 > len(st.keys)*7 {
		if st.full || !st.grow() {
			st.full = true
			return 0, false
		}
		return st.lookup(key, sleep)
	}
	st.keys[i], st.sleep[i] = key, sleep
	st.n++
	return 0, false
}

// grow doubles the table, unless that would exceed the limit while the old and
// the new table both exist.
func (st *stateTable) grow() bool {
	size := len(st.keys) * 2
	if st.limit > 0 && int64(size)*stateSlotBytes*3/2 > st.limit {
		return false
	}
	old := *st
	st.keys, st.sleep = make([]uint64, size), make([]uint64, size)
	mask := uint64(size - 1)
	for k, key := range old.keys {
		if key == 0 {
			continue
		}
		i := key & mask
		for st.keys[i] != 0 {
			i = (i + 1) & mask
		}
		st.keys[i], st.sleep[i] = key, old.sleep[k]
	}
	return true
}
