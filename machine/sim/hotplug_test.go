// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// TestB63DownWaitsForRequestsInFlight: BLK_MQ_ONLINE waits for the requests of the queues whose last
// CPU goes, while interrupts of the CPU still come; stacking queues are exempt.
func TestB63DownWaitsForRequestsInFlight(t *testing.T) {
	run := func(stacking bool, want ...string) {
		t.Helper()
		reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
			q := k.NewHardwareQueue("nvme0q1", 1, stacking)
			inFlight := 0
			k.Root(&inFlight)
			started := k.NewCompletion(nil, "started")
			k.Go(nil, "submit", on(0), func(c *sim.Context) {
				q.Start(c)
				inFlight++
				k.Interrupt(c, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
					q.End(c)
					inFlight--
				})
				started.Complete(c)
			})
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				started.Wait(c)
				if k.CPUDown(c, 1, "TEARDOWN_CPU") == nil {
					saw(fmt.Sprint("down with ", inFlight))
				}
			})
		}, want...)
	}
	run(false, "down with 0")
	run(true, "down with 0", "down with 1")
}

// TestB63RequestThatNeverEndsHangsHotplug: the wait of BLK_MQ_ONLINE has no end of its own.
func TestB63RequestThatNeverEndsHangsHotplug(t *testing.T) {
	fails(t, sim.Config{Preemption: sim.Full}, `lost work: task "control" waits for the requests in flight on nvme0q1, and no task is left that could end the wait`,
		func(k *sim.Kernel) {
			q := k.NewHardwareQueue("nvme0q1", 1, false)
			k.Go(nil, "control", on(0), func(c *sim.Context) {
				q.Start(c)
				_ = k.CPUDown(c, 1, "")
			})
		})
}

// TestB43HousekeepingTimers: with timer housekeeping the timer of delayed work sits on a housekeeping
// CPU; the CPU on which the item is queued then is the one that was asked for.
func TestB43HousekeepingTimers(t *testing.T) {
	for _, housekeeping := range []bool{false, true} {
		want := "timer fires on cpu 1"
		if housekeeping {
			want = "timer fires on cpu 0"
		}
		reaches(t, sim.Config{Preemption: sim.Full, Housekeeping: housekeeping}, func(k *sim.Kernel, saw func(string)) {
			w := k.NewDelayedWork(nil, "delayed", 1, func(c *sim.Context) {
				c.Check(c.CPU() == 1, "the item runs on cpu %d, want 1", c.CPU())
			})
			k.Go(nil, "task", on(1), func(c *sim.Context) {
				k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 1)
				saw(fmt.Sprint("timer fires on cpu ", w.TimerCPU()))
			})
		}, want)
	}
}

// TestB63WaitEmpty: a CPU is stopped only when tasks that may not migrate have left it.
func TestB63WaitEmpty(t *testing.T) {
	for _, pinned := range []bool{false, true} {
		holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
			k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
				if pinned {
					c.MigrateDisable()
				}
				before := c.CPU()
				c.Yield()
				if pinned {
					c.Check(c.CPU() == before, "a task that may not migrate has moved from cpu %d to %d", before, c.CPU())
					c.Check(c.CPUOf().Online(), "cpu %d was stopped under a task that may not migrate", c.CPU())
					c.MigrateEnable()
				}
			})
			k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
		})
	}
}

// TestB7MigrateDisable: it is preemptible, nests, and must be balanced.
func TestB7MigrateDisable(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) {
			c.MigrateDisable()
			c.MigrateDisable()
			c.MightSleep("a sleep with migration off")
			cpu := c.CPU()
			c.MigrateEnable()
			c.Yield()
			c.Check(c.CPU() == cpu, "moved from cpu %d to %d", cpu, c.CPU())
			c.MigrateEnable()
		})
	})
	fails(t, sim.Config{Preemption: sim.Full}, `imbalance: migrate_enable without its opposite in task "task"`, func(k *sim.Kernel) {
		k.Go(nil, "task", on(0), func(c *sim.Context) { c.MigrateEnable() })
	})
	r := explored(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		k.Go(nil, "task", on(0), func(c *sim.Context) { c.MigrateDisable() })
	})
	if r.Failure == nil || r.Failure.Kind != sim.Imbalance {
		t.Errorf("a task that ends with migration off: %v, want an imbalance", r.Failure)
	}
}
