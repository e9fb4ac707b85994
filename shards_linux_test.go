// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"os"
	"runtime"
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
