// SPDX-License-Identifier: Apache-2.0

//go:build lockdep && race

package lockdep

// raceEnabled makes the adapters tell the race detector what they know: that a
// goroutine whose number is not its descriptor's any more has ended.
const raceEnabled = true
