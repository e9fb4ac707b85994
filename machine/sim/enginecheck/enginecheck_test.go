// SPDX-License-Identifier: Apache-2.0

package enginecheck

import (
	"context"
	"os"
	"testing"
	"time"

	"endio/explore"
	"endio/internal/race"
	"endio/machine/sim"
)

// TestEngine explores every check in every preemption configuration, and on the
// machine whose CPUs are several threads each. With ENDIO_SIM=full (make
// sim-full) the large checks are among them.
func TestEngine(t *testing.T) {
	configs := append(sim.Configs(), sim.Config{Preemption: sim.Full, Concurrent: true})
	switch {
	case race.Enabled:
		configs = configs[:1]
	case testing.Short():
		configs = []sim.Config{{}, {Preemption: sim.Full}}
	}
	for _, k := range Checks() {
		if k.Large && os.Getenv("ENDIO_SIM") != "full" {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			memory := int64(0) // the default
			if k.Large {
				memory = 6 << 30 // 14 million states
			}
			for _, cfg := range configs {
				if cfg.Concurrent && k.Unfinished {
					t.Logf("%s, %s: left out, its states do not fit into memory", k.Name, cfg)
					continue
				}
				r, err := explore.Explore(context.Background(), k.Program(cfg), explore.Options{Strategy: explore.Cached(), VerifyStates: true, MemoryBytes: memory,
					ProgressEvery: 15 * time.Second, Progress: func(p explore.Progress) {
						t.Logf("%s, %s: %d states, %d executions after %s, some %.0f%% of the steps known so far", k.Name, cfg, p.States,
							p.Executions+p.Pruned, p.Elapsed.Round(time.Second), 100*p.Fraction)
					}})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s; %d states, %d steps", r, r.States, r.Steps)
				if f := r.Failure; f != nil {
					t.Fatalf("%s\n%s\n%s\n%s", f, f.Details, f.Token, f.Trace)
				}
				if r.Verdict != explore.Holds || r.Scope != "exhausted" {
					t.Errorf("%s: verdict %v, scope %q, want holds, exhausted", k.Name, r.Verdict, r.Scope)
				}
			}
		})
	}
}
