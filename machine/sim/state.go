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
	list  []reflect.Value
	known *pointerTable // memory that existed in Init, and the machine's objects
	owner map[uintptr]reflect.Value
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
	r.list = append(r.list, v)
	k.memo.roots = r.list
	w := k.newWalker(&explore.Hash{})
	w.number = true
	w.walk(v, k.memo.planOf(v.Type()))
}

func (r *roots) object(p uintptr, id uint64) { r.known.put(p, id|1<<63) }

func (r *roots) hash(k *Kernel, h *explore.Hash) {
	w := k.newWalker(h)
	for _, v := range r.list {
		w.walk(v, k.memo.planOf(v.Type()))
	}
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
	h := &k.memo.one
	*h = explore.Hash{}
	w := k.newWalker(h)
	v := reflect.ValueOf(p)
	w.walk(v, k.memo.planOf(v.Type()))
	s := h.Sum()
	return log.put(s[0] ^ s[1])
}

// observeVar returns a hash of the memory that v announces: the struct that has
// v as a field, and all that can be reached from it up to structs with a Var of
// their own.
func (k *Kernel) observeVar(v *machineVar) uint64 {
	log := &k.memo.log
	if v, ok := log.get(k.x); ok {
		return v
	}
	own, ok := k.roots.owner[pointerOf(v)]
	if !ok {
		return k.observeAll()
	}
	h := &k.memo.one
	*h = explore.Hash{}
	w := k.newWalker(h)
	w.stop = true
	w.walk(own, k.memo.planOf(own.Type()))
	s := h.Sum()
	return log.put(s[0] ^ s[1])
}

// observeAll returns a hash of all memory that is declared.
func (k *Kernel) observeAll() uint64 {
	log := &k.memo.log
	if v, ok := log.get(k.x); ok {
		return v
	}
	h := &k.memo.one
	*h = explore.Hash{}
	k.roots.hash(k, h)
	s := h.Sum()
	return log.put(s[0] ^ s[1])
}

func pointerOf(p any) uintptr { return reflect.ValueOf(p).Pointer() }

// A plan is what a walk does with the values of a type.
type plan struct {
	kind   reflect.Kind
	opaque bool
	elem   *plan // of a pointer, slice or array
	fields []planField
	faces  []int // fields that are interfaces: one of them may hold a Var
}

type planField struct {
	i int
	p *plan
}

// planOf returns the plan for a type, the same for all executions.
func (m *memo) planOf(t reflect.Type) *plan {
	if p := m.plans[t]; p != nil {
		return p
	}
	p := &plan{kind: t.Kind(), opaque: opaque(t)}
	m.plans[t] = p
	switch p.kind {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		p.elem = m.planOf(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := m.planOf(t.Field(i).Type)
			if f.kind == reflect.Interface {
				p.faces = append(p.faces, i)
			}
			if !(f.kind == reflect.Struct && f.opaque) {
				p.fields = append(p.fields, planField{i, f})
			}
		}
	}
	return p
}

// A walker hashes what can be reached from a value.
type walker struct {
	k      *Kernel
	h      *explore.Hash
	no     uint32
	seen   uint32    // pointers met
	met    []uintptr // those that have no number
	number bool      // gives ids to what it meets
	stop   bool      // at structs that have a Var of their own
	depth  int
}

// newWalker returns the walker of k, which has one at a time.
func (k *Kernel) newWalker(h *explore.Hash) *walker {
	t := k.roots.known
	t.walks++
	w := &k.memo.walker
	*w = walker{k: k, h: h, no: t.walks, met: w.met[:0]}
	return w
}

func (w *walker) walk(v reflect.Value, p *plan) {
	switch p.kind {
	case reflect.Bool:
		w.h.AddBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.h.Add(uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		w.h.Add(v.Uint())
	case reflect.String:
		w.h.AddString(v.String())
	case reflect.Func:
		w.h.Add(uint64(v.Pointer()))
	case reflect.Interface:
		if v.IsNil() {
			w.h.Add(0)
			return
		}
		e := v.Elem()
		if e.Kind() == reflect.Pointer {
			w.pointer(e, nil)
			return
		}
		w.walk(e, w.k.memo.planOf(e.Type()))
	case reflect.Pointer:
		w.pointer(v, p)
	case reflect.Struct:
		w.structure(v, p)
	case reflect.Slice, reflect.Array:
		n := v.Len()
		w.h.Add(uint64(n))
		for i := range n {
			w.walk(v.Index(i), p.elem)
		}
	default:
		w.k.x.Fail(explore.BadProgram, fmt.Sprintf("shared memory has a %s: its state can't be compared (give it to OnState yourself)", v.Type()), "")
	}
}

// pointer walks to what v points to, once. p may be nil: it is found if it is needed.
func (w *walker) pointer(v reflect.Value, p *plan) {
	if v.IsNil() {
		w.h.Add(0)
		return
	}
	at := v.Pointer()
	t := w.k.roots.known
	s := t.find(at)
	known := s.p == at
	if known && s.id>>63 == 1 {
		w.h.Add(s.id)
		return
	}
	if p == nil {
		p = w.k.memo.planOf(v.Type())
	}
	if p.elem.opaque {
		w.h.Add(1)
		return
	}
	id := uint64(0)
	switch {
	case known && s.walk == w.no:
		w.h.Add(uint64(s.seen) | 1<<62)
		return
	case known:
		s.walk, s.seen, id = w.no, w.seen, s.id
	default:
		for i, q := range w.met {
			if q == at {
				w.h.Add(uint64(i) | 1<<61)
				return
			}
		}
		if w.number {
			w.k.roots.next++
			id = w.k.roots.next
			t.put(at, id)
			s = t.find(at)
			s.walk, s.seen = w.no, w.seen
		} else {
			w.met = append(w.met, at)
		}
	}
	w.seen++
	w.h.Add(id)
	w.walk(v.Elem(), p.elem)
}

func (w *walker) structure(v reflect.Value, p *plan) {
	if p.opaque {
		return
	}
	if len(p.faces) > 0 && (w.number || w.stop && w.depth > 0) {
		if sv, ok := varOf(v, p); ok {
			if w.number {
				if w.k.roots.owner == nil {
					w.k.roots.owner = map[uintptr]reflect.Value{}
				}
				w.k.roots.owner[sv] = v
			}
			if w.stop && w.depth > 0 {
				return
			}
		}
	}
	w.depth++
	for i := range p.fields {
		f := &p.fields[i]
		w.walk(v.Field(f.i), f.p)
	}
	w.depth--
}

var varType = reflect.TypeFor[*machineVar]()

// varOf returns the address of the first Var in a struct's fields.
func varOf(v reflect.Value, p *plan) (uintptr, bool) {
	for _, i := range p.faces {
		f := v.Field(i)
		if !f.IsNil() && f.Elem().Type() == varType {
			return f.Elem().Pointer(), true
		}
	}
	return 0, false
}

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
