// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"os"

	"golang.org/x/sys/unix"
)

// affinity returns how many processors the process may run on; 0: not known.
func affinity() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(os.Getpid(), &set) != nil {
		return 0
	}
	return set.Count()
}
