// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package host

// threadLimit returns how many threads the process may have, or 0 if nothing says.
func threadLimit() int { return 0 }
