// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"time"

	"golang.org/x/sys/unix"
)

const directFlag = unix.O_DIRECT

// cpuTime returns the CPU time that the process has used, user and system.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
