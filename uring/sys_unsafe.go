// SPDX-License-Identifier: Apache-2.0

//go:build linux

package uring

import (
	"syscall"
	"unsafe"
)

const supported = true

// setup calls io_uring_setup and returns the ring's descriptor, which the
// kernel marks close-on-exec.
func setup(entries uint32, p *setupParams) (int, syscall.Errno) {
	fd, _, errno := syscall.Syscall(sysSetup, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	return int(fd), errno
}

// enterRaw calls io_uring_enter without telling the Go scheduler, so that the
// thread keeps its P for as long as the call takes. arg may be nil.
func enterRaw(fd, submit, wait, flags uint32, arg *waitArg) (uint32, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(sysEnter, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), uintptr(unsafe.Pointer(arg)), argSize(arg))
	return uint32(n), errno
}

// enterWait calls io_uring_enter as a call that may block. arg may be nil.
func enterWait(fd, submit, wait, flags uint32, arg *waitArg) (uint32, syscall.Errno) {
	n, _, errno := syscall.Syscall6(sysEnter, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), uintptr(unsafe.Pointer(arg)), argSize(arg))
	return uint32(n), errno
}

// argSize returns the size that the kernel expects beside arg.
func argSize(arg *waitArg) uintptr {
	if arg == nil {
		return 0
	}
	return waitArgBytes
}

// register calls io_uring_register. arg points at memory that stays in place
// for the call.
func register(fd int, op uint32, arg unsafe.Pointer, n uint32) (int, syscall.Errno) {
	r, _, errno := syscall.Syscall6(sysRegister, uintptr(fd), uintptr(op), uintptr(arg), uintptr(n), 0, 0)
	return int(r), errno
}

// registerRaw is register for calls that don't block; see enterRaw.
func registerRaw(fd int, op uint32, arg unsafe.Pointer, n uint32) (int, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(sysRegister, uintptr(fd), uintptr(op), uintptr(arg), uintptr(n), 0, 0)
	return int(r), errno
}

// mapRing maps size bytes of the ring at one of its magic offsets.
func mapRing(fd int, off int64, size int) ([]byte, error) {
	return syscall.Mmap(fd, off, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE)
}

func unmapRing(mem []byte) error { return syscall.Munmap(mem) }

func closeFD(fd int) error { return syscall.Close(fd) }
