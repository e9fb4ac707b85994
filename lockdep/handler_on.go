// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
)

// handlers are what reports of the default validator go to: the last one of
// alone, or else standard error; and all tests that asked.
var handlers struct {
	mu     sync.Mutex
	hooks  []*hook
	tests  []*testHook
	report uint64
}

// A hook is one function that reports go to.
type hook struct {
	f           func(*Report)
	unlessTests bool // not for reports that a test has asked for
}

// A testHook is a test that fails with each report.
type testHook struct {
	tb   TB
	goid uint64 // of the goroutine that runs the test
}

// dispatch delivers a report of the default validator.
func dispatch(r *Report) {
	handlers.mu.Lock()
	handlers.report++
	var last *hook
	if n := len(handlers.hooks); n > 0 {
		last = handlers.hooks[n-1]
	}
	tests := slices.Clone(handlers.tests)
	handlers.mu.Unlock()
	if last != nil && !(last.unlessTests && len(tests) > 0) {
		last.f(r)
	} else if len(tests) == 0 {
		os.Stderr.WriteString(r.Text)
	}
	me := goidFromStack()
	for _, t := range tests {
		t.tb.Errorf("%s", r.Text)
	}
	if !r.Certain || len(tests) == 0 {
		return
	}
	// The goroutine would wait for itself for ever, and the test with it.
	for _, t := range tests {
		if t.goid == me {
			t.tb.FailNow()
		}
	}
	runtime.Goexit()
}

// OnReport sends the reports of the Go adapters to f, until restore is called. It runs on the
// goroutine that caused the report, before that goroutine waits.
func OnReport(f func(*Report)) (restore func()) { return (&hook{f: f}).add() }

// add makes h the last hook, until restore is called.
func (h *hook) add() (restore func()) {
	handlers.mu.Lock()
	defer handlers.mu.Unlock()
	handlers.hooks = append(handlers.hooks, h)
	return func() {
		handlers.mu.Lock()
		defer handlers.mu.Unlock()
		handlers.hooks = slices.DeleteFunc(handlers.hooks, func(x *hook) bool { return x == h })
	}
}

// Print writes reports to w. Without a hook they go to standard error.
func Print(w io.Writer) (restore func()) {
	var mu sync.Mutex
	return OnReport(func(r *Report) {
		mu.Lock()
		defer mu.Unlock()
		io.WriteString(w, r.Text)
	})
}

// Slog logs reports at level Error, with the kind, the classes and the text as attributes.
func Slog(l *slog.Logger) (restore func()) {
	return OnReport(func(r *Report) {
		l.Error("lockdep: "+r.Kind.String(), "task", r.Task, "id", r.TaskID, "classes", r.Classes, "report", r.Text)
	})
}

// Panic panics with the report, on the goroutine that caused it and before it waits.
func Panic() (restore func()) {
	return OnReport(func(r *Report) { panic(r) })
}

// FailTests lets tb fail with each report from now until it ends, and at its
// end looks for goroutines that ended with locks held. A goroutine of which it is certain that it
// would wait for itself for ever is ended, so that the test ends too.
func FailTests(tb TB) {
	tb.Helper()
	h := &testHook{tb, goidFromStack()}
	handlers.mu.Lock()
	handlers.tests = append(handlers.tests, h)
	handlers.mu.Unlock()
	tb.Cleanup(func() {
		CheckExited()
		handlers.mu.Lock()
		defer handlers.mu.Unlock()
		handlers.tests = slices.DeleteFunc(handlers.tests, func(x *testHook) bool { return x == h })
	})
}

// RunTests runs the tests of a package and returns the exit code for os.Exit: 1 if there was any
// report that no test took for its own. Call it from TestMain. A goroutine of which it is certain
// that it would wait for itself for ever ends the process with code 1 at once, instead of
// the time limit of the tests.
func RunTests(m interface{ Run() int }) int {
	reports := 0
	var mu sync.Mutex
	restore := (&hook{unlessTests: true, f: func(r *Report) {
		mu.Lock()
		defer mu.Unlock()
		reports++
		os.Stderr.WriteString(r.Text)
		if r.Certain {
			os.Exit(1)
		}
	}}).add()
	defer restore()
	code := m.Run()
	CheckExited()
	mu.Lock()
	defer mu.Unlock()
	if code == 0 && reports > 0 {
		code = 1
	}
	return code
}
