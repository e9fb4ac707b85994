// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command peers measures endio beside its peers, fio and os.File: random reads
// and overwrites of 4 KiB, direct, on a file of the working directory's file
// system and on a loop device over RAM (which needs root), at depths 1, 16 and 64;
// the same with all processors busy; and the memory of operations in flight.
//
// Each measurement is a process of its own, so that its CPU time, its runtime
// and its spinning goroutines are its own. The rows run interleaved, round after
// round, and a row's figures are the medians of its rounds with the spread from
// the lowest to the highest; ratios are of medians. Besides the tables it prints
// which of the project's limits hold.
//
//	go run ./peers -quick                  a look, in a minute or two
//	go run ./peers -rows 'ext4/read/16'    only measurements whose name matches
//	go run ./peers -append peers.out -for 140s -doc ../docs/benchmarks.md -readme ../README.md
//
// The last one, repeated, makes the full record in parts.
package main

import "endio/bench/internal/rig"

func main() { rig.Main(suite) }
