// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"os"
	"path/filepath"
	"testing"
)

// TestQuotaIn reads the files of both versions of the cgroup controller cpu, as the kernel
// writes them. TestFollowQuota sets those of the version that is mounted.
func TestQuotaIn(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  int
	}{
		{nil, 0},
		{map[string]string{"cpu.max": "max 100000\n"}, 0},
		{map[string]string{"cpu.max": "50000 100000\n"}, 1},
		{map[string]string{"cpu.max": "100000 100000\n"}, 1},
		{map[string]string{"cpu.max": "100001 100000\n"}, 2},
		{map[string]string{"cpu.max": "400000 100000\n"}, 4},
		{map[string]string{"cpu.max": "100000\n"}, 0},
		{map[string]string{"cpu.max": ""}, 0},
		{map[string]string{"cpu.max": "100000 0\n"}, 0},
		{map[string]string{"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 0},
		{map[string]string{"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}, 2},
		{map[string]string{"cpu.cfs_quota_us": "150000\n"}, 0},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := quotaIn(dir); got != c.want {
			t.Errorf("%v: %d processors, want %d", c.files, got, c.want)
		}
	}
}
