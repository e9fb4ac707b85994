// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"fmt"
	"testing"
)

// busyProgram has 5 tasks of 10 steps each, of which 3 conflict, and more
// classes than a benchmark can visit.
func busyProgram() *Program { return busy(5, 3) }

// busy has n tasks that each write rounds times to one of three objects.
func busy(n, rounds int) *Program {
	return &Program{Name: "busy", Init: func(x *Exec) {
		own := NewAtomics(x, "own", n, 0)
		shared := NewAtomics(x, "shared", 3, 0)
		x.OnState(func(h *Hash) {
			for _, a := range own {
				h.Add(uint64(a.Peek()))
			}
			for _, a := range shared {
				h.Add(uint64(a.Peek()))
			}
		})
		for i := range n {
			x.Go("t", func(t *Task) {
				for k := range rounds {
					own[i].Store(t, own[i].Load(t)+1)
					shared[(i+k)%3].Store(t, i)
				}
				own[i].Load(t)
			})
		}
	}}
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
