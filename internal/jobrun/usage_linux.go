// SPDX-License-Identifier: Apache-2.0

package jobrun

import "golang.org/x/sys/unix"

// threadUsage returns what the calling thread has used.
func threadUsage() usage { return usageOf(unix.RUSAGE_THREAD) }
