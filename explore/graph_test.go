// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"math/rand/v2"
	"testing"
)

// statesOf searches p for states with o and returns how many there are, and its failures.
func statesOf(t *testing.T, p *Program, o Options) (*Result, map[string]bool) {
	t.Helper()
	o.Strategy, o.VerifyStates, o.ids = Cached(), true, &idTable{}
	o.KeepGoing, o.MaxFailures, o.NoMinimise = true, 1000, true
	r, err := Explore(context.Background(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	failures := map[string]bool{}
	for _, f := range r.Failures {
		if f.Kind != DataRace { // looked for in the executions that are made
			failures[string(f.Kind)+f.Task] = true
		}
	}
	return r, failures
}

// graphDiffers says how the search of states in any order differs from that without sleep
// sets, depth first, or nothing.
func graphDiffers(t *testing.T, seed uint64, h hole) string {
	rng := rand.New(rand.NewPCG(seed, 7))
	p := randomProgram(randomTasks(rng, 3+rng.IntN(6)), true)
	want, wantFailures := statesOf(t, p, Options{Workers: 1, depthFirst: true})
	// The order in which one worker finds states is always the same: a fault is caught by one of
	// these programs at the latest, whatever two workers do.
	got, gotFailures := statesOf(t, p, Options{Workers: 1 + int(seed%2), hole: h, late: seed%4 < 2})
	if got.States != want.States {
		return "states"
	}
	for f := range wantFailures {
		if !gotFailures[f] {
			return "missing " + f
		}
	}
	for f := range gotFailures {
		if !wantFailures[f] {
			return "extra " + f
		}
	}
	return ""
}

// TestGraphOracle compares the search of states in any order with that depth first.
func TestGraphOracle(t *testing.T) {
	for seed := *oracleSeed; seed < *oracleSeed+uint64(*oraclePrograms); seed++ {
		if d := graphDiffers(t, seed, noHole); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
	}
}

// TestGraphHoles: each fault planted in that search is caught.
func TestGraphHoles(t *testing.T) {
	if defaultPrograms < 2500 {
		t.Skip("compares thousands of programs; TestGraphOracle runs with the race detector")
	}
	for h, name := range map[hole]string{holeWokenLate: "what ran earlier sleeps in what is woken", holeNeverWoken: "nothing is woken",
		holeLateChoices: "other choices of a step see what ran since", holeGivenLost: "known ways are gone with other choices",
		holeTodoSleeps: "what is still to be run sleeps behind known ways"} {
		t.Run(name, func(t *testing.T) {
			const most = 10000
			for seed := uint64(1); seed <= most; seed++ {
				if d := graphDiffers(t, seed, h); d != "" {
					t.Logf("caught by program %d: %s", seed, d)
					return
				}
			}
			t.Errorf("not caught by %d programs", most)
		})
	}
}

// TestUndeclaredState: a program that leaves out of its state what decides its future is found out.
func TestUndeclaredState(t *testing.T) {
	for _, declare := range []bool{true, false} {
		p := &Program{Name: "undeclared", Init: func(x *Exec) {
			first, v := 0, NewAtomic(x, "v", 0)
			x.OnState(func(h *Hash) {
				h.Add(uint64(v.Peek()))
				if declare {
					h.Add(uint64(first))
				}
			})
			for i := 1; i <= 2; i++ {
				x.Go("t", func(t *Task) {
					v.Update(t, func(n int) int { return n + 1 })
					if first == 0 {
						first = i
					}
					v.Update(t, func(n int) int { return n + first })
					v.Load(t)
				})
			}
		}}
		r, err := Explore(context.Background(), p, Options{Strategy: Cached(), VerifyStates: true})
		if err != nil {
			t.Fatal(err)
		}
		if caught := r.Failure != nil && r.Failure.Kind == Nondeterminism; caught == declare {
			t.Errorf("all state declared: %v; result %v, %v", declare, r, r.Failure)
		}
	}
}

// TestLookForCycles stops a search while it looks for cycles in the states that it found: that is
// no proof that there are none. And who looks is alive, although no task takes a step.
func TestLookForCycles(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 7))
	o := Options{Strategy: Cached(), Workers: 1, VerifyStates: true, KeepGoing: true, NoMinimise: true}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	s := newSearch(randomProgram(randomTasks(rng, 5), true), &o)
	xs := s.workers()
	s.search(context.Background(), xs)
	g := xs[0].strat.(*graph).g
	beats := s.heartbeat.beats.Load()
	if s.again(context.Background(), xs[0], g) || len(s.bounds) > 0 {
		t.Fatalf("a search of %d states without a cycle is to be done again, bounded by %q", g.nodes.n, s.bounds)
	}
	if s.heartbeat.beats.Load() == beats {
		t.Error("the watchdog takes who looks for cycles for stalled")
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	s.result.Failures, s.result.Failure = nil, nil
	if s.again(ctx, xs[0], g) || len(s.bounds) == 0 {
		t.Error("a search that was stopped goes on")
	}
	if s.conclude(xs); s.result.Verdict != Unknown {
		t.Errorf("verdict %v, scope %q, want unknown", s.result.Verdict, s.result.Scope)
	}
}
