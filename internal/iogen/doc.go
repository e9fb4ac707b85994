// SPDX-License-Identifier: Apache-2.0

// Package iogen decides where and how large the next operation of a job is.
//
// A [Region] is one file's share of a job: it hands out offsets, sequential or
// random, pass after pass. A random region with a [Map] touches each unit once
// a pass. [Sizes] draws block sizes. Everything is a function of its seed, so
// that the same job does the same operations again.
//
// Nothing here knows of files, clocks or goroutines; no type may be used by two
// goroutines at once.
package iogen
