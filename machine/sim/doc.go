// SPDX-License-Identifier: Apache-2.0

// Package sim is a kernel in miniature on which completion code is checked: CPUs
// with interrupts, tasks, locks, work items and hotplug, where everything that
// another context could see is a step of package explore.
//
// # Model
//
// A [Kernel] belongs to one execution: make it with [New] in the Init of an
// [explore.Program], give it tasks ([Kernel.Go]) and interrupts
// ([Kernel.Interrupt]), and let the explorer try all interleavings. Code on it is
// ordinary Go with the structure of the C that it mirrors. All of it is passed the
// [Context] it runs in:
//
//	k := sim.New(x, sim.Config{Preemption: sim.Lazy})
//	wq := k.AllocWorkqueue("bio_complete", sim.MemReclaim)
//	list := sim.NewPerCPU(k, "bio_complete_batch", []int(nil))
//	work := k.NewWork(nil, "batch", 1, func(c *sim.Context) { ... })
//	k.Interrupt(nil, 1, "irq", sim.IRQOptions{}, func(c *sim.Context) {
//		c.LocalIRQSave()
//		list.This(c).Update(c, func(l *[]int) { *l = append(*l, 7) })
//		c.LocalIRQRestore()
//		wq.QueueWorkOn(c, 1, work)
//	})
//	k.Go(nil, "hotplug", sim.TaskOptions{CPU: sim.OnCPU(0)}, func(c *sim.Context) {
//		err := k.CPUDown(c, 1, "")
//	})
//	k.AtEnd(func(k *sim.Kernel) { ... k.Fail(sim.NeverRun, "...") })
//
// Functions that make things take the context that makes them, nil in Init.
//
//   - Contexts: [Context.PreemptDisable], [Context.RCUReadLock],
//     [Context.LocalBHDisable], [Context.LocalIRQSave], [Context.MigrateDisable],
//     [Context.Atomic] (bio_in_atomic), [Context.CondResched],
//     [Context.NeedResched], [Context.RaiseSoftirq].
//   - Memory: [Cell] and [PerCPU] are plain memory that a lock or interrupts off
//     protect (no steps; failing protection is found), [Atomic] has atomic operations.
//   - Locks: [RawSpinlock], [Spinlock], [LocalLock], [Mutex], [RWSem].
//   - Waiting: [WaitQueue], [Completion], each sleep in a [SleepState].
//   - Work: [Workqueue], [Work], [DelayedWork], with PENDING, disable depth, sync
//     variants, pools that hotplug disassociates, and rescuers.
//   - Hotplug: [Kernel.CPUDown], [Kernel.CPUUp], [Kernel.AddState]. Every state that can
//     fail is made to fail; where failing at several states in a row makes no
//     difference, at one.
//   - Checks: [Context.Check], [Context.Fail], [Kernel.AtEnd].
//
// [Machine] is the same kernel as a [machine.Machine], so that the production
// packages bio, batch and dio run on it unchanged.
//
// # Scheduling
//
// A CPU runs hardirqs on top of softirqs on top of one task. A task is taken off
// its CPU by the explorer wherever the preemption model allows it: anywhere but
// in sections with preemption, interrupts or softirqs off with [Full], [Lazy] and
// [RT]; only where it sleeps, ends or calls CondResched with [None] and [Voluntary].
// A task that is not bound runs on any active CPU. Time is abstract: what takes
// time may take any time, so a timer fires at any moment after it was armed; with [Config.Ticks] not before its ticks have passed.
//
// # Steps
//
// Code between two visible operations belongs to the step before, and what only
// lets others go on (an unlock, the end of a section, interrupts on) is no step
// but takes effect at once; only the unlock of a spinlock with interrupts on is one. To take a lock, to turn interrupts off and every
// access that others can see is a step of its own.
//
// # State
//
// [explore.Cached] needs the state of a program. A Kernel declares its own, all
// Cells and what is reachable from [Kernel.Root]; further shared memory goes to
// [Kernel.OnState]. What the code of a context knows locally is taken to be what it was told
// since it started, which is always safe; a loop that starts afresh can say so with
// [Context.Forget].
//
// # Checks
//
// Failures of its own have the kinds [AtomicSleep], [Lockdep] (lock order,
// interrupt states, wait contexts; the report is in Details), [NilHandler],
// [Corruption], [SoftLockup], [Imbalance], [HotplugMisuse] and others; deadlock and lost wake-ups
// are found by the explorer.
//
// # Limits
//
// At most [MaxCPUs] CPUs, and at most [explore.MaxTasks] tasks and interrupts. There is one
// pool for each CPU (no high priority, no unbound workqueues). Nothing waits for a grace
// period of RCU, as hotplug does in the kernel after a CPU became inactive, which allows more than can happen. Sources are named at
// each part: kernel-semantics.md, which is not in this repository, is the description of
// Linux 6.6 to 7.3 that this package was written from.
package sim
