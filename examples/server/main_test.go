// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

// TestDemo has many clients on few keys, so that requests wait for each other, and
// few on many.
func TestDemo(t *testing.T) {
	for _, tt := range []struct{ clients, requests, keys int }{{16, 300, 2}, {100, 50, 1000}, {1, 100, 1}} {
		if err := demo(t.TempDir(), tt.clients, tt.requests, tt.keys); err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
