// SPDX-License-Identifier: Apache-2.0

// Package machinetest is the conformance suite of package machine: what every
// machine must do, as a table of small concurrent programs.
//
// A [Case] sets up tasks and atomic contexts on an [Env] and says what must be
// true in the end. On machine/sim a case is explored over all interleavings; on
// machine/host it runs many times on real threads. Cases keep their own memory
// in atomics of sync/atomic, which no machine needs to know of.
package machinetest

import (
	"sync/atomic"

	"endio/machine"
)

// An Env is what a case runs on. Its methods but Failf belong to the set-up.
type Env interface {
	Machine() machine.Machine

	// Init returns the context in which the set-up runs.
	Init() machine.Context

	// Task starts a task that runs fn when the set-up is over. help, if not nil, has what
	// the task owes.
	Task(name string, help Helper, fn func(c machine.Context))

	// Atomic lets fn run once in an atomic context of cpu.
	Atomic(cpu machine.CPU, name string, fn func(c machine.Context))

	// SetOnline takes a CPU down or brings it up, from a task.
	SetOnline(c machine.Context, cpu machine.CPU, online bool) error

	// State says that *p decides what happens next.
	State(p any)

	// Finally says what must be true when everything has ended that could.
	Finally(what string, cond func() bool)

	// Failf fails the case.
	Failf(c machine.Context, format string, args ...any)
}

// A Helper is what a task owes.
type Helper interface {
	RunOne(c machine.Context) bool
	Ready(c machine.Context) bool
	Queue() machine.WaitQueue // is woken when Ready becomes true
}

// A Case is one program.
type Case struct {
	Name  string
	Setup func(e Env)
}

// Cases returns the suite.
func Cases() []Case {
	return []Case{
		{"contexts know what they are", contexts},
		{"a section excludes the other contexts of its CPU", localExcludes},
		{"a lock excludes all contexts", lockExcludes},
		{"a counter loses nothing", counterCounts},
		{"a work item runs once for each time it was queued", workRuns},
		{"a work item never runs twice at the same time", workAlone},
		{"a work item that queues itself runs again", workRequeues},
		{"a disabled work item is not queued and does not run", workDisabled},
		{"disables nest", workNests},
		{"a delayed work item runs, or its disable withdraws it", workDelayed},
		{"a retired work item is not queued again", workRetired},
		{"a work item that sleeps is told that it stalls", workStalls},
		{"disable does not wait for an instance that stalls", workDisableStalled},
		{"a wake-up is not lost", wakes},
		{"sleep returns when its condition is true", sleepReady},
		{"sleep returns for what the sleeper owes", sleepHelps},
		{"CPUs come and go in order", hotplug},
		{"a CPU completes I/O after down, and its work can be withdrawn", hotplugWork},
		{"work for a CPU that is down or dead runs", hotplugStray},
	}
}

func contexts(e Env) {
	w := e.Machine().NewWork("t.work", 0, func(c machine.Context) {
		if !c.InTask() {
			e.Failf(c, "a work item is no task")
		}
		if c.Help() {
			e.Failf(c, "a work item owes something")
		}
	}, nil)
	e.Atomic(0, "irq", func(c machine.Context) {
		if !c.Atomic() || c.InTask() {
			e.Failf(c, "an atomic context has Atomic %v, InTask %v", c.Atomic(), c.InTask())
		}
		if c.Help() {
			e.Failf(c, "an atomic context owes something")
		}
		if c.CPU() != 0 {
			e.Failf(c, "an atomic context of CPU 0 is on CPU %d", c.CPU())
		}
		w.Queue(c)
	})
	e.Task("task", nil, func(c machine.Context) {
		if !c.InTask() {
			e.Failf(c, "a task is no task")
		}
	})
}

func localExcludes(e Env) {
	m := e.Machine()
	l := m.NewLocal("t.local")
	in := make([]atomic.Int64, m.CPUs())
	e.State(&in)
	enter := func(c machine.Context) {
		cpu := l.Lock(c)
		if in[cpu].Add(1) != 1 {
			e.Failf(c, "two contexts are in the section of CPU %d", cpu)
		}
		in[cpu].Add(-1)
		l.Unlock(c, cpu)
	}
	e.Atomic(0, "irq", enter)
	e.Task("task0", nil, enter)
	e.Task("task1", nil, enter)
}

func lockExcludes(e Env) {
	l, v := e.Machine().NewLock("t.lock"), e.Machine().NewVar("t.var")
	var in, n atomic.Int64
	e.State(&in)
	e.State(&n)
	enter := func(c machine.Context) {
		l.Lock(c)
		v.Write(c)
		if in.Add(1) != 1 {
			e.Failf(c, "two contexts have the lock")
		}
		n.Add(1)
		in.Add(-1)
		l.Unlock(c)
	}
	e.Atomic(0, "irq0", enter)
	e.Atomic(1, "irq1", enter)
	e.Task("task", nil, enter)
	e.Finally("3 contexts had the lock", func() bool { return n.Load() == 3 })
}

func counterCounts(e Env) {
	k := e.Machine().NewCounter("t.counter", 5)
	var last atomic.Int64
	e.State(&last)
	add := func(c machine.Context) {
		if k.Add(c, 1) == 8 {
			last.Store(k.Load(c))
		}
	}
	e.Atomic(0, "irq0", add)
	e.Atomic(1, "irq1", add)
	e.Task("task", nil, add)
	e.Finally("the last of 3 additions to 5 sees 8", func() bool { return last.Load() == 8 })
}

func workRuns(e Env) {
	var queued, ran atomic.Int64
	e.State(&queued)
	e.State(&ran)
	w := e.Machine().NewWork("t.work", 1, func(machine.Context) { ran.Add(1) }, nil)
	queue := func(c machine.Context) {
		if w.Queue(c) {
			queued.Add(1)
		}
	}
	e.Atomic(0, "irq0", queue)
	e.Atomic(1, "irq1", queue)
	e.Task("task", nil, queue)
	e.Finally("as many runs as queueings, at least one", func() bool { return ran.Load() == queued.Load() && ran.Load() > 0 })
}

func workAlone(e Env) {
	var in atomic.Int64
	e.State(&in)
	k := e.Machine().NewCounter("t.counter", 0)
	w := e.Machine().NewWork("t.work", 1, func(c machine.Context) {
		if in.Add(1) != 1 {
			e.Failf(c, "the item runs twice at the same time")
		}
		k.Add(c, 1)
		in.Add(-1)
	}, nil)
	for _, cpu := range []machine.CPU{0, 1} {
		e.Atomic(cpu, "irq", func(c machine.Context) { w.Queue(c) })
	}
}

func workRequeues(e Env) {
	var ran atomic.Int64
	e.State(&ran)
	var w machine.Work
	w = e.Machine().NewWork("t.work", 0, func(c machine.Context) {
		if ran.Add(1) == 1 && !w.Queue(c) {
			e.Failf(c, "an item can't queue itself: it is still pending while it runs")
		}
	}, nil)
	e.Atomic(0, "irq", func(c machine.Context) { w.Queue(c) })
	e.Finally("2 runs", func() bool { return ran.Load() == 2 })
}

func workDisabled(e Env) {
	var disabled atomic.Bool
	var ran atomic.Int64
	e.State(&disabled)
	e.State(&ran)
	w := e.Machine().NewWork("t.work", 1, func(c machine.Context) {
		if disabled.Load() {
			e.Failf(c, "a disabled item runs")
		}
		ran.Add(1)
	}, nil)
	e.Atomic(0, "irq", func(c machine.Context) { w.Queue(c) })
	e.Task("task", nil, func(c machine.Context) {
		w.Disable(c)
		disabled.Store(true)
		if w.Queue(c) {
			e.Failf(c, "a disabled item was queued")
		}
		disabled.Store(false)
		if !w.Enable(c) {
			e.Failf(c, "Enable reports that the item is still disabled")
		}
		w.Queue(c)
	})
	e.Finally("it runs after Enable", func() bool { return ran.Load() >= 1 })
}

func workNests(e Env) {
	w := e.Machine().NewWork("t.work", 0, func(machine.Context) {}, nil)
	e.Task("task", nil, func(c machine.Context) {
		w.Disable(c)
		w.Disable(c)
		if w.Enable(c) || w.Queue(c) {
			e.Failf(c, "one Enable ends two Disables")
		}
		if !w.Enable(c) || !w.Queue(c) {
			e.Failf(c, "two Enables do not end two Disables")
		}
	})
}

func workDelayed(e Env) {
	var ran, withdrawn atomic.Int64
	e.State(&ran)
	e.State(&withdrawn)
	w := e.Machine().NewWork("t.work", 1, func(c machine.Context) {
		if withdrawn.Load() != 0 {
			e.Failf(c, "a run that was withdrawn happens")
		}
		ran.Add(1)
	}, nil)
	x := e.Machine().NewWork("t.other", 1, func(machine.Context) { ran.Add(10) }, nil)
	e.Task("task", nil, func(c machine.Context) {
		if !w.QueueAfter(c, 1000) {
			e.Failf(c, "an idle item is not queued")
		}
		w.Disable(c)
		withdrawn.Store(1)
		x.QueueAfter(c, 1000)
	})
	e.Finally("the delayed run of the other item happens", func() bool { return ran.Load() >= 10 })
}

func workRetired(e Env) {
	var retired atomic.Bool
	e.State(&retired)
	w := e.Machine().NewWork("t.work", 1, func(machine.Context) {}, nil)
	e.Atomic(0, "irq", func(c machine.Context) {
		was := retired.Load()
		if w.Queue(c) && was {
			e.Failf(c, "a retired item was queued")
		}
	})
	e.Atomic(1, "retire", func(c machine.Context) {
		w.Retire(c)
		retired.Store(true)
		if w.Queue(c) {
			e.Failf(c, "a retired item was queued")
		}
	})
}

// flag is a condition that a counter is not 0.
type flag struct{ k machine.Counter }

func (f flag) Ready(c machine.Context) bool { return f.k.Load(c) != 0 }

// sleeper returns an item that sleeps until its release.
func sleeper(e Env) (w machine.Work, release func(machine.Context), stalls, over *atomic.Int64) {
	m := e.Machine()
	k, q := m.NewCounter("t.flag", 0), m.NewWaitQueue("t.wait")
	stalls, over = new(atomic.Int64), new(atomic.Int64)
	e.State(stalls)
	e.State(over)
	w = m.NewWork("t.work", 1, func(c machine.Context) {
		for !(flag{k}).Ready(c) {
			q.Sleep(c, flag{k})
		}
		over.Store(1)
	}, func(c machine.Context) {
		if c.InTask() || c.CPU() != 1 {
			e.Failf(c, "stalled is called in a task (%v) or on CPU %d, want atomic on CPU 1", c.InTask(), c.CPU())
		}
		stalls.Add(1) // where an instance runs on meanwhile, over may be set by now: it ends later
	})
	return w, func(c machine.Context) { k.Add(c, 1); q.Wake(c) }, stalls, over
}

func workStalls(e Env) {
	w, release, stalls, over := sleeper(e)
	// What the stalled item waits for comes from behind it.
	x := e.Machine().NewWork("u.work", 1, release, nil)
	e.Task("task", nil, func(c machine.Context) {
		w.Queue(c)
		x.Queue(c)
	})
	e.Finally("the item ended, and stalled at most once", func() bool { return over.Load() == 1 && stalls.Load() <= 1 })
}

func workDisableStalled(e Env) {
	w, release, _, over := sleeper(e)
	e.Task("task", nil, func(c machine.Context) {
		w.Queue(c)
		w.Disable(c) // would wait for ever for the end, which comes after it
		release(c)
		w.Enable(c)
		w.Queue(c)
	})
	e.Finally("the item ran", func() bool { return over.Load() == 1 })
}

func wakes(e Env) {
	m := e.Machine()
	k, q := m.NewCounter("t.flag", 0), m.NewWaitQueue("t.wait")
	var done atomic.Int64
	e.State(&done)
	for range 2 {
		e.Task("sleeper", nil, func(c machine.Context) {
			for !(flag{k}).Ready(c) {
				q.Sleep(c, flag{k})
			}
			done.Add(1)
		})
	}
	e.Atomic(1, "irq", func(c machine.Context) { k.Add(c, 1); q.Wake(c) })
	e.Finally("both sleepers woke", func() bool { return done.Load() == 2 })
}

func sleepReady(e Env) {
	k, q := e.Machine().NewCounter("t.flag", 1), e.Machine().NewWaitQueue("t.wait")
	var done atomic.Int64
	e.State(&done)
	e.Task("task", nil, func(c machine.Context) { q.Sleep(c, flag{k}); done.Add(1) })
	e.Finally("a sleep whose condition is true returns", func() bool { return done.Load() == 1 })
}

// oneHelper has one thing to run once k is not 0.
type oneHelper struct {
	k    machine.Counter
	done machine.Counter
	wake machine.WaitQueue
}

func (h *oneHelper) Queue() machine.WaitQueue { return h.wake }

func (h *oneHelper) Ready(c machine.Context) bool { return h.k.Load(c) != 0 }
func (h *oneHelper) RunOne(c machine.Context) bool {
	if !h.Ready(c) {
		return false
	}
	h.k.Add(c, -1)
	h.done.Add(c, 1)
	return true
}

func sleepHelps(e Env) {
	m := e.Machine()
	q := m.NewWaitQueue("t.wait")
	h := &oneHelper{k: m.NewCounter("h.owed", 0), done: m.NewCounter("h.done", 0)}
	h.wake = m.NewWaitQueue("h.wait")
	var over atomic.Int64
	e.State(&over)
	e.Task("owner", h, func(c machine.Context) {
		for !(flag{h.done}).Ready(c) {
			if !c.Help() {
				q.Sleep(c, flag{h.done})
			}
		}
		over.Store(1)
	})
	e.Atomic(1, "irq", func(c machine.Context) { h.k.Add(c, 1); h.wake.Wake(c) })
	e.Finally("the owner ran what it owed", func() bool { return over.Load() == 1 })
}

func hotplug(e Env) {
	var at atomic.Int64 // 0 online, 1 down, 2 dead
	e.State(&at)
	move := func(c machine.Context, name string, from, to int64, cpu machine.CPU, here bool) {
		if !at.CompareAndSwap(from, to) {
			e.Failf(c, "%s is called in state %d, want %d", name, at.Load(), from)
		}
		if cpu != 1 || (c.CPU() == 1) != here {
			e.Failf(c, "%s of CPU %d is called on CPU %d", name, cpu, c.CPU())
		}
	}
	e.Machine().AddHotplug(machine.Hotplug{Name: "t",
		Online: func(c machine.Context, cpu machine.CPU) {
			if at.Load() == 1 { // rolled back
				move(c, "Online", 1, 0, cpu, true)
				return
			}
			move(c, "Online", 2, 0, cpu, true)
		},
		Down: func(c machine.Context, cpu machine.CPU) { move(c, "Down", 0, 1, cpu, true) },
		Dead: func(c machine.Context, cpu machine.CPU) {
			if at.Load() == 2 { // did not come up
				move(c, "Dead", 2, 2, cpu, false)
				return
			}
			move(c, "Dead", 1, 2, cpu, false)
		},
	})
	e.Task("control", nil, func(c machine.Context) {
		if err := e.SetOnline(c, 1, false); err != nil {
			if at.Load() != 0 {
				e.Failf(c, "after a CPU did not go down its state is %d", at.Load())
			}
			return
		}
		if at.Load() != 2 || e.Machine().Online(1) {
			e.Failf(c, "after a CPU went down: state %d, online %v", at.Load(), e.Machine().Online(1))
		}
		if err := e.SetOnline(c, 1, true); err == nil && (at.Load() != 0 || !e.Machine().Online(1)) {
			e.Failf(c, "after a CPU came up: state %d, online %v", at.Load(), e.Machine().Online(1))
		}
	})
}

func hotplugWork(e Env) {
	var ran, down atomic.Int64
	e.State(&ran)
	e.State(&down)
	w := e.Machine().NewWork("t.work", 1, func(c machine.Context) {
		if down.Load() != 0 {
			e.Failf(c, "a disabled item runs while its CPU is down")
		}
		ran.Add(1)
	}, nil)
	e.Machine().AddHotplug(machine.Hotplug{Name: "t",
		Down:   func(c machine.Context, _ machine.CPU) { w.Disable(c); down.Store(1) },
		Online: func(c machine.Context, _ machine.CPU) { down.Store(0); w.Enable(c); w.Queue(c) },
	})
	e.Atomic(1, "irq", func(c machine.Context) { w.Queue(c) })
	e.Task("control", nil, func(c machine.Context) {
		if e.SetOnline(c, 1, false) == nil {
			_ = e.SetOnline(c, 1, true)
		}
	})
}

func hotplugStray(e Env) {
	var queued, ran atomic.Int64
	e.State(&queued)
	e.State(&ran)
	works := []machine.Work{}
	for range 2 {
		works = append(works, e.Machine().NewWork("t.work", 1, func(machine.Context) { ran.Add(1) }, nil))
	}
	e.Machine().AddHotplug(machine.Hotplug{Name: "t",
		Down: func(c machine.Context, _ machine.CPU) {
			if queued.Load() == 0 {
				works[0].Queue(c)
				queued.Add(1)
			}
		},
	})
	e.Task("control", nil, func(c machine.Context) {
		if e.SetOnline(c, 1, false) == nil {
			works[1].Queue(c)
			queued.Add(1)
		}
	})
	e.Finally("what was queued ran", func() bool { return ran.Load() == queued.Load() })
}
