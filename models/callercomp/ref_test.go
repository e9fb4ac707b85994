// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"endio/explore"
	"endio/machine/sim"
	"endio/models/stage"
	"endio/scenario"
)

// enders returns who, over all interleavings of steps, lowers the dio count for an I/O of a file, or nobody. What fails fails after that.
func enders(t *testing.T, version, steps string, io int) string {
	t.Helper()
	f, err := scenario.Parse("enders.scn", []byte("model callercomp\nconfig full\ninode X xfs\nring R default\ntask T on cpu 0: "+steps+"\nexpect 6.5: holds\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := scenario.Case{Version: version, Config: f.ConfigCases()[0]}
	p, err := Program(f, c)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := stage.Config(f, c.Config)
	if err != nil {
		t.Fatal(err)
	}
	saw := map[string]bool{}
	p.Init = func(x *explore.Exec) {
		m := start(x, f, cfg, versions[version], c.Config)
		m.k.AtEnd(func(*sim.Kernel) { saw[cmp.Or(m.reqs[io-1].ender, "nobody")] = true })
	}
	if _, err := explore.Explore(context.Background(), p, explore.Options{Strategy: explore.SleepSets()}); err != nil {
		t.Fatal(err)
	}
	var out []string
	for who := range saw {
		out = append(out, who)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// TestA22WhoeverIsLastCompletes: the submitter holds a reference until its last bio is submitted, and so may be who
// completes, with any number of bios; otherwise it is the interrupt of any of them, or to whom that gives it (A2.3).
func TestA22WhoeverIsLastCompletes(t *testing.T) {
	for _, tt := range []struct{ version, steps, want string }{
		{"6.19", "submit R write X; wait R", "T, irq of I/O 1"},
		{"6.19", "submit R write X bios 2; wait R", "T, irq of I/O 1, bio 1, irq of I/O 1, bio 2"},
		{"6.5", "submit R write X; wait R", "T, kworker/0:0"},
		{"6.5", "submit R write X bios 3; wait R", "T, kworker/0:0"},
		{"6.6-rc", "submit R write X bios 2; wait R", "T"},
		{"6.5", "submit R read X bios 2; wait R", "T, irq of I/O 1, bio 1, irq of I/O 1, bio 2"},
		{"6.6-rc+split", "submit R write X bios 2; wait R", "T, irq of I/O 1, bio 1, irq of I/O 1, bio 2"},
		// By a worker: what extends the file is not done inline.
		{"6.5", "submit R write X extending bios 2; wait R", "iou-wrk-0, kworker/0:0"},
		// Who waits for it completes it, however many bios there are.
		{"6.19", "write X", "T"},
		{"6.19", "write X bios 3", "T"},
		{"6.5", "read X bios 2", "T"},
		{"6.6-rc", "submit R write X unaligned bios 2; wait R", "iou-wrk-0"},
	} {
		if got := enders(t, tt.version, tt.steps, 1); got != tt.want {
			t.Errorf("%s, %s: ended by %s, want %s", tt.version, tt.steps, got, tt.want)
		}
	}
}

// TestA23WhoCompletesAnError: since 6.19 the workqueue, reads too; before, whoever completes a success. A submitter that is
// the last one completes errors as well.
func TestA23WhoCompletesAnError(t *testing.T) {
	for _, tt := range []struct{ version, steps, want string }{
		{"6.19", "submit R write X error; wait R", "T, kworker/0:0"},
		{"6.19", "submit R write X bios 2 error; wait R", "T, kworker/0:0"},
		{"6.19", "submit R read X error; wait R", "T, kworker/0:0"},
		{"6.19+endwrite", "submit R read X error; wait R", "T, kworker/0:0"},
		{"6.5", "submit R read X error; wait R", "T, irq of I/O 1"},
		{"6.6-rc", "submit R read X error; wait R", "T, irq of I/O 1"},
		{"6.5", "submit R write X error; wait R", "T, kworker/0:0"},
		{"6.6-rc", "submit R write X error; wait R", "T"},
		{"6.6-rc", "submit R write X extending error; wait R", "iou-wrk-0, kworker/0:0"},
		{"6.19", "write X error", "T"},
	} {
		if got := enders(t, tt.version, tt.steps, 1); got != tt.want {
			t.Errorf("%s, %s: ended by %s, want %s", tt.version, tt.steps, got, tt.want)
		}
	}
}

// TestA13LinksEndWithTheTask: what is linked is not issued any more when the task is exiting that would issue it.
func TestA13LinksEndWithTheTask(t *testing.T) {
	for steps, want := range map[string]string{
		"submit R write X link; submit R write X":           "T, irq of I/O 2, nobody",
		"submit R write X link; submit R write X; wait R":   "T, irq of I/O 2", // the task has it before it sees the CQE
		"submit R write X link; submit R write X; wait R 2": "T, irq of I/O 2",
		"submit R write X; submit R write X":                "T, irq of I/O 2",
	} {
		if got := enders(t, "6.19", steps, 2); got != want {
			t.Errorf("%s: ended by %s, want %s", steps, got, want)
		}
	}
}
