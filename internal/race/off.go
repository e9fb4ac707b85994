// SPDX-License-Identifier: Apache-2.0

//go:build !race

package race

// Enabled: the program was built without -race.
const Enabled = false
