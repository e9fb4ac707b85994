// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package main

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	runChild()
	os.Exit(m.Run())
}

// TestDetection runs every case with every detector. endio/lockdep must find every fault before
// anything hangs and be silent on the rest, but for the gate lock, which no
// method based on order can know. What the others do is printed and not judged.
func TestDetection(t *testing.T) {
	for _, c := range detectCases {
		for _, k := range kits() {
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				t.Parallel()
				got, err := detect(c, k)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s", got)
				if k.name != "endio/lockdep" {
					return
				}
				want := silent
				if c.fault {
					want = found
				}
				if c.name == "gated order" {
					want = falseAlarm
				}
				if got != want {
					t.Errorf("detect(%s) = %s, want %s", c.name, got, want)
				}
			})
		}
	}
}
