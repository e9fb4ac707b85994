// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"

	"endio/explore"
	"endio/lockdep"
	"endio/machine"
)

// A Machine is a Kernel as the completion code sees machines: a [machine.Machine].
//
// What it makes is grouped: things whose names begin alike up to the first dot, and
// which are made one after the other, are one object for the explorer. That makes
// more steps dependent than must be, which is safe, and lets a section of a Lock or
// a Local be one step.
type Machine struct {
	k      *Kernel
	prefix string
	names  map[string]bool
	group  explore.Object
	count  int
	wq     *Workqueue
	works  []*Work
}

// NewMachine returns the machine of k.
func NewMachine(k *Kernel) *Machine {
	m := k.memo.things.machines.one()
	names := m.names
	if names == nil {
		names = map[string]bool{}
	}
	clear(names)
	*m = Machine{k: k, names: names, works: m.works[:0]}
	return m
}

// Kernel returns the kernel under m.
func (m *Machine) Kernel() *Kernel { return m.k }

// InitContext returns a context for code that runs in Init, before anything else
// does. It takes no steps.
func (m *Machine) InitContext() *Context {
	c := m.k.newContext(InTask, m.k.cpus[0], "init")
	c.init = true
	return c
}

// groupOf returns the object of something called name.
func (m *Machine) groupOf(name string) explore.Object {
	prefix, _, _ := strings.Cut(name, ".")
	if prefix != m.prefix || m.names[name] {
		m.prefix = prefix
		clear(m.names)
		m.group = m.k.maker(m.k.cur).NewObject(prefix, m.count)
		m.count++
	}
	m.names[name] = true
	return m.group
}

// CPUs returns the number of possible CPUs.
func (m *Machine) CPUs() int { return len(m.k.cpus) }

// Online reports whether cpu is online.
func (m *Machine) Online(cpu machine.CPU) bool { return m.k.cpus[cpu].online }

func (m *Machine) context(mc machine.Context) *Context { return mc.(*Context) }

// A machineLocal is a [machine.Local]: interrupts off on one CPU.
type machineLocal struct {
	m     *Machine
	name  string
	bit   uint64
	parts [MaxCPUs]localPart
}

type localPart struct {
	name  string
	owner *Context
	dep   lockdep.Map
}

func (p *localPart) hash(h *explore.Hash) { h.Add(p.owner.num()) }
func (p *localPart) ready(*Context) bool  { return p.owner == nil }
func (p *localPart) describe(_ *Context, w *explore.Wait) {
	w.For = "section " + p.name
	if p.owner != nil && p.owner.t != nil {
		w.Owners = append(w.Owners, p.owner.t)
	}
}

// NewLocal returns a Local with a section for each CPU.
func (m *Machine) NewLocal(name string) machine.Local {
	l := m.k.memo.things.locals.of(machineLocal{m: m, name: name, bit: m.k.newToken()})
	class := m.k.class(name, lockdep.WaitSpin, lockdep.PerCPU)
	for i := range m.k.cpus {
		p := &l.parts[i]
		p.name = m.k.memo.name(name+"[", i)
		p.dep.Init(class)
		m.k.add(p)
	}
	m.object(l, 0)
	return l
}

// object gives what is made an identity in the state.
func (m *Machine) object(p any, id uint64) {
	if id == 0 {
		id = m.k.newID(m.k.cur)
	}
	m.k.roots.object(pointerOf(p), id)
}

// Lock enters the section of the CPU that runs the caller.
func (l *machineLocal) Lock(mc machine.Context) machine.CPU {
	c := l.m.context(mc)
	for {
		if c.any && !c.holds && c.migrate == 0 && !c.init {
			c.pickCPU()
		}
		if l.enter(c, c.cpu) {
			return c.CPU()
		}
	}
}

// LockOn enters the section of a CPU on which the caller is, or which is dead.
func (l *machineLocal) LockOn(mc machine.Context, cpu machine.CPU) {
	c := l.m.context(mc)
	p := l.m.k.cpus[cpu]
	for !l.enter(c, p) {
	}
	if c.init || !p.online || c.cpu == p && (!c.any || c.holds) {
		return
	}
	c.t.Fail(Corruption, fmt.Sprintf("%s: the section of cpu %d is entered by %s %q on cpu %d, while cpu %d runs",
		l.name, cpu, c.kind, c.name, c.cpu.id, cpu), "")
}

// enter takes the section of p. It returns false if c can't be on its CPU any more.
func (l *machineLocal) enter(c *Context, p *CPU) bool {
	part := &l.parts[p.id]
	if c.init {
		return true
	}
	if c.token&(l.bit<<p.id) != 0 {
		c.t.Fail(explore.Deadlock, fmt.Sprintf("%s %q enters section %s, in which it is already", c.kind, c.name, part.name), "")
	}
	// The step also covers the workqueues of p: see cover.
	c.want, c.picked = true, true
	accs := [2]acc{{p.wq, explore.AtomicUpdate}, {c.cpu.obj, explore.Observe}}
	n := 1
	if l.m.k.cfg.Concurrent && c.any {
		n = 2
	}
	var cond condition
	if l.m.k.cfg.Concurrent {
		cond = part
	}
	c.stepOn("enter", part.name, cond, accs[:n]...)
	c.want, c.picked = false, false
	if c.entering { // its CPU is gone
		return false
	}
	if c.irqThread && c.cpu != p { // so was the thread's, which has moved
		c.unpin()
		return false
	}
	if c.migratable() && !c.cpu.online || c.any && c.holds && !c.cpu.active && c.irqsOff == 0 && c.preempt == 0 && !l.m.k.cfg.Concurrent {
		c.unpin()
		return false
	}
	if c.kind == InTask && !c.holds && !l.m.k.cfg.Concurrent {
		return false // its CPU became inactive before it was there: it picks another
	}
	if part.owner != nil {
		c.t.Fail(Corruption, fmt.Sprintf("%s %q enters section %s while %s %q is in it", c.kind, c.name, part.name, part.owner.kind, part.owner.name), "")
	}
	part.owner = c
	c.irqsOff++
	if c.irqsOff == 1 && c.ld != nil {
		c.ld.HardirqsOff(c.Site())
	}
	c.dep(&part.dep, lockdep.Exclusive)
	c.hold(p.wq, part.name)
	c.enterSection(l.bit, p)
	c.covering(p.wq)
	return true
}

// covering lets one operation on o be part of the running step. Entering a
// section moves right past the steps of others, and all that the section protects
// moves both ways, so with one more operation the whole is as if it were done at
// the moment of that operation; the next one needs a step again.
//
// Source: R. J. Lipton, Reduction, CACM 18(12), 1975.
func (c *Context) covering(o explore.Object) {
	c.covered, c.covers = true, 1
	c.cover[0] = o
}

// Unlock leaves the section.
func (l *machineLocal) Unlock(mc machine.Context, cpu machine.CPU) {
	c := l.m.context(mc)
	if c.init {
		return
	}
	part := &l.parts[cpu]
	if part.owner != c {
		c.t.Fail(Imbalance, fmt.Sprintf("%s %q leaves section %s, in which it is not", c.kind, c.name, part.name), "")
	}
	part.owner = nil
	wq := l.m.k.cpus[cpu].wq
	if c.covered {
		c.tail = wq
	}
	c.covered = false
	c.unhold(wq, part.name)
	c.leaveSection(l.bit, l.m.k.cpus[cpu])
	c.undep(&part.dep)
	c.irqsOff--
	if c.irqsOff == 0 {
		if c.ld != nil {
			c.ld.HardirqsOn(c.Site())
		}
	}
	c.relax()
}

// A machineLock is a [machine.Lock]: a raw spinlock, with interrupts off.
type machineLock struct {
	m   *Machine
	bit uint64
	lock
}

// NewLock returns an unlocked Lock.
func (m *Machine) NewLock(name string) machine.Lock {
	l := m.k.memo.things.locks.of(machineLock{m: m, bit: m.k.newToken()})
	l.k, l.name, l.obj = m.k, name, m.groupOf(name)
	l.dep.Init(m.k.class(name, lockdep.WaitSpin, lockdep.Normal))
	m.k.add(l)
	m.object(l, 0)
	return l
}

// Lock spins until the lock is free, with interrupts off.
func (l *machineLock) Lock(mc machine.Context) {
	c := l.m.context(mc)
	if c.init {
		return
	}
	if l.owner == c {
		c.t.Fail(explore.Deadlock, fmt.Sprintf("%s %q takes lock %s, which it holds", c.kind, c.name, l.name), "")
	}
	c.want = true
	c.stepOn("lock", l.name, l, acc{l.obj, explore.AtomicUpdate})
	c.want = false
	c.irqsOff++
	if c.irqsOff == 1 && c.ld != nil {
		c.ld.HardirqsOff(c.Site())
	}
	c.dep(&l.dep, lockdep.Exclusive)
	l.take(c)
	c.token |= l.bit
	c.covering(l.obj)
}

// Unlock frees the lock.
func (l *machineLock) Unlock(mc machine.Context) {
	c := l.m.context(mc)
	if c.init {
		return
	}
	l.drop(c)
	c.covered = false
	c.token &^= l.bit
	c.irqsOff--
	if c.irqsOff == 0 && c.ld != nil {
		c.ld.HardirqsOn(c.Site())
	}
	c.relax()
}

// A machineVar is a [machine.Var].
type machineVar struct {
	m    *Machine
	name string
	obj  explore.Object
	own  memory // the struct that has it as a field

	lockset uint64
	used    bool
	plain   bool // used outside of sections: then each access is a step
	last    *Context
}

// NewVar returns the name of plain memory.
func (m *Machine) NewVar(name string) machine.Var {
	v := m.k.memo.things.vars.of(machineVar{m: m, name: name})
	v.obj = m.k.maker(m.k.cur).NewObject(name, len(m.k.parts))
	m.k.add(v)
	m.object(v, 0)
	return v
}

func (v *machineVar) hash(h *explore.Hash) {
	x := v.lockset << 1
	if v.plain {
		x++
	}
	h.Add(x)
}

// Read announces a read.
func (v *machineVar) Read(mc machine.Context) { v.use(mc, explore.Read, "read ") }

// Write announces a write.
func (v *machineVar) Write(mc machine.Context) { v.use(mc, explore.Write, "write ") }

func (v *machineVar) use(mc machine.Context, kind explore.Kind, what string) {
	c := v.m.context(mc)
	if c.init {
		return
	}
	if c.token == 0 && !v.used || v.plain {
		// Without a section the access is visible, and the explorer looks for races.
		v.plain = true
		c.step(what+v.name, nil, acc{v.obj, kind})
		c.fold(v.m.k.observeAll())
		return
	}
	have := c.token
	if !v.used {
		v.used, v.lockset = true, have
	}
	v.lockset &= have
	if v.lockset == 0 {
		by := ""
		if v.last != nil {
			by = fmt.Sprintf(" under which %s %q used it", v.last.kind, v.last.name)
		}
		c.t.Fail(explore.DataRace, fmt.Sprintf("%s is used by %s %q on cpu %d outside of the section%s", v.name, c.kind, c.name, c.cpu.id, by), "")
	}
	v.last = c
	c.fold(v.m.k.observeVar(v))
}

// A machineCounter is a [machine.Counter].
type machineCounter struct {
	m     *Machine
	name  string
	obj   explore.Object
	value int64
}

// NewCounter returns a Counter at n.
func (m *Machine) NewCounter(name string, n int64) machine.Counter {
	a := m.k.memo.things.counters.of(machineCounter{m: m, name: name, obj: m.groupOf(name), value: n})
	m.k.add(a)
	m.object(a, 0)
	return a
}

func (a *machineCounter) hash(h *explore.Hash) { h.Add(uint64(a.value)) }

// Add adds delta and returns the sum.
func (a *machineCounter) Add(mc machine.Context, delta int64) int64 {
	c := a.m.context(mc)
	if !c.init && !c.coveredBy(a.obj) {
		c.stepOn("add to", a.name, nil, acc{a.obj, explore.AtomicUpdate})
	}
	a.value += delta
	c.fold(uint64(a.value))
	return a.value
}

// Load returns the value.
func (a *machineCounter) Load(mc machine.Context) int64 {
	c := a.m.context(mc)
	if !c.init && !c.coveredBy(a.obj) {
		c.stepOn("load", a.name, nil, acc{a.obj, explore.AtomicRead})
	}
	c.fold(uint64(a.value))
	return a.value
}

// A machineQueue is a [machine.WaitQueue].
type machineQueue struct {
	m *Machine
	waitQueue
}

// NewWaitQueue returns a WaitQueue on which nobody sleeps.
func (m *Machine) NewWaitQueue(name string) machine.WaitQueue {
	q := &machineQueue{m: m, waitQueue: waitQueue{k: m.k, id: m.k.partID(), name: name, obj: m.groupOf(name)}}
	m.k.add(q)
	m.object(q, 0)
	return q
}

// Sleep returns when cond is ready, the queue is woken, or the caller has something
// to help with.
func (q *machineQueue) Sleep(mc machine.Context, cond machine.Condition) {
	c := q.m.context(mc)
	c.MightSleep("sleep on " + q.name)
	both := c.helpWq != nil && c.helpWq != &q.waitQueue
	history := c.hist
	objs := []acc{{q.obj, explore.AtomicUpdate}}
	if both {
		objs = append(objs, acc{c.helpWq.obj, explore.AtomicUpdate})
	}
	c.stepOn("prepare to sleep on", q.name, nil, objs...)
	q.enlist(c)
	if both {
		c.helpWq.enlist(c)
		c.sleep.wq = &q.waitQueue
	}
	if !cond.Ready(c) && !(c.help != nil && c.help.Ready(c)) {
		c.sleep.what = cond
		c.block("sleep on "+q.name, nil, Uninterruptible, objs...)
		c.sleep.what = nil
	}
	q.Finish(c)
	if both {
		c.helpWq.Finish(c)
	}
	c.sleep.wq, c.sleep.woken = nil, false
	c.Keep(history, keepQueueSleep)
}

// Wake wakes all who sleep.
func (q *machineQueue) Wake(mc machine.Context) {
	c := q.m.context(mc)
	if !c.coveredBy(q.obj) {
		c.stepOn("wake", q.name, nil, acc{q.obj, explore.AtomicUpdate})
	}
	q.wakeAll()
}

// A machineWork is a [machine.Work].
type machineWork struct {
	m *Machine
	w *Work
}

// NewWork returns an idle, enabled work item that runs fn on cpu.
func (m *Machine) NewWork(name string, cpu machine.CPU, fn, stalled func(machine.Context)) machine.Work {
	if m.wq == nil {
		m.wq = m.k.AllocWorkqueue("machine", MemReclaim)
	}
	m.k.mustHave(fn != nil, "work ", name, " has no function")
	w := m.k.NewWork(m.k.cur, name, int(cpu), func(c *Context) { fn(c) })
	if stalled != nil {
		w.stall = func(c *Context) { stalled(c) }
	}
	m.works = append(m.works, w)
	mw := m.k.memo.things.handles.of(machineWork{m: m, w: w})
	m.object(mw, w.id)
	return mw
}

// Works returns the work items that m has made, in their order. For reports.
func (m *Machine) Works() []*Work { return m.works }

// Queue makes the item pending.
func (w *machineWork) Queue(c machine.Context) bool { return w.QueueAfter(c, 0) }

// QueueAfter does so after d.
func (w *machineWork) QueueAfter(mc machine.Context, d machine.Duration) bool {
	c := w.m.context(mc)
	ticks := 0
	if d > 0 {
		ticks = 1
	}
	return w.m.wq.QueueDelayedWorkOn(c, w.w.home.id, w.w, ticks)
}

// Disable withdraws a pending run, refuses further ones, and waits for the instance
// that runs.
func (w *machineWork) Disable(mc machine.Context) {
	c := w.m.context(mc)
	if c.init {
		w.w.depth++
		return
	}
	w.w.Disable(c)
	if w.w.runs == 0 || w.w.stalled {
		return // nothing to wait for: also where the caller may not
	}
	w.w.Flush(c)
}

// Enable ends one Disable.
func (w *machineWork) Enable(mc machine.Context) bool { return w.w.Enable(w.m.context(mc)) }

// Retire withdraws a pending run and refuses all further ones.
func (w *machineWork) Retire(mc machine.Context) {
	c := w.m.context(mc)
	w.w.opStepOf(c, "retire", func() cpuSet {
		set := w.w.touches(nil)
		if w.w.place == inTimer {
			set |= w.w.base.cpu.bit()
		}
		return set
	})
	switch w.w.place {
	case inTimer:
		w.w.base.remove(w.w)
	case onList:
		w.w.pool.remove(w.w)
	}
	w.w.pending, w.w.place, w.w.retired = false, idle, true
}

// AddHotplug registers callbacks.
func (m *Machine) AddHotplug(h machine.Hotplug) {
	wrap := func(f func(machine.Context, machine.CPU)) func(*Context, *CPU) error {
		if f == nil {
			return nil
		}
		return func(c *Context, p *CPU) error { f(c, machine.CPU(p.id)); return nil }
	}
	m.k.AddState(StateOnlineDyn, HotplugState{Name: "dyn:" + h.Name + ":online", Startup: wrap(h.Online), Teardown: wrap(h.Down)})
	m.k.AddState(StatePrepareDyn, HotplugState{Name: "dyn:" + h.Name + ":dead", Teardown: wrap(h.Dead)})
}

var _ machine.Machine = (*Machine)(nil)
var _ machine.Context = (*Context)(nil)
