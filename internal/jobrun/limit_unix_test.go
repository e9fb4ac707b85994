// SPDX-License-Identifier: Apache-2.0

//go:build unix

package jobrun

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"endio"
)

// TestFileTooLarge runs into a limit in the middle of a job: the job fails with
// the system's error and nothing hangs. RLIMIT_FSIZE stands for a full disk, for
// which a test needs root.
func TestFileTooLarge(t *testing.T) {
	dir := t.TempDir()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	lower := limit
	lower.Cur = 512 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lower); err != nil {
		t.Skipf("no limit on file sizes: %v", err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	}()
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := Run(context.Background(), plan(t, dir, "[a]\nioengine=io_uring\niodepth=16\ndirect=1\nrw=write\nsize=1m\nfallocate=none\nverify=crc32c\n", PlanOptions{}), NewEngine(e), Options{})
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	if err := result.Failed(); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("Failed() = %v, want EFBIG", err)
	}
}
