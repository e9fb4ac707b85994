// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"fmt"

	"endio/machine"
)

// SetShards brings n shards online and takes the others offline: what a shard that
// leaves has in flight is finished, the completions that it has gathered run once
// on others, and new operations go to those that stay. n is from 1 to
// [Options.MaxShards]. It may wait as long as handlers and I/O in flight take, so
// not in an Inline handler. Any goroutine may call it.
func (e *Engine) SetShards(n int) error {
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
