// SPDX-License-Identifier: Apache-2.0

package uring

// Support says what the running kernel's io_uring can do.
type Support struct {
	Setup    SetupFlags   // flags that this package drives and the kernel takes
	Features FeatureFlags // what the kernel reports
	ops      [maxProbeOps]bool
}

// Probe asks the kernel what it supports, by opening small rings. The error is
// the [*SetupError] that [Open] would return where no ring can be opened.
func Probe() (*Support, error) {
	r, err := Open(Config{SQEntries: 1})
	if err != nil {
		return nil, err
	}
	s := &Support{Setup: supportedSetup(), Features: r.Features()}
	var table probeTable
	if errno := r.probeOps(&table); errno != 0 {
		_ = r.Close() // the first error is the news
		return nil, registerError("probe operations", maxProbeOps, errno)
	}
	for _, op := range table.ops[:table.opsLen] {
		s.ops[op.op] = op.flags&probeOpSupported != 0
	}
	return s, r.Close()
}

// Has reports whether the kernel has the operation.
func (s *Support) Has(op Op) bool { return s.ops[op] }

// Need returns nil if the kernel has every one of ops, and a [*FeatureError]
// for the first that it lacks.
func (s *Support) Need(ops ...Op) error {
	for _, op := range ops {
		if !s.ops[op] {
			since := "?"
			if info, ok := opInfos[op]; ok {
				since = info.since
			}
			return &FeatureError{Feature: "IORING_OP_" + op.String(), Since: since}
		}
	}
	return nil
}
