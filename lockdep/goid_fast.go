// SPDX-License-Identifier: Apache-2.0

//go:build lockdep && (amd64 || arm64)

package lockdep

// where returns the address of the running goroutine's descriptor, the word at
// offset in it, and the address to which its caller returns. The caller must not be inlined.
//
//go:noescape
func where(offset uintptr) (gp uintptr, word uint64, pc uintptr)

// whereUp is where for a caller one level further down: pc is where the caller of its
// caller returns to.
//
//go:noescape
func whereUp(offset uintptr) (gp uintptr, word uint64, pc uintptr)

const haveWhere = true
