// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"endio/lockdep"
)

// TestMain fails if a test leaks a descriptor, or if lockdep has anything to report.
func TestMain(m *testing.M) {
	before := openFDs()
	code := lockdep.RunTests(m)
	messenger.close()
	if leaked := notIn(openFDs(), before); code == 0 && len(leaked) > 0 {
		fmt.Println("leaked descriptors:", strings.Join(leaked, ", "))
		code = 1
	}
	os.Exit(code)
}

// close drops the messenger's ring; another send opens a new one.
func (c *courier) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ring != nil {
		_ = c.ring.Close()
		c.ring = nil
	}
}

// openFDs lists what the process has open, by what each is. The Go runtime's
// own (its network poller) appear at first use and are left out.
func openFDs() []string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	var fds []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue
		}
		fds = append(fds, e.Name()+" "+target)
	}
	return fds
}

func notIn(list, known []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(known, s) })
}

// A ringKind is a way to open a ring on which the same tests run.
type ringKind struct {
	name   string
	cfg    Config
	locked bool // the test's goroutine owns the ring's thread
}

// ringKinds are the two that differ in who may do what, and one with none of
// the flags of newer kernels.
var ringKinds = []ringKind{
	{name: "shared", cfg: Config{SQEntries: 16}},
	{name: "shared held", cfg: Config{SQEntries: 16, Hold: HoldUntilPreempted}},
	{name: "plain", cfg: Config{SQEntries: 16, NoDefaults: true}},
	{name: "owned", locked: true, cfg: Config{SQEntries: 16, Require: SetupSingleIssuer | SetupDeferTaskrun}},
}

// onEach runs test on every kind of ring.
func onEach(t *testing.T, test func(t *testing.T, r *Ring)) {
	for _, k := range ringKinds {
		t.Run(k.name, func(t *testing.T) {
			if k.locked {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			r := openRing(t, k.cfg)
			test(t, r)
			if n := r.Lost(); n != 0 {
				t.Errorf("Lost() = %d, want 0", n)
			}
			if n := r.Dropped(); n != 0 {
				t.Errorf("Dropped() = %d, want 0", n)
			}
		})
	}
}

// openRing opens a ring for a test, which is skipped where there is none.
func openRing(t testing.TB, cfg Config) *Ring {
	t.Helper()
	r, err := Open(cfg)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// need skips the test unless the kernel has the operations.
func need(t testing.TB, ops ...Op) {
	t.Helper()
	s, err := Probe()
	if err != nil {
		t.Skip(err)
	}
	if err := s.Need(ops...); err != nil {
		t.Skip(err)
	}
}

// tempFile returns a file that holds data.
func tempFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	return reopen(t, tempPath(t, data), 0)
}

// tempPath returns the path of a file that holds data.
func tempPath(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func reopen(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0)
	if errors.Is(err, syscall.EINVAL) && flags&syscall.O_DIRECT != 0 {
		t.Skip("this file system has no direct I/O")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// pipe returns the two ends of a pipe as raw descriptors.
func pipe(t testing.TB) (r, w int) {
	t.Helper()
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Close(p[0])
		_ = syscall.Close(p[1])
	})
	return p[0], p[1]
}

// testLimit bounds waits that only end that way if something is broken.
const testLimit = 30 * time.Second

// reapN submits what is queued and returns the next n completions by UserData.
func reapN(t testing.TB, r *Ring, n int) map[uint64]CQE {
	t.Helper()
	if _, err := r.SubmitAndWait(n, testLimit); err != nil {
		t.Fatalf("SubmitAndWait(%d): %v", n, err)
	}
	dst := make([]CQE, n+1)
	if got := r.Reap(dst); got != n {
		t.Fatalf("Reap = %d, want %d", got, n)
	}
	m := make(map[uint64]CQE, n)
	for _, c := range dst[:n] {
		if _, twice := m[c.UserData]; twice {
			t.Fatalf("UserData %d completed twice", c.UserData)
		}
		m[c.UserData] = c
	}
	return m
}

// one submits what prep prepares and returns its completion.
func one(t testing.TB, r *Ring, prep func(*SQE)) CQE {
	t.Helper()
	s := r.Next()
	if s == nil {
		t.Fatal("Next() = nil on an idle ring")
	}
	prep(s)
	s.UserData = 77
	c, ok := reapN(t, r, 1)[77]
	if !ok {
		t.Fatal("the completion has another UserData")
	}
	return c
}

// wantRes fails unless c has the result want: a count, or a negated errno.
func wantRes(t testing.TB, what string, c CQE, want int) {
	t.Helper()
	if int(c.Res) != want {
		t.Errorf("%s = %d (%v), want %d", what, c.Res, c.Err(), want)
	}
}
