// SPDX-License-Identifier: Apache-2.0

// Package taskcomp models the completion of bios in task context, version by
// version: "block: add task-context bio completion infrastructure" by Tal Zussman,
// v4 (2026-03-25) to v7 (2026-07-30, as in Linux 7.3), the answers that its author
// gave to the review of v6 (2026-05-22), and this project's own package batch.
//
// # Structure
//
// bio.go is the life of a bio up to bio_endio, what handlers do, and what is checked
// of them. Each version has a file (v4.go to v7.go) with the functions of its patch under
// their own names, in Go case, and the same order of statements; changes of v7 that close
// what it leaves open are in v7.go and biowork.go. program.go turns a scenario into a
// program for the explorer, and looks at the end of an execution.
//
// # What is checked
//
// Each handler runs once; where its bio asked for a task context, in one; the
// lists are used under their protection; nothing sleeps in atomic context; a
// completion is deferred once (once more for each stacked layer where
// PREEMPT_COUNT is off); hotplug ends. More if the scenario wants it.
//
// Source of the facts: the two threads, and notes on Linux 7.3-rc7 (B1 to B8), which are
// not in this repository. Nothing is copied: the code is written from the description.
package taskcomp
