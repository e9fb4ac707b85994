// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"os"
	"syscall"
)

// rlimitMemlock is RLIMIT_MEMLOCK, include/uapi/asm-generic/resource.h.
const rlimitMemlock = 8

// readSetupFacts gathers what explains a refused ring.
func readSetupFacts() setupFacts {
	facts := setupFacts{memlockKB: unlimitedKB}
	// A kernel before 6.6 has no such file, which is no news.
	if b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled"); err == nil {
		facts.disabled = string(b)
	}
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(rlimitMemlock, &lim); err == nil && lim.Cur/1024 < unlimitedKB-1 {
		facts.memlockKB = lim.Cur / 1024
	}
	return facts
}
