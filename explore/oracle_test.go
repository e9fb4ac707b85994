// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var (
	oraclePrograms = flag.Int("oracle.programs", defaultPrograms, "random programs to compare on")
	oracleSeed     = flag.Uint64("oracle.seed", 1, "first seed of the random programs")
)

// An op is one operation of a random program.
type op struct {
	code    opCode
	a, b, v int
	body    []op // of a critical section or a child
}

type opCode int

const (
	opLoad opCode = iota
	opStore
	opAdd
	opGet
	opSet
	opSection
	opAwait
	opAwaitBoth
	opTake
	opPut
	opChoose
	opCheck
	opSpawn
	opTry
	opYield
	opMove
	opWait
	opSignal
	opCodes
)

func (o op) String() string {
	name := [...]string{"load", "store", "add", "get", "set", "section", "await", "awaitBoth", "take", "put",
		"choose", "check", "spawn", "try", "yield", "move", "wait", "signal"}[o.code]
	if o.body != nil {
		return fmt.Sprintf("%s(%d)%v", name, o.a, o.body)
	}
	return fmt.Sprintf("%s(%d,%d,%d)", name, o.a, o.b, o.v)
}

// randomTasks makes the tasks of a random program with about n operations.
func randomTasks(rng *rand.Rand, n int) [][]op {
	tasks := make([][]op, 2+rng.IntN(3))
	focus := opCode(rng.IntN(int(opCodes))) // more of one kind makes it meet itself
	var gen func(depth int) op
	gen = func(depth int) op {
		o := op{code: opCode(rng.IntN(int(opCodes))), a: rng.IntN(2), b: rng.IntN(2), v: rng.IntN(2)}
		if rng.IntN(3) == 0 {
			o.code = focus
		}
		if o.code == opSection || o.code == opSpawn {
			if depth > 1 {
				o.code = opStore
				return o
			}
			o.body = []op{}
			for range rng.IntN(2) + depth%2 {
				o.body = append(o.body, gen(depth+1))
			}
		}
		return o
	}
	for range n {
		i := rng.IntN(len(tasks))
		tasks[i] = append(tasks[i], gen(0))
	}
	return tasks
}

// world is the shared state of a random program.
type world struct {
	atoms [2]*Atomic[int]
	cells [2]*Cell[int]
	locks [2]*Mutex
	sem   *Semaphore
	cond  *Cond
	local [16]local
}

// local is what a task of a random program knows, and how it came there.
type local struct {
	reg  *int
	path uint64
}

func (w *world) hash(h *Hash) {
	for i := range 2 {
		h.Add(uint64(w.atoms[i].value))
		h.Add(uint64(w.cells[i].value))
		h.AddBool(w.locks[i].owner == nil)
		if w.locks[i].owner != nil {
			h.Add(uint64(w.locks[i].owner.id))
		}
	}
	h.Add(uint64(w.sem.count))
	for _, c := range w.cond.waiters {
		h.Add(uint64(c.t.id))
	}
	for i := range w.local {
		if r := w.local[i].reg; r != nil {
			h.Add(uint64(*r))
			h.Add(w.local[i].path)
		} else {
			h.Add(99)
		}
	}
}

func randomProgram(tasks [][]op, state bool) *Program {
	return &Program{Name: "random", Init: func(x *Exec) {
		w := &world{sem: NewSemaphore(x, "sem", 1)}
		for i := range 2 {
			w.atoms[i] = NewAtomic(x, fmt.Sprintf("a%d", i), 0)
			w.cells[i] = NewCell(x, fmt.Sprintf("c%d", i), 0)
			w.locks[i] = NewMutex(x, fmt.Sprintf("m%d", i))
		}
		w.cond = NewCond(x, "cond", w.locks[0])
		if state {
			x.OnState(w.hash)
		}
		for i, ops := range tasks {
			name := fmt.Sprintf("t%d", i)
			x.GoWith(name, TaskOptions{Daemon: len(ops) > 0 && ops[0].v == 1 && i == 0}, func(t *Task) {
				reg := 0
				w.local[t.id].reg = &reg
				w.run(t, ops, &reg)
			})
		}
	}}
}

func (w *world) run(t *Task, ops []op, reg *int) {
	at := &w.local[t.id].path
	for i, o := range ops {
		*at = mix(*at, uint64(i)+1)
		w.one(t, o, reg)
	}
	*at = mix(*at, 77)
}

func (w *world) one(t *Task, o op, reg *int) {
	a, c, m := w.atoms[o.a], w.cells[o.a], w.locks[o.a]
	switch o.code {
	case opLoad:
		*reg = a.Load(t)
	case opStore:
		a.Store(t, o.v+*reg&1)
	case opAdd:
		*reg = a.Update(t, func(v int) int { return (v + 1) % 3 })
	case opGet:
		*reg = c.Get(t)
	case opSet:
		c.Set(t, *reg+o.v)
	case opSection:
		m.Lock(t)
		w.run(t, o.body, reg)
		m.Unlock(t)
	case opAwait:
		a.AwaitValue(t, o.v)
	case opAwaitBoth:
		other := w.atoms[1-o.a]
		t.Next().On(a.Object(), AtomicRead).On(other.Object(), AtomicRead).
			When(GuardFunc(func() bool { return a.Peek() == o.v && other.Peek() == o.b })).Do()
	case opTake:
		w.sem.Acquire(t)
	case opPut:
		w.sem.Release(t)
	case opChoose:
		v := t.Choose(2) + t.Choose(o.v+1)
		w.local[t.id].path = mix(w.local[t.id].path, uint64(v)+50)
		a.Store(t, v)
	case opCheck:
		t.Check(*reg != o.v+1, fmt.Sprintf("reg is %d", *reg))
	case opSpawn:
		a.Load(t)
		n := *reg
		t.Go(t.Name()+".child", func(t *Task) {
			w.local[t.id].reg = &n
			w.run(t, o.body, &n)
		})
	case opTry:
		if m.TryLock(t) {
			w.run(t, o.body, reg)
			m.Unlock(t)
		}
	case opYield:
		t.Yield()
	case opMove:
		other := w.atoms[1-o.a]
		t.Next().On(a.Object(), AtomicUpdate).On(other.Object(), AtomicUpdate).
			When(GuardFunc(func() bool { return a.Peek() > 0 })).Do()
		a.value, other.value = a.value-1, (other.value+1)%3
	case opWait:
		w.locks[0].Lock(t)
		w.cond.Wait(t)
		w.locks[0].Unlock(t)
	case opSignal:
		w.cond.Signal(t)
	}
}

// classes searches p and returns the classes of its complete runs and its
// failures. ok is false if there are too many executions to compare.
type classes struct {
	runs     map[uint64]int
	failures map[string]bool
	r        *Result
}

const oracleLimit = 30000

func classify(t *testing.T, p *Program, s Strategy, ids *idTable, h hole) (c classes, ok bool) {
	t.Helper()
	c = classes{runs: map[uint64]int{}, failures: map[string]bool{}}
	o := Options{Strategy: s, KeepGoing: true, MaxFailures: 1000, MaxExecutions: oracleLimit, ids: ids, hole: h, NoMinimise: true}
	o.onRun = func(x *Exec) { c.runs[x.hist.class(x.depth)]++ }
	r, err := Explore(context.Background(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	c.r = r
	for _, f := range r.Failures {
		if f.Kind == Deadlock || f.Kind == LostWork {
			c.failures[string(f.Kind)] = true
		} else {
			c.failures[f.Task+f.Error()] = true
		}
	}
	return c, r.Executions+r.Pruned < oracleLimit
}

// differ says how got differs from want, or nothing.
func (c classes) differ(want classes) string {
	var b strings.Builder
	missing, extra := 0, 0
	for k := range want.runs {
		if c.runs[k] == 0 {
			missing++
		}
	}
	for k := range c.runs {
		if want.runs[k] == 0 {
			extra++
		}
	}
	if missing+extra > 0 {
		fmt.Fprintf(&b, "%d of %d classes missing, %d extra; ", missing, len(want.runs), extra)
	}
	for f := range want.failures {
		if !c.failures[f] {
			fmt.Fprintf(&b, "missing failure %q; ", f)
		}
	}
	for f := range c.failures {
		if !want.failures[f] {
			fmt.Fprintf(&b, "extra failure %q; ", f)
		}
	}
	return b.String()
}

// inexact reports whether ops have choices, or guards other than locks that are only locked: then a
// class may be explored again.
func inexact(ops []op) bool {
	return slices.ContainsFunc(ops, func(o op) bool {
		switch o.code {
		case opChoose, opSignal, opAwait, opAwaitBoth, opTake, opMove, opWait, opTry:
			return true
		}
		return inexact(o.body)
	})
}

// TestOracle compares the reduction with plain sleep sets, and sleep sets with
// all schedules for the smallest programs: the same classes of complete runs and
// the same failures; each class once, if there are no choices and no
// guards other than locks.
func TestOracle(t *testing.T) {
	compared, naive, again, pruned, runs := 0, 0, 0, int64(0), int64(0)
	for seed := *oracleSeed; compared < *oraclePrograms; seed++ {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := 3 + rng.IntN(5)
		tasks := randomTasks(rng, n)
		p := randomProgram(tasks, false)
		ids := &idTable{}
		want, ok := classify(t, p, SleepSets(), ids, noHole)
		if !ok {
			continue
		}
		compared++
		if n <= 4 {
			if all, ok := classify(t, p, Naive(), ids, noHole); ok {
				naive++
				if d := want.differ(all); d != "" {
					t.Errorf("seed %d: sleep sets against all schedules: %s\n%v", seed, d, tasks)
				}
			}
		}
		got, _ := classify(t, p, Optimal(), ids, noHole)
		if d := got.differ(want); d != "" {
			t.Errorf("seed %d: optimal against sleep sets: %s\n%v", seed, d, tasks)
		}
		exact := !slices.ContainsFunc(tasks, inexact)
		for _, n := range got.runs {
			again += n - 1
			if n != 1 && exact {
				t.Errorf("seed %d: a class was explored %d times\n%v", seed, n, tasks)
			}
		}
		if exact && got.r.Pruned != 0 {
			t.Errorf("seed %d: %d executions abandoned\n%v", seed, got.r.Pruned, tasks)
		}
		few, ok := classify(t, p, PreemptionBound(1000), ids, noHole)
		if !ok {
			continue
		}
		if d := few.differ(want); d != "" || few.r.Scope != "exhausted" && few.r.Failure == nil {
			t.Errorf("seed %d: preemption bound against sleep sets: %s %v\n%v", seed, d, few.r, tasks)
		}
		states, _ := classify(t, randomProgram(tasks, true), Cached(), ids, noHole)
		states.runs, few.runs = nil, nil
		for _, fs := range []map[string]bool{few.failures, states.failures} {
			maps.DeleteFunc(fs, func(f string, _ bool) bool { return strings.Contains(f, string(DataRace)) })
		}
		if d := states.differ(few); d != "" {
			t.Errorf("seed %d: state caching against preemption bound: %s\n%v", seed, d, tasks)
		}
		both, _ := classify(t, randomProgram(tasks, true), PreemptionBound(1000), ids, noHole)
		both.runs = nil
		maps.DeleteFunc(both.failures, func(f string, _ bool) bool { return strings.Contains(f, string(DataRace)) })
		if d := both.differ(few); d != "" {
			t.Errorf("seed %d: preemption bound with declared states: %s\n%v", seed, d, tasks)
		}
		if seed%16 == 0 { // some are enough, goroutines are slow to start
			o := Options{Strategy: SleepSets(), KeepGoing: true, Workers: 3, MaxExecutions: oracleLimit}
			if many, err := Explore(context.Background(), p, o); err != nil || many.Executions != want.r.Executions {
				t.Errorf("seed %d: sleep sets with 3 workers: %v %v, want %d executions\n%v", seed, many, err, want.r.Executions, tasks)
			}
			o.Strategy, o.ids = Cached(), nil
			alone, err := Explore(context.Background(), randomProgram(tasks, true), Options{Strategy: Cached(), KeepGoing: true})
			if err != nil {
				t.Fatal(err)
			}
			if many, err := Explore(context.Background(), randomProgram(tasks, true), o); err != nil || many.States != alone.States {
				t.Errorf("seed %d: state caching with 3 workers: %v %v, want %d states\n%v", seed, many, err, alone.States, tasks)
			}
		}
		pruned += got.r.Pruned
		runs += got.r.Executions
		if t.Failed() {
			return
		}
	}
	t.Logf("%d programs, %d of them against all schedules; %d executions, %d of them of a class seen before, %d abandoned",
		compared, naive, runs, again, pruned)
}
