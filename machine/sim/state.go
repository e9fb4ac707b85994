// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"reflect"
	"strings"

	"endio/explore"
)

// roots are pointers from which the program's shared memory can be reached. The
// state that [explore.Cached] compares is found by walking them, so that code
// which knows nothing of the explorer need not declare its state.
type roots struct {
	list  []memory
	known *pointerTable // memory that existed in Init, and the machine's objects
	next  uint64
}

// Root adds memory of the program's own to its state: p is a pointer, and all
// that can be reached from it counts. Call it in Init, when the data structures
// have been made.
func (k *Kernel) Root(p any) { k.roots.add(k, p) }

func (r *roots) add(k *Kernel, p any) {
	v := reflect.ValueOf(p)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		k.x.Fail(explore.BadProgram, fmt.Sprintf("Root wants a pointer, got %T", p), "")
	}
	m := memory{v.UnsafePointer(), k.memo.planOf(v.Type().Elem())}
	r.list = append(r.list, m)
	k.memo.roots = r.list
	w := k.newWalker()
	w.number = true
	w.pointer(m.at, m.plan)
}

func (r *roots) object(p uintptr, id uint64) { r.known.put(p, id|1<<63) }

func (r *roots) hash(k *Kernel, h *explore.Hash) {
	h.Add(r.sum(k))
}

func (r *roots) sum(k *Kernel) uint64 {
	w := k.newWalker()
	for _, m := range r.list {
		w.pointer(m.at, m.plan)
	}
	return w.sum
}

// A pointerTable has a number for each of a few pointers, and in which walk and as
// which pointer of it it was seen last. Open addressing; 0 is free.
type pointerTable struct {
	slots []pointerSlot
	n     int
	walks uint32
}

type pointerSlot struct {
	p    uintptr
	id   uint64
	walk uint32
	seen uint32
}

func (t *pointerTable) reset() {
	if t.slots == nil {
		t.slots = make([]pointerSlot, 128)
	}
	clear(t.slots)
	t.n, t.walks = 0, 0
}

// find returns the slot of p, or the free one for it.
func (t *pointerTable) find(p uintptr) *pointerSlot {
	mask := uintptr(len(t.slots) - 1)
	for i := p >> 3 * 0x9e3779b1 & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.p == p || s.p == 0 {
			return s
		}
	}
}

func (t *pointerTable) put(p uintptr, id uint64) {
	s := t.find(p)
	if s.p == p {
		s.id = id
		return
	}
	if t.n++; t.n*2 > len(t.slots) {
		old := t.slots
		t.slots = make([]pointerSlot, 2*len(old))
		for i := range old {
			if old[i].p != 0 {
				*t.find(old[i].p) = old[i]
			}
		}
		s = t.find(p)
	}
	*s = pointerSlot{p: p, id: id}
}

// observe returns a hash of what can be reached from p.
func (k *Kernel) observe(p any) uint64 {
	switch v := p.(type) {
	case *int:
		return uint64(*v)
	case *bool:
		if *v {
			return 1
		}
		return 0
	}
	log := &k.memo.log
	if v, ok := log.get(k.x); ok {
		return v
	}
	w := k.newWalker()
	v := reflect.ValueOf(p)
	w.pointer(v.UnsafePointer(), k.memo.planOf(v.Type().Elem()))
	return log.put(w.sum)
}

// observeVar returns a hash of the memory that v announces: the struct that has
// v as a field, and all that can be reached from it up to structs with a Var of
// their own.
func (k *Kernel) observeVar(v *machineVar) uint64 {
	log := &k.memo.log
	if v, ok := log.get(k.x); ok {
		return v
	}
	if v.own.plan == nil {
		return k.observeAll()
	}
	w := k.newWalker()
	w.stop = true
	w.walk(v.own.at, v.own.plan)
	return log.put(w.sum)
}

// observeAll returns a hash of all memory that is declared.
func (k *Kernel) observeAll() uint64 {
	log := &k.memo.log
	if v, ok := log.get(k.x); ok {
		return v
	}
	return log.put(k.roots.sum(k))
}

func pointerOf(p any) uintptr { return reflect.ValueOf(p).Pointer() }

// opaque reports whether a type belongs to the machine or the explorer, whose state
// is accounted for elsewhere.
func opaque(t reflect.Type) bool {
	p := t.PkgPath()
	return p == "endio/machine/sim" && !strings.HasPrefix(t.Name(), "Cell") || p == "endio/explore" || p == "endio/lockdep"
}

// A foldLog keeps what contexts observed, in order, so that a replayed prefix
// need not walk memory again.
type foldLog struct {
	n   int
	log []uint64
}

func (l *foldLog) begin() { l.n = 0 }

// get returns what was observed at this point in the execution before, if that
// went the same way.
func (l *foldLog) get(x *explore.Exec) (uint64, bool) {
	if x.Repeating() && l.n < len(l.log) {
		l.n++
		return l.log[l.n-1], true
	}
	return 0, false
}

func (l *foldLog) put(v uint64) uint64 {
	l.log = append(l.log[:l.n], v)
	l.n++
	return v
}
