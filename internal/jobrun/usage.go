// SPDX-License-Identifier: Apache-2.0

package jobrun

import "time"

// A usage is CPU time and faults, as getrusage(2) counts them.
type usage struct {
	user, sys  time.Duration
	switches   int64
	majf, minf int64
}

// startUsage returns the counters of the calling thread now.
func startUsage() usage { return threadUsage() }

// sub returns what was used since an earlier reading.
func (u usage) sub(since usage) usage {
	return usage{u.user - since.user, u.sys - since.sys, u.switches - since.switches, u.majf - since.majf, u.minf - since.minf}
}

// addUsage adds what the calling thread has used since an earlier reading.
func (s *cloneStats) addUsage(since usage) {
	used := threadUsage().sub(since)
	s.user += used.user
	s.sys += used.sys
	s.switches += used.switches
	s.majf += used.majf
	s.minf += used.minf
}
