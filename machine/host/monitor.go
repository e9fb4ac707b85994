// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"
	"time"

	"endio/lockdep"
	"endio/machine"
)

// A monitor looks at the shards and ports at intervals of StallAfter, as long as
// anything runs there, and so learns what has run for longer without any
// clock being read for each handler.
type monitor struct {
	m        *Machine
	c        []*Context // an atomic context a CPU, to call stalled in
	watching atomic.Bool
	closing  atomic.Bool
	news     lockdep.Chan[struct{}] // watching or closing was set; has room for one
	ended    lockdep.WaitGroup      // run

	shardRuns []uint64 // last seen, by shard
	ports     []*Port  // for look
	stalled   bool     // a shard has, at the last look
}

// looked is what the monitor has seen of a port when it last looked.
type looked struct {
	left     uint64    // Port.left
	runs     uint64    // Port.runs
	since    time.Time // when runs was new
	reported bool      // the Inline handler that runs since then
}

// After a stall the next looks come sooner, until so many have found no other:
// thousands of handlers that block one after the other must not take thousands
// of StallAfter. A handler that only looks stalled at that pace loses nothing.
const (
	hurryPace  = 100 * time.Microsecond
	hurryLooks = 50
)

// quietLooks is after how many looks at which nothing ran the monitor sleeps. To begin again
// costs about as much as a look, so more looks than two cost more wherever operations come at intervals.
const quietLooks = 2

func (o *monitor) init(m *Machine) {
	o.m = m
	o.news = lockdep.NewChan[struct{}](1)
	o.news.SetClass(className("monitor.news"))
	lockdep.SetClass(&o.ended, className("monitor"))
	o.shardRuns = make([]uint64, len(m.shards))
	for i := range m.shards {
		o.c = append(o.c, &Context{m: m, cpu: machine.CPU(i), atomic: true})
	}
	o.ended.Go(o.run)
}

func (o *monitor) close() {
	o.news.OweSend()
	o.closing.Store(true)
	o.tell()
	o.news.PaidSend()
	o.ended.Wait()
}

// tell lets run look at watching and closing.
func (o *monitor) tell() {
	select {
	case o.news.C() <- struct{}{}:
	default:
	}
}

// watch starts the monitor unless it looks already. It costs one load then.
func (m *Machine) watch() {
	if m.mon.watching.Load() || m.mon.watching.Swap(true) {
		return
	}
	m.mon.tell()
}

func (o *monitor) run() {
	tick := time.NewTicker(o.m.cfg.StallAfter)
	tick.Stop()
	defer tick.Stop()
	for {
		o.news.Recv()
		if o.closing.Load() {
			return
		}
		tick.Reset(o.m.cfg.StallAfter)
		if !o.watch(tick) {
			return
		}
		tick.Stop()
	}
}

// watch looks at each tick, until for a while nothing has run or the machine is being
// closed; then it returns false.
func (o *monitor) watch(tick *time.Ticker) bool {
	quiet := 0
	for {
		select {
		case <-o.news.C():
			if o.closing.Load() {
				return false
			}
			quiet = 0
			tick.Reset(o.m.cfg.StallAfter)
		case <-tick.C:
			if o.lookHard() {
				quiet = 0
				continue
			}
			if quiet++; quiet < quietLooks {
				continue
			}
			o.watching.Store(false)
			if !o.look() {
				return true
			}
			o.watching.Store(true) // began between the last look and the store
			quiet = 0
		}
	}
}

// lookHard is look, and where one handler blocks looks on: those behind it may block
// too.
func (o *monitor) lookHard() bool {
	busy := o.look()
	for hurry := 0; o.stalled && hurry < hurryLooks; hurry++ {
		nap(hurryPace) // a timer of the runtime would take 1 ms
		o.stalled = false
		o.look()
		if o.stalled {
			hurry = 0
		}
		o.stalled = true
	}
	o.stalled = false
	return busy
}

// look reports whether anything has run since the last look, or is about to: whoever
// takes work off a queue does not start the monitor again.
func (o *monitor) look() bool {
	busy := false
	for i, s := range o.m.shards {
		s.mu.Lock()
		runs := s.runs
		busy = busy || s.head != nil
		s.mu.Unlock()
		switch {
		case runs != o.shardRuns[i]:
			busy = true
			o.shardRuns[i] = runs
		case runs&1 == 1:
			busy = true
			o.stalled = s.stall(o.c[i], runs) || o.stalled
		}
	}
	o.ports = o.m.busy.appendTo(o.ports[:0])
	if o.m.sleeping.Load() > 0 {
		busy = true
		o.m.poll(o.ports)
	}
	for _, p := range o.ports {
		if o.lookAtPort(p) {
			busy = true
		} else if p.inFlight.Load() == 0 {
			o.m.busy.drop(p)
		}
	}
	clear(o.ports) // else it would keep ports that are closed
	return busy
}

func (o *monitor) lookAtPort(p *Port) bool {
	seen, busy := &p.looked, false
	if left := p.left.Load(); left&1 == 1 {
		busy = true
		if left == seen.left {
			p.flushLeft(left)
		}
		seen.left = left
	}
	runs := p.runs.Load()
	switch {
	case runs != seen.runs:
		seen.runs, seen.since, seen.reported = runs, time.Now(), false
		return true
	case runs&1 == 0:
		return busy
	}
	if d := time.Since(seen.since); d >= o.m.cfg.SlowInline && !seen.reported {
		seen.reported = true
		if pc, f := p.what.Load(), p.where.Load(); p.runs.Load() == runs && o.m.cfg.OnSlowInline != nil {
			o.m.Report(func() { o.m.cfg.OnSlowInline(pc, f, d) })
		}
	}
	return true
}
