// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"fmt"
	"testing"
)

// ringProgram has 5 tasks of 10 steps each: 8 of its own and 2 that conflict.
func ringProgram() *Program {
	return &Program{Name: "ring", Init: func(x *Exec) {
		own := NewAtomics(x, "own", 5, 0)
		shared := NewAtomics(x, "shared", 5, 0)
		for i := range 5 {
			x.Go("t", func(t *Task) {
				for range 4 {
					own[i].Store(t, own[i].Load(t)+1)
				}
				shared[i].Store(t, 1)
				shared[(i+1)%5].Load(t)
			})
		}
	}}
}

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

func BenchmarkRandom(b *testing.B) {
	r, _ := Explore(context.Background(), ringProgram(), Options{Strategy: Random(int64(b.N), 1)})
	b.ReportMetric(float64(r.Executions)/r.Elapsed.Seconds(), "exec/s")
}

func BenchmarkSleep(b *testing.B) {
	r, _ := Explore(context.Background(), ringProgram(), Options{Strategy: SleepSets(), MaxExecutions: int64(b.N)})
	b.ReportMetric(float64(r.Executions)/r.Elapsed.Seconds(), "exec/s")
	b.ReportMetric(float64(r.Executions+r.Pruned)/r.Elapsed.Seconds(), "runs/s")
}

func BenchmarkOptimal(b *testing.B) {
	r, _ := Explore(context.Background(), busyProgram(), Options{MaxExecutions: int64(b.N)})
	b.ReportMetric(float64(r.Executions)/r.Elapsed.Seconds(), "exec/s")
	b.ReportMetric(float64(r.Steps)/float64(r.Executions), "steps")
	b.ReportMetric(float64(r.Pruned), "pruned")
	b.ReportMetric(float64(r.Executions), "execs")
}

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
