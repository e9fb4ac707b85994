// SPDX-License-Identifier: Apache-2.0

package jobrun

import "golang.org/x/sys/unix"

// memoryBytes returns how much memory the machine has; 0 if that is not known.
func memoryBytes() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// threadUsage returns what the calling thread has used.
func threadUsage() usage { return usageOf(unix.RUSAGE_THREAD) }
