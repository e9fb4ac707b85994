// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return least
	}
	lines := bufio.NewScanner(bytes.NewReader(cgroups))
	for lines.Scan() {
		// hierarchy:controllers:path, where version 2 has no controllers (cgroups(7)).
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "pids" {
			continue
		}
		for dir := f[2]; ; dir = filepath.Dir(dir) {
			take(readLimit(filepath.Join("/sys/fs/cgroup", f[1], dir, "pids.max")))
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return least
}

// readLimit reads a file with a number; 0 if it has none ("max") or can't be read.
func readLimit(name string) uint64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
