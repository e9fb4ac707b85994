// SPDX-License-Identifier: Apache-2.0

// Package lint has the rules of this repository that no other tool checks, as
// tests: which package may import which, where unsafe may be, what a file starts
// with, how long a function may be, and that the documents speak of files and
// functions that exist.
//
// Each rule is a function from a source tree to its violations, and each is tried on
// a small tree that breaks it, so that a rule that finds nothing is known to look.
package lint
