// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"endio/scenario"
)

// TestScenario checks the file that SCENARIO names, for work on one.
func TestScenario(t *testing.T) {
	name := os.Getenv("SCENARIO")
	if name == "" {
		t.Skip("SCENARIO names no file")
	}
	f, err := scenario.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range f.Cases() {
		a, err := Decide(context.Background(), f, c, Options{MaxTime: 60 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-14s %-18s %-8s agrees=%v %s exec %d states %d %v  %s", c.Version, c.Config, a.Verdict, a.Agrees(), a.Scope, a.Executions, a.States, a.Elapsed.Round(time.Millisecond), a.Problem())
		if a.Trace != nil && !a.Agrees() {
			t.Logf("%s\n%s", a.Failure.Details, a.Trace)
		}
	}
}
