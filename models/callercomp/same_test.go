// SPDX-License-Identifier: Apache-2.0

package callercomp_test

import (
	"context"
	"path/filepath"
	"testing"

	"endio/internal/decide"
	"endio/internal/race"
	"endio/models/callercomp"
	"endio/scenario"
)

// TestSame makes the searches that are shared, and compares what they find.
func TestSame(t *testing.T) {
	shared := map[string]bool{}
	names := []string{"fallocate", "unaligned-plain", "two-rings", "shared-extents", "lockdep-owner", "other-io", "two-tasks",
		"several-bios", "failed-write", "link-after-error", "link-fallocate-write"}
	if race.Enabled {
		names = names[:4]
	}
	for _, name := range names {
		name = filepath.Join("../../scenarios", name+".scn")
		f, err := scenario.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := map[scenario.Case]*decide.Answer{}
		for _, c := range f.Cases() {
			if c.Config.Preempt != "full" {
				continue
			}
			a, err := decide.Decide(context.Background(), f, c, decide.Options{})
			if err != nil {
				t.Fatal(err)
			}
			found[c] = a
			like := callercomp.Same(f, c)
			b := found[like]
			switch {
			case b == nil:
				t.Fatalf("%s: %v is said to be as %v, which comes later", name, c, like)
			case a.Verdict != b.Verdict || a.States != b.States || a.Executions != b.Executions:
				t.Errorf("%s: %v is said to be as %v: %v with %d executions and %d states, and %v with %d and %d",
					name, c, like, a.Verdict, a.Executions, a.States, b.Verdict, b.Executions, b.States)
			}
			if like != c {
				shared[filepath.Base(name)] = true
			}
		}
	}
	if len(shared) < len(names) {
		t.Errorf("only %v share searches", shared)
	}
}
