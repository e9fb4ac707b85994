// SPDX-License-Identifier: Apache-2.0

package uring

import "syscall"

// A CQE is one completion, 16 bytes, laid out as the kernel writes it.
//
// Source: struct io_uring_cqe.
type CQE struct {
	// UserData is the value given at submission, unchanged.
	UserData uint64

	// Res is the result: bytes moved, or what the operation documents. If the
	// operation failed it is a negated errno, -4095 to -1; see [CQE.Err].
	Res int32

	// Flags says whether more completions of the same request follow.
	Flags CQEFlags
}

// Err returns nil if the operation succeeded and a [syscall.Errno] if not. It
// does not allocate.
func (c CQE) Err() error {
	if c.Res >= 0 {
		return nil
	}
	return syscall.Errno(-c.Res)
}

// More reports whether the same request will post further completions.
func (c CQE) More() bool { return c.Flags&CQEMore != 0 }
