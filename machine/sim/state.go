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
	ids   map[uintptr]uint64 // memory that existed in Init, and the machine's objects
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
	if r.ids == nil {
		r.ids = map[uintptr]uint64{}
	}
	w := walker{k: k, h: &explore.Hash{}, number: true}
	w.walk(v)
}

func (r *roots) object(p uintptr, id uint64) {
	if r.ids == nil {
		r.ids = map[uintptr]uint64{}
	}
	r.ids[p] = id | 1<<63
}

func (r *roots) hash(k *Kernel, h *explore.Hash) {
	w := walker{k: k, h: h}
	for _, v := range r.list {
		w.walk(v)
	}
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
	var h explore.Hash
	w := walker{k: k, h: &h}
	w.walk(reflect.ValueOf(p))
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
	var h explore.Hash
	w := walker{k: k, h: &h, stop: true}
	w.walk(own)
	s := h.Sum()
	return log.put(s[0] ^ s[1])
}

// observeAll returns a hash of all memory that is declared.
func (k *Kernel) observeAll() uint64 {
	log := &k.memo.log
	if v, ok := log.get(k.x); ok {
		return v
	}
	var h explore.Hash
	k.roots.hash(k, &h)
	s := h.Sum()
	return log.put(s[0] ^ s[1])
}

func pointerOf(p any) uintptr { return reflect.ValueOf(p).Pointer() }

// A walker hashes what can be reached from a value.
type walker struct {
	k      *Kernel
	h      *explore.Hash
	seen   []uintptr
	number bool // gives ids to what it meets
	stop   bool // at structs that have a Var of their own
	depth  int
}

func (w *walker) walk(v reflect.Value) {
	switch v.Kind() {
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
		w.walk(v.Elem())
	case reflect.Pointer:
		w.pointer(v)
	case reflect.Struct:
		w.structure(v)
	case reflect.Slice, reflect.Array:
		n := v.Len()
		w.h.Add(uint64(n))
		for i := range n {
			w.walk(v.Index(i))
		}
	default:
		w.k.x.Fail(explore.BadProgram, fmt.Sprintf("shared memory has a %s: its state can't be compared (give it to OnState yourself)", v.Type()), "")
	}
}

func (w *walker) pointer(v reflect.Value) {
	if v.IsNil() {
		w.h.Add(0)
		return
	}
	p := v.Pointer()
	r := &w.k.roots
	id, known := r.ids[p]
	if id>>63 == 1 {
		w.h.Add(id)
		return
	}
	if opaque(v.Type().Elem()) {
		w.h.Add(1)
		return
	}
	for i, s := range w.seen {
		if s == p {
			w.h.Add(uint64(i) | 1<<62)
			return
		}
	}
	w.seen = append(w.seen, p)
	if w.number && !known {
		r.next++
		id = r.next
		r.ids[p] = id
	}
	w.h.Add(id)
	w.walk(v.Elem())
}

func (w *walker) structure(v reflect.Value) {
	t := v.Type()
	if opaque(t) {
		return
	}
	if sv, ok := varOf(v); ok {
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
	w.depth++
	for i := range t.NumField() {
		w.walk(v.Field(i))
	}
	w.depth--
}

var varType = reflect.TypeFor[*machineVar]()

// varOf returns the address of the first Var in a struct's fields.
func varOf(v reflect.Value) (uintptr, bool) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Interface && !f.IsNil() && f.Elem().Type() == varType {
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
