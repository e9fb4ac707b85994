// SPDX-License-Identifier: Apache-2.0

package noring_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"endio/internal/noring"
	"endio/uring"
)

// TestForbid runs itself again in a process that forbids io_uring and tries.
func TestForbid(t *testing.T) {
	if os.Getenv("NORING_CHILD") != "" {
		child(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestForbid$", "-test.v")
	cmd.Env = append(os.Environ(), "NORING_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "refused as it should be") {
		t.Errorf("child did not get to its end:\n%s", out)
	}
}

func child(t *testing.T) {
	if err := noring.Forbid(); err != nil {
		t.Fatal(err)
	}
	// On many threads: the filter is there for each.
	for range 8 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, errno := syscall.RawSyscall(425, 1, 0, 0)
			if errno != syscall.EPERM {
				t.Errorf("io_uring_setup = %v, want EPERM", errno)
			}
		}()
		<-done
	}
	if r, err := uring.Open(uring.Config{SQEntries: 2}); err == nil {
		_ = r.Close()
		t.Error("uring.Open works")
	} else {
		t.Logf("refused as it should be: %v", err)
	}
}
