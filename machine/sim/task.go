// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"endio/explore"
	"endio/machine"
)

// A Task is a thread of the kernel, or a process that has entered it.
type Task struct {
	k    *Kernel
	c    *Context
	name string
	obj  explore.Object // signals, flags and task work

	sigpending   bool // a signal is to be handled
	fatal        bool // and kills
	notifySignal bool // TIF_NOTIFY_SIGNAL
	exiting      bool // takes no more task work
	leaving      bool // has begun to exit: follows from where its code is
	handled      int  // signals that ran a handler
	norestart    bool // one of the pending signals has a handler without SA_RESTART
	ipi          bool // user mode is to be left
	work         []taskWork
	rings        []*Ring // with a list of their own that t runs
}

// An Affinity says where a task runs. The zero Affinity is any active CPU.
type Affinity struct{ cpu int } // number + 1

// OnCPU binds a task to one CPU, like a per-CPU kthread.
func OnCPU(cpu int) Affinity { return Affinity{cpu + 1} }

// TaskOptions says how a task differs from an ordinary one.
type TaskOptions struct {
	CPU Affinity

	// Daemon tasks may wait for ever.
	Daemon bool
}

// Go starts a kernel task that runs fn. c is the context that starts it, nil in Init.
func (k *Kernel) Go(c *Context, name string, o TaskOptions, fn func(*Context)) *Task {
	cpu := k.cpus[0]
	if o.CPU.cpu > 0 {
		cpu = k.cpus[o.CPU.cpu-1]
	}
	tc := k.newContext(InTask, cpu, name)
	tc.any = o.CPU.cpu == 0
	tc.born(c)
	task := k.memo.things.tasks.of(Task{k: k, c: tc, name: name})
	tc.task = task
	if c == nil {
		task.obj = k.x.NewObject("task "+name, -1)
	} else {
		task.obj = c.t.NewObject("task "+name, -1)
	}
	k.add(task)
	k.spawn(c, name, explore.TaskOptions{Daemon: o.Daemon, Lane: cpu.id}, func(t *explore.Task) {
		tc.bind(t)
		fn(tc)
		tc.end()
	})
	return task
}

// Name returns the name of the task.
func (t *Task) Name() string { return t.name }

// Current returns the task that runs c; nil in an interrupt.
func (c *Context) Current() *Task { return c.task }

func (t *Task) hash(h *explore.Hash) {
	v := uint64(0)
	for i, b := range []bool{t.sigpending, t.fatal, t.notifySignal, t.exiting, t.norestart, t.ipi} {
		if b {
			v |= 1 << i
		}
	}
	h.Add(v | uint64(t.handled)<<8)
	for _, w := range t.work {
		h.Add(w.id)
	}
}

// A SleepState says what ends a sleep, beside what is waited for.
//
// Source: TASK_INTERRUPTIBLE and others, include/linux/sched.h, Linux 7.3.
type SleepState uint8

// The sleep states.
const (
	Uninterruptible SleepState = iota // nothing
	Killable                          // a fatal signal
	Interruptible                     // a signal, or TIF_NOTIFY_SIGNAL
)

// String returns the kernel's name.
func (s SleepState) String() string {
	return [...]string{"TASK_UNINTERRUPTIBLE", "TASK_KILLABLE", "TASK_INTERRUPTIBLE"}[s]
}

// A sleeper is the condition on which a context sleeps.
type sleeper struct {
	c     *Context
	cond  condition // nil: until woken
	mode  SleepState
	on    bool // asleep
	woken bool
	wq    *waitQueue // on which it is registered

	// For reports only: what is waited for on a queue of a Machine, and who says more of it.
	what machine.Condition
	tell func(what machine.Condition, w *explore.Wait)
}

// TellSleep has f say, in reports, for what c sleeps on a queue of a [Machine], given the condition, and who alone ends that. It
// replaces what was set before; nil is nothing. It changes nothing but reports.
func (c *Context) TellSleep(f func(what machine.Condition, w *explore.Wait)) { c.sleep.tell = f }

// SleepsFor returns the condition for which c sleeps on a queue of a [Machine], or nil. For reports.
func (c *Context) SleepsFor() machine.Condition { return c.sleep.what }

func (s *sleeper) state() uint64 {
	v := uint64(0)
	if s.on {
		v |= 1
	}
	if s.woken {
		v |= 2
	}
	if s.wq != nil {
		v |= uint64(s.wq.id+1) << 2
	}
	return v
}

func (s *sleeper) ready(c *Context) bool {
	if s.woken || s.cond != nil && s.cond.ready(c) {
		return true
	}
	return c.signalled(s.mode)
}

func (s *sleeper) describe(c *Context, w *explore.Wait) {
	if s.cond != nil {
		s.cond.describe(c, w)
	} else if s.wq != nil {
		w.For = "a wake-up on " + s.wq.name
		if s.tell != nil && s.what != nil {
			s.tell(s.what, w)
		}
	}
}

// signalled reports whether a sleep in that state ends for want of patience.
func (c *Context) signalled(mode SleepState) bool {
	t := c.task
	if t == nil {
		return false
	}
	switch mode {
	case Interruptible:
		return t.sigpending || t.notifySignal
	case Killable:
		return t.sigpending && t.fatal
	}
	return false
}

// block sleeps until cond is ready (or for a nil cond, until the context is
// woken), or until a signal ends the sleep. objs are what cond reads. It is the
// scheduler's part of every wait: it frees the CPU, tells the worker pool, and
// takes the CPU again.
//
// It takes one step or two, and c knows no more after it for which: the history says where in it c
// is, and forgets that at the end. Otherwise two places to which different ways with as many steps lead
// would be taken for one.
func (c *Context) block(label string, cond condition, mode SleepState, objs ...acc) {
	history := c.hist
	c.sleep.cond, c.sleep.mode = cond, mode
	extra := c.sleepObjects(objs, mode)
	if c.worker != nil || c.holds {
		c.step("schedule", nil, extra...)
		if c.sleep.ready(c) {
			// Taken as part of this step, which declares what the condition reads: at
			// a later one it might be false again, with c not asleep.
			c.wakeUp(false)
			c.Keep(history, keepBlock)
			return
		}
		if c.worker != nil {
			c.worker.sleeping(c)
		}
		c.unpin()
	}
	c.sleep.on = true
	c.lone = 0
	c.fold(1)
	c.step(label, &c.sleep, extra...)
	c.wakeUp(true)
	c.Keep(history, keepBlock)
}

func (c *Context) wakeUp(slept bool) {
	c.sleep.on, c.sleep.woken, c.sleep.cond = false, false, nil
	c.lone = 0
	if slept && c.worker != nil {
		c.worker.running()
	}
}

func (c *Context) sleepObjects(objs []acc, mode SleepState) []acc {
	out := append(make([]acc, 0, len(objs)+3), objs...)
	if c.worker != nil {
		out = append(out, acc{c.worker.pool.cpu.wq, explore.AtomicUpdate})
	}
	if mode != Uninterruptible && c.task != nil {
		out = append(out, acc{c.task.obj, explore.AtomicUpdate})
	}
	return out
}
