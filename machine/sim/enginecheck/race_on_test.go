// SPDX-License-Identifier: Apache-2.0

//go:build race

package enginecheck

// raceDetector: the detector makes a search ten times slower and has nothing to find in
// a single goroutine at a time; one configuration does.
const raceDetector = true
