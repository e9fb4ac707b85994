// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"strings"
	"testing"

	"endio/explore"
	"endio/machine/sim"
)

// TestB43NeverEarly: a delay of 1 fires at the second tick, one of n at tick n+1, and never earlier; the first of those ticks may come at
// once, so that is n to n+1 periods.
func TestB43NeverEarly(t *testing.T) {
	for _, delay := range []int{1, 2, 5} {
		reaches(t, sim.Config{Preemption: sim.Full, Ticks: true}, func(k *sim.Kernel, saw func(string)) {
			from := 0
			k.Root(&from)
			w := k.NewDelayedWork(nil, "w", 1, func(c *sim.Context) { saw(fmt.Sprint("after ", k.Jiffies(c)-from)) })
			k.Go(nil, "task", on(0), func(c *sim.Context) {
				from = k.Jiffies(c)
				k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, delay)
			})
		}, fmt.Sprint("after ", delay+1))
	}
}

// started notes in which order items start, on CPU 0.
func started(k *sim.Kernel, saw func(string), names ...string) map[string]*sim.DelayedWork {
	all := map[string]*sim.DelayedWork{}
	order := []string{}
	k.Root(&order)
	for _, n := range names {
		all[n] = k.NewDelayedWork(nil, n, 0, func(c *sim.Context) {
			order = append(order[:len(order):len(order)], n)
			if len(order) == len(names) {
				saw(strings.Join(order, " "))
			}
		})
	}
	return all
}

// TestB43TimersFireInTheOrderOfExpiry: of two timers of one CPU the one that expires earlier fires first, also if nothing could fire for
// a while; for timers that expire in one tick there is no order. Where time is abstract, any order happens.
func TestB43TimersFireInTheOrderOfExpiry(t *testing.T) {
	for _, tt := range []struct {
		ticks         bool
		first, second int // delays of a and b, in the order in which they are armed
		want          []string
	}{
		{true, 1, 3, []string{"a b"}},
		{true, 1, 1, []string{"a b", "b a"}},  // in one tick; or a in an earlier one
		{true, 3, 1, []string{"b a", "a b"}},  // two ticks may pass before b is armed
		{false, 1, 3, []string{"a b", "b a"}}, // abstract
	} {
		reaches(t, sim.Config{Preemption: sim.Full, Ticks: tt.ticks}, func(k *sim.Kernel, saw func(string)) {
			w := started(k, saw, "a", "b")
			k.Go(nil, "task", on(1), func(c *sim.Context) {
				k.SystemWq().QueueDelayedWorkOn(c, 0, &w["a"].Work, tt.first)
				k.SystemWq().QueueDelayedWorkOn(c, 0, &w["b"].Work, tt.second)
			})
		}, tt.want...)
	}
}

// TestB42ModDelayedWorkMovesTheTimer: what counts is the last delay, longer or shorter than the first.
func TestB42ModDelayedWorkMovesTheTimer(t *testing.T) {
	for _, tt := range []struct{ first, then int }{{1, 4}, {4, 1}} {
		holds(t, sim.Config{Preemption: sim.Full, Ticks: true}, func(k *sim.Kernel) {
			least := 0
			k.Root(&least)
			w := k.NewDelayedWork(nil, "w", 1, func(c *sim.Context) {
				if now := k.Jiffies(c); now < least {
					c.Fail(explore.Assertion, "runs at jiffy %d, not to run before %d", now, least)
				}
			})
			k.Go(nil, "task", on(0), func(c *sim.Context) {
				k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, tt.first)
				c.LocalIRQSave()
				now := k.Jiffies(c)
				if k.SystemWq().ModDelayedWorkOn(c, 1, &w.Work, tt.then) {
					least = now + tt.then + 1
				}
				c.LocalIRQRestore()
			})
		})
	}
}

// TestB43ATimerThatMovesIsNotEarly: the timer of a CPU that dies fires elsewhere, when it would have.
func TestB43ATimerThatMovesIsNotEarly(t *testing.T) {
	seen := map[int]bool{}
	holds(t, sim.Config{Preemption: sim.Full, Ticks: true}, func(k *sim.Kernel) {
		from, runs := 0, 0
		k.Root(&from)
		k.Root(&runs)
		w := k.NewDelayedWork(nil, "w", 1, func(c *sim.Context) {
			runs++
			seen[int(c.CPU())] = true
			c.Check(k.Jiffies(c)-from >= 3, "early, after %d ticks", k.Jiffies(c)-from)
		})
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			from = k.Jiffies(c)
			k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 2)
			_ = k.CPUDown(c, 1, "")
		})
		k.AtEnd(func(k *sim.Kernel) {
			if runs != 1 {
				k.Fail(sim.NeverRun, "the timer of the dead CPU is lost")
			}
		})
	})
	if !seen[0] || !seen[1] {
		t.Errorf("ran on the CPUs %v, want on both", seen)
	}
}

// TestB5AWorkerThatHogsTheCPUDoesNotCount: another one runs the next item beside it, where tasks are preempted.
func TestB5AWorkerThatHogsTheCPUDoesNotCount(t *testing.T) {
	run := func(cfg sim.Config, want ...string) {
		t.Helper()
		reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
			inside := false
			k.Root(&inside)
			a := k.NewWork(nil, "a", 0, func(c *sim.Context) {
				inside = true
				c.Yield()
				c.Yield()
				inside = false
			})
			b := k.NewWork(nil, "b", 0, func(c *sim.Context) { saw(fmt.Sprint("b runs while a does: ", inside)) })
			k.Go(nil, "task", on(1), func(c *sim.Context) {
				k.SystemWq().QueueWorkOn(c, 0, a)
				k.SystemWq().QueueWorkOn(c, 0, b)
			})
		}, want...)
	}
	alone, beside := "b runs while a does: false", "b runs while a does: true"
	run(sim.Config{Preemption: sim.Full}, alone)
	run(sim.Config{Preemption: sim.Full, CPUIntensive: true}, alone, beside)
	run(sim.Config{Preemption: sim.Lazy, CPUIntensive: true}, alone, beside)
	run(sim.Config{CPUIntensive: true}, alone) // nothing takes a off the CPU
}

// TestB5MaydayTimer: a rescuer helps a pool whose manager gets no memory or gets it late. Then it does not count as running, so that an item of its
// runs beside one of a worker; and what is not of its workqueue waits for the memory.
func TestB5MaydayTimer(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Full, CPUs: 1, NoMemory: true, LateMemory: true, Workers: 1}, func(k *sim.Kernel, saw func(string)) {
		wq := k.AllocWorkqueue("bio", sim.MemReclaim)
		inside, other := false, 0
		k.Root(&inside)
		k.Root(&other)
		runs := 0
		k.Root(&runs)
		a := k.NewWork(nil, "a", 0, func(c *sim.Context) {
			runs++
			inside = true
			by, _, _ := strings.Cut(c.Name(), "/")
			c.Yield()
			inside = false
			saw("reclaim item by " + by)
		})
		b := k.NewWork(nil, "b", 0, func(c *sim.Context) {
			by, _, _ := strings.Cut(c.Name(), "/")
			c.Check(by == "kworker", "an item that is not of the rescuer's workqueue is run by %s", by)
			other++
			saw(fmt.Sprint("other item beside it: ", inside))
		})
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			wq.QueueWorkOn(c, 0, a)
			k.SystemWq().QueueWorkOn(c, 0, b)
		})
		k.AtEnd(func(k *sim.Kernel) {
			if runs != 1 {
				k.Fail(sim.NeverRun, "MEM_RECLAIM does not make progress without memory")
			}
			if other == 0 {
				saw("other item starves")
			}
		})
	}, "reclaim item by kworker", "reclaim item by rescuer bio", "other item beside it: false", "other item beside it: true", "other item starves")
}
