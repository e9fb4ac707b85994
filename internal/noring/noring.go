// SPDX-License-Identifier: Apache-2.0

// Package noring takes io_uring away from a process, as container runtimes do,
// so that tests meet a system without it. It is for tests.
package noring

import "errors"

// ErrUnsupported: this system has no seccomp filters, or none that this package
// knows how to write.
var ErrUnsupported = errors.New("no seccomp filter for this system")

// Forbid makes io_uring_setup fail with EPERM in every thread of this process and
// in all that it starts, for good. It needs no privilege: with it goes the
// promise never to gain any (PR_SET_NO_NEW_PRIVS).
//
// The numbers of the three calls are those of every architecture but alpha:
// 425 to 427 (include/uapi/asm-generic/unistd.h). Ring files that are open stay
// usable.
func Forbid() error { return forbid() }
