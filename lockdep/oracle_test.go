// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The oracle is a second implementation that remembers everything and decides by trying
// all: all pairs of held and acquired as dependencies, all simple cycles, all paths between
// all pairs of classes. It shares nothing with the validator but the meaning of the words.

// A oracleClass is a class of a random program.
type oracleClass struct {
	readMode How // Shared or Recursive; Exclusive if it has no shared mode
	perCPU   bool
}

type oracleHeld struct {
	class int
	mode  How
	irq   int // context: 0 task, 1 softirq, 2 hardirq
}

type oracleEdge struct {
	from, to int
	shared   bool // from is held shared
	recurse  bool // to is acquired by a recursive read
}

type oracleUsage struct {
	class   int
	softirq bool
	enabled bool
	read    bool
}

type oracle struct {
	classes []oracleClass
	held    []oracleHeld
	edges   map[oracleEdge]bool
	usage   map[oracleUsage]bool
	irq     int
	hardOff bool
	softOff bool
}

func newOracle(classes []oracleClass) *oracle {
	return &oracle{classes: classes, edges: map[oracleEdge]bool{}, usage: map[oracleUsage]bool{}}
}

// clone returns a copy on which an operation can be tried out.
func (o *oracle) clone() *oracle {
	c := *o
	c.held = slices.Clone(o.held)
	c.edges = maps.Clone(o.edges)
	c.usage = maps.Clone(o.usage)
	return &c
}

// acquire returns which rules the acquire breaks.
func (o *oracle) acquire(class int, mode How, try, sync bool) (recursion, circular, irq bool) {
	read := mode != Exclusive
	if !try && o.irq == 2 {
		o.usage[oracleUsage{class, false, false, read}] = true
	}
	if !try && o.irq == 1 {
		o.usage[oracleUsage{class, true, false, read}] = true
	}
	if !sync {
		o.enabledWith(class, read)
	}
	if !try {
		for _, h := range o.held {
			if h.class == class && !(mode == Recursive && h.mode != Exclusive) {
				recursion = true
			}
		}
		if !recursion {
			for i := len(o.held) - 1; i >= 0 && o.held[i].irq == o.irq; i-- {
				h := o.held[i]
				o.edges[oracleEdge{h.class, class, h.mode != Exclusive, mode == Recursive}] = true
			}
		}
	}
	if !sync {
		o.held = append(o.held, oracleHeld{class, mode, o.irq})
	}
	return recursion, o.hasCycle(), o.hasIRQFault()
}

// enabledWith notes that class is held with what is enabled now.
func (o *oracle) enabledWith(class int, read bool) {
	if !o.hardOff {
		o.usage[oracleUsage{class, false, true, read}] = true
		if !o.softOff {
			o.usage[oracleUsage{class, true, true, read}] = true
		}
	}
}

// enable notes what becomes enabled for all that is held.
func (o *oracle) enable() (irq bool) {
	for _, h := range o.held {
		o.enabledWith(h.class, h.mode != Exclusive)
	}
	return o.hasIRQFault()
}

func (o *oracle) release(i int) { o.held = append(o.held[:i:i], o.held[i+1:]...) }

// paths calls f with each sequence of edges that starts at from, visits no class twice
// except that it may come back to from, and is strong throughout.
func (o *oracle) paths(from int, f func(path []oracleEdge)) {
	var walk func(at int, path []oracleEdge, visited map[int]bool)
	walk = func(at int, path []oracleEdge, visited map[int]bool) {
		for e := range o.edges {
			if e.from != at || visited[e.to] && e.to != from {
				continue
			}
			if n := len(path); n > 0 && path[n-1].recurse && e.shared {
				continue
			}
			next := append(path[:len(path):len(path)], e)
			f(next)
			if e.to != from {
				visited[e.to] = true
				walk(e.to, next, visited)
				delete(visited, e.to)
			}
		}
	}
	walk(from, nil, map[int]bool{from: true})
}

// hasCycle reports whether there is a strong simple cycle.
func (o *oracle) hasCycle() bool {
	found := false
	for c := range o.classes {
		o.paths(c, func(p []oracleEdge) {
			last := p[len(p)-1]
			if last.to == c && !(last.recurse && p[0].shared) {
				found = true
			}
		})
	}
	return found
}

// hasIRQFault reports whether an interrupt can wait for what it interrupted, at once or over a
// path of dependencies.
func (o *oracle) hasIRQFault() bool {
	for in := range o.usage {
		for on := range o.usage {
			if in.enabled || !on.enabled || in.softirq != on.softirq {
				continue
			}
			if in.class == on.class && !(in.read && on.read) {
				return true
			}
			if o.joined(in, on) {
				return true
			}
		}
	}
	return false
}

// joined reports whether a strong path leads from in's class to on's, at the ends of which
// both usages block.
func (o *oracle) joined(in, on oracleUsage) bool {
	found := false
	o.paths(in.class, func(p []oracleEdge) {
		last := p[len(p)-1]
		if last.to != on.class || in.read && p[0].shared || on.read && last.recurse {
			return
		}
		if o.classes[in.class].perCPU {
			return
		}
		for _, e := range p {
			if o.classes[e.to].perCPU {
				return
			}
		}
		found = true
	})
	return found
}

// A lockProgram runs random operations on the validator and on the oracle.
type lockProgram struct {
	rt      *rapid.T
	rnd     *rand.Rand // even where rapid prefers small numbers
	o       *oracle
	v       *Validator
	task    *Task
	maps    []*Map
	log     []string
	stopped bool // after the first report the two need not agree any more
}

func newLockProgram(rt *rapid.T, interrupts bool) *lockProgram {
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
	n := 2 + rnd.IntN(4)
	p := &lockProgram{rt: rt, rnd: rnd, v: New(Config{Interrupts: interrupts, Serial: true, MaxChains: 256})}
	p.task = p.v.NewTask("t", 1)
	classes := make([]oracleClass, n)
	for i := range classes {
		c := &Class{Name: fmt.Sprintf("c%d", i)}
		modes := []How{Exclusive, Shared, Recursive}
		if interrupts {
			// The kernel does not tell a shared read from a recursive one in its usage
			// bits, and nobody takes a rwsem in an interrupt.
			modes = []How{Exclusive, Recursive}
			if rnd.IntN(6) == 0 {
				classes[i].perCPU, c.Type = true, PerCPU
			}
		}
		classes[i].readMode = modes[rnd.IntN(len(modes))]
		p.maps = append(p.maps, newMap(c))
	}
	p.o = newOracle(classes)
	if interrupts && rnd.IntN(4) != 0 {
		p.log = append(p.log, "-hirq")
		p.o.hardOff = true
		p.task.HardirqsOff(0)
	}
	return p
}

// compare checks that the validator reported if and only if the oracle knows why.
func (p *lockProgram) compare(op string, recursion, circular, irq bool) {
	p.log = append(p.log, op)
	reports := p.v.Reports()
	want := recursion || circular || irq
	if (len(reports) > 0) != want {
		p.rt.Fatalf("%v: reports = %v, oracle says recursion=%v circular=%v irq=%v", p.log, reports, recursion, circular, irq)
	}
	if !want {
		return
	}
	p.stopped = true
	for _, r := range reports {
		ok := map[Kind]bool{Recursion: recursion, Circular: circular, Inconsistent: irq, Inversion: irq, IRQOrder: irq}[r.Kind]
		if !ok {
			p.rt.Fatalf("%v: report %v, oracle says recursion=%v circular=%v irq=%v", p.log, r.Kind, recursion, circular, irq)
		}
	}
}

// avoid reports whether a faulty operation is left out: most are, so that programs grow long
// and their graphs interesting before the one that ends them.
func (p *lockProgram) avoid(recursion, circular, irq bool) bool {
	if recursion {
		return p.rnd.IntN(200) != 0
	}
	return (circular || irq) && p.rnd.IntN(8) != 0
}

func (p *lockProgram) acquire() {
	if len(p.o.held) >= 6 {
		return
	}
	c := p.rnd.IntN(len(p.maps))
	how := Exclusive
	if m := p.o.classes[c].readMode; m != Exclusive && p.rnd.IntN(2) == 0 {
		how = m
	}
	kind := p.rnd.IntN(10)
	if p.avoid(p.o.clone().acquire(c, how, kind == 1 || kind == 2, kind == 0)) {
		return
	}
	switch {
	case kind == 0:
		r, c2, i := p.o.acquire(c, how, false, true)
		p.task.Sync(p.maps[c], how, 0)
		p.compare(fmt.Sprintf("sync %d/%d", c, how), r, c2, i)
	case kind <= 2:
		r, c2, i := p.o.acquire(c, how, true, false)
		p.task.Acquire(p.maps[c], how|Try, 0)
		p.compare(fmt.Sprintf("try %d/%d", c, how), r, c2, i)
	default:
		r, c2, i := p.o.acquire(c, how, false, false)
		p.task.Acquire(p.maps[c], how, 0)
		p.compare(fmt.Sprintf("lock %d/%d", c, how), r, c2, i)
	}
}

// release releases any lock of the present context, not only the newest.
func (p *lockProgram) release() {
	var mine []int
	for i, h := range p.o.held {
		if h.irq == p.o.irq {
			mine = append(mine, i)
		}
	}
	if len(mine) == 0 {
		return
	}
	i := mine[p.rnd.IntN(len(mine))]
	c := p.o.held[i].class
	for j := len(p.o.held) - 1; j > i; j-- {
		if p.o.held[j].class == c {
			i = j // the validator releases the newest of one instance
			break
		}
	}
	if p.o.held[i].irq != p.o.irq {
		return
	}
	p.o.release(i)
	p.task.Release(p.maps[c], 0)
	p.compare(fmt.Sprintf("unlock %d", c), false, false, false)
}

// toggle changes what is enabled, or enters or leaves an interrupt.
func (p *lockProgram) toggle() {
	switch p.rnd.IntN(4) {
	case 0:
		if p.o.irq != 0 {
			return
		}
		if p.o.hardOff && p.rnd.IntN(3) == 0 {
			trial := p.o.clone()
			if trial.hardOff = false; p.avoid(false, false, trial.enable()) {
				return
			}
			p.o.hardOff = false
			irq := p.o.enable()
			p.task.HardirqsOn(0)
			p.compare("+hirq", false, false, irq)
		} else if !p.o.hardOff {
			p.o.hardOff = true
			p.task.HardirqsOff(0)
			p.compare("-hirq", false, false, false)
		}
	case 1:
		if p.o.irq != 0 {
			return
		}
		if p.o.softOff {
			trial := p.o.clone()
			if trial.softOff = false; p.avoid(false, false, trial.enable()) {
				return
			}
			p.o.softOff = false
			irq := p.o.enable()
			p.task.SoftirqsOn(0)
			p.compare("+sirq", false, false, irq)
		} else {
			p.o.softOff = true
			p.task.SoftirqsOff(0)
			p.compare("-sirq", false, false, false)
		}
	case 2:
		p.interrupt(2, func() { p.task.HardirqEnter(true) }, p.task.HardirqExit)
	case 3:
		p.interrupt(1, func() { p.task.SoftirqEnter(); p.task.HardirqsOff(0) }, p.task.SoftirqExit)
	}
}

// interrupt runs some operations in an interrupt, if one can come now, and releases all at its
// end.
func (p *lockProgram) interrupt(irq int, enter, exit func()) {
	if p.o.hardOff && len(p.o.held) == 0 { // nothing is held, so enabling marks nothing
		p.log = append(p.log, "+hirq")
		p.o.hardOff = false
		p.task.HardirqsOn(0)
		defer func() {
			if !p.stopped {
				p.log = append(p.log, "-hirq")
				p.o.hardOff = true
				p.task.HardirqsOff(0)
			}
		}()
	}
	if p.o.irq != 0 || irq == 2 && p.o.hardOff || irq == 1 && (p.o.hardOff || p.o.softOff) {
		return
	}
	saved := p.o.hardOff
	p.o.irq, p.o.hardOff = irq, true
	enter()
	p.log = append(p.log, fmt.Sprintf("irq%d{", irq))
	for range 1 + p.rnd.IntN(4) {
		if p.acquire(); p.stopped {
			return
		}
		if p.rnd.IntN(2) == 0 {
			p.release()
		}
	}
	for n := len(p.o.held) + 1; n > 0 && !p.stopped; n-- {
		p.release()
	}
	for i := len(p.o.held) - 1; i >= 0; i-- {
		if p.o.held[i].irq == irq { // release draws; make sure that nothing is left
			c := p.o.held[i].class
			p.o.release(i)
			p.task.Release(p.maps[c], 0)
		}
	}
	exit()
	p.log = append(p.log, "}")
	p.o.irq, p.o.hardOff = 0, saved
}

func (p *lockProgram) run(interrupts bool) {
	steps := 20 + p.rnd.IntN(200)
	for range steps {
		switch op := p.rnd.IntN(20); {
		case op < 10:
			p.acquire()
		case op < 11: // another chain begins
			for range p.o.held {
				p.release()
			}
		case op < 14 || !interrupts:
			p.release()
		default:
			p.toggle()
		}
		if p.stopped {
			return
		}
	}
}

// runPrograms runs a few programs for each check, since one is quick.
func runPrograms(rt *rapid.T, interrupts bool) {
	for range 20 {
		newLockProgram(rt, interrupts).run(interrupts)
	}
}

// TestOracleOrder compares cycles and recursion with the oracle on random programs.
func TestOracleOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { runPrograms(rt, false) })
}

// TestOracleInterrupts does the same with interrupts.
func TestOracleInterrupts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { runPrograms(rt, true) })
}
