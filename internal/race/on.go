// SPDX-License-Identifier: Apache-2.0

//go:build race

// Package race says whether the race detector is on, for tests that do less then:
// it makes a search ten times slower and has nothing to find in programs that run on coroutines.
package race

// Enabled: the program was built with -race.
const Enabled = true
