// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package endio_test

import "time"

const directFlag = 0

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
