// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"testing"
)

// firstSteps has tasks that add to each other's variables, children that wait for them, and one task that
// waits for ever. If declared, first steps are declared for the tasks (TaskOptions.First),
// else tasks declare them.
func firstSteps(declared bool) *Program {
	return &Program{Name: "first", Init: func(x *Exec) {
		n, never := NewAtomics(x, "n", 2, 0), NewAtomic(x, "never", 0)
		x.OnState(func(h *Hash) {
			for _, a := range n {
				h.Add(uint64(a.Peek()))
			}
		})
		start := func(m interface {
			GoWith(string, TaskOptions, func(*Task)) *Task
		}, name string, daemon bool, first, then func(*Task)) {
			o := TaskOptions{Daemon: daemon}
			if declared {
				o.First = first
				m.GoWith(name, o, then)
				return
			}
			m.GoWith(name, o, func(t *Task) {
				first(t)
				t.next.Do()
				then(t)
			})
		}
		for i := range 2 {
			start(x, "adds", false, func(t *Task) { t.Next().On(n[i].obj, AtomicUpdate).State(1) }, func(t *Task) {
				n[i].value++
				start(t, "waits", false, func(t *Task) {
					t.Next().On(n[1-i].obj, AtomicUpdate).When(GuardFunc(func() bool { return n[1-i].value > 0 })).State(2)
				}, func(t *Task) {
					n[1-i].value++
					t.Check(n[0].value+n[1].value < 4 || n[0].value != 2, "both twice")
				})
				t.Next().On(n[1-i].obj, AtomicUpdate).State(3).Do()
				n[1-i].value += 2
			})
		}
		start(x, "waits for ever", true, func(t *Task) {
			t.Next().On(never.obj, AtomicRead).When(GuardFunc(func() bool { return never.value > 0 })).State(4)
		}, func(t *Task) { t.Fail(Assertion, "never", "") })
	}}
}

// TestFirst: a first step that is declared for a task is explored as if the task had declared it.
func TestFirst(t *testing.T) {
	for _, s := range []Strategy{Naive(), SleepSets(), Optimal(), Cached()} {
		var r [2]*Result
		for i, declared := range []bool{false, true} {
			var err error
			if r[i], err = Explore(context.Background(), firstSteps(declared), Options{Strategy: s, KeepGoing: true, VerifyStates: true}); err != nil {
				t.Fatal(err)
			}
		}
		a, b := r[0], r[1]
		if a.Executions != b.Executions || a.Pruned != b.Pruned || a.States != b.States || a.Steps != b.Steps || len(a.Failures) != len(b.Failures) {
			t.Errorf("%s: %v, %d steps, and declared %v, %d steps", s, a, a.Steps, b, b.Steps)
			continue
		}
		if len(b.Failures) == 0 || b.Executions < 2 {
			t.Errorf("%s: %v, want failures", s, b)
		}
		for i, f := range a.Failures {
			g := b.Failures[i]
			if f.Error() != g.Error() || f.Token != g.Token || f.Steps != g.Steps {
				t.Errorf("%s: %v %s, and declared %v %s", s, f, f.Token, g, g.Token)
			}
		}
	}
}

// TestFirstMakesNoStrays: a task that was not begun has no coroutine, which the search for stray
// goroutines would take for one: each suspicion costs a dump of all stacks.
func TestFirstMakesNoStrays(t *testing.T) {
	o := Options{Strategy: Naive(), KeepGoing: true}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	dumps := 0
	for range 20 {
		s := newSearch(firstSteps(true), &o)
		s.run(context.Background())
		dumps += s.heartbeat.dumps
	}
	if dumps > 2 { // goroutines of the runtime and of other tests come and go
		t.Errorf("%d dumps of all goroutines in 20 searches, want none", dumps)
	}
}

// TestOwnGoroutines: a search counts its goroutines as its own, those of tasks that never run included, and
// none is left in the count. Otherwise they look like strays to other searches, for which all stacks are dumped.
func TestOwnGoroutines(t *testing.T) {
	owns, base := owned.Load(), others()
	most := 0
	o := Options{Strategy: Cached(), Workers: 2, onRun: func(*Exec) { most = max(most, others()) }}
	if _, err := Explore(context.Background(), firstSteps(true), o); err != nil {
		t.Fatal(err)
	}
	if most > base+2 { // a worker that begins or ends
		t.Errorf("%d goroutines that no search owns, %d before", most, base)
	}
	if n := owned.Load(); n > owns+1 { // the goroutine that reports may be at its end
		t.Errorf("%d goroutines are said to be owned after the search, %d before", n, owns)
	}
}
