// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"strings"
	"testing"
)

// TestBadCallbacks: what the explorer calls beside the steps of tasks (guards, the declared
// state, hooks, First), and what a step names, may break the rules, too. That is a failure
// with a message, and not the end of the process.
func TestBadCallbacks(t *testing.T) {
	guarded := func(g func(t *Task, v *Atomic[int]) bool) func(*Exec) {
		return func(x *Exec) {
			v := NewAtomic(x, "v", 0)
			x.Go("a", func(t *Task) { t.Await(v.Object(), AtomicRead, GuardFunc(func() bool { return g(t, v) })) })
			x.Go("b", func(t *Task) { v.Store(t, 1) })
		}
	}
	names := func(o Object, k Kind) func(*Exec) {
		return func(x *Exec) { x.Go("a", func(t *Task) { t.Step(o, k) }) }
	}
	var kept *Atomic[int]
	var run *Exec
	for _, tt := range []struct {
		name string
		kind FailKind
		text string
		init func(x *Exec)
	}{
		{"guard panics at once", Panic, "no luck", guarded(func(*Task, *Atomic[int]) bool { panic("no luck") })},
		{"guard panics later", Panic, "no luck", guarded(func(_ *Task, v *Atomic[int]) bool {
			if v.Peek() == 1 {
				panic("no luck")
			}
			return false
		})},
		{"guard takes a step", BadProgram, `a guard takes a step of task "a": it may only look`, guarded(func(t *Task, v *Atomic[int]) bool { return v.Load(t) == 1 })},
		{"guard chooses", BadProgram, "a guard makes a choice", guarded(func(t *Task, _ *Atomic[int]) bool { return t.Choose(2) == 1 })},
		{"guard fails", Assertion, "said the guard", guarded(func(t *Task, _ *Atomic[int]) bool { t.Check(false, "said the guard"); return true })},
		{"hook takes a step", BadProgram, `takes a step of task "a"`, func(x *Exec) {
			a := x.Go("a", func(t *Task) { t.Yield() })
			x.OnComplete(func(*Exec) { a.Yield() })
		}},
		{"hook starts a task", BadProgram, `starts task "late"`, func(x *Exec) {
			x.Go("a", func(t *Task) { t.Yield() })
			x.OnComplete(func(x *Exec) { x.Go("late", func(t *Task) { t.Yield() }) })
		}},
		{"First takes its step", BadProgram, `TaskOptions.First of task "a" takes its step`, func(x *Exec) {
			x.GoWith("a", TaskOptions{First: func(t *Task) { t.Yield() }}, func(*Task) {})
		}},
		{"zero object", BadProgram, `a step of task "a" names the zero Object`, names(Object{}, Write)},
		{"unknown kind", BadProgram, "an unknown kind of access, 77", func(x *Exec) { names(NewAtomic(x, "v", 0).Object(), 77)(x) }},
		{"object of another execution", BadProgram, "an object of another execution", func(x *Exec) {
			if kept == nil {
				kept = NewAtomic(x, "v", 0)
			}
			x.Go("a", func(t *Task) { kept.Store(t, 1) })
		}},
		{"no declared state", BadProgram, "call Exec.OnState in Init", func(x *Exec) { x.Go("a", func(t *Task) { t.Yield() }); x.OnState(nil) }},
		{"state panics", Panic, "no luck", func(x *Exec) { x.Go("a", func(t *Task) { t.Yield() }); x.OnState(func(*Hash) { panic("no luck") }) }},
		{"state takes a step", BadProgram, "the function of Exec.OnState takes a step", func(x *Exec) {
			a := x.Go("a", func(t *Task) { t.Yield() })
			x.OnState(func(*Hash) {
				if !run.unwind {
					a.Yield()
				}
			})
		}},
	} {
		p := &Program{Name: tt.name, Init: func(x *Exec) {
			run = x
			x.OnState(func(*Hash) {})
			tt.init(x)
		}}
		for _, s := range []Strategy{Cached(), Optimal(), PreemptionBound(1)} {
			if strings.Contains(tt.name, "state") && s.name != "state caching" {
				continue
			}
			r, err := Explore(context.Background(), p, Options{Strategy: s})
			if err != nil {
				t.Fatal(err)
			}
			if f := r.Failure; f == nil || f.Kind != tt.kind || !strings.Contains(f.Text, tt.text) {
				t.Errorf("%s, %s: %v: failure %v, want %s: %s", tt.name, s, r, f, tt.kind, tt.text)
			}
		}
	}
}

// TestBadRequests: a request that makes no sense is an error, and no panic on a goroutine of the search.
func TestBadRequests(t *testing.T) {
	none := &Program{Name: "none"}
	for _, tt := range []struct {
		ctx  context.Context
		p    *Program
		o    Options
		want string
	}{
		{nil, abba(), Options{}, "explore abba: the context is nil"},
		{context.Background(), nil, Options{}, "explore: the program has no Init function"},
		{context.Background(), none, Options{}, "explore: the program has no Init function"},
		{context.Background(), abba(), Options{MaxSteps: -1}, "explore abba: option MaxSteps is -1: it must not be negative"},
		{context.Background(), abba(), Options{Strategy: PreemptionBound(-1)}, "explore abba: strategy: preemptions: -1, must be at least 0"},
		{context.Background(), abba(), Options{Strategy: Random(0, 1)}, "explore abba: strategy: executions: 0, must be at least 1"},
		{context.Background(), abba(), Options{Strategy: PCT(-1, 3, 1)}, "explore abba: strategy: executions: -1, must be at least 1"},
		{context.Background(), abba(), Options{Strategy: PCT(1, 0, 1)}, "explore abba: strategy: depth: 0, must be at least 1"},
	} {
		if r, err := Explore(tt.ctx, tt.p, tt.o); err == nil || err.Error() != tt.want {
			t.Errorf("Explore: %v, error %v, want %s", r, err, tt.want)
		}
	}
	token := (&schedule{}).token("none")
	for _, p := range []*Program{nil, none} {
		if r, err := Replay(p, token, Options{}); err == nil || err.Error() != "replay: the program has no Init function" {
			t.Errorf("Replay: %v, error %v", r, err)
		}
	}
}
