// SPDX-License-Identifier: Apache-2.0

package uring

import "unsafe"

// Within reports whether all of b lies in arena: whether a registered buffer
// can stand for it. An empty b lies nowhere.
func Within(arena, b []byte) bool {
	if len(b) == 0 || len(arena) < len(b) {
		return false
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(arena)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return at >= start && at-start <= uintptr(len(arena)-len(b))
}

// Misaligned returns how many bytes b starts behind a multiple of align, which
// must be a power of two.
func Misaligned(b []byte, align int) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(align-1))
}
