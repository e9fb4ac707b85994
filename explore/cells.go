// SPDX-License-Identifier: Apache-2.0

package explore

// A Maker makes objects: an [Exec], in Init, or a [Task].
type Maker interface {
	NewObject(name string, index int) Object
}

// A Cell is a plain variable. Unordered accesses of two tasks, of which one
// writes, are a [DataRace].
type Cell[T any] struct {
	obj   Object
	value T
}

// NewCell makes a Cell with a value.
func NewCell[T any](m Maker, name string, value T) *Cell[T] {
	return &Cell[T]{obj: m.NewObject(name, -1), value: value}
}

// Get takes a step that reads the cell.
func (c *Cell[T]) Get(t *Task) T {
	t.Step(c.obj, Read)
	return c.value
}

// Set takes a step that writes the cell.
func (c *Cell[T]) Set(t *Task, v T) {
	t.Step(c.obj, Write)
	c.value = v
}

// Peek returns the value without a step, for hooks and guards.
func (c *Cell[T]) Peek() T { return c.value }

// Object returns the object, for steps of the program's own.
func (c *Cell[T]) Object() Object { return c.obj }

// An Atomic is a variable with atomic operations, like those of sync/atomic: a
// load that sees the value of a store happens after it.
type Atomic[T comparable] struct {
	obj   Object
	value T
}

// NewAtomic makes an Atomic with a value.
func NewAtomic[T comparable](m Maker, name string, value T) *Atomic[T] {
	return &Atomic[T]{obj: m.NewObject(name, -1), value: value}
}

// NewAtomics makes n of them, called name[0] to name[n-1].
func NewAtomics[T comparable](m Maker, name string, n int, value T) []*Atomic[T] {
	all := make([]Atomic[T], n)
	out := make([]*Atomic[T], n)
	for i := range all {
		all[i] = Atomic[T]{obj: m.NewObject(name, i), value: value}
		out[i] = &all[i]
	}
	return out
}

// Load takes a step that reads a.
func (a *Atomic[T]) Load(t *Task) T {
	t.Step(a.obj, AtomicRead)
	return a.value
}

// Store takes a step that writes a.
func (a *Atomic[T]) Store(t *Task, v T) {
	t.Step(a.obj, AtomicWrite)
	a.value = v
}

// Swap takes a step that writes a and returns the old value.
func (a *Atomic[T]) Swap(t *Task, v T) T {
	t.Step(a.obj, AtomicUpdate)
	old := a.value
	a.value = v
	return old
}

// CompareAndSwap takes a step that writes a if its value is old, and reports
// whether it did.
func (a *Atomic[T]) CompareAndSwap(t *Task, old, v T) bool {
	t.Step(a.obj, AtomicUpdate)
	if a.value != old {
		return false
	}
	a.value = v
	return true
}

// Update takes a step that replaces the value by f of it, and returns the new
// value.
func (a *Atomic[T]) Update(t *Task, f func(T) T) T {
	t.Step(a.obj, AtomicUpdate)
	a.value = f(a.value)
	return a.value
}

// AwaitValue takes a step that waits until the value is v. It is what a loop
// of loads would do, without the executions in which the loop goes round.
func (a *Atomic[T]) AwaitValue(t *Task, v T) {
	t.Next().On(a.obj, AtomicRead).When(&awaitValue[T]{a, v}).Do()
}

type awaitValue[T comparable] struct {
	a *Atomic[T]
	v T
}

func (w *awaitValue[T]) Enabled() bool { return w.a.value == w.v }

// Peek returns the value without a step, for hooks and guards.
func (a *Atomic[T]) Peek() T { return a.value }

// Object returns the object, for steps of the program's own.
func (a *Atomic[T]) Object() Object { return a.obj }
