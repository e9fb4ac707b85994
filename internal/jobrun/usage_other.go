// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package jobrun

// memoryBytes returns 0: it is not known.
func memoryBytes() int64 { return 0 }

// threadUsage returns nothing: only Linux counts by thread.
func threadUsage() usage { return usage{} }
