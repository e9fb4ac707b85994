// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"

	"endio/explore"
)

// A place is where a pending work item is.
type place uint8

const (
	idle    place = iota // not pending
	inTimer              // its timer is armed
	onList               // on a pool's worklist
	grabbed              // taken by a cancel, disable or mod in progress
)

// A Work is struct work_struct: a function to be run once by a worker. It has a CPU
// that it is at home at, where its state is kept.
//
// Source: include/linux/workqueue.h and kernel/workqueue.c, Linux 7.3;
// kernel-semantics.md, B4.
type Work struct {
	k    *Kernel
	id   uint64
	name string
	home *CPU
	fn   func(*Context)

	pending bool
	place   place
	depth   int
	pool    *pool      // on whose worklist it is
	wq      *Workqueue // to which it was queued
	runs    int        // instances of fn that run
	last    *pool      // where it ran last

	stall    func(*Context) // see machine.Machine.NewWork
	stalled  bool           // stall was called for the running instance
	stalling bool
	retired  bool
	delayed  bool
	target   *CPU // queued there when the timer fires
	base     *timerBase
	expires  int
}

// NewWork initialises a work item, INIT_WORK. home is the CPU with whose state
// the item's is kept; operations on it are ordered with those of that CPU's pool.
func (k *Kernel) NewWork(c *Context, name string, home int, fn func(*Context)) *Work {
	w := k.memo.things.works.of(Work{k: k, name: name, home: k.cpus[home], fn: fn})
	w.id = k.newID(c)
	k.mustHave(fn != nil, "work ", name, " has no function")
	k.add(w)
	return w
}

// newID returns a number that depends only on who makes an object and as which
// of its makings.
func (k *Kernel) newID(c *Context) uint64 {
	if c == nil {
		k.workCount++
		return uint64(k.workCount)
	}
	c.makes++
	return mix(mix(c.hist, uint64(c.id)<<8|7), c.makes)&^(1<<63) | 1<<40
}

func (w *Work) hash(h *explore.Hash) {
	v := uint64(w.place) | uint64(w.depth)<<3 | uint64(w.runs)<<20
	for i, b := range []bool{w.pending, w.stalled, w.retired, w.stalling} {
		if b {
			v |= 1 << (32 + i)
		}
	}
	if w.pool != nil {
		v |= uint64(w.pool.cpu.id+1) << 40
	}
	if w.last != nil && w.last.cpu != w.home { // never run is as good as run at home
		v |= uint64(w.last.cpu.id+1) << 44
	}
	if w.base != nil {
		v |= uint64(w.base.cpu.id+1) << 48
		if w.k.cfg.Ticks { // from now, so that time that has passed is no state
			v = mix(v, uint64(w.expires-w.k.jiffies))
		}
	}
	h.Add(v)
}

// Pending, Depth and Running tell the state without a step, for checks.
func (w *Work) Pending() bool { return w.pending }

// Depth returns how many disables are not yet enabled again.
func (w *Work) Depth() int { return w.depth }

// TimerCPU returns the CPU on which the timer of w is armed, or -1.
func (w *Work) TimerCPU() int {
	if w.base == nil {
		return -1
	}
	return w.base.cpu.id
}

// Running reports whether the function runs.
func (w *Work) Running() bool { return w.runs > 0 }

// Object returns the object of the list to which w goes if it is queued on the CPU that it was made for, for [Ref.Put].
func (w *Work) Object() explore.Object { return w.home.wq }

// cpuSet is a set of CPUs by number.
type cpuSet uint8

func (p *CPU) bit() cpuSet { return 1 << p.id }

// touches returns the CPUs to whose workqueues an operation on w belongs that may put it on the list of CPU to, which may be nil: that, the home,
// and those where it is or runs, for their workers change it.
func (w *Work) touches(to *CPU) cpuSet {
	set := w.home.bit()
	if to != nil {
		set |= to.bit()
	}
	if w.place == onList {
		set |= w.pool.cpu.bit()
	}
	if w.runs > 0 && w.last != nil {
		set |= w.last.cpu.bit()
	}
	return set
}

// stepAt is the step of an operation that touches CPUs, as of tells. Where an item is may change between the declaration of the step and
// the moment when it happens: then the step was for nothing, and there is another one, which declares what the first did not.
func (w *Work) stepAt(c *Context, label string, of func() cpuSet, more ...acc) {
	for {
		set := of()
		a := make([]acc, 0, MaxCPUs+1)
		for _, p := range w.k.cpus {
			if set&p.bit() != 0 {
				a = append(a, acc{p.wq, explore.AtomicUpdate})
			}
		}
		c.step(label, nil, append(a, more...)...)
		if of()&^set == 0 {
			return
		}
	}
}

// opStep is the step of an operation on w that may also touch the pool of CPU to.
func (w *Work) opStep(c *Context, op string, to *CPU) {
	w.opStepOf(c, op, func() cpuSet { return w.touches(to) })
}

// opStepOf is opStep for an operation that touches what of tells.
func (w *Work) opStepOf(c *Context, op string, of func() cpuSet) {
	if c.init {
		return
	}
	if of() == w.home.bit() && c.coveredBy(w.home.wq) {
		return
	}
	label := op
	if c.t.Tracing() {
		label = op + " " + w.name
	}
	w.stepAt(c, label, of)
}

// QueueWorkOn makes w pending on CPU cpu, queue_work_on. It reports false if w was
// pending, and also if it is disabled.
func (q *Workqueue) QueueWorkOn(c *Context, cpu int, w *Work) bool {
	to := q.k.cpus[cpu]
	w.opStep(c, "queue_work_on", to)
	return c.foldBool(w.setPending() && w.insert(q, to))
}

// QueueWork is QueueWorkOn for the CPU that runs c.
func (q *Workqueue) QueueWork(c *Context, w *Work) bool { return q.QueueWorkOn(c, c.cpu.id, w) }

// setPending sets PENDING and reports whether it was clear and w is not disabled.
//
// Source: clear_pending_if_disabled, kernel/workqueue.c, Linux 7.3.
func (w *Work) setPending() bool {
	if w.pending || w.depth > 0 || w.retired {
		return false
	}
	w.pending = true
	return true
}

func (w *Work) insert(q *Workqueue, to *CPU) bool {
	w.place, w.pool, w.wq = onList, to.pool, q
	if w.runs > 0 && w.last != nil && !w.stalled {
		w.pool = w.last // not concurrently with itself
	}
	w.pool.list = append(w.pool.list, w)
	return true
}

// QueueDelayedWorkOn is queue_delayed_work_on: after delay ticks w is queued on
// cpu; 0 is at once.
func (q *Workqueue) QueueDelayedWorkOn(c *Context, cpu int, w *Work, delay int) bool {
	if delay == 0 {
		return q.QueueWorkOn(c, cpu, w)
	}
	base := q.k.timerBaseFor(c, cpu)
	if q.k.cfg.Ticks && !c.init {
		w.finishStep(c, c.labelled("queue_delayed_work_on ", w.name), base.cpu, acc{q.k.clock, explore.AtomicRead})
	} else {
		w.opStep(c, "queue_delayed_work_on", base.cpu)
	}
	return c.foldBool(w.setPending() && w.arm(q, cpu, base, delay))
}

func (w *Work) arm(q *Workqueue, cpu int, base *timerBase, delay int) bool {
	w.place, w.wq, w.target = inTimer, q, w.k.cpus[cpu]
	w.base = base
	w.expires = base.expiry(delay)
	base.armed = append(base.armed, w)
	return true
}

// ModDelayedWorkOn is mod_delayed_work_on: whatever w was about to do, it will be
// queued on cpu after delay ticks. It reports whether w was pending; if w
// is disabled it is not queued, and the answer is false too.
func (q *Workqueue) ModDelayedWorkOn(c *Context, cpu int, w *Work, delay int) bool {
	was := c.foldBool(w.grab(c, "mod_delayed_work_on", true)) // at once: others run before the next step
	base := q.k.timerBaseFor(c, cpu)
	to := q.k.cpus[cpu]
	if delay > 0 {
		to = base.cpu
	}
	if q.k.cfg.Ticks && delay > 0 {
		w.finishStep(c, "mod_delayed_work_on, queue", to, acc{q.k.clock, explore.AtomicRead})
	} else {
		w.finishStep(c, "mod_delayed_work_on, queue", to)
	}
	w.place = idle
	switch {
	case w.depth > 0 || w.retired:
		w.pending = false
	case delay == 0:
		w.insert(q, to)
	default:
		w.arm(q, cpu, base, delay)
	}
	c.LocalIRQEnable()
	return was
}

// grab takes w from wherever it is, with PENDING set, so that nobody else queues
// it. It waits while another does the same. Without timers it can't take w from
// an armed timer, and waits until that has fired.
//
// Source: try_to_grab_pending, kernel/workqueue.c, Linux 7.3.
func (w *Work) grab(c *Context, op string, timers bool) (was bool) {
	cond := condition((*grabbable)(w))
	if !timers {
		cond = (*grabbableIdle)(w)
	}
	history := c.hist
	if !cond.ready(c) || !w.homeOnly() || !c.coveredBy(w.home.wq) {
		c.want = true
		for narrow := true; narrow; {
			narrow = w.homeOnly()
			c.stepOn(op, w.name, cond, w.homes()...)
			narrow = narrow && !w.homeOnly() // it was given elsewhere since the step was declared
		}
		c.want = false
	}
	c.Keep(history, keepGrab) // with a step or without
	// From here to the end of the operation interrupts are off: one of this CPU
	// that operated on w would wait for the grab for ever.
	c.irqsOff++
	if c.irqsOff == 1 && c.ld != nil {
		c.ld.HardirqsOff(c.Site())
	}
	was = w.pending
	switch w.place {
	case inTimer:
		w.base.remove(w)
	case onList:
		w.pool.remove(w)
	}
	w.pending, w.place, w.base = true, grabbed, nil
	return was
}

// homes are the objects of an operation that may take w from anywhere.
func (w *Work) homes() []acc {
	a := make([]acc, 0, MaxCPUs)
	if w.homeOnly() {
		return append(a, acc{w.home.wq, explore.AtomicUpdate})
	}
	for _, p := range w.k.cpus {
		a = append(a, acc{p.wq, explore.AtomicUpdate})
	}
	return a
}

// homeOnly reports whether w has only ever been given to its home CPU.
func (w *Work) homeOnly() bool {
	return !w.k.cfg.Housekeeping && (w.pool == nil || w.pool.cpu == w.home) && (w.last == nil || w.last.cpu == w.home) && !w.k.timersMoved
}

type grabbable Work

func (w *grabbable) ready(*Context) bool { return w.place != grabbed }
func (w *grabbable) describe(_ *Context, d *explore.Wait) {
	d.For = "work " + w.name + ", which another operation has grabbed"
}

type grabbableIdle Work

func (w *grabbableIdle) ready(*Context) bool { return w.place != grabbed && w.place != inTimer }
func (w *grabbableIdle) describe(_ *Context, d *explore.Wait) {
	d.For = "the timer of work " + w.name
}

// finishStep is a step on w, which c has grabbed, that may also touch the pool of CPU to, and more.
func (w *Work) finishStep(c *Context, label string, to *CPU, more ...acc) {
	w.stepAt(c, label, func() cpuSet { return w.touches(to) }, more...)
}

// release ends a grab: w is not pending any more.
func (w *Work) release(c *Context, label string, delta int) {
	w.finishStep(c, label, nil)
	w.pending, w.place = false, idle
	w.depth += delta
	if w.depth < 0 {
		w.depth = 0
		c.t.Fail(Imbalance, fmt.Sprintf("work %s: enable without disable", w.name), "")
	}
	c.LocalIRQEnable()
}

// Cancel withdraws a pending run, cancel_work or cancel_delayed_work, and reports
// whether there was one.
func (w *Work) Cancel(c *Context) bool {
	was := c.foldBool(w.grab(c, "cancel_work", w.delayed))
	w.release(c, "cancel_work, done", 0)
	return was
}

// Disable withdraws a pending run and refuses further ones, disable_work.
func (w *Work) Disable(c *Context) bool {
	was := c.foldBool(w.grab(c, "disable_work", true))
	w.release(c, "disable_work, done", 1)
	return was
}

// DisableSync is Disable, and waits for the running instance.
func (w *Work) DisableSync(c *Context) bool {
	c.MightSleep("disable_work_sync " + w.name)
	was := w.Disable(c)
	w.Flush(c)
	return was
}

// CancelSync is Cancel, and waits for the running instance, which can't queue
// the item again meanwhile.
func (w *Work) CancelSync(c *Context) bool {
	was := w.DisableSync(c)
	w.Enable(c)
	return was
}

// Enable ends one Disable and reports whether the item can be queued again,
// enable_work or enable_delayed_work: an item that is pending although it is enabled
// is lost, and one whose timer is armed is waited for.
func (w *Work) Enable(c *Context) bool {
	w.grab(c, "enable_work", false)
	w.release(c, "enable_work, done", -1)
	return c.foldBool(w.depth == 0)
}

// Flush waits until no instance runs. It waits for whoever runs the item, not for
// pending runs that have not started.
func (w *Work) Flush(c *Context) {
	c.MightSleep("flush_work " + w.name)
	w.await(c, c.labelled("wait for the end of ", w.name), false)
}

// FlushWork waits until a pending run, too, has ended.
func (w *Work) FlushWork(c *Context) {
	c.MightSleep("flush_work " + w.name)
	w.await(c, c.labelled("flush ", w.name), true)
}

// await sleeps until w does not run, nor is pending if that counts.
func (w *Work) await(c *Context, label string, pending bool) {
	for g := (&workGone{w: w, pending: pending}); ; {
		g.narrow = w.homeOnly()
		c.block(label, g, Uninterruptible, w.homes()...)
		if g.gone() {
			return
		}
	}
}

// workGone is the condition of await. It is true, too, if w was at home only when it was declared, and is not any more.
type workGone struct {
	w       *Work
	pending bool
	narrow  bool
}

func (g *workGone) gone() bool {
	if g.pending {
		return !g.w.pending && g.w.runs == 0
	}
	return g.w.runs == 0 || g.w.stalled
}

func (g *workGone) ready(*Context) bool { return g.gone() || g.narrow && !g.w.homeOnly() }
func (g *workGone) describe(_ *Context, d *explore.Wait) {
	d.For, d.By = "the running instance of work "+g.w.name, "run by"
	for _, p := range g.w.k.cpus {
		for _, wk := range p.pool.workers {
			if wk.cur == g.w && wk.c.t != nil {
				d.Owners = append(d.Owners, wk.c.t)
			}
		}
	}
	if !g.pending {
		return
	}
	d.For = "work " + g.w.name
	if len(d.Owners) == 0 {
		d.Why = g.w.Fate()
	}
}

// Runners are the tasks that run the item now.
func (w *Work) Runners() []*explore.Task {
	var d explore.Wait
	(&workGone{w: w}).describe(nil, &d)
	return d.Owners
}

// Busy reports whether the item is queued, or runs. For reports.
func (w *Work) Busy() bool { return w.place != idle || w.runs > 0 }

// Fate says in words where the item is, and so what keeps it from running when nothing can go on. For reports.
func (w *Work) Fate() string {
	switch w.place {
	case inTimer:
		text := fmt.Sprintf("the timer of work %s is armed on cpu %d", w.name, w.base.cpu.id)
		if !w.base.cpu.online {
			text += ", which is off line"
		}
		return text
	case grabbed:
		return fmt.Sprintf("work %s is held by an operation that has not ended", w.name)
	case onList:
		text := fmt.Sprintf("work %s is queued on cpu %d", w.name, w.pool.cpu.id)
		switch {
		case len(w.pool.workers) == 0 && w.wq != nil && w.wq.rescuer == nil:
			text += fmt.Sprintf(", where memory is short and no worker can be made, and workqueue %s has no rescuer", w.wq.name)
		case len(w.pool.workers) == 0:
			text += ", where no worker can be made, and the rescuer is busy"
		case w.runs > 0:
			text += ", where it waits for the end of the instance that runs"
		case w.pool.associated && w.pool.nrRunning > 0:
			text += ", behind work that runs there"
		default:
			text += ", and no worker takes it"
		}
		return text
	}
	switch {
	case w.runs > 0:
		return fmt.Sprintf("work %s runs, and does not end", w.name)
	case w.depth > 0:
		return fmt.Sprintf("work %s of cpu %d is disabled", w.name, w.home.id)
	}
	return fmt.Sprintf("work %s of cpu %d is idle: nothing queues it again", w.name, w.home.id)
}

// A DelayedWork is struct delayed_work: a Work with a timer.
type DelayedWork struct{ Work }

// NewDelayedWork initialises one, INIT_DELAYED_WORK; see [Kernel.NewWork].
func (k *Kernel) NewDelayedWork(c *Context, name string, home int, fn func(*Context)) *DelayedWork {
	k.mustHave(fn != nil, "work ", name, " has no function")
	d := &DelayedWork{Work{k: k, name: name, home: k.cpus[home], fn: fn, delayed: true}}
	d.id = k.newID(c)
	k.add(&d.Work)
	k.startTicks()
	return d
}

// within is coveredBy for an operation that has a line in traces: it becomes a remark on the step that covers it.
func (c *Context) within(label, what string, o explore.Object) bool {
	if !c.coveredBy(o) {
		return false
	}
	if c.t.Tracing() {
		c.t.Note("%s", strings.TrimSpace(label+" "+what))
	}
	return true
}

// coveredBy reports whether the running step covers an operation on o, so that
// no step is needed: see [Context.cover].
func (c *Context) coveredBy(o explore.Object) bool {
	if !c.covered {
		return false
	}
	for i := range c.covers {
		if c.cover[i] == o {
			c.covered = false // the second operation is visible
			return true
		}
	}
	return false
}
