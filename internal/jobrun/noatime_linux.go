// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"syscall"
)

// openWith opens with O_NOATIME, as fio does: the look at the time of the last access
// costs some 50 ns a read. Only the owner of a file may; others open without.
func openWith[F any](flags int, open func(flags int) (F, error)) (F, error) {
	f, err := open(flags | syscall.O_NOATIME)
	if errors.Is(err, syscall.EPERM) {
		return open(flags)
	}
	return f, err
}
