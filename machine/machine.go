// SPDX-License-Identifier: Apache-2.0

// Package machine is the seam between completion code and what it runs on.
//
// Packages bio, batch and dio decide where the completion of an I/O runs, keep
// it until it may run there, and let others wait until I/O is over. They are
// written once, against the interfaces of this package, and run on two
// machines: machine/host (the Go runtime and the operating system) and
// machine/sim (simulated CPUs, where every call below is a choice of a model
// checker). So what has been checked is what runs.
//
// # Model
//
// A machine has CPUs, numbered from 0. On the host a CPU is a shard: one ring,
// one reaper, one pool of workers. Code runs in a context, and a [Context] is
// passed along explicitly to say which: on which CPU, and whether it may block.
// An atomic context (the reaper; a simulated interrupt) must not block, a task
// context (a worker, a goroutine of the user) may.
//
// Data of one CPU is protected by a [Local], data of all by a [Lock]; neither may
// be held across anything that blocks. Work for a CPU is a [Work] item. A task
// sleeps on a [WaitQueue]. A CPU comes and goes through [Hotplug] callbacks.
//
// # What completion code must not do
//
// It must not use package sync, atomics, channels or the clock: the simulated
// machine would not see them. Every access to memory that two contexts share
// is made under a Lock or a Local, or through a [Counter], and is announced with
// [Var.Read] or [Var.Write], which is how the checker finds the access that is
// not. Announcements cost the host one empty call.
//
// # Cost
//
// The host's share of one I/O in the three contexts is measured by
// BenchmarkCompletion in package batch; docs/adr/0063 has a figure.
package machine

import "endio/lockdep"

// A CPU is a number from 0 to [Machine.CPUs]-1. Whether it is online changes.
type CPU int

// A Duration is a span of time in nanoseconds, of the host's monotonic clock or
// of simulated time. (The type of package time is out of bounds for completion
// code, because its functions are.)
type Duration int64

// A Context says where its holder runs. A Context belongs to whom it was given
// and for the duration of that call only: no other goroutine or simulated task
// may use it.
type Context interface {
	// CPU returns the CPU that runs the caller. In a task context that may change
	// at any moment; it is fixed in an atomic context and while a [Local] is held.
	CPU() CPU

	// Atomic reports whether the caller may not block.
	// It mirrors bio_in_atomic of the kernel's include/linux/bio.h, Linux 7.3.
	Atomic() bool

	// InTask reports whether the caller is a task and not an interrupt or a reaper. A
	// task that holds nothing may block. Atomic is the cautious question: a machine
	// that can't tell (a kernel with PREEMPT_COUNT=n) answers it with true for
	// tasks, too. It mirrors in_task of include/linux/preempt.h.
	InTask() bool

	// Task returns the handle under which the validator knows the caller, or
	// nil where nothing is validated.
	Task() *lockdep.Task

	// Help runs one completion that only the caller can run, and reports whether
	// there was one. A wait that does not call it may wait for itself.
	// In an atomic context nothing is owed and Help returns false.
	Help() bool
}

// A Machine provides what completion code may ask for. The New methods may be
// called from any context that may allocate; the values that they return belong
// to the machine and are never freed.
type Machine interface {
	// CPUs returns the number of CPUs that can ever be online.
	CPUs() int

	// Online reports whether cpu is online. The answer may be old when it arrives,
	// except in a [Hotplug] callback and while the caller registers one.
	Online(cpu CPU) bool

	// NewLocal returns a Local with a section for each CPU.
	NewLocal(name string) Local

	// NewLock returns an unlocked Lock.
	NewLock(name string) Lock

	// NewVar returns the name under which plain memory is announced.
	NewVar(name string) Var

	// NewCounter returns a Counter at n.
	NewCounter(name string, n int64) Counter

	// NewWaitQueue returns a WaitQueue on which nobody sleeps.
	NewWaitQueue(name string) WaitQueue

	// NewWork returns an idle, enabled work item that runs fn on cpu. From the Down
	// of cpu until its Online fn may run on another CPU, and does run if the item
	// is pending and not disabled; an item queued with a delay may have to wait for Online.
	//
	// When an instance of fn stalls, which means that it sleeps or has kept its CPU
	// for too long, the machine calls stalled once, in an atomic context on cpu,
	// while fn is still running. From then on that instance is on its own:
	// [Work.Disable] no longer waits for it. (A kernel worker tells its pool the
	// same when it goes to sleep: wq_worker_sleeping, kernel/workqueue.c.)
	// stalled may be nil.
	NewWork(name string, cpu CPU, fn, stalled func(Context)) Work

	// AddHotplug registers callbacks for CPUs that come and go. No callback is
	// called for the state that a CPU has at that moment.
	AddHotplug(h Hotplug)
}

// A Local has one section a CPU, for data that belongs to that CPU: while the
// section is held, no other context of the CPU runs in it, interrupts included.
// It protects against this CPU only. Whoever holds the section of a CPU on
// which he does not run is protected against nobody, unless that CPU is dead.
//
// It mirrors local_irq_save around a per-CPU variable. The host, where several
// threads may stand for one CPU, uses a mutex a CPU.
type Local interface {
	// Lock enters the section of the CPU that runs the caller and returns that
	// CPU, on which the caller stays until Unlock.
	Lock(c Context) CPU

	// LockOn enters the section of cpu, which must be the CPU that runs the caller,
	// or dead.
	LockOn(c Context, cpu CPU)

	// Unlock leaves the section that Lock or LockOn entered.
	Unlock(c Context, cpu CPU)
}

// A Lock protects data of all CPUs, from every context: a raw spinlock taken
// with interrupts off.
type Lock interface {
	Lock(c Context)
	Unlock(c Context)
}

// A Var is the name of plain memory that contexts share. The simulated machine
// makes each announced access a step and reports two that race.
type Var interface {
	// Read announces that the caller reads the memory before its next call into
	// the machine.
	Read(c Context)
	// Write announces the same for reading and writing.
	Write(c Context)
}

// A Counter is an atomic integer. Its operations are totally ordered.
type Counter interface {
	// Add adds delta and returns the sum.
	Add(c Context, delta int64) int64
	// Load returns the value.
	Load(c Context) int64
}

// A Condition is something to wait for.
type Condition interface {
	// Ready reports whether the wait is over. It is called in the context that waits
	// and must not block.
	Ready(c Context) bool
}

// A WaitQueue is where tasks sleep until somebody wakes them.
type WaitQueue interface {
	// Sleep returns when cond is ready, when the queue was woken, or when
	// [Context.Help] has something to run; the caller looks again at which. A wake
	// that comes after Sleep was called, or after cond was found not to be ready, is
	// not lost. The caller must be in a task context and hold nothing.
	Sleep(c Context, cond Condition)

	// Wake wakes all who sleep. Any context may call it.
	Wake(c Context)
}

// A Work is a function to be run once in a task context of one CPU. It has the
// rules of the kernel's work items (struct work_struct): an item that is
// pending is not queued again, it stops being pending before its function is
// called, and it never runs twice at the same time.
type Work interface {
	// Queue makes the item pending, and reports whether it did: not if it was
	// pending already, not if it is disabled. Any context may call it.
	Queue(c Context) bool

	// QueueAfter is Queue with the run put off by d; 0 means at once.
	// It mirrors queue_delayed_work_on.
	QueueAfter(c Context, d Duration) bool

	// Disable withdraws a pending run, refuses further ones, and waits until the
	// running instance has ended or stalled. Calls nest. Task context only.
	// It mirrors disable_work_sync.
	Disable(c Context)

	// Enable ends one Disable, and reports whether the item can be queued again. It
	// never queues: what was refused in between is the caller's to make good.
	// It mirrors enable_work.
	Enable(c Context) bool

	// Retire withdraws a pending run and refuses all further ones for ever; the
	// running instance goes on. Any context may call it.
	Retire(c Context)
}

// Hotplug has the callbacks of one subsystem for CPUs that come and go; nil ones
// are left out. They may block and can not fail, but what else the machine
// does on the way may: then the direction is reversed, and a CPU whose Down was
// called gets Online without having been Dead.
//
// The order mirrors the kernel's CPUHP_AP_ONLINE_DYN and CPUHP_BP_PREPARE_DYN
// states (include/linux/cpuhotplug.h).
type Hotplug struct {
	Name string

	// Online is called on cpu, when it completes I/O already.
	Online func(c Context, cpu CPU)

	// Down is called on cpu, which goes on completing I/O after it.
	Down func(c Context, cpu CPU)

	// Dead is called on another CPU, when nothing runs on cpu any more. If cpu fails
	// to come up later, it is called again.
	Dead func(c Context, cpu CPU)
}
