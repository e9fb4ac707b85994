// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// audited is a small model of a batch on CPU 0: two interrupts add a handler each, a work item
// runs them. fault breaks one of its promises.
func audited(fault string) func(k *sim.Kernel) {
	return func(k *sim.Kernel) {
		a := k.NewAudit()
		handlers := []*sim.Audited{a.Handler("bio 0", true, 1), a.Handler("bio 1", true, 1)}
		list := sim.NewCell(k, "list", []int{})
		w := k.NewWork(nil, "batch", 0, func(c *sim.Context) {
			for {
				c.LocalIRQSave()
				var take []int
				list.Update(c, func(l *[]int) { take, *l = *l, nil })
				c.LocalIRQRestore()
				if len(take) == 0 {
					return
				}
				if fault == "order" && len(take) == 2 {
					take[0], take[1] = take[1], take[0]
				}
				for _, i := range take {
					if fault == "defer" {
						handlers[i].Deferred(c)
						handlers[i].Deferred(c)
					}
					handlers[i].Runs(c)
					if fault == "twice" {
						handlers[i].Runs(c)
					}
				}
			}
		})
		for i := range handlers {
			k.Interrupt(nil, 0, fmt.Sprintf("irq%d", i), sim.IRQOptions{Hard: true}, func(c *sim.Context) {
				if fault == "context" {
					handlers[i].Runs(c)
					return
				}
				empty := false
				list.Update(c, func(l *[]int) {
					empty = len(*l) == 0
					*l = append((*l)[:len(*l):len(*l)], i)
				})
				handlers[i].Added(0)
				if empty && fault != "lost" {
					k.SystemWq().QueueWorkOn(c, 0, w)
				}
			})
		}
	}
}

// TestAudit is about the checks of kernel-semantics.md F2: I-once, I-ctx, I-fifo, L-drain and L-term.
func TestAudit(t *testing.T) {
	cfg := sim.Config{Preemption: sim.Full}
	holds(t, cfg, audited(""))
	for fault, want := range map[string]string{
		"order":   "out of order: the handler of bio 1 starts before that of bio 0, which was added to cpu 0 earlier",
		"twice":   "handler run twice: the handler of bio 0 ran 2 times, asked for 1",
		"context": `wrong context: the handler of bio 0 wants a task and runs in hardirq "irq0"`,
		"lost":    "handler never run: the handler of bio 0 ran 0 times, asked for 1, and nothing is left that could run it",
		"defer":   "endless offload: the handler of bio 0 is deferred for the 2. time, at most 1 are allowed",
	} {
		t.Run(fault, func(t *testing.T) {
			r := explored(t, cfg, audited(fault))
			if r.Failure == nil {
				t.Fatalf("holds, want %q", want)
			}
			if got := r.Failure.Error(); got != want && !sameButNumbers(got, want) {
				t.Errorf("failure\n  got  %q\n  want %q", got, want)
			}
		})
	}
}

// sameButNumbers compares what is said, whichever of the two bios it is said of.
func sameButNumbers(a, b string) bool {
	swap := []byte(b)
	for i, c := range swap {
		if (c == '0' || c == '1') && i > 0 && (swap[i-1] == ' ' || swap[i-1] == 'q') && i > 3 && (string(swap[i-4:i]) == "bio " || string(swap[i-3:i]) == "irq") {
			swap[i] = '0' + '1' - c
		}
	}
	return a == string(swap)
}
