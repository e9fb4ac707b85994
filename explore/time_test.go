// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"testing"
	"time"
)

// TestTimeForMinimising: minimising a trace is part of the time of a search.
func TestTimeForMinimising(t *testing.T) {
	p := &Program{Name: "late", Init: func(x *Exec) {
		n := x.NewObject("n", -1)
		last := ""
		for _, name := range []string{"A", "B"} {
			x.Go(name, func(t *Task) {
				for range 3 {
					t.Step(n, AtomicUpdate)
					t.Check(last != "A" || name == "A", "B after A")
					last = name
				}
			})
		}
	}}
	r, err := Explore(context.Background(), p, Options{Strategy: Random(50, 1), NoMinimise: true})
	if err != nil || r.Failure == nil {
		t.Fatal(err, r)
	}
	o := Options{MaxTime: time.Hour}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	s := newSearch(p, &o)
	given := *r.Failure
	if g := s.minimise(&given); g.LeftOut != "" {
		t.Errorf("left out in time: %s", g.LeftOut)
	}
	s.start = s.start.Add(-2 * time.Hour)
	given = *r.Failure
	if g := s.minimise(&given); g != &given || g.LeftOut == "" {
		t.Errorf("nothing was left out after the time, or something was done: %+v", g)
	}
}
