// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
			for ; strings.Contains(got.Scope, "executions") || stops == 0; stops++ {
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
