// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package jobrun

// threadUsage returns nothing: only Linux counts by thread.
func threadUsage() usage { return usage{} }
