// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package uring

import (
	"syscall"
	"unsafe"
)

// supported is false: [Open] refuses before it calls anything below.
const supported = false

func setup(uint32, *setupParams) (int, syscall.Errno) { return -1, syscall.ENOSYS }

func enterRaw(_, _, _, _ uint32, _ *waitArg) (uint32, syscall.Errno) { return 0, syscall.ENOSYS }

func enterWait(_, _, _, _ uint32, _ *waitArg) (uint32, syscall.Errno) { return 0, syscall.ENOSYS }

func register(int, uint32, unsafe.Pointer, uint32) (int, syscall.Errno) { return -1, syscall.ENOSYS }

func registerRaw(int, uint32, unsafe.Pointer, uint32) (int, syscall.Errno) { return -1, syscall.ENOSYS }

func mapRing(int, int64, int) ([]byte, error) { return nil, ErrUnsupported }

func unmapRing([]byte) error { return nil }

func closeFD(int) error { return nil }
