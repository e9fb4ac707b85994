// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"

	"golang.org/x/sys/unix"

	"endio/internal/cgroup"
)

// threadLimit returns how many threads the process may have, or 0 if nothing says:
// the least of RLIMIT_NPROC, which counts those of all processes of the user and
// does not bind root, and of pids.max of its cgroups.
func threadLimit() int {
	least := 0
	take := func(n uint64) {
		if n > 0 && n < 1<<30 && (least == 0 || int(n) < least) {
			least = int(n)
		}
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &lim); err == nil && os.Geteuid() != 0 {
		take(lim.Cur)
	}
	take(uint64(cgroup.New(os.DirFS("/")).Threads()))
	return least
}
