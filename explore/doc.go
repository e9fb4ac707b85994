// SPDX-License-Identifier: Apache-2.0

// Package explore checks concurrent programs over their interleavings.
//
// # Model
//
// A [Program] is an ordinary Go function, its Init, that makes shared objects
// and tasks. A [Task] is a coroutine. Before each visible operation a task
// declares a step: which objects it touches, how, and under which guard it may
// happen. The step, and all code up to the next declaration, is atomic. The
// explorer decides which task takes its step next, runs the program again and
// again from the start, and judges what it sees.
//
// A step whose guard is false is blocked until the guard is true. Guards read
// only objects that their step declares.
//
// The memory model is sequential consistency. Plain accesses ([Read], [Write])
// are checked for data races, so a program without reported races behaves the
// same under the Go memory model.
//
// # Order
//
// Two steps are dependent if they touch a common object and at least one
// modifies it. Runs that differ only in the order of independent steps are one
// class; the exhaustive strategies visit one run of each class (see
// [Optimal]) or a few.
//
// # Verdicts
//
// A [Result] says whether the program holds, and for which scope: exhausted,
// bounded by something named, or sampled. A [Failure] has a token that
// [Replay] turns back into the same run, and a [Trace].
//
// # Limits
//
// At most [MaxTasks] tasks in a program. A task must not use anything that
// blocks outside the explorer (sync.Mutex, channels, time.Sleep, I/O), must
// not start goroutines, and must be deterministic: no time, random numbers or
// map order. The explorer detects breaches of these rules and names the place,
// but detection of stray goroutines is best effort.
package explore
