// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"runtime/debug"
)

// A stop says why an execution ended.
type stop uint8

const (
	running    stop = iota
	quiescent       // no task was enabled
	pruned          // the strategy did not want to go on: nothing new behind here
	infeasible      // the plan led to a step that is not enabled
	overrun         // the step bound
	failed          // a failure that ends the execution
)

// A strategy decides what is run next. It belongs to one Exec.
type strategy interface {
	// begin sets x.plan and x.planChoice for the next execution and rewinds
	// x.hist to what it shares with the last one. It returns false when the
	// search is over.
	begin(x *Exec) bool

	// pick returns the task that takes the next step after the plan, one of
	// x.enabled, which is not empty, or -1 to end the execution.
	pick(x *Exec) int

	// choose returns the outcome of a choice after the plan.
	choose(x *Exec, n int) int

	// end is called after each execution.
	end(x *Exec)
}

func newExec(p *Program, s strategy, o *Options) *Exec {
	x := &Exec{prog: p, strat: s, ids: &idTable{}, maxSteps: o.MaxSteps, failing: !o.KeepGoing}
	if o.ids != nil {
		x.ids = o.ids
	}
	_, x.hist.inverse = s.(*optimal)
	x.hist.init()
	return x
}

// run makes one execution. It returns false when the strategy has no more. The
// strategy learns of the end when the next one is asked for, so that until then
// the history can be read.
func (x *Exec) run() bool {
	x.conclude()
	x.reset()
	if h := x.heartbeat; h != nil {
		h.beats.Add(1)
		x.checked = x.epoch <= 3 || x.epoch%checkEvery == 0 || x.tracing != nil
		if x.checked {
			x.goroutines = others()
		}
	}
	if !x.strat.begin(x) {
		return false
	}
	x.repeat = x.hist.known
	x.hist.rechoose(len(x.plan))
	x.init()
	if x.failure == nil || !x.failing {
		x.cur = x.schedule()
		for x.cur != nil {
			x.cur.resume()
		}
	}
	x.finish()
	x.unwindTasks()
	if x.checked {
		x.checkStrays()
	}
	x.pending = true
	return true
}

// conclude tells the strategy of the end of the last execution, once.
func (x *Exec) conclude() {
	if x.pending {
		x.pending = false
		x.strat.end(x)
	}
}

// checkEvery is how often an execution is made with the expensive checks on;
// the first three are, too.
const checkEvery = 1024

func (x *Exec) reset() {
	x.epoch++
	x.order = x.order[:0]
	x.root = maker{}
	x.plan, x.planChoice, x.trusted = nil, nil, 0
	x.depth, x.preempts = 0, 0
	x.cur, x.last = nil, nil
	x.live, x.unwind = false, false
	x.alive, x.enabled, x.dirty = 0, 0, 0
	x.choices = x.choices[:0]
	x.failure, x.more = nil, x.more[:0]
	x.ended = running
	x.aside, x.asideOf, x.broken = "", nil, false
	x.hist.root = 0
	x.onQuiet, x.onComplete, x.stateFn = nil, nil, nil
	if x.tracing != nil {
		x.live = true
	}
}

func (x *Exec) init() {
	defer func() {
		if p := recover(); p != nil && p != any(unwinding) {
			x.fail(panicFailure(nil, p, debug.Stack()), nil)
		}
	}()
	x.prog.Init(x)
}

// declared takes note of t's next step.
func (x *Exec) declared(t *Task) {
	bit := uint64(1) << t.id
	s := &t.next
	if s.guard == nil {
		x.enabled |= bit
		return
	}
	x.enabled &^= bit
	x.dirty |= bit
	if x.live {
		x.watch(s, bit)
	}
}

// watch makes modifications of the objects of a guarded step mark it dirty.
func (x *Exec) watch(s *Step, bit uint64) {
	for i := range s.acc {
		x.objs[s.acc[i].obj].waiters |= bit
	}
}

// goLive starts to keep track of enabledness, which a replayed prefix does not
// need.
func (x *Exec) goLive() {
	x.live = true
	for _, id := range x.order {
		t := x.tasks[id]
		if bit := uint64(1) << id; x.alive&bit != 0 && t.next.guard != nil {
			x.dirty |= bit
			x.watch(&t.next, bit)
		}
	}
}

// What may run aside, in words.
const (
	inGuard = "a guard"
	inState = "the function of Exec.OnState"
	inHook  = "a function of Exec.OnQuiescent or Exec.OnComplete"
)

// leave is deferred by what runs code of the program aside: what panics there would go
// through the scheduler, and take the process along.
func (x *Exec) leave() {
	if p := recover(); p != nil {
		if x.aside != inHook { // which runs when the execution is over
			x.ended, x.broken = failed, true
		}
		if p != any(unwinding) {
			x.fail(panicFailure(x.asideOf, p, debug.Stack()), x.asideOf)
		}
	}
	x.aside, x.asideOf = "", nil
}

// settle evaluates the guards that may have changed.
func (x *Exec) settle() {
	d := x.dirty & x.alive
	x.dirty = 0
	if d != 0 {
		x.evaluate(d)
	}
	if x.checked && !x.broken {
		x.checkGuards()
	}
}

// evaluate evaluates the guards of a set of tasks.
func (x *Exec) evaluate(d uint64) {
	x.aside = inGuard
	defer x.leave()
	for ; d != 0; d &= d - 1 {
		bit := d & -d
		x.asideOf = x.tasks[trailing(d)]
		if x.asideOf.next.guard.Enabled() {
			x.enabled |= bit
		} else {
			x.enabled &^= bit
		}
	}
}

// checkGuards finds guards that read an object which their step does not
// declare: their value changed unnoticed.
func (x *Exec) checkGuards() {
	x.aside = inGuard
	defer x.leave()
	each(x.alive, func(id int) {
		t := x.tasks[id]
		x.asideOf = t
		if g := t.next.guard; g != nil && g.Enabled() != (x.enabled>>id&1 == 1) {
			x.fail(&Failure{Kind: BadProgram, Task: t.name,
				Text: fmt.Sprintf("the guard of task %q reads an object that its step does not declare", t.name)}, t)
		}
	})
}

// schedule chooses the next task and records its step. It returns nil if the
// execution is over.
func (x *Exec) schedule() *Task {
	if x.failure != nil && x.failing {
		x.ended = failed
		return nil
	}
	d := x.depth
	var t *Task
	if d < len(x.plan) {
		if t = x.planned(d); t == nil {
			return nil
		}
	} else if t = x.choice(); t == nil {
		return nil
	}
	s := &t.next
	bit := uint64(1) << t.id
	if d >= x.hist.known {
		x.hist.record(t, x.enabled)
		if x.hist.plain {
			x.checkRace(t, d)
		}
	}
	if x.live {
		for i := range s.acc {
			o := &x.objs[s.acc[i].obj]
			if s.guard != nil {
				o.waiters &^= bit
			}
			if s.acc[i].kind.modifies() {
				x.dirty |= o.waiters
			}
		}
		if x.last != t && x.last != nil && x.enabled>>x.last.id&1 == 1 && !x.last.next.voluntary {
			x.preempts++
		}
	}
	x.dirty &^= bit
	x.last = t
	x.depth = d + 1
	if d&255 == 255 && x.heartbeat != nil {
		x.heartbeat.beats.Add(1)
	}
	if x.tracing != nil {
		x.tracing.step(x, t)
	}
	return t
}

// planned returns the task that the plan wants next, after checking that the
// program does what it did before.
func (x *Exec) planned(d int) *Task {
	id := int(x.plan[d])
	t := x.tasks[id]
	if t == nil || t.epoch != x.epoch || t.finished {
		x.nondeterministic(t, "has ended or was never started, where it took a step before")
		return nil
	}
	if x.live {
		if x.settle(); x.broken {
			return nil
		}
	}
	if d < x.hist.known {
		if e := &x.hist.events[d]; e.op != t.next.op || int(e.task) != id {
			x.nondeterministic(t, "declares another step than before")
			return nil
		}
		return t
	}
	if d < x.trusted {
		return t
	}
	// Not seen before in this order: the step may be blocked.
	if !x.live {
		x.goLive()
		if x.settle(); x.broken {
			return nil
		}
	}
	if x.enabled>>id&1 == 0 {
		x.ended = infeasible
		return nil
	}
	return t
}

// choice asks the strategy for the next task.
func (x *Exec) choice() *Task {
	if !x.live {
		x.goLive()
	}
	if x.settle(); x.broken {
		return nil
	}
	if x.enabled&x.alive == 0 {
		x.ended = quiescent
		return nil
	}
	if x.depth >= x.maxSteps {
		x.ended = overrun
		if r, ok := x.strat.(*replay); ok {
			r.cycle(x) // sets x.ended if it can say more
		}
		return nil
	}
	id := x.strat.pick(x)
	if x.broken {
		return nil
	}
	if id < 0 {
		if x.ended == running {
			x.ended = pruned
		}
		return nil
	}
	return x.tasks[id]
}

// checkRace looks for data races of the event at depth d.
func (x *Exec) checkRace(t *Task, d int) {
	x.hist.races(d, func(j int, obj int32) {
		a, b := x.tasks[x.hist.events[j].task].name, t.name
		x.fail(&Failure{Kind: DataRace, Task: t.name,
			Text: fmt.Sprintf("data race on %s: task %q and task %q access it without synchronisation, at least one writes",
				x.objectName(obj), min(a, b), max(a, b))}, t)
	})
}

// finish judges the end of an execution. It runs with all tasks parked.
func (x *Exec) finish() {
	if x.tracing != nil {
		x.tracing.blocked(x)
	}
	switch x.ended {
	case quiescent:
		x.judgeQuiet()
	case overrun:
		x.fail(&Failure{Kind: StepBound, Text: fmt.Sprintf(
			"the execution did not end within %d steps: suspected livelock or endless program (raise MaxSteps if it is just long)", x.maxSteps)}, nil)
	}
}

func (x *Exec) judgeQuiet() {
	x.aside = inHook
	defer x.leave()
	if x.failure != nil && x.failing {
		return
	}
	if x.onQuiet != nil {
		x.onQuiet(x)
	}
	waiting := false
	x.Tasks(func(t *Task) { waiting = waiting || !t.finished && !t.daemon })
	if waiting {
		x.fail(x.stuck(), nil)
	} else if x.onComplete != nil {
		x.onComplete(x)
	}
}

// owes asks the program what it would fail with if the execution ended now. It returns nil as long as tasks are left that
// are no daemons, and if the program can not say: its functions are made for the end.
func (x *Exec) owes() (owed *Failure) {
	if x.onQuiet == nil && x.onComplete == nil {
		return nil
	}
	for _, id := range x.order {
		if t := x.tasks[id]; !t.finished && !t.daemon {
			return nil
		}
	}
	failure, more, failing := x.failure, x.more, x.failing
	x.failure, x.failing = nil, true // the first counts, and is all
	x.aside = inHook
	defer func() {
		if p := recover(); p == any(unwinding) {
			owed = x.failure
		}
		x.failure, x.more, x.failing = failure, more, failing
		x.aside = ""
	}()
	if x.onQuiet != nil {
		x.onQuiet(x)
	}
	if x.onComplete != nil {
		x.onComplete(x)
	}
	return nil
}

// unwindTasks ends what is unfinished, so that the coroutines can be used again.
func (x *Exec) unwindTasks() {
	x.unwind = true
	x.cur = nil
	for _, id := range x.order {
		t := x.tasks[id]
		switch t.wasDone = t.finished; {
		case t.waiting:
			t.waiting, t.finished = false, true // it has no stack to be unwound
		case !t.finished:
			t.resume()
		}
	}
}

// Fail ends the execution with a failure. It may be called in the hooks of an
// Exec and in Init; tasks use [Task.Fail]. It does not return.
func (x *Exec) Fail(kind FailKind, text, details string) {
	x.fail(&Failure{Kind: kind, Text: text, Details: details}, nil)
	panic(unwinding)
}

// fail records a failure; the first of an execution counts.
func (x *Exec) fail(f *Failure, t *Task) {
	if x.failure == nil {
		x.failure = f
	} else if !x.failing {
		x.more = append(x.more, f)
	}
}

func (x *Exec) objectName(id int32) string {
	o := &x.objs[id]
	if o.index >= 0 {
		return fmt.Sprintf("%s[%d]", o.name, o.index)
	}
	return o.name
}

// ObjectName returns the name of o, for reports.
func (x *Exec) ObjectName(o Object) string { return x.objectName(o.id - 1) }
