// SPDX-License-Identifier: Apache-2.0

//go:build !race

package endio_test

const raceEnabled = false
