// SPDX-License-Identifier: Apache-2.0

// Package host is the machine that the engine runs on: the Go runtime and the
// operating system.
//
// # Model
//
// A CPU is a shard: a [Port], through which requests go to the kernel and come
// back, and a team of goroutines, of which one is active. The active goroutine
// reaps the port's completions in an atomic context, then runs the work items of
// the shard in a task context, then waits in the port again. So from the kernel to
// a handler there is no hand-over between goroutines. When a work item stalls, a
// monitor gives the part to another goroutine of the team.
//
// # Whoever waits reaps
//
// Each port has at most one leader, the goroutine that waits in the kernel for its
// completions; all others who wait for something that the port will bring sleep
// until the leader tells them, or until the leader leaves and one of them takes
// its place. A goroutine that waits alone is the leader, and depends on no
// other goroutine being scheduled. A leader that has something else to wait for
// is brought back by a message on its port. A port that is its thread's own has no
// leader but that thread (own.go).
//
// # Locks
//
// In the order in which they may nest: a port's reap lock, a Local's section, a
// shard's lock, a port's submit lock, a wait queue's lock. None is held while
// waiting in the kernel, and no handler that may block is called under one;
// Inline handlers are called under the reap lock. Outside of all is a port's lead
// lock, which its leader holds, in the kernel too; others only try it, but for who
// closes the port.
package host
