// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"testing"
)

func counter(locked bool) *Program {
	return &Program{Name: "counter", Init: func(x *Exec) {
		n := NewCell(x, "n", 0)
		mu := NewMutex(x, "mu")
		for _, name := range []string{"a", "b"} {
			x.Go(name, func(t *Task) {
				if locked {
					mu.Lock(t)
				}
				n.Set(t, n.Get(t)+1)
				if locked {
					mu.Unlock(t)
				}
			})
		}
		x.OnComplete(func(x *Exec) {
			if n.Peek() != 2 {
				x.Fail(Assertion, "lost update", "")
			}
		})
	}}
}

func abba() *Program {
	return &Program{Name: "abba", Init: func(x *Exec) {
		m := NewMutexes(x, "m", 2)
		for i, name := range []string{"a", "b"} {
			x.Go(name, func(t *Task) {
				m[i].Lock(t)
				m[1-i].Lock(t)
				m[1-i].Unlock(t)
				m[i].Unlock(t)
			})
		}
	}}
}

func TestBasics(t *testing.T) {
	for _, s := range []Strategy{Naive(), SleepSets(), Random(200, 1), PCT(200, 3, 1)} {
		for _, p := range []*Program{counter(true), counter(false), abba()} {
			r, err := Explore(context.Background(), p, Options{Strategy: s})
			if err != nil {
				t.Fatal(err)
			}

			if r.Failure != nil {
				t.Logf("%s %s\n%s\n%s", r.Failure, r.Failure.Token, r.Failure.Details, r.Failure.Trace)
				rr, err := Replay(p, r.Failure.Token, Options{})
				if err != nil || rr.Failure == nil || !rr.Failure.same(r.Failure) {
					t.Errorf("replay: %v %v", rr, err)
				}
			}
		}
	}
}
