// SPDX-License-Identifier: Apache-2.0

//go:build unix

package jobrun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"endio"
	"endio/fiojob"
)

// TestBuffersTooLarge plans jobs whose buffers do not fit into memory, each alone
// and only together, or whose maps of random blocks do not.
func TestBuffersTooLarge(t *testing.T) {
	memory := memoryBytes()
	if memory == 0 {
		t.Skip("it is not known how much memory the machine has")
	}
	const one = "rw=write\nsize=1g\nbs=1g\nioengine=io_uring\n"
	half := memory>>31 + 1 // GiB
	for _, tt := range []struct{ text, want string }{
		{"[a]\n" + one + "iodepth=32768\n", "takes buffers of 32 TiB"},
		{"[a]\nrw=randwrite\nbs=1\nsize=1000t\n", "takes maps of 125 TiB"},
		{"[a]\nrw=randwrite\nbs=1\nsize=8191p\nfilename=a:b\n", "set norandommap"},
		{"[a]\nrw=randwrite\nbs=1\nsize=1000t\nnorandommap\n", ""},
		{fmt.Sprintf("[a]\n%siodepth=%d\nnumjobs=2\n", one, half), "lower iodepth, bs or numjobs"},
		{fmt.Sprintf("[a]\n%siodepth=%d\n[b]\nstonewall\n%siodepth=%d\n", one, half, one, half), ""},
	} {
		file, err := fiojob.Parse("x.fio", []byte(tt.text), fiojob.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = NewPlan(file, PlanOptions{}); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

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
