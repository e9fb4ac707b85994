// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command engine measures what endio's users choose it for beside what they have
// otherwise: fio, os.File with goroutines, plain buffered I/O; and what the levers
// of the engine are worth beside each other. Command peers, next to it, has the
// plain figures of each context and depth, and says how both measure.
//
//	go run ./engine -quick                 a look, in a minute or two
//	go run ./engine -rows '^uncached/'     only measurements whose name matches
//	go run ./engine -append engine.out -for 140s -doc ../docs/benchmarks.md -plot ../docs
//
// The last one, repeated, makes the full record in parts. The rows of a loop device
// and of a memory limit need root.
package main

import "endio/bench/internal/rig"

func main() { rig.Main(suite) }
