// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program make measurements in processes of their own, as the commands do.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-child" {
		if err := runChild(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// turnSpecs returns specs of a small file that can be measured in turns here.
func turnSpecs(t *testing.T, hows ...string) []Spec {
	f, err := os.CreateTemp(".", "turns-test.*.tmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	if err := errors.Join(fill(context.Background(), f, 4<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	var specs []Spec
	for _, how := range hows {
		specs = append(specs, Spec{How: how, Peer: how, Path: f.Name(), Bytes: 4 << 20, Depth: 4, Block: 4096, Duration: 100 * time.Millisecond, Turns: true})
	}
	if _, err := os.Stat("/proc/self/io"); err != nil {
		t.Skipf("skipped: the kernel does not count the I/O of a process: %v", err)
	}
	if _, err := measureHere(Spec{How: "caller", Path: f.Name(), Bytes: 4 << 20, Depth: 1, Block: 4096, Duration: 50 * time.Millisecond}); err != nil {
		t.Skipf("skipped: no direct I/O through a ring here: %v", err)
	}
	return specs
}

// TestTurns measures peers of which one at a time runs.
func TestTurns(t *testing.T) {
	hows := []string{"caller", "task"}
	if _, err := exec.LookPath("fio"); err == nil {
		hows = append(hows, "fio")
	}
	shown := make(map[string]int)
	outcomes := measureTurns(context.Background(), turnSpecs(t, hows...), func(s Spec) { shown[s.How]++ })
	for i, o := range outcomes {
		if o.spec.How != hows[i] || o.err != nil {
			t.Fatalf("%s: %v", o.spec.How, o.err)
		}
		if o.m[KIOPS] <= 0 || o.m[CPU] <= 0 || o.m[P50] <= 0 || o.m[P99] < o.m[P50] {
			t.Errorf("%s: %v", o.spec.How, o.m)
		}
		if shown[o.spec.How] != 2 {
			t.Errorf("%s: its start and its turn were shown %d times, want 2", o.spec.How, shown[o.spec.How])
		}
	}
}

// TestTurnsStop looks at a peer between its turns, when nothing may be counted, and after its end.
func TestTurnsStop(t *testing.T) {
	ctx := context.Background()
	p := &player{spec: turnSpecs(t, "caller")[0]}
	p.start(ctx)
	p.play(ctx, 50*time.Millisecond, 50*time.Millisecond)
	if p.err != nil {
		t.Fatal(p.err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if _, state, _ := strings.Cut(string(stat), ") "); err != nil || !strings.HasPrefix(state, "T") {
		t.Errorf("between turns its state is %.1q (%v), want T", state, err)
	}
	if p.used.time < 50*time.Millisecond || p.used.bytes == 0 || p.used.bytes%4096 != 0 || p.used.cpu == 0 {
		t.Errorf("its turn counts as %+v, want at least 50ms, and whole operations", p.used)
	}
	was := p.used
	p.play(ctx, 0, 10*time.Millisecond)
	if p.used != was {
		t.Errorf("a while that does not count changes %+v into %+v", was, p.used)
	}
	m, err := p.finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := float64(was.bytes) / 4096 / was.time.Seconds() / 1e3; m[KIOPS] != want {
		t.Errorf("%v kIOPS, want %v from %+v", m[KIOPS], want, was)
	}
}

// TestTurnsFail has one of two peers fail, which leaves the other's figures alone, and both interrupted.
func TestTurnsFail(t *testing.T) {
	specs := turnSpecs(t, "caller", "caller")
	specs[0].Path += ".missing"
	outcomes := measureTurns(context.Background(), specs, func(Spec) {})
	if err := outcomes[0].err; err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if outcomes[1].err != nil || outcomes[1].m[KIOPS] <= 0 {
		t.Errorf("the other peer: %v, %v", outcomes[1].m, outcomes[1].err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	turns := 0
	outcomes = measureTurns(ctx, turnSpecs(t, "caller", "task"), func(Spec) {
		if turns++; turns == 3 {
			cancel()
		}
	})
	for _, o := range outcomes {
		if !errors.Is(o.err, context.Canceled) {
			t.Errorf("%s was interrupted: %v", o.spec.How, o.err)
		}
	}
}
