// SPDX-License-Identifier: Apache-2.0

//go:build lockdep && !race

package lockdep

const raceEnabled = false
