// SPDX-License-Identifier: Apache-2.0

package noring

import (
	"fmt"
	"reflect"
	"runtime"

	"golang.org/x/sys/unix"
)

// Numbers of include/uapi/linux/seccomp.h and bpf_common.h.
const (
	setModeFilter = 1       // SECCOMP_SET_MODE_FILTER
	tsync         = 1       // SECCOMP_FILTER_FLAG_TSYNC: all threads at once
	retErrno      = 0x50000 // SECCOMP_RET_ERRNO
	retAllow      = 0x7fff0000

	loadWord    = 0x20 // BPF_LD | BPF_W | BPF_ABS
	jumpIfEqual = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	ret         = 0x06 // BPF_RET | BPF_K

	setupCall = 425 // io_uring_setup
)

// forbid installs the filter. On 32-bit x86 and in x32 programs the call has the
// same number.
func forbid() error {
	filter := []unix.SockFilter{
		{Code: loadWord, K: 0}, // struct seccomp_data: nr comes first
		{Code: jumpIfEqual, Jt: 0, Jf: 1, K: setupCall},
		{Code: ret, K: retErrno | uint32(unix.EPERM)},
		{Code: ret, K: retAllow},
	}
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The promise is the thread's, and the filter call passes it on to the others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid io_uring: no new privileges: %w", err)
	}
	// Pointer keeps prog on the heap, where it does not move.
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, reflect.ValueOf(prog).Pointer())
	runtime.KeepAlive(prog)
	if errno == unix.ENOSYS || errno == unix.EINVAL {
		return fmt.Errorf("forbid io_uring: %w: %w", ErrUnsupported, errno)
	}
	if errno != 0 {
		return fmt.Errorf("forbid io_uring: seccomp: %w", errno)
	}
	return nil
}
