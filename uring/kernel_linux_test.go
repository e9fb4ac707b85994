// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"os"
	"testing"
)

// kernelRelease returns the major and minor number of the running kernel.
func kernelRelease(t *testing.T) [2]int {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Skip(err)
	}
	return parseRelease(t, string(b))
}

func parseRelease(t *testing.T, s string) (v [2]int) {
	t.Helper()
	if _, err := fmt.Sscanf(s, "%d.%d", &v[0], &v[1]); err != nil {
		t.Fatalf("kernel release %q: %v", s, err)
	}
	return v
}

// olderThan reports whether release v comes before since. A distribution that
// brings features back to an old kernel makes TestSince fail, which is right:
// it then says more than the package knows.
func olderThan(v [2]int, since string) bool {
	var s [2]int
	if _, err := fmt.Sscanf(since, "%d.%d", &s[0], &s[1]); err != nil {
		return false
	}
	return v[0] < s[0] || v[0] == s[0] && v[1] < s[1]
}
