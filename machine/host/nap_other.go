// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package host

import "time"

// nap sleeps for d.
func nap(d time.Duration) { time.Sleep(d) }
