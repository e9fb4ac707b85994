// SPDX-License-Identifier: Apache-2.0

// Package jobrun runs the jobs of a fio job file and measures them.
//
// # Model
//
// A [Plan] turns jobs into clones and waves: a clone is one of a job's numjobs
// copies, a wave is the clones that run at the same time (a stonewall ends one).
// Each clone is one goroutine with one [Queue]; it keeps as many operations in
// flight as iodepth says and submits the next as soon as one completes. What
// it asks of the storage is the interface [Engine], so that the same runner is
// tested without one.
//
// [Run] lays the files out, runs wave after wave, verifies, and returns a
// [Result]. [Report] has its numbers under fio's names. A job that can not start
// is reported, and the others run.
//
// # Stopping
//
// When the context of Run is cancelled, each clone stops issuing, waits for what
// is in flight, skips the verify phase, and Run returns what was measured. A file
// that was made for a job and not yet used by it is removed.
package jobrun
