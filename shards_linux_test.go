// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
	"endio/internal/cgroup"
	"endio/machine/host"
)

// TestFollow changes GOMAXPROCS and the affinity of the process, and waits for the
// shards to follow.
func TestFollow(t *testing.T) {
	procs := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(procs)
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &all); err != nil || all.Count() < 2 {
		t.Skipf("needs two processors: %v", err)
	}
	if n := cgroup.New(os.DirFS("/")).CPUs(); n == 1 {
		t.Skip("the quota of this cgroup is one processor")
	}
	e, err := endio.Open(endio.Options{MaxShards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	await := func(n int, why string) {
		t.Helper()
		for start := time.Now(); e.Shards() != n; time.Sleep(10 * time.Millisecond) { // sleep: engines tell nobody that they follow
			if time.Since(start) > time.Minute {
				t.Fatalf("%s: %d shards, want %d", why, e.Shards(), n)
			}
		}
	}
	await(2, "at first")
	runtime.GOMAXPROCS(1)
	await(1, "GOMAXPROCS=1")
	runtime.GOMAXPROCS(2)
	await(2, "GOMAXPROCS=2")
	var one unix.CPUSet
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(os.Getpid(), &one); err != nil {
		t.Fatal(err)
	}
	await(1, "affinity to one processor")
	if err := unix.SchedSetaffinity(os.Getpid(), &all); err != nil {
		t.Fatal(err)
	}
	await(2, "affinity to all")
	if err := errors.Join(e.SetShards(1), e.SetShards(3)); !errors.Is(err, endio.ErrInvalid) {
		t.Errorf("SetShards(3) of 2 = %v, want ErrInvalid", err)
	}
	if err := e.SetShards(0); err != nil {
		t.Error(err)
	}
	await(2, "following again")
}

// TestAbortedHotplug takes shards down and up under load, and turns back on the way.
func TestAbortedHotplug(t *testing.T) {
	faults := &host.Faults{Seed: 3, Abort: 0.3, AbortUp: 0.3, Delay: 0.05, Interrupt: 0.1}
	backendsWith(t, endio.Options{Shards: 3, Depth: 16, Faults: faults}, func(t *testing.T, e *endio.Engine) {
		shardsUnderLoad(t, e, 3, 500*time.Millisecond)
	})
	if c := faults.Counts(); c["abort"] == 0 || c["abort up"] == 0 {
		t.Errorf("changes that were aborted: %v, want some on the way down and some on the way up", c)
	}
}

// A cpuGroup is a cgroup with another one in it, in which this process is.
type cpuGroup struct{ root, outer, inner, file, one, none string }

// enterGroup makes a group and moves the process there.
func enterGroup(t *testing.T) *cpuGroup {
	if runtime.NumCPU() < 2 || os.Geteuid() != 0 {
		t.Skip("needs two processors, and root for a cgroup")
	}
	g := &cpuGroup{root: "/sys/fs/cgroup/cpu", file: "cpu.cfs_quota_us", one: "70000", none: "-1"}
	if _, err := os.Stat(filepath.Join(g.root, g.file)); err != nil {
		g.root, g.file, g.one, g.none = "/sys/fs/cgroup", "cpu.max", "70000 100000", "max 100000"
	}
	g.outer = filepath.Join(g.root, fmt.Sprint("endio-test-", os.Getpid()))
	g.inner = filepath.Join(g.outer, "inner")
	for _, dir := range []string{g.outer, g.inner} {
		if g.file == "cpu.max" { // a cgroup of version 2 has the controllers that the one above hands on
			_ = os.WriteFile(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"), []byte("+cpu"), 0)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Skipf("needs a cgroup: %v", err)
		}
		t.Cleanup(func() { // in reverse order; a cgroup can go when it is empty
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
	if err := g.set(g.inner, g.none); err != nil {
		t.Skipf("needs the cgroup controller cpu: %v", err)
	}
	self := []byte(fmt.Sprint(os.Getpid()))
	if err := os.WriteFile(filepath.Join(g.inner, "cgroup.procs"), self, 0); err != nil {
		t.Skipf("needs a cgroup: %v", err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(g.root, "cgroup.procs"), self, 0); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *cpuGroup) set(dir, quota string) error {
	return os.WriteFile(filepath.Join(dir, g.file), []byte(quota), 0)
}

// TestFollowQuota sets the quota of a cgroup in which a process of its own is, to less than
// one processor and back, or that of the cgroup above: the shards follow. (GOMAXPROCS does not: the
// runtime takes a quota for 2 at least.) And the same for a process that sees its cgroup as the
// root of all, as in a container.
func TestFollowQuota(t *testing.T) {
	switch os.Getenv("ENDIO_TEST_CHILD") {
	case "":
		if out := child(t, "quota"); strings.Contains(out, "--- SKIP") {
			t.Skip(out)
		} else if strings.Count(out, "followed") != 3 {
			t.Errorf("the child did not get to its end:\n%s", out)
		}
	case "quota":
		g := enterGroup(t)
		followQuota(t, g, g.inner)
		followQuota(t, g, g.outer)
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "ENDIO_TEST_CHILD=namespace")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWCGROUP}
		out, err := cmd.CombinedOutput()
		fmt.Printf("%s", out)
		if err != nil {
			t.Errorf("in a cgroup namespace: %v", err)
		}
	case "namespace":
		// Mounted in a directory of the test, and not in a mount namespace: that would have copies of
		// all mounts, and keep file systems that other tests unmount.
		g := &cpuGroup{root: t.TempDir(), file: "cpu.cfs_quota_us", one: "70000", none: "-1"}
		kind, data := "cgroup", "cpu"
		if _, err := os.Stat("/sys/fs/cgroup/cpu"); err != nil {
			g.file, g.one, g.none = "cpu.max", "70000 100000", "max 100000"
			kind, data = "cgroup2", ""
		}
		if n := cgroup.New(os.DirFS("/")).CPUs(); n != 0 {
			t.Errorf("with mounts that show no more than their own place: %d processors, want no limit", n)
		}
		if err := unix.Mount(kind, g.root, kind, 0, data); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(g.root, 0); err != nil {
				t.Error(err)
			}
		}()
		followQuota(t, g, g.root)
	}
}

// followQuota changes the quota of dir, in or below which this process is.
func followQuota(t *testing.T, g *cpuGroup, dir string) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // shards follow that too
	e, err := endio.Open(endio.Options{MaxShards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	f := openPath(t, e, newFile(t, 4*block))
	for _, step := range []struct {
		quota string
		want  int
	}{{g.none, 2}, {g.one, 1}, {g.none, 2}} {
		if err := g.set(dir, step.quota); err != nil {
			t.Fatal(err)
		}
		within(t, "following the quota "+step.quota+" of "+dir, func() {
			for e.Shards() != step.want {
				time.Sleep(10 * time.Millisecond) // sleep: engines tell nobody that they follow
			}
		})
		for _, in := range contexts {
			op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, block)}
			if run(t, e, in, op); op.Err != nil {
				t.Error(op.Err)
			}
		}
	}
	// A new engine begins with what the quota allows.
	if err := g.set(dir, g.one); err != nil {
		t.Fatal(err)
	}
	limited, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := limited.Shards(); n != 1 {
		t.Errorf("a new engine has %d shards, want 1", n)
	}
	if err := errors.Join(limited.Close(), g.set(dir, g.none)); err != nil {
		t.Error(err)
	}
	fmt.Println("followed; GOMAXPROCS is", runtime.GOMAXPROCS(0))
}
