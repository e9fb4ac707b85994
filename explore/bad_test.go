// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bad is a program with a fault that is not in its logic.
type bad struct {
	name string
	kind FailKind
	text string // part of the message
	init func(x *Exec)
}

// enough ends the program that hoards memory: what a search leaves behind runs on.
var enough atomic.Bool

func badPrograms() []bad {
	one := func(f func(t *Task, v *Atomic[int])) func(*Exec) {
		return func(x *Exec) {
			v := NewAtomic(x, "v", 0)
			x.Go("a", func(t *Task) { v.Store(t, 1) })
			x.Go("b", func(t *Task) { v.Store(t, 2); f(t, v) })
		}
	}
	var mu sync.Mutex
	mu.Lock()
	ch := make(chan int)
	n, once, branches := 0, 0, 0
	return []bad{
		{"mutex", Stalled, "[sync.Mutex.Lock] endio/explore.badPrograms.func", one(func(*Task, *Atomic[int]) { mu.Lock() })},
		{"channel", Stalled, "[chan receive] endio/explore.badPrograms.func", one(func(*Task, *Atomic[int]) { <-ch })},
		{"sleep", Stalled, "[sleep] endio/explore.badPrograms.func", one(func(*Task, *Atomic[int]) { time.Sleep(2 * time.Second) })}, // sleep: what the watch is to find
		{"loop without steps", Stalled, "bad_test.go:", one(func(*Task, *Atomic[int]) {
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
			}
		})},
		{"never ends", StepBound, "did not end within 500 steps", one(func(t *Task, v *Atomic[int]) {
			for v.Load(t) != 3 {
			}
		})},
		{"panics", Panic, "index out of range [5] with length 2", one(func(*Task, *Atomic[int]) {
			i := 5
			_ = make([]int, 2)[i]
		})},
		{"panics in Init", Panic, "no luck", func(*Exec) { panic("no luck") }},
		{"other steps every time", Nondeterminism, "declares another step than before", one(func(t *Task, v *Atomic[int]) {
			if n++; n%2 == 0 {
				v.Load(t)
			} else {
				v.Store(t, 1)
			}
		})},
		{"random branches", Nondeterminism, "not deterministic", one(func(t *Task, v *Atomic[int]) {
			// Not drawn at random: a test that finds what differs most of the time fails
			// the rest of it.
			for branches++; branches%7 > 3; branches++ {
			}
			for range 1 + 20*(branches%7) {
				v.Load(t)
			}
		})},
		{"fails only once", Nondeterminism, "does not fail in the same way", one(func(t *Task, v *Atomic[int]) {
			if once++; once == 24 { // after those that are made twice
				t.Fail(Assertion, "thousand", "")
			}
			for range 6 {
				v.Load(t)
			}
		})},
		{"goroutine", StrayGoroutine, "started a goroutine in endio/explore.badPrograms.func", one(func(*Task, *Atomic[int]) {
			go func() { <-ch }()
		})},
		{"goroutine that steps", StrayGoroutine, "started a goroutine in endio/explore.badPrograms.func", one(func(t *Task, v *Atomic[int]) {
			done := make(chan int)
			go func() { v.Load(t); close(done) }()
			<-done
		})},
		{"Goexit", BadProgram, `task "b" called runtime.Goexit`, one(func(*Task, *Atomic[int]) { runtime.Goexit() })},
		{"other task's Task", BadProgram, `a step of task "a" was taken by another task`, func(x *Exec) {
			v := NewAtomic(x, "v", 0)
			a := x.Go("a", func(t *Task) { v.Store(t, 1) })
			x.Go("b", func(t *Task) { v.Store(t, 2); v.Load(a) })
		}},
		{"too many tasks", BadProgram, "too many tasks", func(x *Exec) {
			for range MaxTasks + 1 {
				x.Go("t", func(*Task) {})
			}
		}},
		{"guard of undeclared object", BadProgram, `the guard of task "b" reads an object that its step does not declare`, func(x *Exec) {
			v, w := NewAtomic(x, "v", 0), NewAtomic(x, "w", 0)
			x.Go("b", func(t *Task) { t.Await(w.Object(), AtomicRead, GuardFunc(func() bool { return v.Peek() == 1 })) })
			x.Go("a", func(t *Task) { v.Store(t, 1); v.Store(t, 1) })
		}},
		{"swallows the unwinding", Assertion, "enough", one(func(t *Task, v *Atomic[int]) {
			t.Go("c", func(t *Task) {
				for range 100 {
					func() {
						defer func() { _ = recover() }()
						v.AwaitValue(t, 99)
					}()
				}
			})
			v.Load(t)
			t.Fail(Assertion, "enough", "")
		})},
		{"memory", MemoryLimit, "bad_test.go:", one(func(*Task, *Atomic[int]) {
			var hoard [][]byte
			for i := 0; i < 4000 && !enough.Load(); i++ {
				b := make([]byte, 1<<20)
				for i := range b {
					b[i] = 1
				}
				hoard = append(hoard, b)
				if len(hoard) > 800 {
					time.Sleep(100 * time.Millisecond) // sleep: lets the watch look at the hoard
				}
			}
			runtime.KeepAlive(hoard)
		})},
	}
}

// TestNondeterminism: time, random numbers and the order of maps are noticed, also by
// strategies that replay little or nothing, or the search of a program with many executions.
func TestNondeterminism(t *testing.T) {
	programs := map[string]func(t *Task, v *Atomic[int]){
		"map order": func(t *Task, v *Atomic[int]) {
			for k := range map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true} {
				if k%2 == 0 {
					v.Load(t)
				} else {
					v.Store(t, 3)
				}
			}
		},
		"rand": func(t *Task, v *Atomic[int]) {
			for range 1 + rand.IntN(4) {
				v.Load(t)
			}
		},
		"time": func(t *Task, v *Atomic[int]) {
			for range 1 + time.Now().Nanosecond()/100%7 {
				v.Load(t)
			}
		},
		"random number of tasks": func(t *Task, v *Atomic[int]) {
			for range rand.IntN(3) {
				t.Go("child", func(t *Task) { v.Load(t) })
			}
			v.Load(t)
		},
		"random choice": func(t *Task, v *Atomic[int]) {
			if t.Choose(1+rand.IntN(3)) == 1 {
				v.Load(t)
			}
		},
		"random state": func(t *Task, v *Atomic[int]) {
			v.Store(t, rand.IntN(1000))
			if v.Load(t)%2 == 0 {
				v.Load(t)
			}
		},
	}
	for name, f := range programs {
		for _, s := range []Strategy{Optimal(), SleepSets(), Cached(), PreemptionBound(2), Random(5000, 1), PCT(5000, 3, 1)} {
			p := &Program{Name: name, Init: func(x *Exec) {
				v := NewAtomic(x, "v", 0)
				x.OnState(func(h *Hash) { h.Add(uint64(v.Peek())); h.Add(uint64(x.Steps())) })
				x.Go("a", func(t *Task) { v.Store(t, 1) })
				x.Go("b", func(t *Task) { v.Store(t, 2); f(t, v) })
			}}
			r, err := Explore(context.Background(), p, Options{Strategy: s, MaxSteps: 500})
			if err != nil {
				t.Fatal(err)
			}
			if r.Failure == nil || r.Failure.Kind != Nondeterminism && !strings.Contains(r.Failure.Details, "alternatives") {
				t.Errorf("%s, %s: %v, failure %v, want nondeterminism", name, s, r, r.Failure)
			}
		}
	}
	// Different once in a thousand executions, long after the first ones: only a sample can see it.
	n := 0
	p := &Program{Name: "rarely", Init: func(x *Exec) {
		v := NewAtomic(x, "v", 0)
		for range 2 {
			x.Go("t", func(t *Task) {
				for range 8 {
					v.Load(t)
				}
			})
		}
		x.Go("b", func(t *Task) {
			if n++; n > 20000 && n%2 == 0 {
				v.Load(t)
			}
			v.Store(t, 1)
		})
	}}
	r, err := Explore(context.Background(), p, Options{Strategy: Random(100_000, 1)})
	if err != nil || r.Failure == nil || r.Failure.Kind != Nondeterminism {
		t.Errorf("rarely: %v, %v, %v, want nondeterminism", r, r.Failure, err)
	}
}

// TestBadInput: programs that break the rules get a message that says what and
// where, and the search ends.
func TestBadInput(t *testing.T) {
	for _, tt := range badPrograms() {
		t.Run(tt.name, func(t *testing.T) {
			p := &Program{Name: tt.name, Init: tt.init}
			if tt.kind == MemoryLimit {
				enough.Store(false)
				defer enough.Store(true)
				runtime.GC() // what other tests have left
			}
			start := time.Now()
			patience := time.Minute
			if tt.kind == Stalled {
				patience = 300 * time.Millisecond
			}
			r, err := Explore(context.Background(), p, Options{Strategy: SleepSets(), MaxSteps: 500, StallTimeout: patience,
				MemoryBytes: 64 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if r.Failure == nil {
				t.Fatalf("%v: no failure", r)
			}
			if r.Failure.Kind != tt.kind || !strings.Contains(r.Failure.Text, tt.text) {
				t.Errorf("failure = %v\n%s\nwant %s: %s", r.Failure, r.Failure.Details, tt.kind, tt.text)
			}
			t.Logf("%v after %v\n%s", r.Failure, time.Since(start).Round(time.Millisecond), r.Failure.Details)
		})
	}
}
