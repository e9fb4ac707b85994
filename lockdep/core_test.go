// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// newTestValidator returns a serial validator and a function that returns the kinds of
// the reports so far.
func newTestValidator(t *testing.T, cfg Config) (*Validator, func() []Kind) {
	t.Helper()
	cfg.Serial = true
	if cfg.MaxChains == 0 {
		cfg.MaxChains = 1024
	}
	v := New(cfg)
	return v, func() []Kind { return kindsOf(v.Reports()) }
}

func newMap(c *Class) *Map {
	m := &Map{}
	m.Init(c)
	return m
}

func newWaitMap(name string) *WaitMap {
	w := &WaitMap{}
	w.Init(NewClass(name))
	return w
}

func kindsOf(rs []*Report) []Kind {
	var ks []Kind
	for _, r := range rs {
		ks = append(ks, r.Kind)
	}
	return ks
}

func wantKinds(t *testing.T, got []Kind, want ...Kind) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("reports = %v, want %v", got, want)
	}
}

// wantText checks that the last report contains all of want.
func wantText(t *testing.T, v *Validator, want ...string) {
	t.Helper()
	rs := v.Reports()
	if len(rs) == 0 {
		t.Fatal("there is no report")
	}
	text := rs[len(rs)-1].Text
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("report lacks %q:\n%s", w, text)
		}
	}
}

// lockBoth takes a, then b, and releases both.
func lockBoth(t *Task, a, b *Map) {
	t.Acquire(a, Exclusive, 0)
	t.Acquire(b, Exclusive, 0)
	t.Release(b, 0)
	t.Release(a, 0)
}

func TestABBA(t *testing.T) {
	v, kinds := newTestValidator(t, Config{Stacks: true})
	a, b := newMap(NewClass("a")), newMap(NewClass("b"))
	t1, t2 := v.NewTask("one", 1), v.NewTask("two", 2)
	lockBoth(t1, a, b)
	wantKinds(t, kinds())
	lockBoth(t2, b, a)
	wantKinds(t, kinds(), Circular)
	wantText(t, v, "two/2 is trying to acquire lock:", "(a)", "-> #1 (b)", "-> #0 (a)", "core_test.go:")
	lockBoth(t2, b, a)
	wantKinds(t, kinds(), Circular) // once for each pair
}

func TestOtherInstances(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	store, index := NewClass("store"), NewClass("index")
	tk := v.NewTask("t", 1)
	lockBoth(tk, newMap(store), newMap(index))
	lockBoth(tk, newMap(index), newMap(store))
	wantKinds(t, kinds(), Circular)
}

func TestSubclass(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dir := NewClass("dir")
	parent, child := newMap(dir), newMap(dir)
	tk := v.NewTask("t", 1)
	tk.Acquire(parent, Exclusive, 0)
	tk.Acquire(child, Subclass(1), 0)
	tk.Release(child, 0)
	tk.Release(parent, 0)
	wantKinds(t, kinds())
	tk.Acquire(child, Subclass(1), 0)
	tk.Acquire(parent, Exclusive, 0)
	wantKinds(t, kinds(), Circular)
	wantText(t, v, "(dir/1)")
	tk.Acquire(newMap(dir), Subclass(8), 0)
	wantKinds(t, kinds(), Circular, ClassMisuse)
	wantText(t, v, "looking up invalid subclass")
}

// TestOrder is the instance-order function: locks of one class by rising number.
func TestOrder(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	numbers := map[*Map]int{}
	c := NewClass("account")
	c.Order = func(held, next *Map) int { return numbers[held] - numbers[next] }
	a, b := newMap(c), newMap(c)
	numbers[a], numbers[b] = 1, 2
	tk := v.NewTask("t", 1)
	lockBoth(tk, a, b)
	lockBoth(tk, a, b)
	wantKinds(t, kinds())
	lockBoth(tk, b, a) // the chain of classes is known, the order is not
	wantKinds(t, kinds(), Recursion)
	wantText(t, v, "and the lock comparison function returns 1:")
}

func TestNestLock(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	parent, child := newMap(NewClass("parent")), NewClass("child")
	c1, c2, c3, other := newMap(child), newMap(child), newMap(child), newMap(NewClass("other"))
	tk := v.NewTask("t", 1)
	tk.Acquire(parent, Exclusive, 0)
	tk.AcquireNest(c1, parent, Exclusive, 0)
	tk.AcquireNest(c2, parent, Exclusive, 0)
	tk.Acquire(other, Exclusive, 0)
	tk.AcquireNest(c3, parent, Exclusive, 0)
	for _, m := range []*Map{c1, other, c2, c3, parent} { // any order
		tk.Release(m, 0)
	}
	wantKinds(t, kinds())
	if n, _ := tk.HeldCount(); n != 0 {
		t.Errorf("HeldCount() = %d, want 0", n)
	}
	tk.AcquireNest(c1, parent, Exclusive, 0)
	wantKinds(t, kinds(), NestNotHeld)
	wantText(t, v, "but this task is not holding:\nparent\n")
}

func TestTransfer(t *testing.T) {
	for _, serial := range []bool{true, false} {
		v := New(Config{Serial: serial, MaxChains: 64})
		a, b := newMap(NewClass("a")), newMap(NewClass("b"))
		from, to := v.NewTask("from", 1), v.NewTask("to", 2)
		from.Acquire(a, Exclusive, 0)
		from.Transfer(a, to, 0)
		if from.Holds(a) || !to.Holds(a) {
			t.Errorf("serial %v: Holds = %v, %v, want false, true", serial, from.Holds(a), to.Holds(a))
		}
		to.Acquire(b, Exclusive, 0) // a -> b
		to.Release(b, 0)
		to.Release(a, 0)
		wantKinds(t, kindsOf(v.Reports()))
		lockBoth(from, b, a)
		wantKinds(t, kindsOf(v.Reports()), Circular)
	}
}

func TestTrylock(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	a, b := newMap(NewClass("a")), newMap(NewClass("b"))
	tk := v.NewTask("t", 1)
	lockBoth(tk, a, b)
	tk.Acquire(b, Exclusive, 0)
	tk.Acquire(a, Try, 0)
	tk.Release(a, 0)
	tk.Release(b, 0)
	wantKinds(t, kinds())
	c := newMap(NewClass("c")) // a trylock carries dependencies on: b -> (a) -> c, and then c -> a
	tk.Acquire(a, Try, 0)
	tk.Acquire(c, Exclusive, 0)
	tk.Release(c, 0)
	tk.Release(a, 0)
	lockBoth(tk, c, a)
	wantKinds(t, kinds(), Circular)
}

func TestOneShot(t *testing.T) {
	v, kinds := newTestValidator(t, Config{OneShot: true})
	tk := v.NewTask("t", 1)
	a := newMap(NewClass("a"))
	tk.Release(a, 0)
	tk.Acquire(a, Exclusive, 0)
	tk.Acquire(a, Exclusive, 0)
	tk.Release(a, 0)
	tk.Release(a, 0)
	tk.Release(a, 0)
	wantKinds(t, kinds(), Imbalance)
	v.Reset()
	tk = v.NewTask("t", 1)
	tk.Acquire(a, Exclusive, 0)
	tk.Acquire(a, Exclusive, 0)
	wantKinds(t, kinds(), Recursion)
}

// TestBadInput is the list of the misuse that must be reported and must not hurt.
func TestBadInput(t *testing.T) {
	t.Run("unlock of what is not held", func(t *testing.T) {
		v, kinds := newTestValidator(t, Config{})
		v.NewTask("t", 1).Release(newMap(NewClass("a")), 0)
		wantKinds(t, kinds(), Imbalance)
		wantText(t, v, "t/1 is trying to release lock (a) at:", "but there are no more locks to release!")
	})
	t.Run("double unlock", func(t *testing.T) {
		v, kinds := newTestValidator(t, Config{})
		tk, a, b := v.NewTask("t", 1), newMap(NewClass("a")), newMap(NewClass("b"))
		tk.Acquire(b, Exclusive, 0)
		tk.Acquire(a, Exclusive, 0)
		tk.Release(a, 0)
		tk.Release(a, 0)
		wantKinds(t, kinds(), Imbalance)
		wantText(t, v, "1 lock held by t/1:")
	})
	t.Run("freed while held", func(t *testing.T) {
		v, kinds := newTestValidator(t, Config{})
		tk, other, a := v.NewTask("t", 1), v.NewTask("other", 2), newMap(NewClass("a"))
		other.Acquire(a, Exclusive, 0)
		tk.Freed(a, 0)
		wantKinds(t, kinds(), HeldFreed)
		wantText(t, v, "t/1 is freeing memory", "1 lock held by other/2:")
		other.Release(a, 0)
		wantKinds(t, kinds(), HeldFreed)
	})
	t.Run("use before init", func(t *testing.T) {
		v, kinds := newTestValidator(t, Config{})
		tk, m := v.NewTask("t", 1), &Map{}
		tk.Acquire(m, Exclusive, 0)
		tk.Release(m, 0)
		tk.Release(m, 0) // counts as not held: nothing is known of it
		wantKinds(t, kinds(), ClassMisuse, Imbalance)
		if got, want := v.Reports()[0].Title, "INFO: trying to register non-static key"; got != want {
			t.Errorf("Title = %q, want %q", got, want)
		}
	})
	t.Run("two validators", func(t *testing.T) {
		v, _ := newTestValidator(t, Config{})
		w, kinds := newTestValidator(t, Config{})
		a := newMap(NewClass("a"))
		v.NewTask("t", 1).Acquire(a, Exclusive, 0)
		w.NewTask("t", 1).Acquire(a, Exclusive, 0)
		wantKinds(t, kinds(), ClassMisuse)
		wantText(t, w, "belongs to another validator")
	})
	t.Run("exit with locks held", func(t *testing.T) {
		v, kinds := newTestValidator(t, Config{})
		tk, a, w := v.NewTask("t", 1), newMap(NewClass("a")), newWaitMap("io")
		tk.Acquire(a, Exclusive, 0)
		w.Owe(tk, 0)
		tk.Exit(0)
		wantKinds(t, kinds(), StillHeld)
		wantText(t, v, "WARNING: t/1 still has locks held!", "2 locks held by t/1:")
		tk.Exit(0)
		wantKinds(t, kinds(), StillHeld)
	})
	t.Run("interrupt exit without enter", func(t *testing.T) {
		v, kinds := newTestValidator(t, Config{Interrupts: true})
		tk := v.NewTask("t", 1)
		tk.HardirqExit()
		tk.SoftirqExit()
		wantKinds(t, kinds())
	})
}

// TestLimits fills each table one past its bound.
func TestLimits(t *testing.T) {
	v, kinds := newTestValidator(t, Config{MaxChains: 1 << 15})
	tk := v.NewTask("t", 1)
	for i := range DefaultMaxClasses + 1 {
		m := newMap(NewClass("c"))
		tk.Acquire(m, Exclusive, 0)
		tk.Release(m, 0)
		if i < DefaultMaxClasses {
			wantKinds(t, kinds())
		}
	}
	wantKinds(t, kinds(), Limit)
	wantText(t, v, "BUG: MAX_LOCKDEP_KEYS too low!", "The table holds 8192.")

	v, kinds = newTestValidator(t, Config{MaxDepth: 4})
	tk = v.NewTask("t", 1)
	var ms []*Map
	for i := range 6 {
		ms = append(ms, newMap(NewClass(fmt.Sprint(i))))
		tk.Acquire(ms[i], Exclusive, 0)
	}
	for _, m := range ms {
		tk.Release(m, 0)
	}
	wantKinds(t, kinds(), Limit)
	wantText(t, v, "BUG: MAX_LOCK_DEPTH too low!", "4 locks held by t/1:")
	tk.Release(ms[0], 0)
	wantKinds(t, kinds(), Limit, Imbalance)

	// What does not fit in the graph is still checked against what is in it.
	v, kinds = newTestValidator(t, Config{MaxEdges: 1, MaxChains: 2})
	tk = v.NewTask("t", 1)
	a, b, c := newMap(NewClass("a")), newMap(NewClass("b")), newMap(NewClass("c"))
	lockBoth(tk, a, b)
	lockBoth(tk, b, c)
	wantKinds(t, kinds(), Limit, Limit)
	lockBoth(tk, b, a)
	wantKinds(t, kinds(), Limit, Limit, Circular)
}

// TestConcurrentRegistration lets many tasks register the same classes at once, and use them.
func TestConcurrentRegistration(t *testing.T) {
	v := New(Config{MaxChains: 4096})
	maps := make([]*Map, 32)
	for i := range maps {
		maps[i] = newMap(NewClass(fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		tk := v.NewTask("t", g)
		wg.Go(func() {
			for i := range maps {
				for j := i + 1; j < len(maps); j++ {
					lockBoth(tk, maps[i], maps[j])
				}
			}
		})
	}
	wg.Wait()
	wantKinds(t, kindsOf(v.Reports()))
	if got, want := v.Stats(), len(maps); got.Classes != want || got.Edges != want*(want-1)/2 {
		t.Errorf("Stats() = %+v, want %d classes, %d edges", got, want, want*(want-1)/2)
	}
	lockBoth(v.NewTask("t", 9), maps[1], maps[0])
	wantKinds(t, kindsOf(v.Reports()), Circular)
}

// TestResetDeterminism runs the same faulty program again and again on one
// validator: the reports must be the same bytes.
func TestResetDeterminism(t *testing.T) {
	v, _ := newTestValidator(t, Config{Interrupts: true, RawNesting: true})
	classes := []*Class{NewClass("x"), NewClass("x"), {Name: "raw", Outer: WaitSpin, Inner: WaitSpin}}
	var first string
	for run := range 4 {
		v.Reset()
		if run == 2 { // other classes in between must not show
			other := v.NewTask("other", 7)
			lockBoth(other, newMap(classes[2]), newMap(classes[1]))
			v.Reset()
		}
		a, b, r := newMap(classes[0]), newMap(classes[1]), newMap(classes[2])
		tk := v.NewTask("t", 1)
		lockBoth(tk, a, b)
		lockBoth(tk, b, a)
		tk.HardirqEnter(false)
		tk.Acquire(r, Exclusive, 0)
		tk.Acquire(a, Exclusive, 0)
		tk.Release(a, 0)
		tk.Release(r, 0)
		tk.HardirqExit()
		var text string
		for _, r := range v.Reports() {
			text += r.Text
		}
		if run == 0 {
			first = text
		}
		if text != first || !strings.Contains(text, "(x#2)") {
			t.Fatalf("run %d:\n%s\nfirst run:\n%s", run, text, first)
		}
	}
}

// TestResetAllocs pins that a run without faults allocates nothing once the tables have grown.
func TestResetAllocs(t *testing.T) {
	v := New(Config{Interrupts: true, RawNesting: true, Serial: true, MaxChains: 256})
	a, b := newMap(NewClass("a")), newMap(NewClass("b"))
	w := newWaitMap("w")
	got := testing.AllocsPerRun(200, func() {
		v.Reset()
		t1, t2 := v.NewTask("t", 1), v.NewTask("u", 2)
		w.Owe(t1, 0)
		lockBoth(t1, a, b)
		w.HandOver(t1, t2, 0)
		t2.HardirqEnter(true)
		t2.HardirqExit()
		w.Paid(t2, 0)
		w.Wait(t1, 0)
	})
	if got != 0 {
		t.Errorf("AllocsPerRun(run and Reset) = %v, want 0", got)
	}
	if n := v.ReportCount(); n != 0 {
		t.Errorf("ReportCount() = %d, want 0", n)
	}
}

// TestHookPanics checks that a hook that panics leaves the task as if the acquire had
// not been.
func TestHookPanics(t *testing.T) {
	v := New(Config{Serial: true, MaxChains: 64, OnReport: func(r *Report) { panic(r) }})
	tk, a := v.NewTask("t", 1), newMap(NewClass("a"))
	tk.Acquire(a, Exclusive, 0)
	func() {
		defer func() {
			if r, ok := recover().(*Report); !ok || r.Kind != Recursion || !r.Certain {
				t.Errorf("recover() = %v, want a report of a certain recursion", r)
			}
		}()
		tk.Acquire(a, Exclusive, 0)
	}()
	if n, _ := tk.HeldCount(); n != 1 {
		t.Errorf("HeldCount() = %d, want 1", n)
	}
	tk.Release(a, 0)
}

// TestWaitContexts checks the ceiling, with and without raw nesting.
func TestWaitContexts(t *testing.T) {
	raw := &Class{Name: "raw", Outer: WaitSpin, Inner: WaitSpin}
	spin := &Class{Name: "spin", Outer: WaitConfig, Inner: WaitConfig}
	mutex := NewClass("mutex")
	override := &Class{Name: "override", Outer: WaitSpin, Inner: WaitSleep, Type: WaitOverride}
	for _, tt := range []struct {
		name       string
		held, next *Class
		hardirq    bool
		rawNesting bool
		bad        bool
	}{
		{"spin in raw, RT", raw, spin, false, true, true},
		{"spin in raw", raw, spin, false, false, false},
		{"mutex in spin, RT", spin, mutex, false, true, true},
		{"mutex in spin", spin, mutex, false, false, true},
		{"raw in spin", spin, raw, false, true, false},
		{"spin in hardirq, RT", nil, spin, true, true, true},
		{"spin in hardirq", nil, spin, true, false, false},
		{"mutex in hardirq", nil, mutex, true, false, true},
		{"mutex under an override", override, mutex, false, true, false},
	} {
		v, kinds := newTestValidator(t, Config{Interrupts: true, RawNesting: tt.rawNesting})
		tk := v.NewTask("t", 1)
		if tt.hardirq {
			tk.HardirqEnter(false)
		}
		if tt.held != nil {
			tk.Acquire(newMap(tt.held), Exclusive, 0)
		}
		tk.Acquire(newMap(tt.next), Exclusive, 0)
		if got := len(kinds()) > 0; got != tt.bad {
			t.Errorf("%s: reported = %v, want %v", tt.name, got, tt.bad)
		}
	}
	v, kinds := newTestValidator(t, Config{Interrupts: true, RawNesting: true})
	tk := v.NewTask("t", 1)
	tk.Acquire(newMap(spin), Exclusive, 0)
	tk.Acquire(newMap(mutex), Try, 0) // a trylock does not wait
	wantKinds(t, kinds())
	v.Reset()
	tk = v.NewTask("u", 2)
	tk.HardirqsOff(0)
	tk.Acquire(newMap(raw), Exclusive, 0)
	tk.HardirqEnter(true)
	tk.Acquire(newMap(spin), Exclusive, 0) // what the interrupt interrupted does not bind it
	wantKinds(t, kinds())
}
