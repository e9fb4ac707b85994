// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"testing"
)

// TestCopy copies files whose ends are awkward.
func TestCopy(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, piece - 1, piece, piece + 1, depth*piece + 777} {
		if err := demo(t.TempDir(), size); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestErrors checks that a copy that fails leaves nothing, and overwrites nothing.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	if err := copyFile(dir+"/none", dir+"/to"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("copy of a missing file: %v", err)
	}
	if err := os.WriteFile(dir+"/there", []byte("keep"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(dir+"/there", dir+"/there"); !errors.Is(err, os.ErrExist) {
		t.Errorf("copy to a file that exists: %v", err)
	}
	if got, err := os.ReadFile(dir + "/there"); string(got) != "keep" || err != nil {
		t.Errorf("the file that existed holds %q, %v", got, err)
	}
	if _, err := os.Stat(dir + "/to"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that failed left a file: %v", err)
	}
}
