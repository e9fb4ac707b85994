// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"endio/lockdep"
)

// TestFill is how a test of the stores asks for the validator. It only checks what is right:
// run main for the wrong order.
func TestFill(t *testing.T) {
	lockdep.FailTests(t)
	cache, disk := newStore(cacheClass), newStore(diskClass)
	disk.data["answer"] = "42"
	fill(cache, disk)
	if got := cache.data["answer"]; got != "42" {
		t.Errorf("cache = %q, want %q", got, "42")
	}
}
