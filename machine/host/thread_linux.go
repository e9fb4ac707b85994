// SPDX-License-Identifier: Apache-2.0

package host

import "golang.org/x/sys/unix"

// threadID returns the number of the calling thread, never 0.
func threadID() uint64 { return uint64(unix.Gettid()) }
