// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

// quota returns how many processors' time the cgroups of the process allow it, rounded
// up; 0: no limit is known. The Go runtime looks at the same to set GOMAXPROCS, but
// never goes below 2 for it.
func quota() int {
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	least := 0
	lines := bufio.NewScanner(bytes.NewReader(cgroups))
	for lines.Scan() {
		// hierarchy:controllers:path, where version 2 has no controllers (cgroups(7)).
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "cpu" && f[1] != "cpu,cpuacct" {
			continue
		}
		for dir := f[2]; ; dir = filepath.Dir(dir) {
			if n := quotaIn(filepath.Join("/sys/fs/cgroup", f[1], dir)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return least
}

// quotaIn is quota for one cgroup: cpu.max has "quota period" or "max period";
// version 1 has a file for each, and a quota of -1.
func quotaIn(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		q, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
		if err != nil {
			return 0
		}
		p, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
		if err != nil {
			return 0
		}
		text = append(append(q, ' '), p...)
	}
	f := strings.Fields(string(text))
	if len(f) != 2 {
		return 0
	}
	q, errQ := strconv.Atoi(f[0])
	p, errP := strconv.Atoi(f[1])
	if errQ != nil || errP != nil || q <= 0 || p <= 0 {
		return 0
	}
	return (q + p - 1) / p
}
