// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

// before returns the event of the same task before event j, or the one that
// started the task, or -1.
func (h *history) before(j int) int {
	b := h.byTask[h.events[j].task]
	w := j >> 6
	m := b[w] & (uint64(1)<<(j&63) - 1)
	for {
		if m != 0 {
			return w<<6 + 63 - bits.LeadingZeros64(m)
		}
		if w--; w < 0 {
			return int(h.spawnAt[h.events[j].task])
		}
		m = b[w]
	}
}

// conflicting adds to set the events that conflict with the accesses.
func (h *history) conflicting(set []uint64, acc []access) {
	for _, a := range acc {
		if int(a.obj) >= len(h.objs) || !h.objs[a.obj].used {
			continue
		}
		o := &h.objs[a.obj]
		or(set, o.writes)
		if a.kind.modifies() {
			or(set, o.reads)
		}
	}
}

// nextOf returns the first event of a task at depth i or later, or -1.
func (h *history) nextOf(task, i int) int {
	b := h.byTask[task]
	w := i >> 6
	m := b[w] &^ (uint64(1)<<(i&63) - 1)
	for {
		if m != 0 {
			return w<<6 + bits.TrailingZeros64(m)
		}
		if w++; w >= len(b) {
			return -1
		}
		m = b[w]
	}
}

// kindOf returns how event k uses an object.
func (h *history) kindOf(k int, obj int32) Kind {
	for _, a := range h.accesses(k) {
		if a.obj == obj {
			return a.kind
		}
	}
	return Observe
}

// preceded returns a hash of the identities of the events in set that an access
// would depend on directly.
func (h *history) preceded(a access, set []uint64) uint64 {
	if int(a.obj) >= len(h.objs) || !h.objs[a.obj].used {
		return 0
	}
	o := &h.objs[a.obj]
	var id uint64
	last := lastCommon(o.writes, set)
	if last >= 0 {
		id = h.events[last].hash
	}
	if !a.kind.modifies() {
		return id
	}
	for w := range o.reads {
		for b := o.reads[w] & set[w]; b != 0; b &= b - 1 {
			if r := w<<6 + bits.TrailingZeros64(b); r > last {
				id += mix(h.events[r].hash, 7)
			}
		}
	}
	return id
}
