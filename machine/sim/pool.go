// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"

	"endio/explore"
)

// WQFlags are the flags of a workqueue.
type WQFlags uint8

// MemReclaim gives the workqueue a rescuer: a thread that runs its items when
// there is no memory for a worker.
const MemReclaim WQFlags = 1

// A Workqueue is struct workqueue_struct, of the per-CPU kind.
type Workqueue struct {
	k       *Kernel
	name    string
	flags   WQFlags
	rescuer *worker
	mayday  []*pool // that sent for the rescuer, with Config.LateMemory
}

// AllocWorkqueue makes a workqueue. Call it in Init.
func (k *Kernel) AllocWorkqueue(name string, flags WQFlags) *Workqueue {
	q := k.memo.things.queues.of(Workqueue{k: k, name: name, flags: flags})
	k.wqs = append(k.wqs, q)
	if flags&MemReclaim != 0 && k.cfg.NoMemory {
		q.rescuer = k.newRescuer(q)
		k.add(q)
	}
	return q
}

// SystemWq returns the workqueue of everybody, without a rescuer.
func (k *Kernel) SystemWq() *Workqueue { return k.systemWq }

// A pool is a CPU's worker pool.
//
// Source: struct worker_pool, kernel/workqueue.c, Linux 7.3; kernel-semantics.md, B5.
type pool struct {
	cpu        *CPU
	list       []*Work
	workers    []*worker
	associated bool // its workers are bound to the CPU
	nrRunning  int  // workers that run and count for concurrency management
	noMemory   bool
}

func (q *Workqueue) hash(h *explore.Hash) {
	v := uint64(len(q.mayday))
	for _, p := range q.mayday {
		v = mix(v, uint64(p.cpu.id))
	}
	h.Add(v)
}

// A worker is a kworker thread, or a rescuer.
type worker struct {
	k       *Kernel
	name    string
	pool    *pool
	wq      *Workqueue // a rescuer's
	index   int
	c       *Context
	cur     *Work
	counted bool // in pool.nrRunning
	hog     bool // found to be CPU-intensive: not counted until the item ends
	acc     [1]acc
	named   where // whose name is kept
}

// where is a worker's CPU, counted from 1, and its number in the pool there.
type where struct{ cpu, index int }

func (k *Kernel) newPool(cpu *CPU) {
	p := cpu.pool
	if p == nil {
		p = &pool{}
	}
	*p = pool{cpu: cpu, associated: true, list: p.list[:0], workers: p.workers[:0]}
	cpu.pool = p
	k.add(p)
	n := k.cfg.Workers
	if k.cfg.NoMemory {
		outcomes := 2 // memory, none, and for some: late
		if k.cfg.LateMemory {
			outcomes = 3
		}
		outcome := k.x.Choose(outcomes)
		p.noMemory = outcome > 0
		if outcome == 1 {
			n = 0
		}
		if p.noMemory && k.cfg.LateMemory {
			k.startMayday(p, outcome == 2)
		}
	}
	for i := range n {
		if k.workers == len(k.memo.workers) {
			k.memo.workers = append(k.memo.workers, &worker{})
		}
		w := k.memo.workers[k.workers]
		k.workers++
		*w = worker{k: k, pool: p, index: i, name: w.name, named: w.named}
		p.workers = append(p.workers, w)
		// The name is kept for the next execution, in which the worker may be another CPU's, if a pool has none.
		if now := (where{cpu.id + 1, i}); w.named != now {
			w.name, w.named = fmt.Sprintf("kworker/%d:%d", cpu.id, i), now
		}
		w.start(k, w.name, cpu)
	}
}

// The loop of a worker is body: worker_thread, or rescuer_thread.
func (w *worker) start(k *Kernel, name string, cpu *CPU) {
	w.name = name
	w.c = k.newContext(InTask, cpu, name)
	w.c.worker = w
	o := explore.TaskOptions{Daemon: true, Lane: cpu.id}
	if w.wq == nil {
		o.First = w.first // most never take a step
	}
	k.spawn(nil, name, o, w.body)
}

// first declares that an idle worker waits for work.
func (w *worker) first(t *explore.Task) {
	c := w.c
	c.bind(t)
	w.begin(c)
	w.home(c)
	c.what = "takes work"
	c.declare(w.name, w, w.takes())
	c.what = ""
}

func (w *worker) body(t *explore.Task) {
	c := w.c
	declared := w.wq == nil
	if !declared {
		c.bind(t)
	}
	for {
		if !declared {
			w.begin(c)
		}
		x := w.take(c, declared)
		declared = false
		c.fold(x.id)
		x.fn(c)
		w.finish(c, x)
	}
}

// begin forgets the item before.
func (w *worker) begin(c *Context) {
	c.Forget(uint64(w.index))
	c.unpin()
}

// takes is what the step declares in which w takes an item.
func (w *worker) takes() []acc {
	w.acc[0] = acc{w.pool.cpu.wq, explore.AtomicUpdate}
	return w.acc[:]
}

// startMayday starts what happens to a pool whose manager has asked for memory: the timer that sends for rescuers, and,
// if late, that the memory comes after all.
//
// Source: pool_mayday_timeout, maybe_create_worker, kernel/workqueue.c, Linux 7.3; kernel-semantics.md, B5.
func (k *Kernel) startMayday(p *pool, late bool) {
	o := explore.TaskOptions{Daemon: true, Lane: p.cpu.id}
	k.spawn(nil, "mayday timer", o, func(t *explore.Task) {
		for d := (&distress{p}); ; {
			t.Next().On(p.cpu.wq, explore.AtomicUpdate).When(d).Waiting(d).Lane(p.cpu.id).Label("mayday timer").Do()
			for _, q := range d.calls() {
				q.mayday = append(q.mayday, p)
			}
		}
	})
	if late {
		k.spawn(nil, "manager", o, func(t *explore.Task) {
			d := (*shortage)(p)
			t.Next().On(p.cpu.wq, explore.AtomicUpdate).When(d).Waiting(d).Lane(p.cpu.id).Label("manager gets memory").Do()
			p.noMemory = false
		})
	}
}

// shortage is the guard of the manager: its pool has something to do and nobody to do it.
type shortage pool

// Enabled reports whether a worker is wanted.
func (p *shortage) Enabled() bool { return p.noMemory && len(p.list) > 0 }

// DescribeWait says what the manager waits for.
func (p *shortage) DescribeWait(w *explore.Wait) { w.For = "a pool that wants a worker" }

// distress is the guard of the mayday timer.
type distress struct{ p *pool }

// calls returns the workqueues whose rescuers are not on their way yet, and would have something to do.
func (d *distress) calls() []*Workqueue {
	var qs []*Workqueue
	if !d.p.noMemory {
		return nil
	}
	for _, w := range d.p.list {
		if q := w.wq; q.rescuer != nil && !slices.Contains(q.mayday, d.p) && !slices.Contains(qs, q) {
			qs = append(qs, q)
		}
	}
	return qs
}

// Enabled reports whether the pool is in distress.
func (d *distress) Enabled() bool { return len(d.calls()) > 0 }

// DescribeWait says what they wait for.
func (d *distress) DescribeWait(w *explore.Wait) { w.For = "a pool in distress" }

func (k *Kernel) newRescuer(q *Workqueue) *worker {
	w := &worker{k: k, wq: q, index: -1}
	w.pool = k.cpus[0].pool
	w.start(k, "rescuer "+q.name, k.cpus[0])
	return w
}

func (p *pool) hash(h *explore.Hash) {
	v := uint64(p.nrRunning)
	if p.associated {
		v |= 1 << 8
	}
	if p.noMemory {
		v |= 1 << 9
	}
	for _, w := range p.list {
		v = mix(v, w.id)
	}
	for _, w := range p.workers {
		if w.cur != nil {
			v = mix(v, w.cur.id<<2|3)
			if w.counted { // by nrRunning: hotplug may have taken it out
				v++
			}
			if w.hog {
				v = mix(v, 7)
			}
		} else {
			v = mix(v, 1)
		}
	}
	h.Add(v)
}

func (p *pool) remove(w *Work) {
	for i, o := range p.list {
		if o == w {
			p.list = append(p.list[:i], p.list[i+1:]...)
			return
		}
	}
}

// next returns the first item that w may take, or nil.
func (p *pool) next(w *worker) *Work {
	for _, x := range p.list {
		if (w.wq == nil || x.wq == w.wq) && (x.runs == 0 || x.stalled) {
			return x
		}
	}
	return nil
}

// ready reports whether w may take an item: concurrency management lets one run
// at a time while the pool is associated. Idle workers are alike, so the first
// one goes.
func (w *worker) ready(c *Context) bool {
	p := w.pool
	if w.wq != nil {
		return w.distressed() != nil
	}
	if p.noMemory {
		return false // it is not made yet
	}
	if p.associated && p.nrRunning > 0 || p.next(w) == nil {
		return false
	}
	for _, o := range p.workers[:w.index] {
		if o.cur == nil {
			return false
		}
	}
	return true
}

func (w *worker) describe(_ *Context, d *explore.Wait) { d.For = "work" }

// take waits for an item, or has done so if that was declared, and starts it: PENDING is cleared
// before the function is called.
//
// Source: process_one_work, kernel/workqueue.c, Linux 7.3.
func (w *worker) take(c *Context, declared bool) *Work {
	switch {
	case declared && c.taken():
		c.stepped()
	case w.wq != nil:
		var objs []acc
		for _, p := range w.k.cpus {
			objs = append(objs, acc{p.wq, explore.AtomicUpdate})
		}
		c.any = true
		w.attach(c, objs)
	default:
		if !declared {
			w.home(c)
		}
		c.stepOn(w.name, "takes work", w, w.takes()...)
	}
	p := w.pool
	x := p.next(w)
	p.remove(x)
	x.pending, x.place, x.pool = false, idle, nil
	x.runs, x.last, x.stalled = x.runs+1, p, false
	w.cur = x
	w.running()
	return x
}

// distressed returns a pool that has sent for rescuer w and has something for it, or nil. What it would have found was run by
// others meanwhile is not worth a step.
func (w *worker) distressed() *pool {
	for _, cpu := range w.k.cpus {
		p := cpu.pool
		sent := p.noMemory
		if w.k.cfg.LateMemory {
			sent = slices.Contains(w.wq.mayday, p)
		}
		if sent && p.next(w) != nil {
			return p
		}
	}
	return nil
}

// attach lets a rescuer find a pool in distress and join it: bound to the pool's
// CPU unless the pool is disassociated.
//
// Source: rescuer_thread, worker_attach_to_pool, kernel/workqueue.c, Linux 7.3.
func (w *worker) attach(c *Context, objs []acc) {
	c.step(w.name+" answers mayday", w, objs...)
	w.pool = w.distressed()
	w.wq.mayday = slices.DeleteFunc(w.wq.mayday, func(p *pool) bool { return p == w.pool })
	w.pool.workers = append(w.pool.workers, w)
	if c.holds {
		c.unpin()
	}
	w.home(c)
	c.cpu = w.pool.cpu
	if !w.pool.associated {
		c.cpu = w.k.firstOnline()
	}
}

// home sets where the worker runs next.
func (w *worker) home(c *Context) {
	c.any = !w.pool.associated
	if !c.any {
		c.cpu = w.pool.cpu
	}
}

// running counts w for concurrency management, in a step that modifies the pool.
func (w *worker) running() {
	if w.pool.associated && w.wq == nil && !w.counted && !w.hog {
		w.counted = true
		w.pool.nrRunning++
	}
}

func (w *worker) uncount() {
	if w.counted {
		w.counted = false
		w.pool.nrRunning--
	}
}

// sleeping is called when the function that w runs is about to sleep,
// wq_worker_sleeping. It belongs to a step that modifies the pool.
func (w *worker) sleeping(c *Context) {
	w.uncount()
	if x := w.cur; x != nil && x.stall != nil && !x.stalled && !x.stalling {
		w.callStall(c, x)
	}
}

// callStall tells the item that its instance stalls, on its CPU with interrupts off.
func (w *worker) callStall(c *Context, x *Work) {
	x.stalling = true
	k := c.k
	n := k.newContext(InHardirq, c.cpu, c.name+", going to sleep")
	n.carrier = c
	n.bind(c.t)
	c.makes++ // what is made in two stalls is not the same
	n.hist = mix(n.hist, c.makes)
	n.irqsOff = 1
	if n.ld != nil {
		n.ld.HardirqsOff(n.Site())
	}
	if !k.cfg.Concurrent {
		if !c.holds {
			c.want = true
			c.step("sleeping", nil)
			c.want = false
		}
		c.cpu.push(n)
	}
	x.stall(n)
	x.finishStep(n, "stalled", nil)
	x.stalled, x.stalling = true, false
	if !k.cfg.Concurrent {
		n.cpu.depth--
	}
	n.dead = true
	k.cur = c
}

// finish ends an instance of x.
func (w *worker) finish(c *Context, x *Work) {
	if !c.balanced(0) {
		c.checkBalance("work "+x.name+" of", 0)
	}
	// The end right after a section of the CPU is part of it: nobody can tell,
	// but for who looks at running instances from outside, who waits anyway.
	if c.tail != w.pool.cpu.wq || x.home != w.pool.cpu {
		x.finishStep(c, c.labelled("end of ", x.name), w.pool.cpu)
	}
	w.uncount()
	w.cur, w.hog = nil, false
	x.runs--
	x.stalled = x.stalled && x.runs > 0
	if w.wq != nil {
		w.detach()
	}
}

func (w *worker) detach() {
	p := w.pool
	for i, o := range p.workers {
		if o == w {
			p.workers = append(p.workers[:i], p.workers[i+1:]...)
			return
		}
	}
}

// A hogTick is the tick of a CPU as far as it looks for workers that do not sleep.
//
// Source: wq_worker_tick, kernel/workqueue.c, Linux 7.3; kernel-semantics.md, B5.
type hogTick struct {
	cpu *CPU
	irq *Context
}

func (p *CPU) startHogTick() {
	h := &hogTick{cpu: p}
	h.irq = p.k.newContext(InHardirq, p, "tick")
	h.irq.hardIRQ = true
	p.k.spawn(nil, "tick", explore.TaskOptions{Daemon: true, Lane: p.id}, func(t *explore.Task) {
		for {
			c := h.irq
			c.bind(t)
			c.cpu, c.dead, c.entering, c.irqsOff = p, false, true, 1
			c.Forget(1)
			c.step("tick: the worker is CPU-intensive", h, acc{p.wq, explore.AtomicUpdate}, acc{p.obj, explore.Modify})
			w := h.worker()
			w.uncount()
			w.hog = true
			c.exitInterrupt()
		}
	})
}

// worker returns the worker that has the CPU, if it counts.
func (h *hogTick) worker() *worker {
	for _, w := range h.cpu.pool.workers {
		if w.counted && w.cur != nil {
			return w
		}
	}
	return nil
}

func (h *hogTick) ready(*Context) bool                  { return h.cpu.online && h.worker() != nil }
func (h *hogTick) describe(_ *Context, w *explore.Wait) { w.For = "a worker that does not sleep" }
