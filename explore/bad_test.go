// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"runtime"
	"strings"
	"sync"
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

var sink []byte

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
			if once++; once == 6 {
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
			for range 4000 {
				b := make([]byte, 1<<20)
				for i := range b {
					b[i] = 1
				}
				hoard = append(hoard, b)
				if len(hoard) > 800 {
					time.Sleep(100 * time.Millisecond) // sleep: lets the watch look at the hoard
				}
			}
			sink = hoard[0]
		})},
	}
}

// TestBadInput: programs that break the rules get a message that says what and
// where, and the search ends.
func TestBadInput(t *testing.T) {
	for _, tt := range badPrograms() {
		t.Run(tt.name, func(t *testing.T) {
			p := &Program{Name: tt.name, Init: tt.init}
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
