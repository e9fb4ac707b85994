// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package endio

// affinity returns how many processors the process may run on; 0: not known.
func affinity() int { return 0 }
