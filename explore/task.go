// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
)

// TaskOptions says how a task differs from an ordinary one.
type TaskOptions struct {
	// Daemon tasks may wait for ever: an execution is complete when all other
	// tasks have finished and no daemon can take a step.
	Daemon bool

	// Joinable tasks end with a step of their own, which [Task.Join] waits for.
	Joinable bool

	// First declares the task's first step, with [Task.Next], in place of the task: its
	// function is called when that step is taken, and begins behind it. It saves what it costs to
	// start and to end a task in all executions in which it takes no step.
	First func(*Task)

	// Lane is the column of the task's steps in a trace.
	Lane int

	// Key, if not 0, is what the task is known by in all executions. A task without one is known by
	// who starts it, and as which of its tasks: the same work, started by one of several, is then
	// another task each time, and states that differ in nothing else are told apart. A
	// key is used once in an execution, and small.
	Key int
}

// A Task is a coroutine of the program. Its methods may be called only by the
// task itself, except where they say otherwise. A Task is used again for the
// task with the same place in the next execution: do not keep it.
type Task struct {
	x      *Exec
	id     int // stable id
	name   string
	fn     func(*Task)
	make   maker
	next   Step
	epoch  uint32
	spawnd int32 // depth of the step that started it, -1 for Init
	lane   int16

	daemon   bool
	joinable bool
	starting bool // runs the code before its first step
	waiting  bool // its function has not been called yet; see TaskOptions.First
	finished bool
	awake    bool // its coroutine is inside resume
	parked   bool // its coroutine waits in point

	wasDone bool   // finished before the execution was unwound
	joined  bool   // the last step of a joinable task is over
	done    Object // modified by the last step of a joinable task

	coro *coroutine
}

// A coroutine runs the body of one task slot, execution after execution.
type coroutine struct {
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	goid  int64
	begun bool // has run at all: most idle workers of a simulated kernel never do
}

// ID returns a small number that is the same for the same task in equivalent
// executions: it depends on who started the task and as which of its children.
// Any goroutine of the search may call it.
func (t *Task) ID() int { return t.id }

// Name returns the name given when the task was started.
func (t *Task) Name() string { return t.name }

// Exec returns the execution that the task is part of.
func (t *Task) Exec() *Exec { return t.x }

// Finished reports whether the task's function has returned.
func (t *Task) Finished() bool { return t.finished }

// Daemon reports whether the task may wait for ever.
func (t *Task) Daemon() bool { return t.daemon }

// SetLane sets the column of later steps in a trace.
func (t *Task) SetLane(n int) { t.lane = int16(n) }

// Tracing reports whether steps are being recorded for a trace.
func (t *Task) Tracing() bool { return t.x.tracing != nil }

// Place returns the line of the program that runs: the innermost call that is neither in
// this package nor in what [Program.SkipFrames] names. It walks the stack, so it is for
// executions that are [Task.Tracing].
func (t *Task) Place() runtime.Frame { return t.x.place() }

// Next returns the task's Step, empty, to declare the next one.
func (t *Task) Next() *Step {
	s := &t.next
	s.t = t
	s.acc = s.acc[:0]
	s.guard = nil
	s.wait = nil
	s.label = ""
	s.lane = t.lane
	s.voluntary = false
	s.exclusive = false
	return s
}

// Step declares and takes a step with one access: Next().On(o, k).Do().
func (t *Task) Step(o Object, k Kind) { t.Next().On(o, k).Do() }

// Await declares and takes a step that observes o and happens only while g is
// enabled.
func (t *Task) Await(o Object, k Kind, g Guard) { t.Next().On(o, k).When(g).Do() }

// Yield is a step without an access, at which running another task is no
// preemption.
func (t *Task) Yield() { t.Next().Voluntary().Do() }

// Go starts another task, as part of the current step.
func (t *Task) Go(name string, f func(*Task)) *Task {
	return t.x.spawn(&t.make, name, f, TaskOptions{Lane: int(t.lane)})
}

// GoWith is Go with options.
func (t *Task) GoWith(name string, o TaskOptions, f func(*Task)) *Task {
	return t.x.spawn(&t.make, name, f, o)
}

// NewObject makes an object as part of the current step; see [Exec.NewObject].
func (t *Task) NewObject(name string, index int) Object {
	return t.x.newObject(&t.make, name, index)
}

// Join waits until other, which must be joinable, has finished.
func (t *Task) Join(other *Task) {
	if !other.joinable {
		panic(&badProgram{fmt.Sprintf("Join of task %q, which was not started as Joinable", other.name)})
	}
	t.Next().On(other.done, AtomicRead).When((*joinGuard)(other)).Waiting((*joinGuard)(other)).Label("join").Do()
}

type joinGuard Task

func (g *joinGuard) Enabled() bool { return g.joined }
func (g *joinGuard) DescribeWait(w *Wait) {
	w.For, w.By = "the end of task "+g.name, "reached only by"
	w.Owners = append(w.Owners, (*Task)(g))
}

// Choose returns one of 0 to n-1, as part of the current step. The explorer
// tries each; random strategies pick one at random.
func (t *Task) Choose(n int) int { return t.x.choose(n) }

// Check fails the execution with an [Assertion] if ok is false.
func (t *Task) Check(ok bool, text string) {
	if !ok {
		t.Fail(Assertion, text, "")
	}
}

// Fail ends the task, and unless [Options] KeepGoing is set the execution, with
// a failure of the given kind. It does not return.
func (t *Task) Fail(kind FailKind, text, details string) {
	t.x.fail(&Failure{Kind: kind, Text: text, Details: details, Task: t.name}, t)
	panic(unwinding)
}

// Note adds a remark to the current step in the trace. It does nothing unless
// [Task.Tracing].
func (t *Task) Note(format string, args ...any) {
	if tr := t.x.tracing; tr != nil {
		tr.note(fmt.Sprintf(format, args...))
	}
}

// Retrace corrects the current step in the trace, which turned out to be another one than was declared: it
// happened in that lane, and is called label. It does nothing unless [Task.Tracing].
func (t *Task) Retrace(lane int, label string) {
	if tr := t.x.tracing; tr != nil && len(tr.steps) > 0 {
		s := &tr.steps[len(tr.steps)-1]
		s.Lane, s.Label = lane, label
	}
}

// Mark says in the trace what has become of a lane with the current step, for example that a CPU is off line. It
// does nothing unless [Task.Tracing].
func (t *Task) Mark(lane int, text string) {
	if tr := t.x.tracing; tr != nil && len(tr.steps) > 0 {
		s := &tr.steps[len(tr.steps)-1]
		s.Marks = append(s.Marks, TraceMark{lane, text})
	}
}

// unwinding is the panic value that ends a task from within.
var unwinding = new(struct{ _ int })

func (x *Exec) spawn(m *maker, name string, f func(*Task), o TaskOptions) *Task {
	if x.aside != "" {
		panic(&badProgram{fmt.Sprintf("%s starts task %q: only Init and tasks start tasks", x.aside, name)})
	}
	var id int
	if o.Key > 0 {
		id = x.ids.task(MaxTasks+o.Key, 0)
	} else {
		id = x.ids.task(m.id, m.kids)
		m.kids++
	}
	if id >= MaxTasks {
		panic(&badProgram{fmt.Sprintf("too many tasks: %q is one more than the %d that a program may have", name, MaxTasks)})
	}
	t := x.tasks[id]
	if o.Key > 0 && t != nil && t.epoch == x.epoch {
		panic(&badProgram{fmt.Sprintf("task %q has the key %d of task %q, which was started before", name, o.Key, t.name)})
	}
	if t == nil {
		t = &Task{x: x, id: id}
		x.tasks[id] = t
	}
	t.name, t.fn, t.epoch, t.lane = name, f, x.epoch, int16(o.Lane)
	t.make = maker{id: id + 1}
	t.daemon, t.joinable = o.Daemon, o.Joinable
	t.starting, t.finished, t.parked, t.joined = true, false, false, false
	t.spawnd = int32(x.depth) - 1
	t.next.state = 0
	if o.Joinable {
		t.done = x.newObject(&t.make, "end of "+name, -1)
	}
	x.order = append(x.order, uint8(id))
	x.hist.spawned(t, x.depth)
	if t.waiting = o.First != nil; t.waiting {
		x.first(t, o.First)
	} else {
		t.resume()
	}
	t.starting = false
	if !t.finished {
		x.alive |= 1 << id
		x.declared(t)
	}
	return t
}

// first lets f declare the first step of t.
func (x *Exec) first(t *Task, f func(*Task)) {
	t.Next()
	f(t)
	t.next.seal()
	if x.tracing != nil {
		x.tracing.places[t.id] = runtime.Frame{}
	}
}

// resume runs t's coroutine until it parks, goes idle, or the schedule leads
// back to somebody below it.
func (t *Task) resume() {
	if t.coro == nil {
		t.coro = t.x.coros.start(t)
	}
	t.awake, t.waiting = true, false
	t.coro.next()
	t.awake = false
}

// point is the yield point: the task has declared t.next and waits until it is
// chosen. The scheduler runs here, on the task's own goroutine, so that a task
// which is chosen again does not switch at all, and one that hands over to
// another switches once.
func (t *Task) point() {
	x := t.x
	if x.aside != "" {
		panic(&badProgram{fmt.Sprintf("%s takes a step of task %q: it may only look, with methods like Peek", x.aside, t.name)})
	}
	if t.waiting {
		panic(&badProgram{fmt.Sprintf("TaskOptions.First of task %q takes its step: it may only declare it, without Do", t.name)})
	}
	if x.checked && x.depth < maxInspected || x.cur != t && !t.starting || x.tracing != nil {
		x.inspect(t)
	}
	if x.unwind || t.epoch != x.epoch {
		panic(unwinding)
	}
	t.next.seal()
	if t.starting {
		t.parked = true
		t.coro.yield(struct{}{})
	} else {
		x.declared(t)
		x.cur = x.schedule()
		if x.cur == t {
			return
		}
		t.parked = true
		t.handOver()
	}
	t.parked = false
	if x.unwind {
		panic(unwinding)
	}
}

// handOver runs other tasks until t is chosen. A task that is already awake
// lies below t on the stack of resumes: yielding goes down towards it.
func (t *Task) handOver() {
	x := t.x
	for x.cur != t {
		if n := x.cur; n != nil && !n.awake && !x.unwind {
			n.resume()
			continue
		}
		t.coro.yield(struct{}{})
		if x.unwind {
			return
		}
	}
}

// body runs the task's function once, on its coroutine.
func (t *Task) body() {
	x := t.x
	normal := false
	func() {
		defer func() {
			if normal {
				return
			}
			p := recover()
			if p == nil {
				x.goexited(t) // runtime.Goexit is under way and takes the search's goroutine along
				return
			}
			if p != any(unwinding) {
				x.fail(panicFailure(t, p, debug.Stack()), t)
			}
		}()
		t.fn(t)
		if t.joinable {
			t.Next().On(t.done, AtomicWrite).Label("end").Do()
			t.joined = true
		}
		normal = true
	}()
	t.finished = true
	if x.unwind || t.starting {
		return
	}
	x.alive &^= 1 << t.id
	x.enabled &^= 1 << t.id
	x.cur = x.schedule()
}

// coroutines are those of one Exec.
type coroutines struct {
	all []*coroutine
}

func (cs *coroutines) start(t *Task) *coroutine {
	c := &coroutine{}
	owned.Add(1) // a goroutine from now on
	c.next, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		c.begun = true
		defer owned.Add(-1)
		c.yield = yield
		c.goid = goid()
		t.x.heartbeat.adopt(c.goid)
		defer t.x.heartbeat.disown(c.goid)
		for {
			t.body()
			if !yield(struct{}{}) {
				return
			}
		}
	})
	cs.all = append(cs.all, c)
	return c
}

// stop ends all coroutines. They must be idle.
func (cs *coroutines) stop() {
	for _, c := range cs.all {
		c.stop()
		if !c.begun {
			owned.Add(-1)
		}
	}
	cs.all = nil
}
