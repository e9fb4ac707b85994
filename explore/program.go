// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

// MaxTasks is the most tasks that a program may have, finished ones included:
// sets of tasks are one machine word. A program that starts more fails with
// [BadProgram].
const MaxTasks = 64

// MaxObjects is the most objects that an execution may make.
const MaxObjects = 1 << 20

// A Program is what is explored.
type Program struct {
	// Name is used in reports and in replay tokens.
	Name string

	// Init builds one execution: it makes objects and starts tasks. It is
	// called at the start of each execution, on the goroutine of the search,
	// and in parallel searches by several goroutines with an Exec each. It
	// must do the same every time.
	Init func(x *Exec)

	// SkipFrames lists prefixes of function names, such as
	// "endio/machine/sim.", that a trace skips when it looks for the source
	// line of a step. Frames of this package are always skipped.
	SkipFrames []string
}

// An Exec is one execution in the making. It belongs to one goroutine at a
// time, and is used again for the next execution.
type Exec struct {
	prog  *Program
	strat strategy
	ids   *idTable
	memo  any

	// Tasks. Slots are indexed by the stable id of a task (see idTable).
	tasks [MaxTasks]*Task
	order []uint8 // stable ids in the order of creation
	root  maker   // counts what Init makes
	epoch uint32  // tells live objects and tasks from those of old executions

	objs []object // by stable id

	// The schedule. Steps below len(plan) are replayed.
	plan       []uint8
	planChoice []choice
	depth      int // steps chosen so far
	trusted    int // steps of the plan that are known to be enabled
	repeat     int // steps that the execution has in common with the one before
	cur        *Task
	last       *Task // took the last step
	preempts   int

	// Enabledness; valid only while live, that is after the replayed prefix.
	live    bool
	alive   uint64 // started and not finished
	enabled uint64 // alive, and the guard of the next step is true
	dirty   uint64 // alive and to be re-evaluated

	hist    history
	choices []choice // made in this execution
	failure *Failure
	more    []*Failure // further ones of the same execution, unless failing
	failing bool       // a failure ends the execution at once
	ended   stop
	pending bool // the strategy has not been told of the end yet
	unwind  bool
	tracing *tracer
	checked bool   // an execution with the expensive checks on
	aside   string // code of the program that runs and is no part of a step, or empty
	asideOf *Task  // whose guard it is, if it is one
	broken  bool   // such code has panicked: the execution can't go on

	onQuiet    func(*Exec)
	onComplete func(*Exec)
	stateFn    func(*Hash)
	hash       Hash // for stateFn

	maxSteps  int
	coros     coroutines
	heartbeat *heartbeat
	// goroutines is how many there were at the start of the execution that are
	// not those of a search.
	goroutines int
}

// An object is the explorer's record of an [Object].
type object struct {
	epoch   uint32
	name    string
	index   int32
	waiters uint64 // tasks whose next step has a guard and declares the object
}

// A choice is the outcome of one [Task.Choose].
type choice struct {
	depth int32 // number of steps before it
	value int32
	n     int32
	first int32 // the outcome that was tried first; the others follow round robin
}

// A maker counts what one task (or Init) has made, so that the ids of what it
// makes do not depend on what other tasks did meanwhile.
type maker struct {
	id   int // stable id + 1; 0 is Init
	kids int
	objs int
}

// Memo returns a place where the program may keep what it wants to use again in
// later executions of the same Exec, for example arenas. It must not change
// what the program does.
func (x *Exec) Memo() *any { return &x.memo }

// Repeating reports whether what happens now, up to the next step, happened in the
// same way in the execution that x made before: a program may take from there what
// is dear to compute (see [Exec.Memo]).
func (x *Exec) Repeating() bool { return x.depth < x.repeat }

// NewObject makes an object. In reports it is called name, or name[index] if
// index is not negative.
func (x *Exec) NewObject(name string, index int) Object {
	return x.newObject(&x.root, name, index)
}

func (x *Exec) newObject(m *maker, name string, index int) Object {
	id := x.ids.object(m.id, m.objs)
	m.objs++
	if id >= MaxObjects {
		panic(&badProgram{"too many objects: an execution makes more than 1048576"})
	}
	for int(id) >= len(x.objs) {
		x.objs = append(x.objs, object{})
	}
	x.objs[id] = object{epoch: x.epoch, name: name, index: int32(index)}
	return Object{id + 1}
}

// Go starts a task that runs f. The code of f before its first step happens at
// once. The name is used in reports.
func (x *Exec) Go(name string, f func(*Task)) *Task {
	return x.spawn(&x.root, name, f, TaskOptions{})
}

// GoWith is Go with options.
func (x *Exec) GoWith(name string, o TaskOptions, f func(*Task)) *Task {
	return x.spawn(&x.root, name, f, o)
}

// OnQuiescent sets a function that is called when no task can take a step,
// before the explorer itself looks for tasks that wait in vain. It may call
// [Exec.Fail]. Where all that is left is daemons that go round for ever, [Cached] calls
// it, and the one of OnComplete, in each of the states that repeat, to see whether
// something is never done: it must change nothing. Set it in Init.
func (x *Exec) OnQuiescent(f func(*Exec)) { x.onQuiet = f }

// OnComplete sets a function that is called at the end of each execution in
// which every task that is no daemon finished, and where daemons go round for ever
// as that of [Exec.OnQuiescent] is. It may call [Exec.Fail]. Set it in Init.
func (x *Exec) OnComplete(f func(*Exec)) { x.onComplete = f }

// OnState sets the function that hashes the state of the program: everything
// that decides its future, other than the next steps and the states declared
// with [Step.State], which the explorer adds. It makes [Cached] possible. Set it
// in Init.
func (x *Exec) OnState(f func(*Hash)) { x.stateFn = f }

// Tasks calls f for each task started so far, in the order of creation.
func (x *Exec) Tasks(f func(*Task)) {
	for _, id := range x.order {
		f(x.tasks[id])
	}
}

// Tracing reports whether the execution is a replay whose steps are recorded
// for a trace. Texts need be formatted only then.
func (x *Exec) Tracing() bool { return x.tracing != nil }

// Steps returns the number of steps taken so far in this execution.
func (x *Exec) Steps() int { return x.depth }

// Choose returns one of 0 to n-1; the explorer tries them all. It may be called
// in Init; tasks use [Task.Choose].
func (x *Exec) Choose(n int) int { return x.choose(n) }

func (x *Exec) choose(n int) int {
	if x.aside != "" && x.aside != inHook {
		panic(&badProgram{x.aside + " makes a choice: it may only look"})
	}
	if n <= 0 {
		panic(&badProgram{"Choose of nothing: n must be at least 1"})
	}
	if n == 1 {
		return 0
	}
	i := len(x.choices)
	c := choice{depth: int32(x.depth), n: int32(n)}
	if i < len(x.planChoice) && int(x.planChoice[i].depth) <= len(x.plan) {
		p := x.planChoice[i]
		if p.n != c.n || p.depth != c.depth {
			panic(&nondeterminism{"Choose with another number of alternatives than before"})
		}
		c = p
	} else {
		c.value = int32(x.strat.choose(x, n))
		c.first = c.value
	}
	x.choices = append(x.choices, c)
	x.hist.chose(x.depth, len(x.plan), c.value)
	return int(c.value)
}

// idTable gives tasks and objects ids that depend only on who made them and as
// which of its makings, so that equivalent executions agree on them.
type idTable struct {
	objs  [][]int32 // by maker id
	kids  [][]uint8
	nObjs int32
	nKids int
	share *sharedIDs // nil if one worker
}

func (t *idTable) object(maker, k int) int32 {
	for maker >= len(t.objs) {
		t.objs = append(t.objs, nil)
	}
	if k < len(t.objs[maker]) {
		return t.objs[maker][k]
	}
	var id int32
	if t.share != nil {
		id = t.share.object(maker, k)
	} else {
		id = t.nObjs
		t.nObjs++
	}
	t.objs[maker] = append(t.objs[maker], id)
	return id
}

func (t *idTable) task(maker, k int) int {
	for maker >= len(t.kids) {
		t.kids = append(t.kids, nil)
	}
	if k < len(t.kids[maker]) {
		return int(t.kids[maker][k])
	}
	var id int
	if t.share != nil {
		id = t.share.task(maker, k)
	} else {
		id = t.nKids
		t.nKids++
	}
	if id < MaxTasks {
		t.kids[maker] = append(t.kids[maker], uint8(id))
	}
	return id
}

// each calls f for each member of a set of tasks, in the order of ids.
func each(set uint64, f func(id int)) {
	for ; set != 0; set &= set - 1 {
		f(bits.TrailingZeros64(set))
	}
}
