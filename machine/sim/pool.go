// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

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
}

// AllocWorkqueue makes a workqueue. Call it in Init.
func (k *Kernel) AllocWorkqueue(name string, flags WQFlags) *Workqueue {
	q := k.memo.things.queues.of(Workqueue{k: k, name: name, flags: flags})
	k.wqs = append(k.wqs, q)
	if flags&MemReclaim != 0 && k.cfg.NoMemory {
		q.rescuer = k.newRescuer(q)
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
	if k.cfg.NoMemory {
		p.noMemory = k.x.Choose(2) == 1
	}
	n := k.cfg.Workers
	if p.noMemory {
		n = 0
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
	for _, w := range p.list {
		v = mix(v, w.id)
	}
	for _, w := range p.workers {
		if w.cur != nil {
			v = mix(v, w.cur.id<<2|3)
			if w.counted { // by nrRunning: hotplug may have taken it out
				v++
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
		for _, cpu := range w.k.cpus {
			if cpu.pool.noMemory && cpu.pool.next(w) != nil {
				return true
			}
		}
		return false
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

// attach lets a rescuer find a pool in distress and join it: bound to the pool's
// CPU unless the pool is disassociated.
//
// Source: rescuer_thread, worker_attach_to_pool, kernel/workqueue.c, Linux 7.3.
func (w *worker) attach(c *Context, objs []acc) {
	c.step(w.name+" answers mayday", w, objs...)
	for _, cpu := range w.k.cpus {
		if cpu.pool.noMemory && cpu.pool.next(w) != nil {
			w.pool = cpu.pool
			break
		}
	}
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
	if w.pool.associated && w.wq == nil && !w.counted {
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
	n.step("stalled", nil, acc{x.home.wq, explore.AtomicUpdate})
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
		c.stepOn("end of", x.name, nil, acc{w.pool.cpu.wq, explore.AtomicUpdate}, acc{x.home.wq, explore.AtomicUpdate})
	}
	w.uncount()
	w.cur = nil
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
