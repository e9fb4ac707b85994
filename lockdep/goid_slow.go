// SPDX-License-Identifier: Apache-2.0

//go:build lockdep && !amd64 && !arm64

package lockdep

func where(offset uintptr) (gp uintptr, word uint64, pc uintptr) { return 0, 0, 0 }

func whereUp(offset uintptr) (gp uintptr, word uint64, pc uintptr) { return 0, 0, 0 }

const haveWhere = false
