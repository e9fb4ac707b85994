// SPDX-License-Identifier: Apache-2.0

package fscheck

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
)

// fsKinds are the file systems that tests run on; "here" is that of the working
// directory.
var fsKinds = []string{"here", "ext4", "xfs", "btrfs"}

var backendKinds = []endio.Backend{endio.IOUring, endio.Threads}

// A mount is a file system made for a test.
type mount struct {
	dir     string
	device  string // loop device; "" if the file system is that of the working directory
	backing string
}

// mountFS makes a file system of kind on a loop device, or skips the test. All of
// it goes away when the test ends.
func mountFS(t *testing.T, kind string) *mount {
	t.Helper()
	tmp, err := os.MkdirTemp(".", "testdata-tmp-")
	if err != nil {
		t.Fatal(err)
	}
	if tmp, err = filepath.Abs(tmp); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if kind == "here" {
		return &mount{dir: tmp}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a loop device")
	}
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		t.Skipf("needs mkfs.%s", kind)
	}
	m := &mount{dir: filepath.Join(tmp, "mnt"), backing: filepath.Join(tmp, "backing")}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const size = 320 << 20 // XFS wants at least 300 MiB
	if err := os.WriteFile(m.backing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(m.backing, size); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q"}
	if kind == "xfs" || kind == "btrfs" {
		args = append(args, "-f")
	}
	run(t, mkfs, append(args, m.backing)...)
	out, err := exec.Command("losetup", "--find", "--show", m.backing).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %v: %s", err, out)
	}
	m.device = strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", m.device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", m.device, err, out)
		}
	})
	if err := unix.Mount(m.device, m.dir, kind, 0, ""); err != nil {
		t.Skipf("mount of %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unmount(m.dir); err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(m.dir, unix.MNT_DETACH)
		}
	})
	return m
}

// unmount waits for a killed process: the kernel takes its rings down, and with them
// their references to files, only some time after its end.
func unmount(dir string) error {
	for tries := 0; ; tries++ {
		err := unix.Unmount(dir, 0)
		if err != unix.EBUSY || tries == 1000 {
			return err
		}
		time.Sleep(10 * time.Millisecond) // sleep: looks at the system at intervals
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w: %s", name, err, out))
	}
}

// eachFS runs fn on all file systems and backends.
func eachFS(t *testing.T, fn func(t *testing.T, m *mount, b endio.Backend)) {
	for _, kind := range fsKinds {
		t.Run(kind, func(t *testing.T) {
			m := mountFS(t, kind)
			for _, b := range backendKinds {
				t.Run(string(b), func(t *testing.T) { fn(t, m, b) })
			}
		})
	}
}

func openEngine(t *testing.T, o endio.Options) *endio.Engine {
	t.Helper()
	e, err := endio.Open(o)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return e
}
