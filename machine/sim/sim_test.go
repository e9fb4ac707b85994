// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"endio/explore"
	"endio/machine/sim"
)

// explored runs a program on a kernel through all its interleavings.
func explored(t *testing.T, cfg sim.Config, init func(k *sim.Kernel)) *explore.Result {
	t.Helper()
	p := &explore.Program{Name: t.Name(), SkipFrames: []string{"endio/machine/sim.(", "iter.", "runtime."},
		Init: func(x *explore.Exec) { init(sim.New(x, cfg)) }}
	r, err := explore.Explore(context.Background(), p, explore.Options{Strategy: explore.Cached(), MaxSteps: 1000, VerifyStates: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// holds wants no interleaving to fail.
func holds(t *testing.T, cfg sim.Config, init func(k *sim.Kernel)) *explore.Result {
	t.Helper()
	r := explored(t, cfg, init)
	if r.Failure != nil {
		t.Fatalf("%s: %s\n%s\n%s", cfg, r.Failure, r.Failure.Details, r.Failure.Trace)
	}
	if r.Verdict != explore.Holds || r.Scope != "exhausted" {
		t.Fatalf("%s: verdict %v, scope %q, want holds, exhausted", cfg, r.Verdict, r.Scope)
	}
	return r
}

// fails wants some interleaving to fail with exactly this.
func fails(t *testing.T, cfg sim.Config, want string, init func(k *sim.Kernel)) {
	t.Helper()
	r := explored(t, cfg, init)
	if r.Failure == nil {
		t.Fatalf("%s: holds, want %q", cfg, want)
	}
	if got := r.Failure.Error(); got != want {
		t.Fatalf("%s: failure\n  got  %q\n  want %q\n%s\n%s", cfg, got, want, r.Failure.Details, r.Failure.Trace)
	}
}

// reaches wants some interleaving to see each of the outcomes, and none another one.
func reaches(t *testing.T, cfg sim.Config, init func(k *sim.Kernel, saw func(string)), want ...string) {
	t.Helper()
	seen := map[string]bool{}
	holds(t, cfg, func(k *sim.Kernel) { init(k, func(s string) { seen[s] = true }) })
	for _, w := range want {
		if !seen[w] {
			t.Errorf("%s: outcome %q was never seen", cfg, w)
		}
		delete(seen, w)
	}
	for s := range seen {
		t.Errorf("%s: outcome %q was seen, want only %q", cfg, s, want)
	}
}

func on(cpu int) sim.TaskOptions { return sim.TaskOptions{CPU: sim.OnCPU(cpu)} }

// TestB2InAtomic is the matrix of bio_in_atomic, kernel-semantics.md B2.
func TestB2InAtomic(t *testing.T) {
	const y, n = true, false
	none, vol := sim.Config{}, sim.Config{Preemption: sim.Voluntary, Count: true}
	full, lazy, rt := sim.Config{Preemption: sim.Full}, sim.Config{Preemption: sim.Lazy}, sim.Config{Preemption: sim.RT}
	configs := []sim.Config{none, vol, full, lazy, rt}
	type row struct {
		name string
		want [5]bool // COUNT=n, VOLUNTARY+COUNT=y, FULL, LAZY, RT
		run  func(k *sim.Kernel, see func(*sim.Context))
	}
	task := func(f func(c *sim.Context, see func(*sim.Context))) func(k *sim.Kernel, see func(*sim.Context)) {
		return func(k *sim.Kernel, see func(*sim.Context)) {
			k.Go(nil, "task", on(0), func(c *sim.Context) { f(c, see) })
		}
	}
	rows := []row{
		{"plain task", [5]bool{y, n, n, n, n}, task(func(c *sim.Context, see func(*sim.Context)) { see(c) })},
		{"kworker", [5]bool{y, n, n, n, n}, func(k *sim.Kernel, see func(*sim.Context)) {
			w := k.NewWork(nil, "work", 0, see)
			k.Go(nil, "task", on(0), func(c *sim.Context) { k.SystemWq().QueueWork(c, w) })
		}},
		{"mutex held", [5]bool{y, n, n, n, n}, func(k *sim.Kernel, see func(*sim.Context)) {
			m := k.NewMutex(nil, "m")
			k.Go(nil, "task", on(0), func(c *sim.Context) { m.Lock(c); see(c); m.Unlock(c) })
		}},
		{"RCU read section", [5]bool{y, y, y, y, y}, task(func(c *sim.Context, see func(*sim.Context)) { c.RCUReadLock(); see(c); c.RCUReadUnlock() })},
		{"spinlock_t held", [5]bool{y, y, y, y, y}, func(k *sim.Kernel, see func(*sim.Context)) {
			l := k.NewSpinlock(nil, "l")
			k.Go(nil, "task", on(0), func(c *sim.Context) { l.Lock(c); see(c); l.Unlock(c) })
		}},
		{"raw_spinlock held", [5]bool{y, y, y, y, y}, func(k *sim.Kernel, see func(*sim.Context)) {
			l := k.NewRawSpinlock(nil, "l")
			k.Go(nil, "task", on(0), func(c *sim.Context) { l.Lock(c); see(c); l.Unlock(c) })
		}},
		{"interrupts off", [5]bool{y, y, y, y, y}, task(func(c *sim.Context, see func(*sim.Context)) { c.LocalIRQSave(); see(c); c.LocalIRQRestore() })},
		{"preemption off", [5]bool{y, y, y, y, y}, task(func(c *sim.Context, see func(*sim.Context)) { c.PreemptDisable(); see(c); c.PreemptEnable() })},
		{"softirqs off", [5]bool{y, y, y, y, y}, task(func(c *sim.Context, see func(*sim.Context)) { c.LocalBHDisable(); see(c); c.LocalBHEnable() })},
		{"hardirq", [5]bool{y, y, y, y, y}, func(k *sim.Kernel, see func(*sim.Context)) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, see)
		}},
		{"softirq", [5]bool{y, y, y, y, y}, func(k *sim.Kernel, see func(*sim.Context)) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { c.RaiseSoftirq("block", see) })
		}},
		{"rwsem held", [5]bool{y, n, n, n, n}, func(k *sim.Kernel, see func(*sim.Context)) {
			s := k.NewRWSem(nil, "s")
			k.Go(nil, "task", on(0), func(c *sim.Context) { s.DownRead(c); see(c); s.UpRead(c) })
		}},
		{"ksoftirqd", [5]bool{y, y, y, y, y}, task(func(c *sim.Context, see func(*sim.Context)) { c.RaiseSoftirq("block", see) })},
		{"explicit threaded interrupt", [5]bool{y, n, n, n, n}, func(k *sim.Kernel, see func(*sim.Context)) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { k.Go(c, "irq/1", on(0), see) })
		}},
		{"forced threaded interrupt", [5]bool{y, y, y, y, y}, func(k *sim.Kernel, see func(*sim.Context)) {
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{}, see)
		}},
	}
	for _, r := range rows {
		for i, cfg := range configs {
			seen := 0
			holds(t, cfg, func(k *sim.Kernel) {
				r.run(k, func(c *sim.Context) {
					seen++
					if c.Atomic() != r.want[i] {
						t.Errorf("%s, %s: Atomic() = %v, want %v", r.name, cfg, c.Atomic(), r.want[i])
					}
				})
			})
			if seen == 0 {
				t.Errorf("%s, %s: the code did not run", r.name, cfg)
			}
		}
	}
}

// TestB41 and TestB42 are about work items, kernel-semantics.md B4.1 and B4.2.

func TestB41PendingIsClearBeforeTheFunctionIsCalled(t *testing.T) {
	for _, cfg := range sim.Configs() {
		holds(t, cfg, func(k *sim.Kernel) {
			runs := 0
			var w *sim.Work
			w = k.NewWork(nil, "w", 0, func(c *sim.Context) {
				if runs++; runs == 1 {
					c.Check(!w.Pending(), "PENDING is set in the function")
					c.Check(k.SystemWq().QueueWorkOn(c, 0, w), "the function can't queue its own item")
				}
			})
			k.OnState(func(h *explore.Hash) { h.Add(uint64(runs)) })
			k.Go(nil, "task", on(0), func(c *sim.Context) { k.SystemWq().QueueWorkOn(c, 0, w) })
			k.AtEnd(func(k *sim.Kernel) {
				if runs != 2 {
					k.Fail(explore.Assertion, fmt.Sprintf("%d runs, want 2: one for each queueing", runs))
				}
			})
		})
	}
}

func TestB42QueueIsAbsorbedWhilePending(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		runs := 0
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) { runs++ })
		k.OnState(func(h *explore.Hash) { h.Add(uint64(runs)) })
		done := [2]bool{}
		k.Root(&done)
		for i := range 2 {
			k.Go(nil, fmt.Sprint("task", i), on(i), func(c *sim.Context) { done[i] = k.SystemWq().QueueWorkOn(c, 0, w) })
		}
		k.AtEnd(func(*sim.Kernel) { saw(fmt.Sprint(done, runs)) })
	}, "[true false] 1", "[false true] 1", "[true true] 2")
}

func TestB42DisabledItemIsNotQueued(t *testing.T) {
	holds(t, sim.Config{}, func(k *sim.Kernel) {
		runs := 0
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) { runs++ })
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			w.Disable(c)
			w.Disable(c)
			c.Check(!k.SystemWq().QueueWorkOn(c, 0, w), "a disabled item was queued")
			c.Check(!w.Pending(), "PENDING stays set after a refused queueing")
			c.Check(!w.Enable(c), "Enable reports 0 at depth 1")
			c.Check(w.Enable(c), "Enable does not report that the depth is 0")
			c.Check(!w.Pending(), "Enable queued the item")
			c.Check(k.SystemWq().QueueWorkOn(c, 0, w), "an enabled item was not queued")
		})
	})
}

func TestB42EnableWithoutDisableIsReported(t *testing.T) {
	fails(t, sim.Config{}, "imbalance: work w: enable without disable", func(k *sim.Kernel) {
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) {})
		k.Go(nil, "task", on(0), func(c *sim.Context) { w.Enable(c) })
	})
}

func TestB42DisableSyncWaitsForTheRunningInstance(t *testing.T) {
	for _, cfg := range sim.Configs() {
		holds(t, cfg, func(k *sim.Kernel) {
			in := sim.NewAtomic(k, nil, "in", false)
			w := k.NewWork(nil, "w", 0, func(c *sim.Context) { in.Store(c, true); in.Store(c, false) })
			k.Go(nil, "a", on(0), func(c *sim.Context) { k.SystemWq().QueueWorkOn(c, 0, w) })
			k.Go(nil, "b", on(1), func(c *sim.Context) {
				w.DisableSync(c)
				c.Check(!in.Load(c), "the function runs after disable_work_sync")
			})
		})
	}
}

func TestB42GrabAbsorbsQueueing(t *testing.T) {
	// While one CPU enables, queueing elsewhere sees PENDING and is absorbed.
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		runs := 0
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) { runs++ })
		k.OnState(func(h *explore.Hash) { h.Add(uint64(runs)) })
		ready := k.NewCompletion(nil, "disabled")
		queued := false
		k.Go(nil, "enable", on(0), func(c *sim.Context) {
			w.Disable(c)
			ready.Complete(c)
			w.Enable(c)
		})
		k.Go(nil, "queue", on(1), func(c *sim.Context) {
			ready.Wait(c)
			queued = k.SystemWq().QueueWorkOn(c, 0, w)
		})
		k.AtEnd(func(*sim.Kernel) { saw(fmt.Sprint(queued, runs)) })
	}, "false 0", "true 1")
}

func TestB42ModDelayedWorkDropsWhenDisabled(t *testing.T) {
	holds(t, sim.Config{}, func(k *sim.Kernel) {
		w := k.NewDelayedWork(nil, "w", 0, func(c *sim.Context) {})
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			w.Disable(c)
			c.Check(!k.SystemWq().ModDelayedWorkOn(c, 0, &w.Work, 1), "mod of a disabled item reports that it was pending")
			c.Check(!w.Pending(), "mod armed a disabled item")
			w.Enable(c)
			c.Check(!k.SystemWq().ModDelayedWorkOn(c, 0, &w.Work, 1), "mod of an idle item reports that it was pending")
		})
	})
}

func TestB42EnableOfAQueuedItemLosesIt(t *testing.T) {
	fails(t, sim.Config{}, "imbalance: work w: enable without disable", func(k *sim.Kernel) {
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) {})
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			k.SystemWq().QueueWorkOn(c, 0, w)
			w.Enable(c)
		})
	})
}

func TestB43TimerOfADeadCPUMovesAfterTheDeadCallbacks(t *testing.T) {
	holds(t, sim.Config{}, func(k *sim.Kernel) {
		runs := 0
		w := k.NewDelayedWork(nil, "w", 1, func(c *sim.Context) { runs++ })
		k.OnState(func(h *explore.Hash) { h.Add(uint64(runs)) })
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			k.SystemWq().QueueDelayedWorkOn(c, 1, &w.Work, 1)
			_ = k.CPUDown(c, 1, "")
		})
		k.AtEnd(func(k *sim.Kernel) {
			if runs != 1 {
				k.Fail(explore.Assertion, fmt.Sprintf("%d runs, want 1: the timer of the dead CPU must move", runs))
			}
		})
	})
}

// TestB5 is about pools, kernel-semantics.md B5.

func TestB5OneWorkerRunsUntilItBlocks(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		done := k.NewCompletion(nil, "done")
		a := k.NewWork(nil, "a", 0, func(c *sim.Context) { done.Wait(c) })
		b := k.NewWork(nil, "b", 0, func(c *sim.Context) { done.Complete(c) })
		k.Go(nil, "task", on(1), func(c *sim.Context) {
			k.SystemWq().QueueWorkOn(c, 0, a)
			k.SystemWq().QueueWorkOn(c, 0, b)
			a.FlushWork(c)
		})
	})
}

func TestB5NeverConcurrentWithItself(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		in := sim.NewAtomic(k, nil, "in", 0)
		w := k.NewWork(nil, "w", 0, func(c *sim.Context) {
			c.Check(in.Update(c, func(n int) int { return n + 1 }) == 1, "the item runs twice at the same time")
			in.Update(c, func(n int) int { return n - 1 })
		})
		for i := range 2 {
			k.Go(nil, fmt.Sprint("task", i), on(i), func(c *sim.Context) { k.SystemWq().QueueWorkOn(c, 0, w) })
		}
	})
}

func TestB5RescuerRunsOnThePoolsCPU(t *testing.T) {
	holds(t, sim.Config{NoMemory: true, Preemption: sim.Full}, func(k *sim.Kernel) {
		wq := k.AllocWorkqueue("bio", sim.MemReclaim)
		runs := 0
		w := k.NewWork(nil, "w", 1, func(c *sim.Context) {
			runs++
			c.Check(c.CPU() == 1, "the item runs on CPU %d, want 1", c.CPU())
		})
		k.OnState(func(h *explore.Hash) { h.Add(uint64(runs)) })
		k.Go(nil, "task", on(0), func(c *sim.Context) { wq.QueueWorkOn(c, 1, w) })
		k.AtEnd(func(k *sim.Kernel) {
			if runs != 1 {
				k.Fail(explore.Assertion, "MEM_RECLAIM does not make progress without memory")
			}
		})
	})
}

func TestB5WithoutRescuerAnItemCanStarve(t *testing.T) {
	fails(t, sim.Config{NoMemory: true}, "handler never run: starved", func(k *sim.Kernel) {
		runs := 0
		w := k.NewWork(nil, "w", 1, func(c *sim.Context) { runs++ })
		k.OnState(func(h *explore.Hash) { h.Add(uint64(runs)) })
		k.Go(nil, "task", on(0), func(c *sim.Context) { k.SystemWq().QueueWorkOn(c, 1, w) })
		k.AtEnd(func(k *sim.Kernel) {
			if runs == 0 {
				k.Fail(sim.NeverRun, "starved")
			}
		})
	})
}

func TestB5DisassociatedPoolRunsAnywhere(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel, saw func(string)) {
		w := k.NewWork(nil, "w", 1, func(c *sim.Context) { saw(fmt.Sprint("cpu ", c.CPU())) })
		k.Go(nil, "task", on(0), func(c *sim.Context) {
			if k.CPUDown(c, 1, "") == nil {
				k.SystemWq().QueueWorkOn(c, 1, w)
			}
		})
	}, "cpu 0")
}

// TestB6 is about hotplug, kernel-semantics.md B6.

func hotplugLog(k *sim.Kernel, log *[]string) {
	k.Root(log) // what the tests compare is part of the state
	add := func(s string) func(*sim.Context, *sim.CPU) error {
		return func(c *sim.Context, p *sim.CPU) error {
			*log = append(*log, fmt.Sprintf("%s@%d", s, c.CPU()))
			return nil
		}
	}
	for _, n := range []string{"1", "2"} {
		k.AddState(sim.StateOnlineDyn, sim.HotplugState{Name: "dyn:online" + n, Startup: add("online" + n), Teardown: add("down" + n)})
	}
	k.AddState(sim.StatePrepareDyn, sim.HotplugState{Name: "dyn:dead", Teardown: add("dead")})
}

func TestB6OrderContextsAndRollback(t *testing.T) {
	seen := map[string]bool{}
	holds(t, sim.Config{}, func(k *sim.Kernel) {
		var log []string
		hotplugLog(k, &log)
		k.Go(nil, "control", on(0), func(c *sim.Context) {
			err := k.CPUDown(c, 1, "")
			if err != nil && !errors.Is(err, sim.ErrHotplug) {
				c.Fail(explore.Assertion, "%v", err)
			}
			seen[fmt.Sprint(strings.Join(log, " "), " err=", err != nil, " online=", k.CPU(1).Online())] = true
		})
	})
	want := []string{
		"down2@1 down1@1 dead@0 err=false online=false",
		"down2@1 down1@1 online1@1 online2@1 err=true online=true", // failed below
		" err=true online=true",                                    // failed above
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("never seen: %q", w)
		}
		delete(seen, w)
	}
	for s := range seen {
		t.Errorf("seen: %q", s)
	}
}

func TestB6UpFailsAboveAndGoesBackDown(t *testing.T) {
	seen := map[string]bool{}
	holds(t, sim.Config{Offline: []int{1}}, func(k *sim.Kernel) {
		var log []string
		hotplugLog(k, &log)
		k.Go(nil, "control", on(0), func(c *sim.Context) {
			err := k.CPUUp(c, 1, "")
			seen[fmt.Sprint(strings.Join(log, " "), " err=", err != nil, " online=", k.CPU(1).Online())] = true
		})
	})
	for _, w := range []string{
		"online1@1 online2@1 err=false online=true",
		"online1@1 online2@1 down2@1 down1@1 dead@0 err=true online=false",
		"dead@0 err=true online=false",
		" err=true online=false",
	} {
		if !seen[w] {
			t.Errorf("never seen: %q; seen: %v", w, seen)
		}
	}
}

func TestB6IntermediateTarget(t *testing.T) {
	reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
		k.Go(nil, "control", on(0), func(c *sim.Context) {
			if k.CPUDown(c, 1, sim.StateOnlineDyn) == nil {
				saw(fmt.Sprint(k.StateOf(1), " online ", k.CPU(1).Online(), " active ", k.CPU(1).Active()))
			}
		})
	}, "AP_ONLINE_DYN online true active false")
}

func TestB6InterruptsOfADeadCPUMove(t *testing.T) {
	reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
		k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) {
			saw(fmt.Sprint("cpu ", c.CPU()))
			c.Check(c.CPUOf().Online(), "an interrupt runs on a CPU that is off line")
		})
		k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
	}, "cpu 0", "cpu 1")
}

func TestB6TheLastCPUStays(t *testing.T) {
	reaches(t, sim.Config{CPUs: 1}, func(k *sim.Kernel, saw func(string)) {
		k.Go(nil, "control", on(0), func(c *sim.Context) { saw(k.CPUDown(c, 0, "").Error()) })
	}, "cpu hotplug: a state failed, rolled back: it is the last CPU")
}

// TestB7 is about locks, kernel-semantics.md B7.

func TestB7SpinlockOfAnInterruptedTask(t *testing.T) {
	init := func(k *sim.Kernel) {
		l := k.NewRawSpinlock(nil, "l")
		k.Go(nil, "task", on(0), func(c *sim.Context) { l.Lock(c); l.Unlock(c) })
		k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { l.Lock(c); l.Unlock(c) })
	}
	fails(t, sim.Config{}, "lockdep: WARNING: inconsistent lock state: l", init)
	fails(t, sim.Config{NoLockdep: true}, `deadlock: task "task" waits for cpu 0, held by task "irq", which waits for lock l, held by task "task"`, init)
}

// A report names the lines of the program, of every lock, dependency and use.
func TestReportsNameLines(t *testing.T) {
	for _, tt := range []struct {
		name string
		init func(k *sim.Kernel)
		want []string // in this order
	}{
		{"order", func(k *sim.Kernel) {
			a, b := k.NewMutex(nil, "a"), k.NewMutex(nil, "b")
			k.Go(nil, "one", on(0), func(c *sim.Context) { takeBoth(c, a, b) })
			k.Go(nil, "two", on(0), func(c *sim.Context) { takeBoth(c, b, a) })
		}, []string{"is trying to acquire lock", "takeBoth", "is already holding", "takeBoth", "-> #1", "takeBoth", "-> #0", "takeBoth", "stack backtrace:", "takeBoth"}},
		{"interrupt state", func(k *sim.Kernel) {
			l := k.NewRawSpinlock(nil, "l")
			k.Go(nil, "task", on(0), func(c *sim.Context) {
				takeAlone(c, l)
			})
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { takeAlone(c, l) })
		}, []string{"takes:", "takeAlone", "state was registered at:", "takeAlone", "stack backtrace:", "takeAlone"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := explored(t, sim.Config{}, tt.init)
			if r.Failure == nil || r.Failure.Kind != sim.Lockdep {
				t.Fatalf("failure = %v, want a report", r.Failure)
			}
			text := r.Failure.Details
			if strings.Contains(text, "?\n") || strings.Contains(text, "not recorded") {
				t.Errorf("a place is missing:\n%s", text)
			}
			rest := text
			for _, w := range tt.want {
				i := strings.Index(rest, w)
				if i < 0 {
					t.Fatalf("no %q after the others:\n%s", w, text)
				}
				line, after, _ := strings.Cut(rest[i:], "\n")
				if w == "takeBoth" || w == "takeAlone" {
					if !strings.HasPrefix(line, w+" sim/sim_test.go:") {
						t.Errorf("line %q, want %s sim/sim_test.go:N", line, w)
					}
				}
				rest = after
			}
		})
	}
}

func takeBoth(c *sim.Context, a, b *sim.Mutex) {
	a.Lock(c)
	b.Lock(c)
	b.Unlock(c)
	a.Unlock(c)
}

func takeAlone(c *sim.Context, l *sim.RawSpinlock) {
	l.Lock(c)
	l.Unlock(c)
}

func TestB7LocalLockInHardirqIsAnInvalidWait(t *testing.T) {
	init := func(hard bool) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			l := k.NewLocalLock(nil, "batch.lock")
			k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: hard}, func(c *sim.Context) { l.LockIRQ(c); l.UnlockIRQ(c) })
		}
	}
	fails(t, sim.Config{}, "lockdep: [ BUG: Invalid wait context ]: batch.lock", init(true))
	holds(t, sim.Config{}, init(false)) // could be threaded
	fails(t, sim.Config{Preemption: sim.RT, NoLockdep: true},
		`sleep in atomic context: local_lock batch.lock sleeps on RT, in hardirq context: hardirq "irq"`, init(true))
	holds(t, sim.Config{Preemption: sim.RT}, init(false)) // runs in a task
}

func TestB7SleepingInAtomicContext(t *testing.T) {
	for _, tt := range []struct {
		enter func(c *sim.Context)
		want  string
	}{
		{(*sim.Context).PreemptDisable, "a section with preemption off"},
		{(*sim.Context).LocalIRQSave, "a section with interrupts off"},
		{(*sim.Context).LocalBHDisable, "a section with softirqs off"},
		{(*sim.Context).RCUReadLock, "an RCU read section"},
	} {
		fails(t, sim.Config{Preemption: sim.Full}, `sleep in atomic context: mutex_lock m in `+tt.want+`: task "task" on cpu 0`, func(k *sim.Kernel) {
			m := k.NewMutex(nil, "m")
			k.Go(nil, "task", on(0), func(c *sim.Context) { tt.enter(c); m.Lock(c) })
		})
	}
	fails(t, sim.Config{}, `sleep in atomic context: mutex_lock m in hardirq context: hardirq "irq" on cpu 1`, func(k *sim.Kernel) {
		m := k.NewMutex(nil, "m")
		k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { m.Lock(c) })
	})
}

func TestB7LockOrder(t *testing.T) {
	init := func(k *sim.Kernel) {
		m := []*sim.Mutex{k.NewMutex(nil, "a"), k.NewMutex(nil, "b")}
		for i := range 2 {
			k.Go(nil, fmt.Sprint("task", i), on(i), func(c *sim.Context) {
				m[i].Lock(c)
				m[1-i].Lock(c)
				m[1-i].Unlock(c)
				m[i].Unlock(c)
			})
		}
	}
	fails(t, sim.Config{Preemption: sim.Full}, "lockdep: WARNING: possible circular locking dependency detected: a, b", init)
	fails(t, sim.Config{Preemption: sim.Full, NoLockdep: true},
		`deadlock: task "task0" waits for lock b, held by task "task1", which waits for lock a, held by task "task0"`, init)
}

func TestB7UnbalancedSections(t *testing.T) {
	fails(t, sim.Config{}, `imbalance: task "task" ends with preempt 1, rcu 0, bh 0, irqs off 0, migrate 0, locks []`, func(k *sim.Kernel) {
		k.Go(nil, "task", on(0), func(c *sim.Context) { c.PreemptDisable() })
	})
	fails(t, sim.Config{}, `imbalance: local_irq_enable without its opposite in task "task"`, func(k *sim.Kernel) {
		k.Go(nil, "task", on(0), func(c *sim.Context) { c.LocalIRQEnable() })
	})
	fails(t, sim.Config{}, `imbalance: unlock of m by task "task", which does not hold it`, func(k *sim.Kernel) {
		m := k.NewMutex(nil, "m")
		k.Go(nil, "task", on(0), func(c *sim.Context) { m.Unlock(c) })
	})
}

func TestB7RWSem(t *testing.T) {
	holds(t, sim.Config{Preemption: sim.Full}, func(k *sim.Kernel) {
		s := k.NewRWSem(nil, "s")
		x := sim.NewAtomic(k, nil, "inside", 0)
		k.Go(nil, "writer", on(0), func(c *sim.Context) {
			s.DownWrite(c)
			c.Check(x.Load(c) == 0, "a reader is inside with a writer")
			s.UpWrite(c)
		})
		for i := range 2 {
			k.Go(nil, fmt.Sprint("reader", i), on(1), func(c *sim.Context) {
				s.DownRead(c)
				x.Update(c, func(n int) int { return n + 1 })
				x.Update(c, func(n int) int { return n - 1 })
				s.UpRead(c)
			})
		}
	})
}

// TestB8 is about preemption, kernel-semantics.md B8.

func TestB8OnlyPreemptionTakesATaskOff(t *testing.T) {
	for _, cfg := range sim.Configs() {
		want := []string{"alone"}
		if cfg.Preemption >= sim.Full {
			want = append(want, "mixed")
		}
		reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
			a := sim.NewAtomic(k, nil, "a", 0)
			for i := range 2 {
				k.Go(nil, fmt.Sprint("task", i), on(0), func(c *sim.Context) {
					a.Store(c, i+1)
					if a.Load(c) == i+1 {
						saw("alone")
					} else {
						saw("mixed")
					}
				})
			}
		}, want...)
	}
}

func TestB8CondResched(t *testing.T) {
	reaches(t, sim.Config{Preemption: sim.Voluntary}, func(k *sim.Kernel, saw func(string)) {
		a := sim.NewAtomic(k, nil, "a", 0)
		for i := range 2 {
			k.Go(nil, fmt.Sprint("task", i), on(0), func(c *sim.Context) {
				a.Store(c, i+1)
				c.CondResched()
				if a.Load(c) == i+1 {
					saw("alone")
				} else {
					saw("mixed")
				}
			})
		}
	}, "alone", "mixed")
}

func TestB8SoftLockup(t *testing.T) {
	long := func(c *sim.Context) {
		for range 20 {
			c.Yield()
		}
	}
	init := func(k *sim.Kernel) { k.Go(nil, "task", on(0), long) }
	fails(t, sim.Config{HogSteps: 10}, `soft lockup: task "task" ran 11 steps on its CPU without a scheduling point (none, PREEMPT_COUNT=n)`, init)
	holds(t, sim.Config{HogSteps: 10, Preemption: sim.Lazy}, init)
}

// TestCellNeedsOneProtection: what interrupts off on one CPU protects is corrupted from another.
func TestCellNeedsOneProtection(t *testing.T) {
	fails(t, sim.Config{}, `corruption: list[0] is used on cpu 1 by task "task1" without the protection that others rely on; before, task "task0" used it on cpu 0`, func(k *sim.Kernel) {
		list := sim.NewPerCPU(k, "list", 0)
		for i := range 2 {
			k.Go(nil, fmt.Sprint("task", i), on(i), func(c *sim.Context) {
				c.LocalIRQSave()
				list.On(0).Set(c, i)
				c.LocalIRQRestore()
			})
		}
	})
	fails(t, sim.Config{Preemption: sim.Full}, `corruption: this_cpu_ptr in preemptible task "task": it may migrate`, func(k *sim.Kernel) {
		list := sim.NewPerCPU(k, "list", 0)
		k.Go(nil, "task", sim.TaskOptions{}, func(c *sim.Context) { list.This(c) })
	})
}

func TestNilHandlerAndBadConfig(t *testing.T) {
	fails(t, sim.Config{}, "nil handler: work w has no function", func(k *sim.Kernel) { k.NewWork(nil, "w", 0, nil) })
	fails(t, sim.Config{CPUs: 9}, "bad program: 9 CPUs asked for: a kernel has 1 to 4", func(k *sim.Kernel) {})
}

// TestDeterminism: two searches see the same, and a failure replays to the same trace.
func TestDeterminism(t *testing.T) {
	p := &explore.Program{Name: "determinism", Init: func(x *explore.Exec) {
		k := sim.New(x, sim.Config{Preemption: sim.Full})
		w := k.NewWork(nil, "w", 1, func(c *sim.Context) { c.Fail(explore.Assertion, "ran on %d", c.CPU()) })
		k.Interrupt(nil, 1, "irq", sim.IRQOptions{Hard: true}, func(c *sim.Context) { k.SystemWq().QueueWorkOn(c, 1, w) })
		k.Go(nil, "control", on(0), func(c *sim.Context) { _ = k.CPUDown(c, 1, "") })
	}}
	var tokens, traces []string
	for range 2 {
		r, err := explore.Explore(context.Background(), p, explore.Options{})
		if err != nil || r.Failure == nil {
			t.Fatalf("%v, %v", r, err)
		}
		tokens, traces = append(tokens, r.Failure.Token), append(traces, r.Failure.Trace.String())
	}
	again, err := explore.Replay(p, tokens[0], explore.Options{})
	if err != nil || again.Failure == nil {
		t.Fatalf("replay: %v, %v", again, err)
	}
	if tokens[0] != tokens[1] || traces[0] != traces[1] || again.Trace.String() != traces[0] {
		t.Errorf("the same search gave %q and %q, traces\n%s\n%s\nreplay\n%s", tokens[0], tokens[1], traces[0], traces[1], again.Trace)
	}
}
