// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// TestAlikeInterruptsArriveInOrder: interrupts that are alike arrive in the order in which they were made, wherever their CPU's interrupts come, and
// what they find is what it would be in any order.
func TestAlikeInterruptsArriveInOrder(t *testing.T) {
	for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}, {Preemption: sim.RT}, {Preemption: sim.Full, Concurrent: true}} {
		for _, alike := range []string{"", "irq"} {
			want := []string{"[0 1 2]"}
			if alike == "" {
				want = []string{"[0 1 2]", "[0 2 1]", "[1 0 2]", "[1 2 0]", "[2 0 1]", "[2 1 0]"}
			}
			reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
				n := sim.NewAtomic(k, nil, "n", 0)
				var order [3]int
				k.Root(&order)
				for i := range order {
					k.Interrupt(nil, 1, fmt.Sprint("irq", i), sim.IRQOptions{Hard: true, Merge: true, Alike: alike}, func(c *sim.Context) {
						c.Yield()
						if !cfg.Concurrent {
							order[i] = n.Update(c, func(n int) int { return n + 1 }) - 1
						} else {
							order[i] = i // they overlap: only that all arrive
							n.Update(c, func(n int) int { return n + 1 })
						}
					})
				}
				k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
				k.AtEnd(func(k *sim.Kernel) {
					if n.Peek() != 3 {
						k.Fail(sim.NeverRun, "an interrupt did not come")
					}
					saw(fmt.Sprint(order))
				})
			}, map[bool][]string{false: want, true: {"[0 1 2]"}}[cfg.Concurrent]...)
		}
	}
}

// TestAlikeOfWhatIsNot: only hard interrupts made in Init can be alike.
func TestAlikeOfWhatIsNot(t *testing.T) {
	fails(t, sim.Config{}, `bad program: interrupt "irq" is Alike and not Hard, or not made in Init`, func(k *sim.Kernel) {
		k.Interrupt(nil, 1, "irq", sim.IRQOptions{Alike: "irq"}, func(*sim.Context) {})
	})
}
