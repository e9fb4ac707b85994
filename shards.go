// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"endio/machine"
)

// followEvery is how often an engine looks at what it follows: as often as the Go
// runtime looks at affinity and quota to set its default GOMAXPROCS.
const followEvery = time.Second

// follow keeps as many shards online as there are processors to run on, until
// SetShards is called: GOMAXPROCS, or the process's affinity or cgroup quota if that is
// less. The runtime sets GOMAXPROCS by the same two, but not if the program or its
// environment sets it, and not below 2 for a quota.
func (e *Engine) follow() {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.unwatch.C():
			return
		case <-tick.C:
		}
		if e.steered.Load() {
			continue
		}
		n := min(e.processors(), e.m.CPUs())
		if n == e.Shards() {
			continue
		}
		if err := e.setShards(n, false); err != nil && !errors.Is(err, ErrClosed) {
			e.m.Report(func() {
				e.opts.Logger.Warn("endio: the number of shards does not follow that of processors", "want", n, "error", err)
			})
		}
	}
}

// processors returns how many processors the process may use at a time.
func (e *Engine) processors() int {
	n := runtime.GOMAXPROCS(0)
	for _, limit := range []int{affinity(), e.cgroups.CPUs()} {
		if limit > 0 {
			n = min(n, limit)
		}
	}
	return n
}

// SetShards brings n shards online and takes the others offline: what a shard that
// leaves has in flight is finished, the completions that it has gathered run once
// on others, and new operations go to those that stay. n is from 1 to
// [Options.MaxShards]. It may wait as long as handlers and I/O in flight take, so in
// an Inline handler it fails with [ErrWouldBlock]. Any goroutine may call it.
//
// An engine with [Options.Shards] of 0 follows the processors that it may use;
// SetShards ends that, and n of 0 takes it up again.
func (e *Engine) SetShards(n int) error {
	if n == 0 {
		e.steered.Store(!e.follows)
		n = min(e.processors(), e.m.CPUs())
		return e.setShards(n, false)
	}
	return e.setShards(n, true)
}

func (e *Engine) setShards(n int, steer bool) error {
	refuse := func(err error) error { return fmt.Errorf("set %d shards: %w", n, err) }
	switch {
	case e.m.InInline():
		return refuse(ErrWouldBlock)
	case n < 1 || n > e.m.CPUs():
		return refuse(fmt.Errorf("%w: want 1 to %d", ErrInvalid, e.m.CPUs()))
	}
	e.shardsMu.Lock()
	defer e.shardsMu.Unlock()
	if e.closing.Load() {
		return refuse(fmt.Errorf("engine: %w", ErrClosed))
	}
	switch {
	case steer:
		e.steered.Store(true)
	case e.steered.Load() && e.follows:
		return nil // since the look
	}
	// Those that come first, so that there is one at any time.
	for cpu := range n {
		if err := e.m.SetOnline(machine.CPU(cpu), true); err != nil {
			return refuse(err)
		}
	}
	for cpu := n; cpu < e.m.CPUs(); cpu++ {
		if err := e.m.SetOnline(machine.CPU(cpu), false); err != nil {
			return refuse(err)
		}
	}
	return nil
}

// Shards returns how many shards are online.
func (e *Engine) Shards() int {
	n := 0
	for cpu := range e.m.CPUs() {
		if e.m.Online(machine.CPU(cpu)) {
			n++
		}
	}
	return n
}
