// SPDX-License-Identifier: Apache-2.0

package host

import "golang.org/x/sys/unix"

// threadID returns the number of the calling thread, never 0.
func threadID() uint64 { return uint64(unix.Gettid()) }

// threadEnded reports whether no thread of the process has that number any more.
func threadEnded(id uint64) bool {
	return unix.Tgkill(unix.Getpid(), int(id), 0) == unix.ESRCH
}
