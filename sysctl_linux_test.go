// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"endio"
	"endio/internal/noring"
)

const disabledSysctl = "/proc/sys/kernel/io_uring_disabled"

// TestDisabledBySysctl opens engines where the sysctl kernel.io_uring_disabled is 1, for
// who is not privileged, or 2: they fall back to threads and say that it is the sysctl.
//
// The sysctl is of the whole machine, where others may use rings. So by default a
// process of its own gets the kernel's answer from a seccomp filter, and a file of that
// content over the sysctl's in a mount namespace of its own. With ENDIO_SYSCTL=1 the
// sysctl itself is set, for some milliseconds.
func TestDisabledBySysctl(t *testing.T) {
	if how := os.Getenv("ENDIO_TEST_CHILD"); how != "" {
		disabledChild(t, how)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("setting a sysctl, or mounting over it, needs root")
	}
	if _, err := os.Stat(disabledSysctl); err != nil {
		t.Skipf("this kernel has no such sysctl (Linux 6.6): %v", err)
	}
	for _, value := range []string{"1", "2"} {
		dir, err := os.MkdirTemp("", "endio-sysctl-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		cmd := exec.Command(os.Args[0], "-test.run=^TestDisabledBySysctl$", "-test.v")
		cmd.Env = append(os.Environ(), "ENDIO_TEST_CHILD="+value, "TMPDIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) {
			t.Skipf("no mount namespace can be had: %v", err)
		}
		if err != nil || !strings.Contains(string(out), "fell back:") {
			t.Errorf("io_uring_disabled=%s: %v\n%s", value, err, out)
		} else {
			t.Logf("%s", out)
		}
	}
}

func disabledChild(t *testing.T, value string) {
	restore := func() error { return nil }
	if os.Getenv("ENDIO_SYSCTL") != "" {
		before, err := os.ReadFile(disabledSysctl)
		if err != nil {
			t.Fatal(err)
		}
		restore = func() error { return os.WriteFile(disabledSysctl, before, 0) }
		defer func() {
			if err := restore(); err != nil {
				t.Error(err)
			}
		}()
		if err := os.WriteFile(disabledSysctl, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
		if value == "1" { // root may have rings; a thread of another user may not
			if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0); err != nil {
				t.Fatal(err)
			}
			euid := os.Geteuid()
			if err := syscall.Setresuid(-1, 65534, -1); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Setresuid(-1, euid, -1) }()
		}
	} else {
		fake := filepath.Join(os.TempDir(), "io_uring_disabled")
		if err := os.WriteFile(fake, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(fake, disabledSysctl, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if err := noring.Forbid(); err != nil {
			t.Fatal(err)
		}
	}
	e, err := endio.Open(endio.Options{})
	_, asked := endio.Open(endio.Options{Backend: endio.IOUring})
	if os.Geteuid() != os.Getuid() {
		if err := syscall.Setresuid(-1, os.Getuid(), -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := "io_uring_disabled is " + value
	b, why := e.Backend()
	if b != endio.Threads || !strings.Contains(why, want) || !strings.Contains(why, syscall.EPERM.Error()) {
		t.Errorf("Backend = %s, %q, want threads because %s", b, why, want)
	}
	if asked == nil || !strings.Contains(asked.Error(), want) {
		t.Errorf("Open with io_uring = %v, want that %s", asked, want)
	}
	worksWithout(t, e, why)
}
