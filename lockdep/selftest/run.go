// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"

	"endio/lockdep"
)

// A Result is what came of one row.
type Result struct {
	Row    *Row
	Got    Verdict
	Reason string // first line of the first report, or which stated result did not come; "" if none
	Text   string // the first report in full, "" if there is none
}

// Agrees reports whether the validator reached the verdict of the row.
func (r *Result) Agrees() bool { return r.Got == r.Row.Expected }

// A Runner runs rows one after the other, each from a clean state. It is for one goroutine at a
// time.
type Runner struct {
	v       *lockdep.Validator
	classes map[string]*lockdep.Class
	row     *Row  // in progress
	step    *step // of it
	first   *lockdep.Report
}

// maxClasses is how many classes a Runner lets gather before it begins anew: the rows of
// many tables have many names.
const maxClasses = 4096

// NewRunner returns a Runner.
func NewRunner() *Runner {
	r := &Runner{}
	r.begin()
	return r
}

// begin gives r a new validator.
func (r *Runner) begin() {
	r.classes = make(map[string]*lockdep.Class)
	r.v = lockdep.New(lockdep.Config{
		Ident:      "selftest #1",
		MaxChains:  1 << 12,
		MaxDepth:   1024, // the notation may hold many
		Interrupts: true,
		RawNesting: true,
		Serial:     true,
		SiteName:   func(site uintptr) string { return r.row.steps[site-1].text },
		OnReport: func(rep *lockdep.Report) {
			if r.first == nil {
				r.first = rep
			}
		},
	})
}

// Run runs one row.
func (r *Runner) Run(row *Row) Result {
	r.first, r.row = nil, row
	if len(r.classes) > maxClasses {
		r.begin()
	} else {
		r.v.Reset()
	}
	x := &execution{
		r:       r,
		t:       r.v.NewTask("swapper", 1),
		locks:   make(map[object]*lock),
		ctxs:    make(map[string]*wwContext),
		reclaim: &lockdep.Map{},
	}
	x.reclaim.Init(r.class(object{"reclaim", "map"}))
	for i := range row.steps {
		r.step = &row.steps[i]
		x.site = uintptr(i + 1)
		x.do(r.step)
	}
	res := Result{Row: row, Got: Success}
	switch {
	case r.first != nil:
		res.Got, res.Reason, res.Text = Failure, r.first.Title, r.first.Text
	case x.warning != "":
		res.Got, res.Reason = Failure, x.warning
	}
	return res
}

// class returns the lockdep class of o, made on first use.
func (r *Runner) class(o object) *lockdep.Class {
	name := o.typ + "." + o.class()
	c := r.classes[name]
	if c != nil {
		return c
	}
	c = &lockdep.Class{Name: name}
	switch o.typ {
	case "raw":
		c.Outer, c.Inner = lockdep.WaitSpin, lockdep.WaitSpin
	case "spin", "rw":
		c.Outer, c.Inner = lockdep.WaitConfig, lockdep.WaitConfig
	case "local":
		c.Outer, c.Inner, c.Type = lockdep.WaitConfig, lockdep.WaitConfig, lockdep.PerCPU
	case "rcu", "rcu_bh":
		c.Outer, c.Inner = lockdep.WaitFree, lockdep.WaitConfig
	case "rcu_sched":
		c.Outer, c.Inner = lockdep.WaitFree, lockdep.WaitSpin
	case "mutex", "rwsem", "rtmutex", "ww", "wait":
		c.Outer, c.Inner = lockdep.WaitSleep, lockdep.WaitSleep
	}
	r.classes[name] = c
	return c
}

// A lock is one object of a row: its map, and who has it, so that a trylock knows
// its result.
type lock struct {
	obj     object
	m       lockdep.WaitMap
	writers int
	readers int

	// For ww only.
	ctx      *wwContext
	poisoned bool
	other    *wwContext // context of the other task that holds it
}

// free reports whether an exclusive trylock would get the lock.
func (l *lock) free() bool { return l.writers == 0 && l.readers == 0 && l.other == nil }

// An execution is the state of one row while it runs.
type execution struct {
	r       *Runner
	site    uintptr // number of the step, from 1
	t       *lockdep.Task
	locks   map[object]*lock
	ctxs    map[string]*wwContext
	reclaim *lockdep.Map
	noFS    int
	irqs    int
	noted   map[object]string
	stamp   int
	warning string // first broken rule that the validator does not know
}

// warn notes a broken rule that is not the validator's.
func (x *execution) warn(format string, args ...any) {
	if x.warning == "" {
		x.warning = fmt.Sprintf("%s: %s", x.r.step.text, fmt.Sprintf(format, args...))
	}
}

// result compares what an operation returned with what the row states.
func (x *execution) result(s *step, got string) {
	if s.result != "" && s.result != got {
		x.warn("the result is %s", got)
	}
}

func (x *execution) lock(o object) *lock {
	l := x.locks[o]
	if l == nil {
		l = &lock{obj: o}
		l.m.Init(x.r.class(o))
		x.locks[o] = l
	}
	return l
}

// how returns the mode in which o is read.
func (x *execution) readHow(s *step) lockdep.How {
	switch s.obj.typ {
	case "rwsem":
		return lockdep.Shared
	case "rw":
		if s.queued && x.irqs == 0 {
			return lockdep.Shared
		}
		return lockdep.Recursive
	}
	return lockdep.Recursive | lockdep.NoCheck
}

// do runs one step.
func (x *execution) do(s *step) {
	switch s.op {
	case opLock, opRead, opUnlock, opTry, opInit, opSync:
		x.doLock(s)
	case opOwe, opPaid, opWait, opHelp:
		x.doWait(s)
	case opNofsEnter, opNofsExit, opReclaimEnter, opReclaimExit, opMightAlloc:
		x.doReclaim(s)
	case opNoteName, opCheckName, opSetSubclass:
		x.doName(s)
	case opHirqEnter, opHirqEnterHard, opHirqExit, opSirqEnter, opSirqExit,
		opHirqOff, opHirqOn, opSirqOff, opSirqOn:
		x.doIRQ(s)
	default:
		x.doWW(s)
	}
}

func (x *execution) doLock(s *step) {
	l := x.lock(s.obj)
	if s.obj.typ == "ww" && (s.op == opLock || s.op == opTry || s.op == opUnlock) {
		x.lockWW(s, l)
		return
	}
	switch s.op {
	case opLock, opRead:
		how := lockdep.Exclusive
		if s.op == opRead {
			how = x.readHow(s)
			l.readers++
		} else {
			l.writers++
		}
		if s.nest != (object{}) {
			x.t.AcquireNest(&l.m.Map, &x.lock(s.nest).m.Map, how, x.site)
		} else {
			x.t.Acquire(&l.m.Map, how, x.site)
		}
		x.result(s, "ok")
	case opUnlock:
		x.t.Release(&l.m.Map, x.site)
		if l.writers > 0 {
			l.writers--
		} else if l.readers > 0 {
			l.readers--
		}
	case opTry:
		got := l.free()
		if got {
			l.writers++
			x.t.Acquire(&l.m.Map, lockdep.Try, x.site)
		}
		x.result(s, fmt.Sprint(got))
	case opInit:
		x.t.Reinit(&l.m.Map, x.r.class(s.obj), x.site)
		l.writers, l.readers = 0, 0
	case opSync:
		x.t.Sync(&l.m.Map, lockdep.Exclusive, x.site)
	}
}

func (x *execution) doWait(s *step) {
	w := &x.lock(s.obj).m
	switch s.op {
	case opOwe:
		w.Owe(x.t, x.site)
	case opPaid:
		w.Paid(x.t, x.site)
	case opWait:
		w.Wait(x.t, x.site)
	case opHelp:
		w.WaitHelping(x.t, x.site)
	}
}

// doReclaim models the map that stands for memory reclaim: an allocation that may
// enter the file system takes it for a moment.
//
// Source: fs_reclaim_acquire and might_alloc, mm/page_alloc.c, Linux v6.12.
func (x *execution) doReclaim(s *step) {
	switch s.op {
	case opNofsEnter:
		x.noFS++
	case opNofsExit:
		x.noFS--
	case opReclaimEnter:
		x.t.Acquire(x.reclaim, lockdep.Exclusive, x.site)
	case opReclaimExit:
		x.t.Release(x.reclaim, x.site)
	case opMightAlloc:
		if s.flag && x.noFS == 0 {
			x.t.Acquire(x.reclaim, lockdep.Exclusive, x.site)
			x.t.Release(x.reclaim, x.site)
		}
	}
}

func (x *execution) doName(s *step) {
	switch s.op {
	case opNoteName:
		if x.noted == nil {
			x.noted = make(map[object]string)
		}
		x.noted[s.obj] = x.lock(s.obj).m.Class().Name
	case opSetSubclass:
		if !x.lock(s.obj).m.SetSubclass(s.number) {
			x.warn("there is no such subclass")
		}
	case opCheckName:
		for o, name := range x.noted {
			if now := x.lock(o).m.Class().Name; now != name {
				x.warn("the name of %s is %q now", o, now)
			}
		}
	}
}

// doIRQ enters and leaves interrupts as the kernel's own test does: a softirq runs
// with hardirqs off.
func (x *execution) doIRQ(s *step) {
	switch s.op {
	case opHirqEnter, opHirqEnterHard:
		x.irqs++
		x.t.HardirqEnter(s.op == opHirqEnter)
	case opHirqExit:
		x.irqs--
		x.t.HardirqExit()
	case opSirqEnter:
		x.irqs++
		x.t.SoftirqEnter()
		x.t.HardirqsOff(x.site)
	case opSirqExit:
		x.irqs--
		x.t.SoftirqExit()
	case opHirqOff:
		x.t.HardirqsOff(x.site)
	case opHirqOn:
		x.t.HardirqsOn(x.site)
	case opSirqOff:
		x.t.SoftirqsOff(x.site)
	case opSirqOn:
		x.t.SoftirqsOn(x.site)
	}
}
