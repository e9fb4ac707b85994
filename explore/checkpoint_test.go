// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"endio/internal/race"
)

// TestResume stops searches again and again and resumes them: they look at as
// many executions as one search that is not stopped.
func TestResume(t *testing.T) {
	p := busy(3, 3)
	for _, s := range []Strategy{SleepSets(), Optimal(), Cached(), PreemptionBound(2), Random(500, 3), PCT(500, 3, 3)} {
		for _, workers := range []int{1, 2} {
			o := Options{Strategy: s, Workers: workers, Checkpoint: filepath.Join(t.TempDir(), "search")}
			want, err := Explore(context.Background(), p, o)
			if err != nil {
				t.Fatal(err)
			}
			o.Resume, o.MaxExecutions = true, 40
			stops := 0
			got := &Result{Scope: "bounded"}
			for ; strings.HasSuffix(got.Scope, " executions") || stops == 0; stops++ {
				if got, err = Explore(context.Background(), p, o); err != nil {
					t.Fatal(err)
				}
				o.MaxExecutions += 40
			}
			t.Logf("%v, stopped %d times", got, stops)
			// State caching with sleep sets depends on the order in which states
			// are met, and a resumed preemption bound begins with an empty table.
			exact := s.name != "state caching" && s.name != "at most 2 preemptions"
			if exact && got.Executions != want.Executions || got.Verdict != want.Verdict || got.Scope != want.Scope {
				t.Errorf("stopped %d times and resumed: %v, want %v", stops, got, want)
			}
		}
	}
}

// stopping is p, which is stopped as soon as it was begun after times.
func stopping(p *Program, after int) (context.Context, *Program) {
	ctx, stop := context.WithCancel(context.Background())
	return ctx, &Program{Name: p.Name, Init: func(x *Exec) {
		if after--; after == 0 {
			stop()
		}
		p.Init(x)
	}}
}

// TestResumeAnywhere stops searches after each execution, abandoned ones and the last included.
func TestResumeAnywhere(t *testing.T) {
	p := busy(3, 2)
	stops := 3
	if race.Enabled {
		stops = 1
	}
	for _, s := range []Strategy{SleepSets(), Optimal(), Cached(), PreemptionBound(1), PreemptionBound(9), Random(30, 3), PCT(30, 3, 3)} {
		runs := 0
		counting := &Program{Name: p.Name, Init: func(x *Exec) { runs++; p.Init(x) }}
		want, err := Explore(context.Background(), counting, Options{Strategy: s})
		if err != nil {
			t.Fatal(err)
		}
		for k := determinismTries + 1; k <= runs; k += 1 + (runs-k)/stops { // more of them towards the end
			o := Options{Strategy: s, Checkpoint: filepath.Join(t.TempDir(), "search")}
			ctx, stopped := stopping(p, k)
			if _, err := Explore(ctx, stopped, o); err != nil {
				t.Fatal(err)
			}
			o.Resume = true
			got, err := Explore(context.Background(), p, o)
			if err != nil {
				t.Fatal(err)
			}
			exact := s.scope == "" && s.name != "state caching" // see TestResume
			if exact && got.Executions != want.Executions || got.Verdict != want.Verdict || got.Scope != want.Scope {
				t.Errorf("stopped in run %d of %d and resumed: %v, want %v", k, runs, got, want)
			}
		}
	}
}

// TestResumeRound: that states form a cycle is known after a stop as well, wherever it was.
func TestResumeRound(t *testing.T) {
	for _, s := range []Strategy{Cached(), PreemptionBound(4)} {
		for k := determinismTries + 1; k < determinismTries+300; k += 60 {
			for _, loops := range []bool{true, false} {
				o := Options{Strategy: s, MaxSteps: 1000, Checkpoint: filepath.Join(t.TempDir(), "search")}
				ctx, stopped := stopping(round(loops), k)
				if _, err := Explore(ctx, stopped, o); err != nil {
					t.Fatal(err)
				}
				o.Resume = true
				want := map[bool]string{true: "bounded by executions that end", false: "exhausted"}[loops]
				if r, err := Explore(context.Background(), round(loops), o); err != nil || r.Verdict != Holds || r.Scope != want {
					t.Errorf("%s stopped in run %d, loops %v: %v, %v, want %s", s.name, k, loops, r, err, want)
				}
			}
		}
	}
}

// TestResumeJobs: parts of the tree that no worker has begun outlive any number of stops.
func TestResumeJobs(t *testing.T) {
	p := busy(2, 2)
	want, err := Explore(context.Background(), p, Options{Strategy: SleepSets()})
	if err != nil {
		t.Fatal(err)
	}
	// Where parallel workers are stopped depends on the machine, so the file is made by hand: all that
	// can be given away of the tree is a job.
	o := Options{Strategy: SleepSets(), Checkpoint: filepath.Join(t.TempDir(), "search"), Resume: true, MaxExecutions: 1}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	s := newSearch(p, &o)
	xs := s.workers()
	s.search(context.Background(), xs)
	xs[0].conclude()
	for {
		j, ok := xs[0].strat.(*dfs).give(xs[0])
		if !ok {
			break
		}
		s.jobs = append(s.jobs, j)
	}
	if err := s.writeCheckpoint(xs); err != nil || len(s.jobs) == 0 {
		t.Fatalf("%d jobs, %v", len(s.jobs), err)
	}
	got := &Result{Scope: "bounded by executions"}
	for ; strings.HasSuffix(got.Scope, " executions"); o.MaxExecutions++ {
		if got, err = Explore(context.Background(), p, o); err != nil {
			t.Fatal(err)
		}
	}
	if got.Executions != want.Executions || got.Verdict != want.Verdict {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestCheckpointOfMemory: a search that is stopped for want of memory writes what is left, too.
func TestCheckpointOfMemory(t *testing.T) {
	o := Options{Strategy: SleepSets(), Checkpoint: filepath.Join(t.TempDir(), "search"), MaxSteps: 50}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	s := newSearch(busy(3, 3), &o)
	s.heartbeat.stop("memory, 1 MiB")
	s.run(context.Background())
	if _, err := os.Stat(o.Checkpoint); err != nil || s.err != nil || s.result.Verdict != Unknown || s.result.Scope != "bounded by memory, 1 MiB" {
		t.Errorf("%v: %v, %v", s.result, err, s.err)
	}
}

// TestNoCheckpointOfFailures: what is left is not written if something failed, suspected only or not: the
// search that resumes would say that the program holds.
func TestNoCheckpointOfFailures(t *testing.T) {
	p := &Program{Name: "endless at first", Init: func(x *Exec) {
		v := NewAtomic(x, "v", 0)
		x.Go("a", func(t *Task) {
			for v.Load(t) == 0 {
			}
		})
		x.Go("b", func(t *Task) { v.Store(t, 1) })
	}}
	for _, o := range []Options{{}, {KeepGoing: true, MaxExecutions: 1}} {
		o.Strategy, o.MaxSteps, o.Resume = SleepSets(), 8, true
		o.Checkpoint = filepath.Join(t.TempDir(), "search")
		for range 2 * o.MaxSteps {
			r, err := Explore(context.Background(), p, o)
			if err != nil || r.Failure == nil || r.Failure.Kind != StepBound || r.Verdict != Unknown {
				t.Fatalf("%v, failure %v, %v, want unknown, step bound", r, r.Failure, err)
			}
			o.MaxExecutions = 0
		}
	}
}

func TestCheckpointErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "search")
	p := busyProgram()
	o := Options{Strategy: SleepSets(), MaxExecutions: 2, Checkpoint: file, Resume: true}
	if _, err := Explore(context.Background(), p, o); err != nil {
		t.Fatal(err)
	}
	o.Strategy = Optimal()
	if _, err := Explore(context.Background(), p, o); err == nil || !strings.Contains(err.Error(), "made with strategy sleep sets, and this search has optimal reduction: remove the file") {
		t.Errorf("resume with another strategy: %v", err)
	}
	if err := os.WriteFile(file, []byte("not a checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Explore(context.Background(), p, o); err == nil || !strings.Contains(err.Error(), "damaged, or not a checkpoint") {
		t.Errorf("resume from another file: %v", err)
	}
	o.Checkpoint = ""
	if _, err := Explore(context.Background(), p, o); err == nil || !strings.Contains(err.Error(), "option Resume needs") {
		t.Errorf("resume without a file: %v", err)
	}
}

// TestDamagedCheckpoint changes a bit of a checkpoint, here and there, and cuts it.
func TestDamagedCheckpoint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "search")
	for _, s := range []Strategy{Optimal(), Cached()} {
		o := Options{Strategy: s, MaxExecutions: 40, Checkpoint: file}
		if _, err := Explore(context.Background(), busy(3, 3), o); err != nil {
			t.Fatal(err)
		}
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o.Resume, o.MaxExecutions = true, 41
		resume := func(what string, data []byte) {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := Explore(context.Background(), busy(3, 3), o); err == nil || !strings.Contains(err.Error(), "damaged, or not a checkpoint") {
				t.Errorf("%s, %s: %v, %v, want that it is damaged", s.name, what, r, err)
			}
		}
		for at := 0; at < len(whole); at += 1 + len(whole)/100 {
			spoilt := slices.Clone(whole)
			spoilt[at] ^= 1 << (at % 8)
			resume(fmt.Sprintf("bit of byte %d of %d", at, len(whole)), spoilt)
		}
		for _, n := range []int{0, 3, 4, len(whole) / 2, len(whole) - 1} {
			resume(fmt.Sprintf("%d bytes of %d", n, len(whole)), whole[:n])
		}
	}
}

func TestProgress(t *testing.T) {
	calls := 0
	last := Progress{}
	o := Options{MaxTime: 300 * time.Millisecond, ProgressEvery: 20 * time.Millisecond, Progress: func(p Progress) { calls++; last = p }}
	r, err := Explore(context.Background(), busyProgram(), o)
	if err != nil {
		t.Fatal(err)
	}
	if calls > 0 && (last.Executions == 0 || last.Fraction < 0 || last.Fraction > 1) {
		t.Errorf("progress = %+v of %v", last, r)
	}
	t.Log(calls, last, last.Remaining(), r)
}
