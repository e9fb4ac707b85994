// SPDX-License-Identifier: Apache-2.0

//go:build unix

package jobrun

import (
	"time"

	"golang.org/x/sys/unix"
)

// processUsage returns what the whole process has used.
func processUsage() usage { return usageOf(unix.RUSAGE_SELF) }

func usageOf(who int) usage {
	var r unix.Rusage
	if err := unix.Getrusage(who, &r); err != nil {
		return usage{} // no reason to end a job
	}
	return usage{
		user: time.Duration(r.Utime.Nano()), sys: time.Duration(r.Stime.Nano()),
		switches: int64(r.Nvcsw) + int64(r.Nivcsw), majf: int64(r.Majflt), minf: int64(r.Minflt),
	}
}
