// SPDX-License-Identifier: Apache-2.0

package main

// The program of the README, which package lint compares with this one.
func Example() {
	main()
	// Output: 64 bytes written
}
