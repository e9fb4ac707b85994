// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

// An event is one step that was taken.
type event struct {
	task    uint8
	guarded bool
	excl    bool // see Step.Exclusive
	lane    int16
	accOff  int32
	accLen  int32
	op      uint64 // hash of the declaration
	base    uint64 // canonical identity: the step and all that happened before it
	hash    uint64 // base, and the choices made in the step
	enabled uint64 // the tasks that were enabled before it, if known
}

// history records the steps of an execution, and for each what happened before
// it. It is indexed by depth, so that the part that belongs to a replayed prefix
// stays valid and costs nothing.
//
// Sets of events are bit sets of stride words.
type history struct {
	known   int // events below this are recorded
	start   int // known at the start of the execution
	events  []event
	accs    []access
	stride  int
	past    []uint64 // happens-before (dependence), reflexive: stride words an event
	inverse bool     // after is wanted
	after   []uint64 // the inverse of past, irreflexive
	sync    []uint64 // happens-before by synchronisation only; see races
	byTask  [MaxTasks][]uint64
	objs    []objHistory // by stable object id

	root    uint64 // hash of the choices made in Init
	plain   bool   // some object has plain accesses
	spawnAt [MaxTasks]int32
}

type objHistory struct {
	reads  []uint64
	writes []uint64
	plainR []uint64
	plainW []uint64
	rel    []uint64
	plain  bool
	used   bool
}

func (h *history) init() {
	h.stride = 1
	for i := range h.byTask {
		h.byTask[i] = make([]uint64, 1)
	}
}

// rewind forgets the events from depth known on, for the next execution.
func (h *history) rewind(known int) {
	if known > len(h.events) {
		known = len(h.events)
	}
	for k := known; k < len(h.events); k++ {
		e := &h.events[k]
		clearBit(h.byTask[e.task], k)
		for _, a := range h.accs[e.accOff : e.accOff+e.accLen] {
			h.leave(k, &h.objs[a.obj])
		}
	}
	if known < len(h.events) {
		h.accs = h.accs[:h.events[known].accOff]
		h.events = h.events[:known]
	}
	for i := 0; h.inverse && i < known; i++ {
		limit(h.afterOf(i), known)
	}
	h.known = known
}

// grow doubles the width of all sets.
func (h *history) grow() {
	n := h.stride * 2
	wide := func(b []uint64) []uint64 {
		if b == nil {
			return nil
		}
		c := make([]uint64, n)
		copy(c, b)
		return c
	}
	spread := func(b []uint64) []uint64 {
		c := make([]uint64, len(h.events)*n, (len(h.events)+1)*n*2)
		for i := range h.events {
			copy(c[i*n:], b[i*h.stride:(i+1)*h.stride])
		}
		return c
	}
	h.past, h.sync, h.after = spread(h.past), spread(h.sync), spread(h.after)
	for i := range h.byTask {
		h.byTask[i] = wide(h.byTask[i])
	}
	for i := range h.objs {
		o := &h.objs[i]
		o.reads, o.writes, o.rel = wide(o.reads), wide(o.writes), wide(o.rel)
		o.plainR, o.plainW = wide(o.plainR), wide(o.plainW)
	}
	h.stride = n
}

func (h *history) object(id int32) *objHistory {
	for int(id) >= len(h.objs) {
		h.objs = append(h.objs, objHistory{})
	}
	o := &h.objs[id]
	if !o.used {
		o.used = true
		o.reads, o.writes, o.rel = make([]uint64, h.stride), make([]uint64, h.stride), make([]uint64, h.stride)
	}
	return o
}

func (h *history) pastOf(i int) []uint64  { return h.past[i*h.stride : (i+1)*h.stride] }
func (h *history) afterOf(i int) []uint64 { return h.after[i*h.stride : (i+1)*h.stride] }
func (h *history) syncOf(i int) []uint64  { return h.sync[i*h.stride : (i+1)*h.stride] }

func (h *history) accesses(i int) []access {
	e := &h.events[i]
	return h.accs[e.accOff : e.accOff+e.accLen]
}

// spawned notes that t was started after depth steps.
func (h *history) spawned(t *Task, depth int) { h.spawnAt[t.id] = int32(depth) - 1 }

func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0xff51afd7ed558ccd
	h ^= h >> 32
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>29
}

// last returns the depth of the last event in b, or -1.
func lastBit(b []uint64) int {
	for w := len(b) - 1; w >= 0; w-- {
		if b[w] != 0 {
			return w<<6 + 63 - bits.LeadingZeros64(b[w])
		}
	}
	return -1
}

// lastOf returns the depth of the last recorded event of a task, or that of the
// event which started it, or -1.
func (h *history) lastOf(task int) int {
	if i := lastBit(h.byTask[task]); i >= 0 {
		return i
	}
	return int(h.spawnAt[task])
}

// record appends the step that t has declared, as the event at depth
// len(h.events), and computes what happened before it.
func (h *history) record(t *Task, enabled uint64) {
	i := len(h.events)
	if i >= h.stride<<6 {
		h.grow()
	}
	s := &t.next
	h.events = append(h.events, event{
		task: uint8(t.id), guarded: s.guard != nil, excl: s.exclusive, lane: s.lane,
		accOff: int32(len(h.accs)), accLen: int32(len(s.acc)), op: s.op, enabled: enabled,
	})
	h.accs = append(h.accs, s.acc...)
	if need := (i + 1) * h.stride; need > cap(h.past) {
		h.past = append(make([]uint64, 0, 2*need), h.past[:i*h.stride]...)
		h.sync = append(make([]uint64, 0, 2*need), h.sync[:i*h.stride]...)
		h.after = append(make([]uint64, 0, 2*need), h.after[:i*h.stride]...)
	}
	h.past, h.sync, h.after = h.past[:(i+1)*h.stride], h.sync[:(i+1)*h.stride], h.after[:(i+1)*h.stride]
	past, sync := h.pastOf(i), h.syncOf(i)
	clear(past)
	clear(sync)
	if h.inverse {
		clear(h.afterOf(i))
	}
	base := h.seed(s.op, t.id)
	if p := h.lastOf(t.id); p >= 0 {
		or(past, h.pastOf(p))
		or(sync, h.syncOf(p))
		base = mix(base, h.events[p].hash)
	}
	for k := range s.acc {
		a := s.acc[k]
		o := h.object(a.obj)
		base = mix(base, h.precede(past, o, a.kind.modifies()))
		f := kindFlags[a.kind]
		if f&kindAcquires != 0 {
			if r := lastBit(o.rel); r >= 0 {
				or(sync, h.syncOf(r))
			}
		}
	}
	w, bit := i>>6, uint64(1)<<(i&63)
	for v, b := range past {
		if !h.inverse {
			break
		}
		for ; b != 0; b &= b - 1 {
			h.after[(v<<6+bits.TrailingZeros64(b))*h.stride+w] |= bit
		}
	}
	past[w] |= bit
	sync[w] |= bit
	for k := range s.acc {
		h.enter(i, s.acc[k])
	}
	h.byTask[t.id][w] |= bit
	h.events[i].base, h.events[i].hash = base, base
	h.known = i + 1
}

// seed starts the identity of an event.
func (h *history) seed(op uint64, task int) uint64 { return mix(op^h.root, uint64(task)+1) }

// precede adds to past the events that an access to o depends on, and returns a
// hash of their identities.
func (h *history) precede(past []uint64, o *objHistory, modifies bool) uint64 {
	var id uint64
	w := lastBit(o.writes)
	if w >= 0 {
		or(past, h.pastOf(w))
		id = h.events[w].hash
	}
	if !modifies {
		return id
	}
	for i := len(o.reads) - 1; i >= 0; i-- {
		b := o.reads[i]
		if w >= 0 {
			switch {
			case i < w>>6:
				b = 0
			case i == w>>6:
				b &^= uint64(2)<<(w&63) - 1
			}
		}
		for ; b != 0; b &= b - 1 {
			r := i<<6 + bits.TrailingZeros64(b)
			or(past, h.pastOf(r))
			id += mix(h.events[r].hash, 7) // in any order
		}
	}
	return id
}

func (h *history) enter(i int, a access) {
	o := &h.objs[a.obj]
	w, bit := i>>6, uint64(1)<<(i&63)
	f := kindFlags[a.kind]
	if f&kindModifies != 0 {
		o.writes[w] |= bit
	} else {
		o.reads[w] |= bit
	}
	if f&kindReleases != 0 {
		o.rel[w] |= bit
	}
	if f&kindPlain == 0 {
		return
	}
	if !o.plain {
		o.plain, h.plain = true, true
		o.plainR, o.plainW = make([]uint64, h.stride), make([]uint64, h.stride)
	}
	if a.kind == Write {
		o.plainW[w] |= bit
	} else {
		o.plainR[w] |= bit
	}
}

// leave takes event k out of the sets of an object.
func (h *history) leave(k int, o *objHistory) {
	clearBit(o.reads, k)
	clearBit(o.writes, k)
	clearBit(o.rel, k)
	if o.plain {
		clearBit(o.plainR, k)
		clearBit(o.plainW, k)
	}
}

// races calls f for each plain access that races with the event i on one of its
// plain objects.
func (h *history) races(i int, f func(j int, obj int32)) {
	e := &h.events[i]
	for _, a := range h.accs[e.accOff : e.accOff+e.accLen] {
		if kindFlags[a.kind]&kindPlain == 0 {
			continue
		}
		o, sync := &h.objs[a.obj], h.syncOf(i)
		for w := i >> 6; w >= 0; w-- {
			b := o.plainW[w]
			if a.kind == Write {
				b |= o.plainR[w]
			}
			for b &^= sync[w]; b != 0; b &= b - 1 {
				f(w<<6+bits.TrailingZeros64(b), a.obj)
			}
		}
	}
}

// chose adds the outcome of a choice to the identity of the current event.
func (h *history) chose(depth, planned int, value int32) {
	if depth == 0 {
		h.root = mix(h.root, uint64(value)+3)
		return
	}
	if i := depth - 1; i < len(h.events) && (i >= h.start || depth >= planned) {
		h.events[i].hash = mix(h.events[i].hash, uint64(value)+3)
	}
}

// rechoose prepares the last planned event to have its choices added again.
func (h *history) rechoose(planned int) {
	h.start = h.known
	if i := planned - 1; i >= 0 && i < len(h.events) {
		h.events[i].hash = h.events[i].base
	}
}

// class returns the identity of the class of the first n events: equal for
// equivalent executions.
func (h *history) class(n int) uint64 {
	sum := h.root
	for i := range h.events[:n] {
		sum += mix(h.events[i].hash, 11)
	}
	return sum
}

func or(dst, src []uint64) {
	for i := range src {
		dst[i] |= src[i]
	}
}
