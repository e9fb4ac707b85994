// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/bits"
	"reflect"
	"unsafe"

	"endio/explore"
)

// memory is a value of the program's somewhere in memory, which this file reads by offsets
// that reflection has given once for each type: a walk by reflect.Value takes several times as
// long, and hashing states is most of what a search does. Nothing is written. What is
// at belongs to the execution, is kept by a pointer and does not move.
type memory struct {
	at   unsafe.Pointer
	plan *plan
}

// A plan is what a walk does with the values of a type.
type plan struct {
	kind   reflect.Kind
	typ    reflect.Type
	opaque bool
	size   uintptr
	elem   *plan // of a pointer, slice or array
	len    int   // of an array
	fields []planField
	faces  []planField // those fields that are interfaces: one of them may hold a Var
	held   []face      // of an interface: what it was seen to hold
}

type planField struct {
	offset uintptr
	p      *plan
}

// A face is a type of which an interface was seen to hold a value.
type face struct {
	word    unsafe.Pointer // the first word of the interface
	pointer bool
	p       *plan // of what is held, or of what a pointer points to
}

// planOf returns the plan for a type, the same for all executions.
func (m *memo) planOf(t reflect.Type) *plan {
	if p := m.plans[t]; p != nil {
		return p
	}
	p := &plan{kind: t.Kind(), typ: t, opaque: opaque(t), size: t.Size()}
	m.plans[t] = p
	switch p.kind {
	case reflect.Array:
		p.len = t.Len()
		fallthrough
	case reflect.Pointer, reflect.Slice:
		p.elem = m.planOf(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			q := m.planOf(f.Type)
			if q.kind == reflect.Interface {
				p.faces = append(p.faces, planField{f.Offset, q})
			}
			if !(q.kind == reflect.Struct && q.opaque) {
				p.fields = append(p.fields, planField{f.Offset, q})
			}
		}
	}
	return p
}

// A walker hashes what can be reached from a value.
type walker struct {
	k      *Kernel
	sum    uint64
	no     uint32
	seen   uint32    // pointers met
	met    []uintptr // those that have no number
	number bool      // gives ids to what it meets
	stop   bool      // at structs that have a Var of their own
	depth  int
}

// add adds a value to the hash. One multiplication mixes all bits of both, as in wyhash by Wang Yi (public domain);
// in a walk of some hundred values three a value, as explore.Hash has them, count.
func (w *walker) add(v uint64) {
	hi, lo := bits.Mul64(w.sum^0x9e3779b97f4a7c15, v^0xe7037ed1a0b428db)
	w.sum = bits.RotateLeft64(w.sum, 23) ^ hi ^ lo
}

// newWalker returns the walker of k, which has one at a time.
func (k *Kernel) newWalker() *walker {
	t := k.roots.known
	t.walks++
	w := &k.memo.walker
	*w = walker{k: k, no: t.walks, met: w.met[:0]}
	return w
}

func (w *walker) walk(at unsafe.Pointer, p *plan) {
	switch p.kind {
	case reflect.Bool:
		w.add(boolBit(*(*bool)(at)))
	case reflect.Int8:
		w.add(uint64(*(*int8)(at)))
	case reflect.Int16:
		w.add(uint64(*(*int16)(at)))
	case reflect.Int32:
		w.add(uint64(*(*int32)(at)))
	case reflect.Uint8:
		w.add(uint64(*(*uint8)(at)))
	case reflect.Uint16:
		w.add(uint64(*(*uint16)(at)))
	case reflect.Uint32:
		w.add(uint64(*(*uint32)(at)))
	case reflect.Int64, reflect.Uint64:
		w.add(*(*uint64)(at))
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		w.add(uint64(*(*uint)(at)))
	case reflect.String:
		s := *(*string)(at)
		w.add(uint64(len(s)))
		for i := range len(s) {
			w.add(uint64(s[i]))
		}
	case reflect.Func: // a pointer to what begins with a pointer to the code
		if f := *(*unsafe.Pointer)(at); f == nil {
			w.add(0)
		} else {
			w.add(uint64(*(*uintptr)(f)))
		}
	case reflect.Interface:
		w.face(at, p)
	case reflect.Pointer:
		w.pointer(*(*unsafe.Pointer)(at), p.elem)
	case reflect.Struct:
		w.structure(at, p)
	case reflect.Slice:
		s := *(*[]byte)(at) // only its pointer and length are looked at
		w.array(unsafe.Pointer(unsafe.SliceData(s)), len(s), p.elem)
	case reflect.Array:
		w.array(at, p.len, p.elem)
	default:
		w.k.x.Fail(explore.BadProgram, fmt.Sprintf("shared memory has a %s: its state can't be compared (give it to OnState yourself)", p.typ), "")
	}
}

func (w *walker) array(at unsafe.Pointer, n int, elem *plan) {
	w.add(uint64(n))
	for i := range n {
		w.walk(unsafe.Add(at, uintptr(i)*elem.size), elem)
	}
}

// face walks to what an interface holds.
func (w *walker) face(at unsafe.Pointer, p *plan) {
	words := (*[2]unsafe.Pointer)(at)
	if words[0] == nil {
		w.add(0)
		return
	}
	f := w.holds(at, p)
	if f.pointer {
		w.pointer(words[1], f.p)
		return
	}
	v := reflect.New(f.p.typ) // of some types the second word is the value, of others it points to it
	v.Elem().Set(reflect.NewAt(p.typ, at).Elem().Elem())
	w.walk(v.UnsafePointer(), f.p)
}

// holds returns the type of what the interface at at holds, which is not nil. Its first word stands for
// it: the runtime makes one for each type, or for each type and interface, and keeps it for ever.
func (w *walker) holds(at unsafe.Pointer, p *plan) *face {
	word := *(*unsafe.Pointer)(at)
	for i := range p.held {
		if p.held[i].word == word {
			return &p.held[i]
		}
	}
	t := reflect.NewAt(p.typ, at).Elem().Elem().Type()
	f := face{word: word, pointer: t.Kind() == reflect.Pointer}
	if f.pointer {
		t = t.Elem()
	}
	f.p = w.k.memo.planOf(t)
	p.held = append(p.held, f)
	return &p.held[len(p.held)-1]
}

// pointer walks to what is at at, once. p is the plan of that.
func (w *walker) pointer(at unsafe.Pointer, p *plan) {
	if at == nil {
		w.add(0)
		return
	}
	t := w.k.roots.known
	s := t.find(uintptr(at))
	known := s.p == uintptr(at)
	if known && s.id>>63 == 1 {
		w.add(s.id)
		return
	}
	if p.opaque {
		w.add(1)
		return
	}
	id := uint64(0)
	switch {
	case known && s.walk == w.no:
		w.add(uint64(s.seen) | 1<<62)
		return
	case known:
		s.walk, s.seen, id = w.no, w.seen, s.id
	default:
		for i, q := range w.met {
			if q == uintptr(at) {
				w.add(uint64(i) | 1<<61)
				return
			}
		}
		if w.number {
			w.k.roots.next++
			id = w.k.roots.next
			t.put(uintptr(at), id)
			s = t.find(uintptr(at))
			s.walk, s.seen = w.no, w.seen
		} else {
			w.met = append(w.met, uintptr(at))
		}
	}
	w.seen++
	w.add(id)
	w.walk(at, p)
}

func (w *walker) structure(at unsafe.Pointer, p *plan) {
	if p.opaque {
		return
	}
	if len(p.faces) > 0 && (w.number || w.stop && w.depth > 0) {
		if v := w.varOf(at, p); v != nil {
			if w.number {
				v.own = memory{at, p}
			}
			if w.stop && w.depth > 0 {
				return
			}
		}
	}
	w.depth++
	for i := range p.fields {
		f := &p.fields[i]
		w.walk(unsafe.Add(at, f.offset), f.p)
	}
	w.depth--
}

var varType = reflect.TypeFor[machineVar]()

// varOf returns the first Var in a struct's fields, or nil.
func (w *walker) varOf(at unsafe.Pointer, p *plan) *machineVar {
	for i := range p.faces {
		f := &p.faces[i]
		words := (*[2]unsafe.Pointer)(unsafe.Add(at, f.offset))
		if words[0] == nil {
			continue
		}
		if h := w.holds(unsafe.Pointer(words), f.p); h.pointer && h.p.typ == varType {
			return (*machineVar)(words[1])
		}
	}
	return nil
}
