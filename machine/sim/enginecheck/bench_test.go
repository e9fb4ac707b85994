// SPDX-License-Identifier: Apache-2.0

package enginecheck

import (
	"context"
	"testing"

	"endio/explore"
)

// BenchmarkProtocol explores all interleavings of the batch protocol, once an op.
func BenchmarkProtocol(b *testing.B) {
	b.ReportAllocs()
	var runs, steps, states int64
	for b.Loop() {
		r, err := explore.Explore(context.Background(), Protocol(), explore.Options{Strategy: explore.Cached()})
		if err != nil || r.Verdict != explore.Holds {
			b.Fatal(r, err)
		}
		runs, steps, states = runs+r.Executions+r.Pruned, steps+r.Steps, states+r.States
	}
	b.ReportMetric(float64(runs)/b.Elapsed().Seconds(), "executions/s")
	b.ReportMetric(float64(steps)/float64(runs), "steps/execution")
	b.ReportMetric(float64(states)/float64(b.N), "states")
}
