// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
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
	if n := endio.Quota(); n == 1 {
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

// TestFollowQuota sets the quota of a cgroup in which a process of its own is, to less than
// one processor and back: the shards follow. (GOMAXPROCS does not: the runtime takes a
// quota for 2 at least.)
func TestFollowQuota(t *testing.T) {
	if os.Getenv("ENDIO_TEST_CHILD") == "" {
		if out := child(t, "quota"); strings.Contains(out, "--- SKIP") {
			t.Skip(out)
		} else if !strings.Contains(out, "followed") {
			t.Errorf("the child did not get to its end:\n%s", out)
		}
		return
	}
	if runtime.NumCPU() < 2 || os.Geteuid() != 0 {
		t.Skip("needs two processors, and root for a cgroup")
	}
	root, file, one, none := "/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "70000", "-1"
	if _, err := os.Stat(filepath.Join(root, file)); err != nil {
		root, file, one, none = "/sys/fs/cgroup", "cpu.max", "70000 100000", "max 100000"
	}
	dir := filepath.Join(root, fmt.Sprint("endio-test-", os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skipf("needs a cgroup: %v", err)
	}
	self := []byte(fmt.Sprint(os.Getpid()))
	defer func() {
		// A cgroup can go when it is empty.
		if err := errors.Join(os.WriteFile(filepath.Join(root, "cgroup.procs"), self, 0), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	}()
	set := func(quota string) error { return os.WriteFile(filepath.Join(dir, file), []byte(quota), 0) }
	if err := set(none); err != nil {
		t.Skipf("needs the cgroup controller cpu: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), self, 0); err != nil {
		t.Skipf("needs a cgroup: %v", err)
	}
	e, err := endio.Open(endio.Options{MaxShards: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	f := openPath(t, e, newFile(t, 4*block))
	for _, step := range []struct {
		quota string
		want  int
	}{{none, 2}, {one, 1}, {none, 2}} {
		if err := set(step.quota); err != nil {
			t.Fatal(err)
		}
		within(t, "following the quota "+step.quota, func() {
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
	fmt.Println("followed; GOMAXPROCS is", runtime.GOMAXPROCS(0))
}
