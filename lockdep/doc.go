// SPDX-License-Identifier: Apache-2.0

// Package lockdep reports a deadlock the first time that its order is seen,
// without anything having to hang: for locks, for waits, and for completions that
// one task owes another.
//
// # Model
//
// Rules are learned between classes of locks and not between locks: all mutexes
// of all stores are one [Class], so one run with one store teaches what is true of a
// million. A [Task] is a thread of control and knows what it holds. When
// it acquires a lock, each lock that it holds gets an edge to the new one in a
// graph of classes. An edge that closes a cycle can deadlock, whenever and by whomever
// the other edges were made.
//
// A sequence of held locks that was seen before is found by a hash and costs
// some nanoseconds. Only a new one takes the validator's lock and goes to the
// graph.
//
// A lock is acquired exclusively, shared, or recursively shared ([Exclusive],
// [Shared], [Recursive]), by waiting or by trying ([Try]), or for no time at all
// ([Task.Sync]). Cycles count only along strong paths: a recursive reader does
// not wait for readers.
//
// A [WaitMap] is anything that can be waited for and that somebody owes: I/O in
// flight, a completion, a WaitGroup, a channel. See there.
//
// Interrupt contexts, what is enabled while a lock is held, and wait types are
// tracked for simulated kernels; see [Config].
//
// # Order
//
// On a serial validator the same operations give the same reports, byte for
// byte, if sites and stacks are given by the caller or off.
//
// # Limits
//
// All tables are bounded. A full table is reported once, and what does not fit is
// not checked; nothing is ever dropped in silence and nothing learned is
// forgotten. What no method based on order can know is that a gate lock
// makes two orders safe: such a pair is reported, and [Subclass] or
// [Task.AcquireNest] is the annotation that says it is meant.
package lockdep
