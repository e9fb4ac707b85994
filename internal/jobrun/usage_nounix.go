// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package jobrun

// processUsage returns nothing: there is no getrusage.
func processUsage() usage { return usage{} }
