// SPDX-License-Identifier: Apache-2.0

//go:build race

package explore

// The race detector makes coroutines 20 times slower.
const defaultPrograms = 200

const raceDetector = true
