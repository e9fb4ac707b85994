// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"strings"
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
	return v, func() []Kind {
		var kinds []Kind
		for _, r := range v.Reports() {
			kinds = append(kinds, r.Kind)
		}
		return kinds
	}
}

func newMap(c *Class) *Map {
	m := &Map{}
	m.Init(c)
	return m
}

func wantKinds(t *testing.T, got []Kind, want ...Kind) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("reports = %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("reports = %v, want %v", got, want)
		}
	}
}

func TestABBA(t *testing.T) {
	v, kinds := newTestValidator(t, Config{Stacks: true})
	a, b := newMap(NewClass("a")), newMap(NewClass("b"))
	t1, t2 := v.NewTask("one", 1), v.NewTask("two", 2)
	t1.Acquire(a, Exclusive, 0)
	t1.Acquire(b, Exclusive, 0)
	t1.Release(b, 0)
	t1.Release(a, 0)
	wantKinds(t, kinds())
	t2.Acquire(b, Exclusive, 0)
	t2.Acquire(a, Exclusive, 0)
	t2.Release(a, 0)
	t2.Release(b, 0)
	wantKinds(t, kinds(), Circular)
	t.Log(v.Reports()[0].Text)
}

// TestSelfWait is the deadlock of thread 1: a task begins direct I/O whose completion only it can run, and
// then waits for all direct I/O of the inode under i_rwsem.
func TestSelfWait(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio := &WaitMap{}
	dio.Init(NewClass("inode"))
	rwsem := newMap(NewClass("i_rwsem"))
	tk := v.NewTask("falloc-dio", 502)
	dio.Owe(tk, 0)
	tk.Acquire(rwsem, Exclusive, 0)
	dio.Wait(tk, 0)
	wantKinds(t, kinds(), Recursion)
	text := v.Reports()[0].Text
	for _, want := range []string{
		"WARNING: possible recursive locking detected",
		"falloc-dio/502 is trying to acquire lock:",
		"(inode)", "2 locks held by falloc-dio/502:", "#1: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("report lacks %q:\n%s", want, text)
		}
	}
}
