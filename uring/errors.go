// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// ErrUnsupported reports that this system or kernel lacks what was asked for.
// It is [errors.ErrUnsupported]; a [FeatureError] and a [SetupError] for a
// kernel without io_uring match it.
var ErrUnsupported = errors.ErrUnsupported

// ErrClosed reports the use of a closed ring.
var ErrClosed = errors.New("ring closed")

// ErrTimeout reports that the limit of a wait passed. On Linux it matches
// syscall.ETIME.
var ErrTimeout error = errnoTime

// errnoTime is ETIME, include/uapi/asm-generic/errno.h; not every system that
// this package compiles on has it.
const errnoTime syscall.Errno = 62

// A FeatureError says that the running kernel lacks a feature of io_uring.
// It matches [ErrUnsupported].
type FeatureError struct {
	Feature string // the kernel's name, for example "IORING_OP_FTRUNCATE"
	Since   string // the oldest Linux release that has it, for example "6.9"
}

func (e *FeatureError) Error() string {
	return fmt.Sprintf("%s: not supported by this kernel (needs Linux %s or later)", e.Feature, e.Since)
}

// Is reports whether target is [ErrUnsupported].
func (e *FeatureError) Is(target error) bool { return target == ErrUnsupported }

// A SetupError says why a ring could not be opened, and what to do about it.
type SetupError struct {
	SQEntries uint32     // submission entries of the last attempt
	CQEntries uint32     // completion entries of the last attempt; 0: the kernel's choice
	Flags     SetupFlags // flags of the last attempt
	Step      string     // "setup", "map rings", ...
	Err       error      // a syscall.Errno, a *FeatureError or ErrUnsupported
	Hint      string     // the likely reason and what to do; may be empty
}

func (e *SetupError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "open ring of %d entries", e.SQEntries)
	if e.CQEntries != 0 {
		fmt.Fprintf(&b, " (completions %d)", e.CQEntries)
	}
	if e.Flags != 0 {
		fmt.Fprintf(&b, " with %s", e.Flags)
	}
	fmt.Fprintf(&b, ": %s: %v", e.Step, e.Err)
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

func (e *SetupError) Unwrap() error { return e.Err }

// setupFacts is what [setupHint] needs to know about the machine.
type setupFacts struct {
	disabled  string // content of /proc/sys/kernel/io_uring_disabled; "" if there is none
	memlockKB uint64 // soft RLIMIT_MEMLOCK; unlimitedKB if none
}

const unlimitedKB = 1 << 54

// setupHint says what most likely stands behind errno from io_uring_setup.
//
// Source: io_uring_allowed and io_uring_setup, io_uring/io_uring.c, Linux
// v6.18; Documentation/admin-guide/sysctl/kernel.rst, io_uring_disabled.
func setupHint(errno syscall.Errno, facts setupFacts) string {
	switch errno {
	case syscall.ENOSYS:
		return "the kernel has no io_uring (older than 5.1, built without CONFIG_IO_URING, or hidden by the container's seccomp filter)"
	case syscall.EPERM, syscall.EACCES:
		switch strings.TrimSpace(facts.disabled) {
		case "1":
			return "sysctl kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN or members of kernel.io_uring_group may open rings"
		case "2":
			return "sysctl kernel.io_uring_disabled is 2: nobody may open rings; set it to 0 to allow them"
		}
		return "a seccomp filter or security module forbids io_uring_setup (container runtimes do by default); allow io_uring_setup, io_uring_enter and io_uring_register"
	case syscall.ENOMEM:
		hint := "the kernel has no memory for the rings"
		if facts.memlockKB != unlimitedKB {
			// io_account_mem for all of a ring before 5.12, and again in io_create_region
			// (io_uring/memmap.c) of Linux 6.18.
			hint += fmt.Sprintf(", or the limit on locked memory is too low: some kernels count the rings of all processes of the user against RLIMIT_MEMLOCK, which is %d KiB; raise it (ulimit -l)", facts.memlockKB)
		}
		return hint
	case syscall.EMFILE:
		return "the process has no free file descriptor; raise RLIMIT_NOFILE (ulimit -n)"
	case syscall.ENFILE:
		return "the system has no free file; raise sysctl fs.file-max"
	}
	return ""
}
