// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"math/rand/v2"
	"testing"
)

// TestPlantedHoles: each fault planted in the reduction is caught by the
// comparison with plain sleep sets.
func TestPlantedHoles(t *testing.T) {
	names := map[hole]string{holeBlocked: "blocked steps do not race", holeLastOnly: "only the last dependent step races",
		holeSleepAll: "sleepers never wake", holeReadsCommute: "a read then a write is no race",
		holeSkipOld: "only new steps race", holeShortSequence: "the second step is planted alone",
		holeNoVariants: "all independent steps come first"}
	for h := noHole + 1; h < holeCount; h++ {
		t.Run(names[h], func(t *testing.T) {
			const most = 10000
			for seed := uint64(1); seed <= most; seed++ {
				rng := rand.New(rand.NewPCG(seed, 7))
				tasks := randomTasks(rng, 3+rng.IntN(5))
				p, ids := randomProgram(tasks, false), &idTable{}
				want, ok := classify(t, p, SleepSets(), ids, noHole)
				if !ok {
					continue
				}
				if got, _ := classify(t, p, Optimal(), ids, h); got.differ(want) != "" {
					t.Logf("caught by program %d: %s", seed, got.differ(want))
					return
				}
			}
			t.Errorf("not caught by %d programs", most)
		})
	}
}
