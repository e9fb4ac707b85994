// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// The tests of this file are about locks and preemption, kernel-semantics.md B7 and B8, beside those of sim_test.go.

// A held is one kind of lock.
type held struct {
	name         string
	level        int // SPIN, CONFIG, SLEEP from 1
	lock, unlock func(c *sim.Context)
}

// locks makes one of each kind.
func locks(k *sim.Kernel, suffix string) []held {
	raw, spin := k.NewRawSpinlock(nil, "raw"+suffix), k.NewSpinlock(nil, "spin"+suffix)
	local, m, s := k.NewLocalLock(nil, "local"+suffix), k.NewMutex(nil, "mutex"+suffix), k.NewRWSem(nil, "rwsem"+suffix)
	return []held{
		{"raw", 1, raw.Lock, raw.Unlock},
		{"spin", 2, spin.Lock, spin.Unlock},
		{"local", 2, func(c *sim.Context) { local.Lock(c) }, local.Unlock},
		{"mutex", 3, m.Lock, m.Unlock},
		{"rwsem", 3, s.DownWrite, s.UpWrite},
	}
}

// TestB7WaitContext: a lock whose level is above the ceiling that the context and the held locks leave is an invalid wait context, on
// every kernel; one that may sleep is found sleeping in atomic context first.
func TestB7WaitContext(t *testing.T) {
	n := 5
	for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}, {Preemption: sim.RT}} {
		for i := range n + 2 { // held: a lock, or the interrupt
			for j := range n {
				var want string
				init := func(k *sim.Kernel) {
					outer, inner := locks(k, "1"), locks(k, "2")
					want = waitContext(cfg, i, outer, inner[j])
					if i >= n {
						k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: i == n}, func(c *sim.Context) { inner[j].lock(c); inner[j].unlock(c) })
						return
					}
					k.Go(nil, "task", on(0), func(c *sim.Context) {
						outer[i].lock(c)
						inner[j].lock(c)
						inner[j].unlock(c)
						outer[i].unlock(c)
					})
				}
				holdsOr(t, cfg, &want, init)
			}
		}
	}
}

// holdsOr wants no interleaving to fail if want is empty, and one with that text otherwise.
func holdsOr(t *testing.T, cfg sim.Config, want *string, init func(k *sim.Kernel)) {
	t.Helper()
	r := explored(t, cfg, init)
	got := ""
	if r.Failure != nil {
		got = r.Failure.Error()
	}
	if got != *want {
		t.Errorf("%s\n  got  %q\n  want %q", cfg, got, *want)
	}
}

// waitContext says what is wrong with taking inner while lock i of outer is held, or in an interrupt that is never threaded, or in one that
// may be.
func waitContext(cfg sim.Config, i int, outer []held, inner held) string {
	rt := cfg.Preemption == sim.RT
	ceiling, why, who := 3, "", `task "task" on cpu 0`
	switch {
	case i == len(outer):
		ceiling, why, who = 1, "hardirq context", `hardirq "irq" on cpu 0`
	case i > len(outer):
		ceiling, why, who = 2, "hardirq context", `hardirq "irq" on cpu 0`
		if rt {
			why, who = "an RCU read section", `task "irq" on cpu 0` // its thread, with softirqs off
		}
	case outer[i].level == 1:
		ceiling, why = 1, "a section with preemption off"
	case outer[i].level == 2:
		ceiling, why = 2, "a section with preemption off"
		if rt {
			why = "an RCU read section"
		}
	}
	sleeps := map[string]string{"mutex": "mutex_lock mutex2", "rwsem": "down_write rwsem2"}
	switch {
	case inner.level <= ceiling:
		return ""
	case inner.level == 3:
		return fmt.Sprintf("sleep in atomic context: %s in %s: %s", sleeps[inner.name], why, who)
	}
	return "lockdep: [ BUG: Invalid wait context ]: " + inner.name + "2"
}

// TestB7WhatALockTurnsOff: the table of locks: what a task may not do while it holds one, and whether an interrupt comes meanwhile.
func TestB7WhatALockTurnsOff(t *testing.T) {
	preempt, irqs, rcu := "a section with preemption off", "a section with interrupts off", "an RCU read section"
	type row struct {
		name         string
		plain, rt    string
		interrupted  bool // without RT; with RT always but for the last two
		rtInterrupts bool
		make         func(k *sim.Kernel) (lock, unlock func(c *sim.Context))
	}
	for _, r := range []row{
		{"raw_spin_lock", preempt, preempt, true, true, func(k *sim.Kernel) (lock, unlock func(c *sim.Context)) {
			l := k.NewRawSpinlock(nil, "l")
			return l.Lock, l.Unlock
		}},
		{"spin_lock", preempt, rcu, true, true, func(k *sim.Kernel) (lock, unlock func(c *sim.Context)) {
			l := k.NewSpinlock(nil, "l")
			return l.Lock, l.Unlock
		}},
		{"spin_lock_irq", irqs, rcu, false, true, func(k *sim.Kernel) (lock, unlock func(c *sim.Context)) {
			l := k.NewSpinlock(nil, "l")
			return l.LockIRQ, l.UnlockIRQ
		}},
		{"local_lock", preempt, rcu, true, true, func(k *sim.Kernel) (lock, unlock func(c *sim.Context)) {
			l := k.NewLocalLock(nil, "l")
			return func(c *sim.Context) { l.Lock(c) }, l.Unlock
		}},
		{"local_lock_irq", irqs, rcu, false, true, func(k *sim.Kernel) (lock, unlock func(c *sim.Context)) {
			l := k.NewLocalLock(nil, "l")
			return func(c *sim.Context) { l.LockIRQ(c) }, l.UnlockIRQ
		}},
		{"raw_spin_lock_irq", irqs, irqs, false, false, func(k *sim.Kernel) (lock, unlock func(c *sim.Context)) {
			l := k.NewRawSpinlock(nil, "l")
			return l.LockIRQ, l.UnlockIRQ
		}},
		{"local_irq_save", irqs, irqs, false, false, func(*sim.Kernel) (lock, unlock func(c *sim.Context)) {
			return (*sim.Context).LocalIRQSave, (*sim.Context).LocalIRQRestore
		}},
	} {
		for _, cfg := range sim.Configs() {
			why, interrupted := r.plain, r.interrupted
			if cfg.Preemption == sim.RT {
				why, interrupted = r.rt, r.rtInterrupts
			}
			fails(t, cfg, "sleep in atomic context: "+r.name+" in "+why+`: task "task" on cpu 0`, onTask(func(k *sim.Kernel) func(*sim.Context) {
				lock, _ := r.make(k)
				return func(c *sim.Context) { lock(c); c.MightSleep(r.name) }
			}))
			want := []string{"outside"}
			if interrupted {
				want = append(want, "inside")
			}
			reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
				lock, unlock := r.make(k)
				where := "outside"
				k.Root(&where)
				k.Go(nil, "task", on(0), func(c *sim.Context) { lock(c); where = "inside"; c.Yield(); where = "outside"; unlock(c) })
				k.Interrupt(nil, 0, "irq", sim.IRQOptions{Hard: true}, func(*sim.Context) { saw(where) })
			}, want...)
		}
	}
}

// TestB7LocksExclude: whatever the kernel, no two tasks are inside of one lock; and on RT who holds a spinlock_t or a local_lock stays on its
// CPU and is preempted there.
func TestB7LocksExclude(t *testing.T) {
	for _, cfg := range sim.Configs() {
		for i := range 5 {
			var want []string // of the local lock only
			if i == 2 {
				want = append(want, "preempted: false")
			}
			if i == 2 && cfg.Preemption == sim.RT {
				want = append(want, "preempted: true")
			}
			reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
				l := locks(k, "")[i]
				perCPU := l.name == "local"
				inside, other := sim.NewAtomic(k, nil, "inside", 0), sim.NewAtomic(k, nil, "other", false)
				for j := range 2 {
					o := sim.TaskOptions{}
					if perCPU {
						o = on(0)
					}
					k.Go(nil, fmt.Sprint("task", j), o, func(c *sim.Context) {
						l.lock(c)
						cpu := c.CPU()
						c.Check(inside.Update(c, func(n int) int { return n + 1 }) == 1, "two tasks hold %s", l.name)
						c.Check(l.level == 3 || c.CPU() == cpu, "moved from cpu %d to %d with %s", cpu, c.CPU(), l.name)
						inside.Update(c, func(n int) int { return n - 1 })
						l.unlock(c)
					})
				}
				if perCPU {
					k.Go(nil, "other", on(0), func(c *sim.Context) {
						other.Store(c, true)
						saw(fmt.Sprint("preempted: ", inside.Load(c) > 0))
					})
				}
			}, want...)
		}
	}
}

// TestB7RWSemWriterHoldsReadersBack: a writer that waits comes before readers that come later; trylocks wait for nobody.
func TestB7RWSemWriterHoldsReadersBack(t *testing.T) {
	fails(t, sim.Config{Preemption: sim.Full, NoLockdep: true},
		`deadlock: task "reader" waits for lock s, held by task "reader" itself`, rwsemTwice(false))
	holds(t, sim.Config{Preemption: sim.Full, NoLockdep: true}, rwsemTwice(true))
}

// rwsemTwice has a task take a semaphore for reading twice, while another one wants to write.
func rwsemTwice(try bool) func(k *sim.Kernel) {
	return func(k *sim.Kernel) {
		s := k.NewRWSem(nil, "s")
		k.Go(nil, "reader", on(0), func(c *sim.Context) {
			s.DownRead(c)
			if !try {
				s.DownRead(c)
				s.UpRead(c)
			} else if s.DownReadTry(c) {
				s.UpRead(c)
			}
			s.UpRead(c)
		})
		k.Go(nil, "writer", on(1), func(c *sim.Context) { s.DownWrite(c); s.UpWrite(c) })
	}
}

// TestB8NeedResched: where tasks are preempted it is never seen true, but in a section that can't be; elsewhere it may be.
func TestB8NeedResched(t *testing.T) {
	for _, cfg := range sim.Configs() {
		for _, section := range []bool{false, true} {
			want := []string{"false"}
			if section || cfg.Preemption < sim.Full {
				want = append(want, "true")
			}
			reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
				k.Go(nil, "task", on(0), func(c *sim.Context) {
					if section {
						c.PreemptDisable()
						defer c.PreemptEnable()
					}
					saw(fmt.Sprint(c.NeedResched()))
				})
			}, want...)
		}
	}
}

// TestB8CondReschedInEachModel: without preemption it is where others may run, with COUNT or without; with preemption it changes
// nothing, for they may run anywhere.
func TestB8CondReschedInEachModel(t *testing.T) {
	for _, cfg := range sim.Configs() {
		for _, resched := range []bool{false, true} {
			want := []string{"alone"}
			if resched || cfg.Preemption >= sim.Full {
				want = append(want, "mixed")
			}
			reaches(t, cfg, func(k *sim.Kernel, saw func(string)) {
				a := sim.NewAtomic(k, nil, "a", 0)
				for i := range 2 {
					k.Go(nil, fmt.Sprint("task", i), on(0), func(c *sim.Context) {
						a.Store(c, i+1)
						if resched {
							c.CondResched()
						}
						saw(map[bool]string{true: "alone", false: "mixed"}[a.Load(c) == i+1])
					})
				}
			}, want...)
		}
	}
}
