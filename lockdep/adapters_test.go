// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
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

func kindsOf(rs []*Report) []Kind {
	var ks []Kind
	for _, r := range rs {
		ks = append(ks, r.Kind)
	}
	return ks
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
	t.Log(got()[0].Text)
}
func BenchmarkX(b *testing.B) {
	var x, y, z Mutex
	SetClass(&x, NewClass("a"))
	SetClass(&y, NewClass("b"))
	SetClass(&z, NewClass("c"))
	b.Run("dep1", func(b *testing.B) {
		for b.Loop() {
			x.Lock()
			x.Unlock()
		}
	})
	b.Run("dep3", func(b *testing.B) {
		for b.Loop() {
			x.Lock()
			y.Lock()
			z.Lock()
			z.Unlock()
			y.Unlock()
			x.Unlock()
		}
	})
	var sx, sy, sz sync.Mutex
	b.Run("std1", func(b *testing.B) {
		for b.Loop() {
			sx.Lock()
			sx.Unlock()
		}
	})
	b.Run("std3", func(b *testing.B) {
		for b.Loop() {
			sx.Lock()
			sy.Lock()
			sz.Lock()
			sz.Unlock()
			sy.Unlock()
			sx.Unlock()
		}
	})
	t := Default().NewTask("x", 1)
	mx, my, mz := newMap(NewClass("mx")), newMap(NewClass("my")), newMap(NewClass("mz"))
	b.Run("exp1", func(b *testing.B) {
		for b.Loop() {
			t.Acquire(mx, 0, 0)
			sx.Lock()
			t.Release(mx, 0)
			sx.Unlock()
		}
	})
	b.Run("exp3", func(b *testing.B) {
		for b.Loop() {
			t.Acquire(mx, 0, 0)
			sx.Lock()
			t.Acquire(my, 0, 0)
			sy.Lock()
			t.Acquire(mz, 0, 0)
			sz.Lock()
			t.Release(mz, 0)
			sz.Unlock()
			t.Release(my, 0)
			sy.Unlock()
			t.Release(mx, 0)
			sx.Unlock()
		}
	})
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			here()
		}
	})
}
