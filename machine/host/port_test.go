// SPDX-License-Identifier: Apache-2.0

package host

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio/uring"
)

// slowDevice takes requests and completes none.
type slowDevice struct {
	started int
	flushes []int // how many requests each took
}

func (d *slowDevice) start(*Request, uint64) bool { d.started++; return true }
func (d *slowDevice) flush() error {
	d.flushes = append(d.flushes, d.started)
	d.started = 0
	return nil
}
func (d *slowDevice) unflushed() int          { return d.started }
func (d *slowDevice) publish() uint32         { return uint32(d.started) }
func (d *slowDevice) wait(uint32) error       { return nil }
func (d *slowDevice) ready() bool             { return false }
func (d *slowDevice) reap([]uring.CQE) int    { return 0 }
func (d *slowDevice) wake()                   {}
func (d *slowDevice) cancel(*Request, uint64) {}
func (d *slowDevice) close() error            { return nil }

// oneShard returns a machine with one shard, on threads.
func oneShard(t *testing.T) *Machine {
	m, err := New(Config{Shards: 1, MaxShards: 1, UseThreads: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func TestRequestsAreGathered(t *testing.T) {
	m := oneShard(t)
	for _, c := range []struct {
		expected, submitted int
		want                []int
	}{
		{0, 9, []int{4, 4, 1}},
		{8, 9, []int{4, 4, 1}},
		{12, 13, []int{6, 6, 1}},
		{16, 9, []int{8, 1}},
		{32, 17, []int{8, 8, 1}},
		{64, 40, []int{16, 16, 8}},
		{1000, 70, []int{32, 32, 6}},
	} {
		d := &slowDevice{}
		p := newPort(m, 0, d, 128)
		p.Expect(c.expected)
		for range c.submitted {
			p.Submit(false, &Request{})
		}
		p.Flush()
		if !slices.Equal(d.flushes, c.want) {
			t.Errorf("%d requests where %d are expected in flight were given to the device in parts of %v, want %v", c.submitted, c.expected, d.flushes, c.want)
		}
	}
}

// TestCallsAreGathered: where many goroutines make blocking calls, those that are next on the processor submit together; few
// need not wait for anybody.
func TestCallsAreGathered(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m := oneShard(t)
	const calls, alone = 40, gatherCalls - 1
	d := &slowDevice{}
	p := newPort(m, 0, d, 128)
	p.Expect(calls)
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() { p.submitCall(&Request{}) })
	}
	wg.Wait()
	sum := 0
	for i, n := range d.flushes {
		if sum += n; i < alone && n != 1 {
			t.Errorf("flush %d took %d requests, want 1 as long as fewer than %d are in flight", i, n, gatherCalls)
		}
	}
	// The scheduler looks for others elsewhere from time to time, so that a few come back early.
	if most := alone + (calls-alone)/4; sum != calls || len(d.flushes) > most {
		t.Errorf("%d requests were given to the device in parts of %v, want %d in at most %d", sum, d.flushes, calls, most)
	}
}

// TestGatherGivesUp: where others keep the processor for long and submit nothing, nobody lets them run again for a
// while, and for longer the more often that is so, until it is worth while again.
func TestGatherGivesUp(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m := oneShard(t)
	p := newPort(m, 0, &slowDevice{}, 128)
	gather := func() {
		p.submitMu.Lock()
		p.gatherLocked()
		p.submitMu.Unlock()
	}
	// beside lets a goroutine run that is busy for so long. The scheduler may come back without it, since it looks elsewhere
	// from time to time.
	beside := func(busy time.Duration) {
		var done atomic.Bool
		go func() {
			for start := time.Now(); time.Since(start) < busy; {
			}
			done.Store(true)
		}()
		for !done.Load() {
			p.gatherAgain = time.Time{}
			gather()
		}
	}
	for was, want := range map[time.Duration]time.Duration{0: gatherPauseMin, gatherPauseMin: 2 * gatherPauseMin, gatherPauseMax: gatherPauseMax} {
		for tries := 0; ; tries++ {
			p.gatherPause = was
			if beside(2 * gatherSlow); p.gatherPause == want {
				break
			}
			if tries == 10 {
				t.Fatalf("after others were busy for %v nobody lets them run for %v, where it was %v before; want %v", 2*gatherSlow, p.gatherPause, was, want)
			}
		}
	}
	p.gatherPause = gatherPauseMax
	for tries := 0; p.gatherPause > 0; tries++ {
		if tries == 10 {
			t.Fatalf("after others were soon done nobody lets them run for %v, want no pause", p.gatherPause)
		}
		beside(0) // longer only if the machine stood still
	}
	p.gatherAgain, p.gatherPause = time.Now().Add(time.Hour), time.Minute
	if gather(); p.gatherPause != time.Minute {
		t.Errorf("somebody has let others run before the time: the pause is %v", p.gatherPause)
	}
}

// TestBreathe lets a member that is always busy let others run only once its turn is
// over, and take longer turns among those who keep the processor.
func TestBreathe(t *testing.T) {
	mb := &member{turn: time.Hour, since: time.Now()}
	before := mb.since
	mb.breathe()
	if mb.since != before {
		t.Error("let others run before its turn was over")
	}
	mb.turn = 0
	for i := range 3 * breathPasses {
		if got, want := mb.mayBreathe(), i%breathPasses == breathPasses-1; got != want {
			t.Errorf("pass %d: looks at the clock: %v, want %v", i, got, want)
		}
	}
	mb.breathe()
	if mb.since == before || mb.turn < minTurn || mb.turn > maxTurn {
		t.Errorf("its next turn is %v from %v on; want one from %v to %v from now on", mb.turn, mb.since, minTurn, maxTurn)
	}
}

// An eagerDevice completes at once what it is given.
type eagerDevice struct {
	slowDevice
	given, done []uint64 // user data
}

func (d *eagerDevice) start(_ *Request, ud uint64) bool { d.given = append(d.given, ud); return true }
func (d *eagerDevice) unflushed() int                   { return len(d.given) }
func (d *eagerDevice) flush() error {
	d.done, d.given = append(d.done, d.given...), nil
	return nil
}
func (d *eagerDevice) reap(dst []uring.CQE) int {
	n := min(len(dst), len(d.done))
	for i, ud := range d.done[:n] {
		dst[i] = uring.CQE{UserData: ud}
	}
	d.done = d.done[n:]
	return n
}

// TestReapEnds: whoever reaps a device that is as fast as what he starts from the line
// comes back nevertheless, to run handlers.
func TestReapEnds(t *testing.T) {
	const limit, all = 64, 1000
	m := oneShard(t)
	p := newPort(m, 0, &eagerDevice{}, limit)
	completed := 0
	for range all {
		p.Submit(true, &Request{Complete: func(*Context, *Request, int32) { completed++ }})
	}
	for was := 0; completed < all; was = completed {
		n := p.Reap()
		if n == 0 || n > limit || completed != was+n {
			t.Fatalf("one reap took %d completions of %d, and %d requests completed, want 1 to %d", n, all, completed-was, limit)
		}
	}
}
