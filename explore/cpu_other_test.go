// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package explore

import "time"

var started = time.Now()

// cpuTime returns wall-clock time where there is no better measure.
func cpuTime() time.Duration { return time.Since(started) }
