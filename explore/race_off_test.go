// SPDX-License-Identifier: Apache-2.0

//go:build !race

package explore

const defaultPrograms = 2500

const raceDetector = false
