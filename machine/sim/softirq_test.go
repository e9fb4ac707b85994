// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// raisers are the contexts in which a softirq is raised.
var raisers = map[string]func(k *sim.Kernel, raise func(c *sim.Context)){
	"hardirq": func(k *sim.Kernel, raise func(c *sim.Context)) {
		k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, raise)
	},
	"task": func(k *sim.Kernel, raise func(c *sim.Context)) { k.Go(nil, "raiser", sim.TaskOptions{}, raise) },
	"task with softirqs off": func(k *sim.Kernel, raise func(c *sim.Context)) {
		k.Go(nil, "raiser", sim.TaskOptions{}, func(c *sim.Context) { c.LocalBHDisable(); raise(c); c.LocalBHEnable() })
	},
}

// TestB63SoftirqsOfADyingCPU: softirqs run on their CPU while it goes down, ksoftirqd has ended what it runs before the CPU stops, and
// what is pending then is run by the task that takes it down (BLOCK_SOFTIRQ_DEAD).
func TestB63SoftirqsOfADyingCPU(t *testing.T) {
	for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}, {Preemption: sim.RT}} {
		for from, raise := range raisers {
			elsewhere := false
			holds(t, cfg, func(k *sim.Kernel) {
				runs := 0
				k.Root(&runs)
				raise(k, func(c *sim.Context) {
					c.RaiseSoftirq("block", func(c *sim.Context) {
						before := c.CPUOf()
						c.Yield()
						c.Check(before == c.CPUOf() && before.Online(), "the softirq moves from cpu %d to %d", before.ID(), c.CPU())
						c.Check(c.Atomic(), "a softirq may block")
						elsewhere = elsewhere || c.Name() == "control"
						runs++
					})
				})
				k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
				k.AtEnd(func(k *sim.Kernel) {
					if runs != 1 {
						k.Fail(sim.NeverRun, fmt.Sprintf("%d runs of a softirq that was raised once, by a %s", runs, from))
					}
				})
			})
			// Where interrupts are on, softirqs raised in a hardirq or with softirqs off run at once.
			if want := from == "task" || cfg.Preemption == sim.RT; elsewhere != want {
				t.Errorf("%s, raised by a %s: a softirq that the dead CPU left was run: %t, want %t", cfg, from, elsewhere, want)
			}
		}
	}
}

// TestB13WhereSoftirqsRun: in a hardirq at its end; with softirqs off when they are on again; from a plain task, and on RT always, in
// ksoftirqd, which runs one after the other.
func TestB13WhereSoftirqsRun(t *testing.T) {
	for _, cfg := range sim.Configs() {
		for from, raise := range raisers {
			want := map[string][]string{
				"hardirq": {"softirq"}, "task with softirqs off": {"softirq"}, "task": {"ksoftirqd"},
			}[from]
			if cfg.Preemption == sim.RT {
				want = []string{"ksoftirqd"}
			}
			reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
				inside := false
				k.Root(&inside)
				one := func(c *sim.Context) {
					c.Check(!inside, "two softirqs of one CPU at the same time")
					inside = true
					c.Yield()
					inside = false
					where := c.Kind().String()
					if c.Current() != nil {
						where = "ksoftirqd"
					}
					saw(where)
				}
				raise(k, func(c *sim.Context) {
					c.MigrateDisable()
					c.RaiseSoftirq("block", one)
					if from != "task" { // else the first may run before the second is raised in a softirq
						c.RaiseSoftirq("net", one)
					}
					c.MigrateEnable()
				})
			}, want...)
		}
	}
}
