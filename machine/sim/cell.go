// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

	"endio/explore"
)

// Sections. What protects data is a set of tokens: one for interrupts off on each
// CPU, and one for each lock, or for each CPU's part of a local lock.

func (k *Kernel) newToken() uint64 {
	k.tokens += MaxCPUs
	if k.tokens+MaxCPUs > 64 {
		return 0 // too many to tell apart: cells take steps instead
	}
	return 1 << k.tokens
}

func (c *Context) enterSection(bit uint64, p *CPU) { c.token |= bit << p.id }
func (c *Context) leaveSection(bit uint64, p *CPU) { c.token &^= bit << p.id }

// tokens returns what protects c now: what it holds, interrupts off on its CPU,
// and everything that belongs to CPUs on which nothing can run.
func (c *Context) tokens() uint64 {
	t := c.token
	if c.irqsOff > 0 && !c.k.cfg.Concurrent {
		t |= 1 << c.cpu.id
	}
	for _, p := range c.k.cpus {
		if !p.online {
			t |= 0x1111111111111111 << p.id &^ c.k.lockTokens
		}
	}
	return t
}

// A Cell is memory that contexts share under some protection: interrupts off on
// one CPU, a lock, or a CPU that is dead. Its accesses are no steps, because what
// protects it orders them already; a Cell whose accesses have no protection in
// common is [Corruption]. For memory without protection use [Atomic].
type Cell[T any] struct {
	k     *Kernel
	name  string
	index int
	value T

	lockset uint64
	used    bool
	last    *Context
}

// NewCell makes a cell with a value.
func NewCell[T any](k *Kernel, name string, value T) *Cell[T] { return newCell(k, name, -1, value) }

func newCell[T any](k *Kernel, name string, index int, value T) *Cell[T] {
	c := &Cell[T]{k: k, name: name, index: index, value: value}
	k.roots.add(k, &c.value)
	return c
}

// Get returns the value.
func (x *Cell[T]) Get(c *Context) T {
	x.use(c)
	c.fold(x.k.observe(&x.value))
	return x.value
}

// Set sets the value.
func (x *Cell[T]) Set(c *Context, v T) {
	x.use(c)
	x.value = v
}

// Update calls f with the value in place, to read or change it, for example to
// append to a list.
func (x *Cell[T]) Update(c *Context, f func(*T)) {
	x.use(c)
	c.fold(x.k.observe(&x.value))
	f(&x.value)
}

// Peek returns the value with no access, for checks at the end and for guards.
func (x *Cell[T]) Peek() T { return x.value }

func (x *Cell[T]) use(c *Context) {
	if why := lockset(c, &x.lockset, &x.used); why != "" {
		name := x.name
		if x.index >= 0 {
			name = fmt.Sprintf("%s[%d]", x.name, x.index)
		}
		by := ""
		if x.last != nil {
			by = fmt.Sprintf("; before, %s %q used it on cpu %d", x.last.kind, x.last.name, x.last.cpu.id)
		}
		c.t.Fail(Corruption, fmt.Sprintf("%s is used on cpu %d by %s %q %s%s", name, c.cpu.id, c.kind, c.name, why, by), "")
	}
	x.last = c
}

// lockset narrows a set of protections by those of c, and says what is wrong if
// nothing is left.
func lockset(c *Context, set *uint64, used *bool) string {
	have := c.tokens()
	if !*used {
		*used, *set = true, have
	} else {
		*set &= have
	}
	if *set != 0 {
		return ""
	}
	if have == 0 {
		return "without any protection"
	}
	return "without the protection that others rely on"
}

// A PerCPU has a Cell for each CPU, DEFINE_PER_CPU.
type PerCPU[T any] struct{ cells []*Cell[T] }

// NewPerCPU makes the cells, each with the same value.
func NewPerCPU[T any](k *Kernel, name string, value T) *PerCPU[T] {
	p := &PerCPU[T]{}
	for i := range k.cpus {
		p.cells = append(p.cells, newCell(k, name, i, value))
	}
	return p
}

// This returns the cell of the CPU that runs c, this_cpu_ptr: c must stay there.
func (p *PerCPU[T]) This(c *Context) *Cell[T] {
	if c.kind == InTask && c.any && !c.holds && c.migrate == 0 {
		c.t.Fail(Corruption, fmt.Sprintf("this_cpu_ptr in preemptible task %q: it may migrate", c.name), "")
	}
	return p.cells[c.cpu.id]
}

// On returns the cell of one CPU, per_cpu_ptr.
func (p *PerCPU[T]) On(cpu int) *Cell[T] { return p.cells[cpu] }

// An Atomic is a variable with atomic operations: each is a step.
type Atomic[T comparable] struct {
	name  string
	obj   explore.Object
	value T
	k     *Kernel
}

// NewAtomic makes an Atomic with a value. c is nil in Init.
func NewAtomic[T comparable](k *Kernel, c *Context, name string, value T) *Atomic[T] {
	a := &Atomic[T]{name: name, obj: newObject(k.maker(c), name, -1), value: value, k: k}
	k.roots.add(k, &a.value)
	return a
}

// Load reads a.
func (a *Atomic[T]) Load(c *Context) T {
	c.stepOn("read", a.name, nil, acc{a.obj, explore.AtomicRead})
	c.fold(a.k.observe(&a.value))
	return a.value
}

// Store writes a.
func (a *Atomic[T]) Store(c *Context, v T) {
	c.stepOn("write", a.name, nil, acc{a.obj, explore.AtomicWrite})
	a.value = v
}

// Update replaces the value by f of it and returns the new value.
func (a *Atomic[T]) Update(c *Context, f func(T) T) T {
	c.stepOn("update", a.name, nil, acc{a.obj, explore.AtomicUpdate})
	a.value = f(a.value)
	c.fold(a.k.observe(&a.value))
	return a.value
}

// Peek returns the value without a step.
func (a *Atomic[T]) Peek() T { return a.value }

// Object returns the object, for conditions on it.
func (a *Atomic[T]) Object() explore.Object { return a.obj }
