// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// catch collects the reports of the Go adapters during a test.
func catch(t *testing.T) func() []*Report {
	t.Helper()
	var mu sync.Mutex
	var got []*Report
	t.Cleanup(OnReport(func(r *Report) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
	}))
	return func() []*Report {
		mu.Lock()
		defer mu.Unlock()
		return append([]*Report(nil), got...)
	}
}

// TestGoidFastAndSlow compares the two ways to know the goroutine, on many of them.
func TestGoidFastAndSlow(t *testing.T) {
	if goidOffset == 0 {
		t.Fatal("the fast path is off: findGoidOffset found no offset on this Go version")
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			fast, _ := here()
			if got, want := fast.goid.Load(), goidFromStack(); got != want {
				t.Errorf("fast goid = %d, want %d", got, want)
			}
		})
	}
	wg.Wait()
}

func TestAdapterABBA(t *testing.T) {
	got := catch(t)
	var a, b Mutex
	SetClass(&a, NewClass("a"))
	SetClass(&b, NewClass("b"))
	done := make(chan bool)
	go func() { a.Lock(); b.Lock(); b.Unlock(); a.Unlock(); close(done) }()
	<-done
	b.Lock()
	a.Lock()
	a.Unlock()
	b.Unlock()
	wantKinds(t, kindsOf(got()), Circular)
	if text := got()[0].Text; !strings.Contains(text, "adapters_test.go:") || !strings.Contains(text, "goroutine/") {
		t.Errorf("report has no call sites:\n%s", text)
	}
}

// withSlowIdentity runs f with the fast way to know the goroutine on and off.
func withSlowIdentity(t *testing.T, f func(t *testing.T)) {
	t.Run("fast", f)
	t.Run("slow", func(t *testing.T) {
		saved := goidOffset
		goidOffset = 0
		defer func() { goidOffset = saved }()
		f(t)
	})
}

// named returns a mutex of a new class.
func named(name string) *Mutex {
	m := new(Mutex)
	SetClass(m, NewClass(name))
	return m
}

func TestAdapterIdentities(t *testing.T) {
	withSlowIdentity(t, func(t *testing.T) {
		got := catch(t)
		a, b := named("a"), named("b")
		onGoroutine(func() { a.Lock(); b.Lock(); b.Unlock(); a.Unlock() })
		b.Lock()
		a.Lock()
		a.Unlock()
		b.Unlock()
		wantKinds(t, kindsOf(got()), Circular)
		if text := got()[0].Text; !strings.Contains(text, "at: endio/lockdep.TestAdapterIdentities") {
			t.Errorf("report has no call site of the acquire:\n%s", text)
		}
	})
}

// onGoroutine runs f on a goroutine of its own and waits for its end.
func onGoroutine(f func()) {
	var wg sync.WaitGroup
	wg.Go(f)
	wg.Wait()
}

// TestGoroutineReuse runs many short goroutines, which share few descriptors.
func TestGoroutineReuse(t *testing.T) {
	got := catch(t)
	a := named("a")
	for range 2000 {
		onGoroutine(func() { a.Lock(); a.Unlock() })
	}
	wantKinds(t, kindsOf(got()))
}

// A counter is what programs lock: the zero value works, and Init makes one class of
// all.
type counter struct {
	mu Mutex
	n  int
}

func newCounter() *counter {
	c := new(counter)
	Init(&c.mu)
	return c
}

var classByInitRan bool

func TestClassByInit(t *testing.T) {
	if classByInitRan {
		t.Skip("a pair of classes is reported once in a process, and these are born at fixed lines")
	}
	classByInitRan = true
	got := catch(t)
	a, b := newCounter(), newCounter()
	a.mu.Lock()
	b.mu.Lock() // another place, but one class by Init
	b.mu.Unlock()
	a.mu.Unlock()
	wantKinds(t, kindsOf(got()), Recursion)
	if want := "(Mutex@adapters_test.go:"; !strings.Contains(got()[0].Text, want) {
		t.Errorf("report lacks %q:\n%s", want, got()[0].Text)
	}
	var c, d counter
	c.mu.Lock()
	d.mu.Lock()
	d.mu.Unlock()
	c.mu.Unlock()
	wantKinds(t, kindsOf(got()), Recursion) // first locked at two places: two classes
}

func TestAdapterMisuse(t *testing.T) {
	withSlowIdentity(t, func(t *testing.T) {
		t.Run("double unlock", func(t *testing.T) {
			got := catch(t)
			a := named("a")
			a.Lock()
			a.Unlock()
			a.Unlock() // sync.Mutex ends the program here
			wantKinds(t, kindsOf(got()), Imbalance)
			a.Lock()
			a.Unlock()
		})
		t.Run("double unlock of a RWMutex", func(t *testing.T) {
			got := catch(t)
			var rw RWMutex
			SetClass(&rw, NewClass("rw"))
			rw.RLock()
			rw.RUnlock()
			rw.RUnlock()
			wantKinds(t, kindsOf(got()), Imbalance)
			var rw2 RWMutex
			SetClass(&rw2, NewClass("rw2"))
			rw2.Lock()
			rw2.RUnlock() // locked for writing, not for reading
			rw2.Unlock()
			rw2.Unlock() // the same pair and kind: reported once
			wantKinds(t, kindsOf(got()), Imbalance, Imbalance)
			rw2.Lock()
			rw2.Unlock()
			rw.Lock()
			rw.Unlock()
		})
		t.Run("unlock by another goroutine", func(t *testing.T) {
			got := catch(t)
			a, b := named("a"), named("b")
			a.Lock()
			onGoroutine(a.Unlock)
			wantKinds(t, kindsOf(got()), Imbalance)
			if text := got()[0].Text; !strings.Contains(text, "Disown and Adopt") {
				t.Errorf("report does not say what to do:\n%s", text)
			}
			b.Lock() // a is not held any more: no dependency a -> b
			b.Unlock()
			onGoroutine(func() { b.Lock(); a.Lock(); a.Unlock(); b.Unlock() })
			wantKinds(t, kindsOf(got()), Imbalance)
		})
		t.Run("disown and adopt", func(t *testing.T) {
			got := catch(t)
			a := named("a")
			var rw RWMutex
			SetClass(&rw, NewClass("rw"))
			a.Lock()
			Disown(a)
			rw.RLock()
			Disown(&rw)
			onGoroutine(func() {
				Adopt(a)
				a.Unlock()
				Adopt(&rw)
				rw.RUnlock()
			})
			a.Lock()
			Disown(a)
			onGoroutine(a.Unlock) // the one that unlocks need not say so
			wantKinds(t, kindsOf(got()))
			Adopt(a)
			wantKinds(t, kindsOf(got()), Imbalance)
		})
		t.Run("freed while held", func(t *testing.T) {
			got := catch(t)
			a := named("a")
			onGoroutine(func() { a.Lock(); Disown(a); Adopt(a); Freed(a); a.Unlock() })
			wantKinds(t, kindsOf(got()), HeldFreed)
			b := named("b")
			hold, held := make(chan bool), make(chan bool)
			go func() { b.Lock(); close(held); <-hold; b.Unlock() }()
			<-held
			Freed(b) // by who does not hold it
			wantKinds(t, kindsOf(got()), HeldFreed, HeldFreed)
			close(hold)
			b.Lock()
			b.Unlock()
		})
		t.Run("goroutine ends with a lock held", func(t *testing.T) {
			got := catch(t)
			a := named("held at the end")
			onGoroutine(a.Lock)
			if n := CheckExited(); n != 1 && len(got()) != 1 {
				t.Errorf("CheckExited() = %d, want 1", n)
			}
			wantKinds(t, kindsOf(got()), StillHeld)
			if text := got()[0].Text; !strings.Contains(text, "(held at the end") {
				t.Errorf("report does not name the lock:\n%s", text)
			}
		})
	})
}

// TestConcurrentFirstUse locks zero mutexes for the first time from many goroutines at once.
func TestConcurrentFirstUse(t *testing.T) {
	got := catch(t)
	for range 200 {
		var c counter
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c.mu.Lock()
				c.n++
				c.mu.Unlock()
			})
		}
		wg.Wait()
		if c.n != 4 {
			t.Fatalf("n = %d, want 4", c.n)
		}
	}
	wantKinds(t, kindsOf(got()))
}

// TestDropIn uses each adapter as the standard type is used.
func TestDropIn(t *testing.T) {
	got := catch(t)
	var (
		mu   Mutex
		rw   RWMutex
		wg   WaitGroup
		once Once
		n    int
	)
	cond := NewCond(&mu)
	wg.Add(1)
	go func() {
		defer wg.Done()
		mu.Lock()
		for n == 0 {
			cond.Wait()
		}
		mu.Unlock()
	}()
	wg.Go(func() { once.Do(func() { mu.Lock(); n++; mu.Unlock() }); once.Do(func() { n = -1 }) })
	for done := false; !done; {
		mu.Lock()
		done = n > 0
		mu.Unlock()
		cond.Broadcast()
	}
	wg.Wait()
	l := rw.RLocker()
	l.Lock()
	if rw.TryLock() {
		t.Error("TryLock() = true under a read lock")
	}
	onGoroutine(func() {
		if !rw.TryRLock() {
			t.Error("TryRLock() = false under a read lock")
			return
		}
		rw.RUnlock()
	})
	l.Unlock()
	if !mu.TryLock() || mu.TryLock() {
		t.Error("TryLock, TryLock = not true, false")
	}
	mu.Unlock()
	c := NewChan[int](1)
	c.Send(7)
	if x, ok := c.Recv(); x != 7 || !ok {
		t.Errorf("Recv() = %d, %v, want 7, true", x, ok)
	}
	c.Close()
	if _, ok := c.Recv(); ok {
		t.Error("Recv() of a closed channel = true")
	}
	wantKinds(t, kindsOf(got()))
}

// TestAdapterWaits finds waits under a lock that the payer needs, in a run that does not hang.
func TestAdapterWaits(t *testing.T) {
	tests := map[string]func(mu *Mutex){
		"WaitGroup.Go": func(mu *Mutex) {
			var wg WaitGroup
			done := make(chan bool)
			wg.Go(func() { mu.Lock(); mu.Unlock(); close(done) })
			<-done
			mu.Lock()
			wg.Wait()
			mu.Unlock()
		},
		"WaitGroup.Add and Owe": func(mu *Mutex) {
			var wg WaitGroup
			wg.Add(1)
			onGoroutine(func() { Owe(&wg); mu.Lock(); mu.Unlock(); wg.Done() })
			mu.Lock()
			wg.Wait()
			mu.Unlock()
		},
		"Cond": func(mu *Mutex) {
			var inner Mutex
			cond := NewCond(&inner)
			ready := false
			onGoroutine(func() { Owe(cond); mu.Lock(); mu.Unlock(); Paid(cond) })
			waiting := make(chan bool)
			go func() {
				<-waiting
				inner.Lock()
				ready = true
				inner.Unlock()
				cond.Signal()
			}()
			mu.Lock()
			inner.Lock()
			close(waiting)
			for !ready {
				cond.Wait()
			}
			inner.Unlock()
			mu.Unlock()
		},
		"Once": func(mu *Mutex) {
			var once Once
			onGoroutine(func() { once.Do(func() { mu.Lock(); mu.Unlock() }) })
			mu.Lock()
			once.Do(func() {})
			mu.Unlock()
		},
		"Chan": func(mu *Mutex) {
			c := NewChan[int](1)
			onGoroutine(func() { c.OweSend(); mu.Lock(); mu.Unlock(); c.Send(1); c.PaidSend() })
			mu.Lock()
			c.Recv()
			mu.Unlock()
		},
		"Chan space": func(mu *Mutex) {
			c := NewChan[int](1)
			onGoroutine(func() { c.OweRecv(); mu.Lock(); mu.Unlock(); c.PaidRecv() })
			mu.Lock()
			c.Send(1)
			mu.Unlock()
		},
		"IOMap": func(mu *Mutex) {
			var io IOMap
			io.SetClass(NewClass("io"))
			onGoroutine(func() { io.Owe(nil); mu.Lock(); mu.Unlock(); io.Paid(nil) })
			mu.Lock()
			io.Wait(nil)
			mu.Unlock()
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			got := catch(t)
			f(named("mu"))
			wantKinds(t, kindsOf(got()), Circular)
		})
	}
}

func TestIOMapOwner(t *testing.T) {
	got := catch(t)
	var io IOMap
	io.SetClass(NewClass("inode"))
	owner := Current()
	onGoroutine(func() { io.Owe(owner) }) // a worker submits for the owner
	onGoroutine(func() { io.Wait(nil) })
	wantKinds(t, kindsOf(got()))
	io.Wait(owner)
	wantKinds(t, kindsOf(got()), Recursion)
	onGoroutine(func() { io.HandOver(owner, Current()); io.Paid(nil) })
	io.WaitHelping(owner)
	wantKinds(t, kindsOf(got()), Recursion)
}

// A fakeTB records what FailTests does to a test.
type fakeTB struct {
	errors   []string
	failed   bool
	cleanups []func()
}

func (f *fakeTB) Helper() {}
func (f *fakeTB) Errorf(format string, a ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, a...))
}
func (f *fakeTB) FailNow()         { f.failed = true; runtime.Goexit() }
func (f *fakeTB) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }

// TestFailTests checks that a test fails with the report, and that one that would wait for itself for ever
// ends.
func TestFailTests(t *testing.T) {
	tb := &fakeTB{}
	a := named("a")
	onGoroutine(func() {
		FailTests(tb)
		a.Lock()
		defer a.Unlock()
		a.Lock()
	})
	if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], "possible recursive locking") || !tb.failed {
		t.Errorf("errors = %q, failed = %v, want one report and true", tb.errors, tb.failed)
	}
	for _, f := range tb.cleanups {
		f()
	}
	if !a.TryLock() {
		t.Error("the lock was not released by the deferred Unlock")
	} else {
		a.Unlock()
	}
}

// fakeM is a package's tests.
type fakeM func()

func (m fakeM) Run() int { m(); return 0 }

// TestRunTests checks that a report fails the package, unless a test has asked for it:
// then it is the test's, and a goroutine that would wait for itself for ever ends that test
// alone.
func TestRunTests(t *testing.T) {
	if code := RunTests(fakeM(func() {})); code != 0 {
		t.Errorf("RunTests without a report = %d, want 0", code)
	}
	if code := RunTests(fakeM(func() { a := named("stray"); a.Lock(); a.Unlock(); a.Unlock() })); code != 1 {
		t.Errorf("RunTests with a report = %d, want 1", code)
	}
	tb := &fakeTB{}
	code := RunTests(fakeM(func() {
		onGoroutine(func() {
			FailTests(tb)
			a := named("own")
			a.Lock()
			defer a.Unlock()
			a.Lock() // certain to hang: it would end the process if it were nobody's
		})
		for _, f := range tb.cleanups {
			f()
		}
	}))
	if code != 0 || len(tb.errors) != 1 || !tb.failed {
		t.Errorf("RunTests = %d, errors = %q, failed = %v, want 0, one report, true", code, tb.errors, tb.failed)
	}
}

func TestHandlers(t *testing.T) {
	fault := func() { a := named("twice"); a.Lock(); a.Unlock(); a.Unlock() }
	var buf bytes.Buffer
	restore := Print(&buf)
	fault()
	restore()
	if !strings.Contains(buf.String(), "bad unlock balance detected!") {
		t.Errorf("Print wrote %q", buf.String())
	}
	buf.Reset()
	restore = Slog(slog.New(slog.NewTextHandler(&buf, nil)))
	fault()
	restore()
	if got := buf.String(); !strings.Contains(got, "lockdep: bad unlock balance") || !strings.Contains(got, "classes=[twice") {
		t.Errorf("Slog wrote %q", got)
	}
	restore = Panic()
	defer restore()
	defer func() {
		if r, ok := recover().(*Report); !ok || r.Kind != Imbalance {
			t.Errorf("recover() = %v, want the report", r)
		}
	}()
	fault()
}

// TestHookMayLock lets a hook use the adapters itself.
func TestHookMayLock(t *testing.T) {
	hookMu, n := named("hook"), 0
	defer OnReport(func(*Report) { hookMu.Lock(); n++; hookMu.Unlock() })()
	a := named("a")
	a.Lock()
	a.Unlock()
	a.Unlock()
	hookMu.Lock()
	defer hookMu.Unlock()
	if n != 1 {
		t.Errorf("the hook ran %d times, want 1", n)
	}
}

func TestNested(t *testing.T) {
	got := catch(t)
	dir := NewClass("dir")
	var parent, child Mutex
	SetClass(&parent, dir)
	SetClass(&child, dir)
	parent.Lock()
	LockNested(&child, 1)
	child.Unlock()
	LockUnder(&child, named("not held"))
	wantKinds(t, kindsOf(got()), NestNotHeld, Recursion)
	child.Unlock()
	parent.Unlock()
	top, c2 := named("top"), new(Mutex)
	SetClass(c2, dir)
	top.Lock()
	LockUnder(&child, top)
	LockUnder(c2, top)
	child.Unlock()
	c2.Unlock()
	top.Unlock()
	wantKinds(t, kindsOf(got()), NestNotHeld, Recursion)
}

// TestFastPathTakesNoLock locks and unlocks a known chain while the test holds every lock that the
// package has: goroutines on different locks have nothing in common to wait for.
func TestFastPathTakesNoLock(t *testing.T) {
	got := catch(t)
	a, b, rw := named("a"), named("b"), new(RWMutex)
	SetClass(rw, NewClass("rw"))
	nest := func() {
		a.Lock()
		rw.RLock()
		b.Lock()
		b.Unlock()
		rw.RUnlock()
		a.Unlock()
	}
	var wg sync.WaitGroup
	warm, locked := make(chan bool), make(chan bool)
	wg.Go(func() {
		nest()
		close(warm)
		<-locked
		nest()
	})
	<-warm
	v := Default()
	v.mu.Lock()
	goMu.Lock()
	siteClasses.mu.Lock()
	close(locked)
	wg.Wait()
	siteClasses.mu.Unlock()
	goMu.Unlock()
	v.mu.Unlock()
	wantKinds(t, kindsOf(got()))
}

// childEnv makes the test binary run one test as a program of its own, whose tables it may fill.
const childEnv = "ENDIO_LOCKDEP_CHILD"

// TestAdapterLimits takes 8,193 classes and 60 locks at once through the Go adapters: two reports, and
// the program goes on as if nothing were.
func TestAdapterLimits(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAdapterLimits$")
		cmd.Env = append(os.Environ(), childEnv+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	got := catch(t)
	deep := make([]*Mutex, 60)
	for i := range deep {
		deep[i] = named(fmt.Sprintf("deep%d", i))
		deep[i].Lock()
	}
	for _, m := range deep { // first taken, first released
		m.Unlock()
	}
	wantKinds(t, kindsOf(got()), Limit)
	if want := "BUG: MAX_LOCK_DEPTH too low!"; got()[0].Title != want {
		t.Errorf("Title = %q, want %q", got()[0].Title, want)
	}
	var rw RWMutex
	for i := range DefaultMaxClasses + 10 {
		m := named(fmt.Sprintf("wide%d", i))
		m.Lock()
		m.Unlock()
		if !m.TryLock() {
			t.Fatal("TryLock() = false on a free mutex")
		}
		m.Unlock()
	}
	rw.RLock() // a class too many: not checked, and still a lock
	if rw.TryLock() {
		t.Error("TryLock() = true under a read lock")
	}
	rw.RUnlock()
	wantKinds(t, kindsOf(got()), Limit, Limit)
	if want := "BUG: MAX_LOCKDEP_KEYS too low!"; got()[1].Title != want {
		t.Errorf("Title = %q, want %q", got()[1].Title, want)
	}
}
