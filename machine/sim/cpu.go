// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

	"endio/explore"
)

// A CPU runs one context at a time: a task, or on top of it softirqs, or on top
// of those a hardirq.
type CPU struct {
	k   *Kernel
	id  int
	obj explore.Object // who runs, interrupts on or off, online or not
	wq  explore.Object // its pool, its timers, the work items at home here

	online bool     // hardware runs: interrupts arrive
	active bool     // ordinary tasks may run
	pinned *Context // the task that can't be taken off the CPU now

	stack   [4]*Context // interrupted contexts below the running one, tasks left out
	depth   int
	pending []softirq // raised and not yet run

	ksoftirqd *Context // while there is something for it
	serving   bool     // it runs a softirq

	pool *pool
	base timerBase
}

type softirq struct {
	id   uint64
	name string
	fn   func(*Context)
}

func (k *Kernel) newCPU(i int) {
	if i == len(k.memo.cpus) {
		k.memo.cpus = append(k.memo.cpus, &CPU{})
	}
	cpu := k.memo.cpus[i]
	*cpu = CPU{pool: cpu.pool, k: k, id: i, obj: k.x.NewObject("cpu", i), wq: k.x.NewObject("workqueues of cpu", i), online: true, active: true}
	k.cpus = append(k.cpus, cpu)
	k.add(cpu)
	k.newPool(cpu)
	k.newTimerBase(cpu)
}

// ID returns the number of the CPU, from 0.
func (p *CPU) ID() int { return p.id }

// Online and Active report the hotplug state without a step; for checks and
// guards that declare [CPU.Object].
func (p *CPU) Online() bool { return p.online }

// Active reports whether ordinary tasks may run on the CPU.
func (p *CPU) Active() bool { return p.active }

// Object returns the object that stands for who runs on the CPU.
func (p *CPU) Object() explore.Object { return p.obj }

func (p *CPU) bootOffline() {
	p.online, p.active = false, false
	p.pool.associated = false
	for _, w := range p.pool.workers {
		w.c.any = true // as workqueueOffline would have left it
	}
}

func (p *CPU) hash(h *explore.Hash) {
	v := uint64(0)
	if p.online {
		v |= 1
	}
	if p.active {
		v |= 2
	}
	if p.ksoftirqd != nil {
		v |= 1 << 12
	}
	if p.serving {
		v |= 1 << 13
	}
	v |= uint64(len(p.pending))<<2 | uint64(p.depth)<<8 | p.pinned.num()<<16
	for i := range p.depth {
		v = mix(v, p.stack[i].num())
	}
	for i := range p.pending {
		v = mix(v, p.pending[i].id)
	}
	h.Add(v)
}

// top returns the interrupt context that runs, or nil.
func (p *CPU) top() *Context {
	if p.depth == 0 {
		return nil
	}
	return p.stack[p.depth-1]
}

// irqsOn reports whether a hardirq may come.
func (p *CPU) irqsOn() bool {
	c := p.top()
	if c == nil {
		c = p.pinned
	}
	return c == nil || c.kind != InHardirq && c.irqsOff == 0
}

// tasksRun reports whether a task that is not pinned may run here now.
func (p *CPU) tasksRun() bool { return p.online && p.depth == 0 && p.pinned == nil }

func (p *CPU) push(c *Context) {
	if p.depth == len(p.stack) {
		c.t.Fail(explore.BadProgram, "interrupts nested too deeply", "")
	}
	p.stack[p.depth] = c
	p.depth++
}

// IRQOptions says how an interrupt differs from an ordinary one.
type IRQOptions struct {
	// Hard keeps the handler in hardirq context on RT (IRQF_NO_THREAD), where
	// others run in a task of their own.
	Hard bool

	// Daemon interrupts may never come.
	Daemon bool

	// ID, if not 0, is what the interrupt is known by, whoever starts its device: what its handler
	// knows follows from ID and memory that is declared. It is used once in an execution, and small.
	ID int

	// Alike, if not empty, says that this interrupt does the same as others of its CPU with that name made before, to
	// things that are alike: then they arrive in the order in which they were made, and no other has to be looked at.
	// They are all Hard, and made in Init.
	Alike string

	// Merge makes the arrival part of the handler's first step, to save one. Before
	// it the handler must not look at memory that is shared.
	Merge bool
}

// Interrupt lets a hardirq come, once, at any moment from now on. It is meant for cpu;
// when that is offline it comes to the first CPU that is online, as the kernel
// migrates it. c is the context that starts the device, nil in Init.
func (k *Kernel) Interrupt(c *Context, cpu int, name string, o IRQOptions, fn func(c *Context)) {
	k.mustHave(fn != nil, "interrupt ", name, " has no handler")
	if k.cfg.Preemption == RT && !o.Hard {
		k.threadedInterrupt(c, cpu, name, o, fn)
		return
	}
	irq := k.newContext(InHardirq, k.cpus[cpu], name)
	irq.bornAs(c, o.ID)
	irq.irqsOff = 1
	irq.hardIRQ = o.Hard
	if o.Alike != "" {
		k.lineUp(irq, c, o)
	}
	body := func(t *explore.Task) {
		irq.bind(t)
		irq.entering = true
		if !o.Merge {
			irq.enterNow()
		}
		fn(irq)
		irq.enterNow()
		irq.exitInterrupt()
	}
	k.spawn(c, name, explore.TaskOptions{Daemon: o.Daemon, Lane: cpu, Key: o.ID}, body)
}

// lineUp lets irq arrive after those that are like it.
func (k *Kernel) lineUp(irq, by *Context, o IRQOptions) {
	if by != nil && by.t != nil || !o.Hard {
		k.x.Fail(explore.BadProgram, fmt.Sprintf("interrupt %q is Alike and not Hard, or not made in Init", irq.name), "")
	}
	irq.entering, irq.alike = true, o.Alike
	for _, p := range k.ctxs {
		if p != irq && p.alike == o.Alike && p.cpu == irq.cpu {
			irq.after, irq.line = p, p.line
		}
	}
	if irq.after == nil {
		irq.line = k.x.NewObject("arrival of "+o.Alike, irq.cpu.id)
	}
}

// threadedInterrupt is an interrupt whose handler runs in a task bound to the
// CPU, with softirqs disabled.
//
// Source: irq_forced_thread_fn, kernel/irq/manage.c, Linux 7.3.
func (k *Kernel) threadedInterrupt(c *Context, cpu int, name string, o IRQOptions, fn func(c *Context)) {
	th := k.newContext(InTask, k.cpus[cpu], name)
	th.bornAs(c, o.ID)
	th.irqThread = true
	body := func(t *explore.Task) {
		th.bind(t)
		th.step("irq thread", nil) // what comes before a first step happens when the device is started
		th.LocalBHDisable()
		fn(th)
		th.LocalBHEnable()
		th.end()
	}
	k.spawn(c, name, explore.TaskOptions{Daemon: o.Daemon, Lane: cpu, Key: o.ID}, body)
}

func (k *Kernel) spawn(c *Context, name string, o explore.TaskOptions, body func(*explore.Task)) {
	cur := k.cur
	defer func() { k.cur = cur }() // the new task runs up to its first step
	if c == nil || c.t == nil {
		k.x.GoWith(name, o, body)
	} else {
		c.t.GoWith(name, o, body)
	}
}

// enterNow makes the entry of an interrupt that took no step a step.
func (c *Context) enterNow() {
	if c.entering {
		c.step("irq", nil)
	}
}

// exitInterrupt leaves the hardirq; then softirqs that were raised run, unless
// one is being run or they are disabled.
//
// Source: irq_exit_rcu and __do_softirq, kernel/softirq.c, Linux 7.3.
func (c *Context) exitInterrupt() {
	p := c.cpu
	c.checkBalance("a hardirq handler", 1)
	c.ldIRQExit()
	if !c.k.cfg.Concurrent {
		p.depth--
	}
	c.dead = true
	if len(p.pending) > 0 && p.softirqsMayRun() {
		p.runSoftirqs(c)
	}
}

func (p *CPU) softirqsMayRun() bool {
	if p.k.cfg.Preemption == RT {
		return false // ksoftirqd runs them
	}
	return p.top() == nil && (p.pinned == nil || p.pinned.bh == 0)
}

// runSoftirqs runs what is pending on p, carried by the explorer's task of c.
func (p *CPU) runSoftirqs(c *Context) {
	for len(p.pending) > 0 {
		s := p.pending[0]
		p.pending = append(p.pending[:0:0], p.pending[1:]...)
		si := p.k.newContext(InSoftirq, p, s.name)
		si.carrier = c
		si.bind(c.t)
		si.hist = s.id
		p.push(si)
		if si.ld != nil {
			si.ld.SoftirqEnter()
		}
		s.fn(si)
		si.step("softirq ends", nil)
		si.checkBalance("softirq", 0)
		p.depth--
		si.dead = true
		if si.ld != nil {
			si.ld.SoftirqExit()
		}
		c.k.cur = c
	}
}

// RaiseSoftirq makes fn pending as a softirq of the CPU that runs c. In a hardirq
// it runs when that ends; where softirqs are disabled, when they are enabled; in a
// plain task, and on RT always, ksoftirqd runs it. What is pending when the CPU dies is run by the task that takes it down.
func (c *Context) RaiseSoftirq(name string, fn func(*Context)) {
	c.k.mustHave(fn != nil, "softirq ", name, " has no handler")
	c.pinStep("raise softirq " + name) // with interrupts off, on whichever CPU that is
	p := c.cpu
	p.pending = append(p.pending, softirq{p.k.newID(c), name, fn})
	if (p.k.cfg.Preemption == RT || c.kind == InTask && c.bh == 0) && p.ksoftirqd == nil {
		p.ksoftirqd = p.k.Go(c, p.k.memo.name("ksoftirqd/", p.id), TaskOptions{CPU: OnCPU(p.id)}, p.serve).c
	}
	c.relax()
}

// serve is what ksoftirqd does, which ends when nothing is pending. What it runs has ended before its CPU can be stopped, as it has
// in the kernel before the thread is parked.
//
// Source: run_ksoftirqd, kernel/softirq.c; smpboot_thread_fn, kernel/smpboot.c, Linux 7.3; kernel-semantics.md, B6.3.
func (p *CPU) serve(c *Context) {
	for {
		c.Forget(uint64(p.id))
		c.unpin()
		c.want = true // with interrupts off
		c.step("ksoftirqd looks", nil, acc{p.obj, explore.Modify})
		c.want = false
		if !c.foldBool(len(p.pending) > 0) {
			p.ksoftirqd = nil
			return
		}
		s := p.pending[0]
		p.pending = append(p.pending[:0:0], p.pending[1:]...)
		p.serving = true
		c.fold(s.id)
		c.LocalBHDisable()
		c.relax()
		s.fn(c)
		c.LocalBHEnable()
		if p.k.cfg.Preemption == RT { // elsewhere it has had the CPU until now
			c.step("softirq ends", nil, acc{p.obj, explore.Modify})
		}
		p.serving = false
	}
}

// servesNobody reports whether c is ksoftirqd and has nothing to do: then it ends, also on a CPU that is off line.
func (c *Context) servesNobody() bool {
	return c == c.cpu.ksoftirqd && !c.cpu.serving && len(c.cpu.pending) == 0
}
