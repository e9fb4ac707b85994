// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
)

// busyProgram has 5 tasks of 10 steps each, of which 3 conflict, and more
// classes than a benchmark can visit.
func busyProgram() *Program { return busy(5, 3) }

// busy has n tasks that each write rounds times to one of three objects. What it needs for that it makes once for each Exec,
// so that a benchmark counts what the explorer allocates.
func busy(n, rounds int) *Program {
	return &Program{Name: "busy", Init: func(x *Exec) {
		m, _ := (*x.Memo()).(*busyMemo)
		if m == nil {
			m = newBusy(n, rounds)
			*x.Memo() = m
		}
		for i := range m.own {
			m.own[i] = busyVar{x.NewObject("own", i), 0}
		}
		for i := range m.shared {
			m.shared[i] = busyVar{x.NewObject("shared", i), 0}
		}
		x.OnState(m.state)
		for _, f := range m.tasks {
			x.Go("t", f)
		}
	}}
}

// busyMemo is what busy uses again.
type busyMemo struct {
	own, shared []busyVar
	state       func(*Hash)
	tasks       []func(*Task)
}

type busyVar struct {
	obj   Object
	value int
}

func newBusy(n, rounds int) *busyMemo {
	m := &busyMemo{own: make([]busyVar, n), shared: make([]busyVar, 3)}
	m.state = func(h *Hash) {
		for _, v := range m.own {
			h.Add(uint64(v.value))
		}
		for _, v := range m.shared {
			h.Add(uint64(v.value))
		}
	}
	for i := range n {
		own := &m.own[i]
		m.tasks = append(m.tasks, func(t *Task) {
			for k := range rounds {
				t.Step(own.obj, AtomicRead)
				v := own.value
				t.Step(own.obj, AtomicWrite)
				own.value = v + 1
				t.Step(m.shared[(i+k)%3].obj, AtomicWrite)
				m.shared[(i+k)%3].value = i
			}
			t.Step(own.obj, AtomicRead)
		})
	}
	return m
}

// TestNoAllocations: in steady state neither a step nor an execution allocates. One execution in 1024 is made again on fresh
// coroutines, and watched closely; those are not among the ones counted here, and cost 0.01 allocations a step.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for _, s := range []Strategy{Optimal(), SleepSets(), Random(1<<40, 1)} {
		o := Options{Strategy: s}
		if err := o.complete(); err != nil {
			t.Fatal(err)
		}
		x := newExec(busyProgram(), s.build(&o), &o) // not watched by a heartbeat
		steps := 0
		run := func(n int) {
			for range n {
				if !x.run() {
					t.Fatalf("%s: no more executions", s)
				}
				steps += x.depth
			}
		}
		run(5_000)
		// The count is the whole process's. Searches that other tests have left stuck come to their end
		// some time, and allocate then; what this one does, it does in every part.
		least, all := uint64(math.MaxUint64), steps
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			run(1_000)
			runtime.ReadMemStats(&after)
			least = min(least, after.Mallocs-before.Mallocs)
		}
		x.coros.stop()
		if least > 20 { // of 1000: the runtime has goroutines, too
			t.Errorf("%s: at least %d allocations in each 1000 executions, want none", s, least)
		}
		t.Logf("%s: %d allocations in 1000 executions, the least of 5 times; %d steps in all", s, least, steps-all)
	}
}

// benchmark makes b.N executions of a program of 5 tasks and 50 steps. Besides
// executions a second it reports executions a second of CPU time, which other
// work on the machine disturbs less; run it with GOMAXPROCS=1 for one core.
func benchmark(b *testing.B, s Strategy) {
	b.ReportAllocs()
	before := cpuTime()
	r, err := Explore(context.Background(), busyProgram(), Options{Strategy: s, MaxExecutions: int64(b.N)})
	if err != nil || r.Verdict == Fails {
		b.Fatal(r, err)
	}
	used := cpuTime() - before
	b.ReportMetric(float64(r.Executions)/r.Elapsed.Seconds(), "exec/s")
	b.ReportMetric(float64(r.Executions)/used.Seconds(), "exec/cpu-s")
	b.ReportMetric(float64(r.Pruned)/float64(r.Executions), "pruned/exec")
	b.ReportMetric(float64(r.Steps)/float64(r.Executions+r.Pruned), "steps/run")
}

func BenchmarkRandom(b *testing.B)  { benchmark(b, Random(1<<40, 1)) }
func BenchmarkOptimal(b *testing.B) { benchmark(b, Optimal()) }
func BenchmarkSleep(b *testing.B)   { benchmark(b, SleepSets()) }

// BenchmarkCached verifies one program with state caching, by one and by two
// workers.
func BenchmarkCached(b *testing.B) {
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			for b.Loop() {
				r, err := Explore(context.Background(), busy(4, 3), Options{Strategy: Cached(), Workers: workers})
				if err != nil || r.Verdict != Holds {
					b.Fatal(r, err)
				}
				b.ReportMetric(float64(r.Executions+r.Pruned)/r.Elapsed.Seconds(), "runs/s")
				b.ReportMetric(float64(r.States)/r.Elapsed.Seconds(), "states/s")
				b.ReportMetric(float64(r.States), "states")
			}
		})
	}
}
