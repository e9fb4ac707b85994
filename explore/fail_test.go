// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"flag"
	"runtime"
	"testing"
)

// mustFail lists programs and the exact failure, whatever the strategy.
var mustFail = []struct {
	name    string
	kind    FailKind
	text    string
	details string
	init    func(x *Exec)
}{
	{"lost update", Assertion, "n is 1, want 2", "", func(x *Exec) {
		n := NewAtomic(x, "n", 0)
		for _, name := range []string{"a", "b"} {
			x.Go(name, func(t *Task) { n.Store(t, n.Load(t)+1) })
		}
		x.OnComplete(func(x *Exec) {
			if n.Peek() != 2 {
				x.Fail(Assertion, "n is 1, want 2", "")
			}
		})
	}},
	{"message without synchronisation", DataRace,
		`data race on data: task "reader" and task "writer" access it without synchronisation, at least one writes`, "", func(x *Exec) {
			data, flag := NewCell(x, "data", 0), NewCell(x, "flag", false)
			x.Go("writer", func(t *Task) {
				data.Set(t, 1)
				flag.Set(t, true)
			})
			x.Go("reader", func(t *Task) { data.Get(t) })
		}},
	{"lock order", Deadlock, `task "a" waits for lock m[1], held by task "b", which waits for lock m[0], held by task "a"`,
		"task \"a\" waits for lock m[1], held by task \"b\"\ntask \"b\" waits for lock m[0], held by task \"a\"", abba().Init},
	{"signal before wait", LostWork, `task "waiter" waits for condition c, and no task is left that could end the wait`,
		`task "waiter" waits for condition c`, func(x *Exec) {
			mu := NewMutex(x, "mu")
			c := NewCond(x, "c", mu)
			x.Go("waiter", func(t *Task) {
				mu.Lock(t)
				c.Wait(t)
				mu.Unlock(t)
			})
			x.Go("signaller", func(t *Task) { c.Signal(t) })
		}},
	{"locks itself", Deadlock, `task "a" waits for lock mu, held by task "a" itself`, `task "a" waits for lock mu, held by task "a"`, func(x *Exec) {
		mu := NewMutex(x, "mu")
		x.Go("a", func(t *Task) {
			mu.Lock(t)
			mu.Lock(t)
		})
	}},
	{"join of a task that joins", Deadlock, `task "a" waits for the end of task b, reached only by task "b", which waits for the end of task a, reached only by task "a"`,
		"task \"a\" waits for the end of task b, reached only by task \"b\"\ntask \"b\" waits for the end of task a, reached only by task \"a\"", func(x *Exec) {
			var a, b *Task
			start := NewAtomic(x, "start", 0)
			a = x.GoWith("a", TaskOptions{Joinable: true}, func(t *Task) {
				start.Load(t)
				t.Join(b)
			})
			b = x.GoWith("b", TaskOptions{Joinable: true}, func(t *Task) {
				start.Load(t)
				t.Join(a)
			})
		}},
	{"unlock of a free lock", Assertion, "unlock of mu, which is not locked", "", func(x *Exec) {
		mu := NewMutex(x, "mu")
		x.Go("a", func(t *Task) { mu.Unlock(t) })
	}},
	{"choice", Assertion, "chose 6", "", func(x *Exec) {
		x.Go("a", func(t *Task) {
			t.Yield()
			t.Check(t.Choose(4)*t.Choose(3) != 6, "chose 6")
		})
	}},
	{"kind of the program's own", "wrong context", "handler runs in hard irq", "at step 1", func(x *Exec) {
		x.Go("a", func(t *Task) {
			t.Yield()
			t.Fail("wrong context", "handler runs in hard irq", "at step 1")
		})
	}},
}

// TestMustFail: every exhaustive strategy and both random ones report exactly
// this, and the token leads to the same failure.
func TestMustFail(t *testing.T) {
	for _, s := range []Strategy{Naive(), SleepSets(), Optimal(), PreemptionBound(3), Random(2000, 1), PCT(2000, 3, 1)} {
		for _, tt := range mustFail {
			p := &Program{Name: tt.name, Init: tt.init}
			r, err := Explore(context.Background(), p, Options{Strategy: s})
			if err != nil {
				t.Fatal(err)
			}
			f := r.Failure
			if f == nil || f.Kind != tt.kind || f.Text != tt.text || tt.details != "" && f.Details != tt.details {
				t.Errorf("%s, %s: failure = %v, details %q, want %s: %s, details %q", tt.name, s, f, f.Details, tt.kind, tt.text, tt.details)
				continue
			}
			again, err := Replay(p, f.Token, Options{})
			if err != nil || !f.same(again.Failure) || again.Trace.String() != f.Trace.String() {
				t.Errorf("%s: replay of %s: %v %v", tt.name, f.Token, again, err)
			}
		}
	}
}

// TestLivelock: two tasks pass a turn back and forth for ever. Where no state is
// matched, the replay of the execution that reached the step bound shows it.
func TestLivelock(t *testing.T) {
	turns := &Program{Name: "turns", Init: func(x *Exec) {
		turn := NewAtomic(x, "turn", 0)
		x.OnState(func(h *Hash) { h.Add(uint64(turn.Peek())) })
		for i, name := range []string{"a", "b"} {
			x.Go(name, func(t *Task) {
				for {
					turn.AwaitValue(t, i)
					turn.Store(t, 1-i)
				}
			})
		}
	}}
	// Each alone is unfair to the other.
	spins := &Program{Name: "spins", Init: func(x *Exec) {
		v := NewAtomic(x, "v", 0)
		x.OnState(func(h *Hash) { h.Add(uint64(v.Peek())) })
		x.GoWith("idle", TaskOptions{Daemon: true}, func(t *Task) { v.AwaitValue(t, 7) })
		for _, name := range []string{"a", "b"} {
			x.Go(name, func(t *Task) {
				for t.Choose(2); v.Load(t) == 0; t.Yield() {
				}
			})
		}
	}}
	for _, tt := range []struct {
		p *Program
		s Strategy
	}{{turns, Cached()}, {turns, Optimal()}, {turns, Random(20, 1)}, {turns, PreemptionBound(0)}, {spins, Cached()}, {spins, Random(20, 1)}} {
		r, err := Explore(context.Background(), tt.p, Options{Strategy: tt.s, MaxSteps: 60})
		if err != nil {
			t.Fatal(err)
		}
		const text = `the state repeats while task "a" never finishes; the steps between can go on for ever, taken by: a b`
		if r.Failure == nil || r.Failure.Kind != Livelock || r.Failure.Text != text {
			t.Errorf("%v: failure = %v, want %s", r, r.Failure, text)
			continue
		}
		again, err := Replay(tt.p, r.Failure.Token, Options{MaxSteps: 60})
		if err != nil || !r.Failure.same(again.Failure) {
			t.Errorf("replay: %v %v", again, err)
		}
	}
}

// TestLivelockAsleep: what goes round is independent of what another does last, so that it sleeps in all
// states in which going round is fair.
func TestLivelockAsleep(t *testing.T) {
	for _, ends := range []bool{false, true} {
		p := &Program{Name: "asleep", Init: func(x *Exec) {
			v, w := NewAtomic(x, "v", 0), NewAtomic(x, "w", 0)
			x.OnState(func(h *Hash) { h.Add(uint64(v.Peek())<<1 | uint64(w.Peek())) })
			x.Go("a", func(t *Task) {
				for v.Load(t) == 0 {
					t.Yield()
				}
			})
			x.Go("b", func(t *Task) {
				w.Store(t, 1)
				if ends {
					v.Store(t, 1)
				}
			})
		}}
		for _, workers := range []int{1, 3} {
			r, err := Explore(context.Background(), p, Options{Strategy: Cached(), Workers: workers, MaxSteps: 60})
			if err != nil {
				t.Fatal(err)
			}
			const text = `the state repeats while task "a" never finishes; the steps between can go on for ever, taken by: a`
			switch {
			case ends && (r.Failure != nil || r.Verdict != Holds || r.Scope != "exhausted"):
				t.Errorf("%d workers: %v %v, want that it holds: as long as it goes round, b is kept from its step", workers, r, r.Failure)
			case !ends && (r.Failure == nil || r.Failure.Text != text):
				t.Errorf("%d workers: %v %v, want %s", workers, r, r.Failure, text)
			}
		}
	}
}

// TestLivelockOfDaemons: when only daemons are left and go round for ever, the program is asked what it owes, as at an
// end. It fails if it owes something in all states that repeat: what is owed now and then is paid again and again.
func TestLivelockOfDaemons(t *testing.T) {
	const text = "the request is not done; only daemons go on, for ever: worker"
	for _, c := range []struct {
		name string
		does func(t *Task, n int, done *Atomic[int])
		want string
	}{
		{"tries for ever", func(t *Task, _ int, done *Atomic[int]) { done.Load(t) }, text},
		{"does it, and looks for more for ever", func(t *Task, _ int, done *Atomic[int]) { done.Store(t, 1) }, ""},
		{"does one after the other", func(t *Task, n int, done *Atomic[int]) { done.Store(t, n%2) }, ""},
	} {
		p := &Program{Name: c.name, Init: func(x *Exec) {
			done, asked, n := NewAtomic(x, "done", 0), NewAtomic(x, "asked", 0), 0
			x.OnState(func(h *Hash) { h.Add(uint64(done.Peek())<<2 | uint64(asked.Peek())<<1 | uint64(n%2)) })
			x.GoWith("worker", TaskOptions{Daemon: true}, func(t *Task) {
				for ; ; n++ {
					c.does(t, n, done)
				}
			})
			x.Go("user", func(t *Task) { asked.Store(t, 1) })
			x.OnComplete(func(x *Exec) {
				if asked.Peek() == 1 && done.Peek() == 0 {
					x.Fail(Assertion, "the request is not done", "")
				}
			})
		}}
		for _, workers := range []int{1, 2} {
			r, err := Explore(context.Background(), p, Options{Strategy: Cached(), Workers: workers, MaxSteps: 60})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Failure; c.want == "" && (got != nil || r.Verdict != Holds) || c.want != "" && (got == nil || got.Text != c.want || got.Kind != Assertion) {
				t.Errorf("%s, %d workers: %v, %v, want %q", c.name, workers, r, got, c.want)
			}
			if r.Failure == nil {
				continue
			}
			if again, err := Replay(p, r.Failure.Token, Options{}); err != nil || again.Failure == nil || again.Failure.Text != text {
				t.Errorf("%s, replayed: %v, %v", c.name, again, err)
			}
		}
	}
}

// round is a daemon that goes round for ever, or once, beside a task of two steps. It has more states than a table that may
// not grow begins with.
func round(loops bool) *Program {
	return &Program{Name: "round", Init: func(x *Exec) {
		a, n := NewAtomic(x, "a", 0), 0
		x.OnState(func(h *Hash) { h.Add(uint64(a.Peek())<<8 | uint64(n)) })
		x.GoWith("worker", TaskOptions{Daemon: true}, func(t *Task) {
			for ; loops || n < 139; n = (n + 1) % 140 {
				a.Load(t)
			}
		})
		x.Go("user", func(t *Task) { a.Store(t, 1); a.Store(t, 2) })
	}}
}

// TestExecutionsThatEnd: a search that can't look through cycles of states does not say that it has seen everything
// where there are some.
func TestExecutionsThatEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"table", Options{Strategy: Cached()}},
		{"full table", Options{Strategy: Cached(), MemoryBytes: 1}},
		{"full table, two workers", Options{Strategy: Cached(), MemoryBytes: 1, Workers: 2}},
		{"checkpoint", Options{Strategy: Cached(), Checkpoint: t.TempDir() + "/c"}},
		{"bound", Options{Strategy: PreemptionBound(4)}},
	} {
		for _, loops := range []bool{false, true} {
			want := "exhausted"
			if loops && c.name != "table" || c.o.Workers == 2 {
				want = "bounded by executions that end"
			}
			c.o.MaxSteps = 1000
			r, err := Explore(context.Background(), round(loops), c.o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != Holds || r.Scope != want {
				t.Errorf("%s, loops %v: %v, %v, want %s", c.name, loops, r, r.Failure, want)
			}
		}
	}
}

// TestDeterminism: searches with one worker make the same executions in the
// same order every time.
func TestDeterminism(t *testing.T) {
	for _, s := range []Strategy{SleepSets(), Optimal(), Cached(), PreemptionBound(2), Random(300, 9), PCT(300, 3, 9)} {
		var sums [2]uint64
		for i := range sums {
			n := uint64(0)
			o := Options{Strategy: s, MaxExecutions: 300, onRun: func(x *Exec) {
				n++
				sums[i] = mix(sums[i], x.hist.class(x.depth)+n)
				for _, e := range x.hist.events {
					sums[i] = mix(sums[i], e.op+uint64(e.task))
				}
			}}
			if _, err := Explore(context.Background(), busy(3, 3), o); err != nil {
				t.Fatal(err)
			}
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: two searches differ", s)
		}
	}
}

// stepper has 3 tasks that take n steps each.
func stepper(n int) *Program {
	return &Program{Name: "stepper", Init: func(x *Exec) {
		v := NewAtomic(x, "v", 0)
		for range 3 {
			x.Go("t", func(t *Task) {
				for range n {
					v.Store(t, v.Load(t)+1)
				}
			})
		}
	}}
}

// TestAllocs: longer executions allocate no more than short ones, so a step
// allocates nothing.
func TestAllocs(t *testing.T) {
	const executions = 3000
	for _, s := range []Strategy{SleepSets(), Cached(), Random(executions, 1), PCT(executions, 3, 1)} {
		mallocs := func(n int) float64 {
			p := stepper(n)
			if s.name == "state caching" {
				inner := p.Init
				p.Init = func(x *Exec) {
					inner(x)
					x.OnState(func(h *Hash) { h.Add(uint64(x.depth) << 32); h.Add(x.hist.class(x.depth)) })
				}
			}
			var before, after runtime.MemStats
			o := Options{Strategy: s, MaxExecutions: executions}
			x := newExec(p, s.build(&o), &Options{MaxSteps: 1000, MemoryBytes: 1 << 30})
			for range 200 {
				x.run()
			}
			runtime.ReadMemStats(&before)
			runs := 0
			for range executions - 200 {
				if !x.run() {
					break
				}
				runs++
			}
			runtime.ReadMemStats(&after)
			x.coros.stop()
			return float64(after.Mallocs-before.Mallocs) / float64(runs)
		}
		few, many := mallocs(10), mallocs(20)
		most := 0.01
		if s.name == "state caching" {
			most = 0.1 // the table of states grows
		}
		if perStep := (many - few) / 60; perStep > most {
			t.Errorf("%s: %.2f allocations an execution with 60 steps, %.2f with 120: %.3f a step, want 0", s, few, many, perStep)
		}
	}
}

var long = flag.Bool("explore.long", false, "run the tests that take minutes")

// TestNoLeak: executions that leave tasks unfinished leave no coroutine behind.
func TestNoLeak(t *testing.T) {
	n := int64(20_000)
	if *long {
		n = 10_000_000
	}
	p := &Program{Name: "leak", Init: func(x *Exec) {
		v := NewAtomic(x, "v", 0)
		x.GoWith("daemon", TaskOptions{Daemon: true}, func(t *Task) { v.AwaitValue(t, 9) })
		x.Go("a", func(t *Task) { v.Store(t, 1) })
	}}
	before := runtime.NumGoroutine()
	most := 0
	o := Options{Strategy: Random(n, 1), onRun: func(*Exec) { most = max(most, runtime.NumGoroutine()) }}
	r, err := Explore(context.Background(), p, o)
	if err != nil || r.Executions != n {
		t.Fatalf("%v %v", r, err)
	}
	runtime.Gosched()
	if after := runtime.NumGoroutine(); after > before+2 || most > before+6 {
		t.Errorf("%d executions: %d goroutines before, at most %d meanwhile, %d after", n, before, most, after)
	}
	t.Logf("%d executions in %v, at most %d goroutines", r.Executions, r.Elapsed, most)
}

func TestTokens(t *testing.T) {
	s := &schedule{tasks: []uint8{0, 0, 3, 1, 1, 1, 1, 0}, choices: []int32{0, 5, 300}}
	token := s.token("p")
	got, err := parseToken(token, "p")
	if err != nil || got.token("p") != token {
		t.Errorf("parseToken(%s) = %v, %v", token, got, err)
	}
	for _, tt := range []struct{ token, want string }{
		{"", `replay token "": want version.check.data, with two dots`},
		{"ex0.0000.AA", `replay token "ex0.0000.AA": version "ex0", but this build reads "ex1" only: find the failure again`},
		{"ex1.0000.AA", `replay token "ex1.0000.AA": made for another program than "p"`},
		{token[:len(token)-9], ""},
		{"ex1." + token[4:8] + ".____", ""},
		{"ex1." + token[4:8] + ".&&", ""},
	} {
		_, err := parseToken(tt.token, "p")
		if err == nil || tt.want != "" && err.Error() != tt.want {
			t.Errorf("parseToken(%s) = %v, want %s", tt.token, err, tt.want)
		}
	}
}

// TestReplayOfOtherChoices: a token with a choice too many, or one that there is not, stands for no execution.
func TestReplayOfOtherChoices(t *testing.T) {
	p := &Program{Name: "choice", Init: func(x *Exec) {
		x.Go("a", func(t *Task) {
			t.Yield()
			t.Check(t.Choose(4)*t.Choose(3) != 6, "chose 6")
		})
	}}
	r, err := Explore(context.Background(), p, Options{})
	if err != nil || r.Failure == nil {
		t.Fatal(r, err)
	}
	made, err := parseToken(r.Failure.Token, p.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		choices []int32
		verdict Verdict
		bad     bool
	}{{[]int32{3, 2}, Fails, false}, {[]int32{3, 1}, Unknown, false}, {[]int32{3, 2, 0}, 0, true}, {[]int32{4, 2}, 0, true}, {[]int32{3, 3}, 0, true}} {
		s := schedule{tasks: made.tasks, choices: c.choices}
		again, err := Replay(p, s.token(p.Name), Options{})
		if (err != nil) != c.bad || err == nil && again.Verdict != c.verdict {
			t.Errorf("choices %v: %v, %v", c.choices, again, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("ex1.0c62.BQEBAgIDAQQBAA")
	f.Fuzz(func(t *testing.T, token string) {
		if s, err := parseToken(token, "random"); err == nil {
			if again, err := parseToken(s.token("random"), "random"); err != nil || again.token("random") != s.token("random") {
				t.Errorf("token %q does not survive: %v", token, err)
			}
		}
	})
}

// TestFullTable: state caching in a table that can't grow comes to the same
// verdict, also with cycles of states.
func TestFullTable(t *testing.T) {
	for _, limit := range []int64{1, 1 << 30} {
		r, err := Explore(context.Background(), busy(3, 5), Options{Strategy: Cached(), MemoryBytes: limit})
		if err != nil || r.Verdict != Holds || r.Scope != "exhausted" {
			t.Errorf("limit %d: %v %v, want holds, exhausted", limit, r, err)
		}
		t.Log(limit, r, r.States)
	}
	const slots = 1 << 3
	st := &stateTable{keys: make([]uint64, slots), sleep: make([]uint64, slots), limit: 1}
	for k := uint64(1); k < 20; k++ {
		st.lookup(k, 0)
	}
	if !st.full || st.n != 7 {
		t.Errorf("table of %d slots: %d in use, full %v, want 7, true", slots, st.n, st.full)
	}
}
