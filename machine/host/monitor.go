// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"
	"time"

	"endio/machine"
)

// A monitor looks at the shards and ports at intervals of StallAfter, as long as
// anything runs there, and so learns what has run for longer without any
// clock being read for each handler.
type monitor struct {
	m        *Machine
	c        []*Context // an atomic context a CPU, to call stalled in
	watching atomic.Bool
	start    chan struct{}
	stop     chan struct{}
	stopped  chan struct{}

	shardRuns []uint64           // last seen, by shard
	stalled   bool               // a shard has, at the last look
	portRuns  map[*Port]slowSeen // last seen
}

// slowSeen is an Inline handler that was seen running.
type slowSeen struct {
	runs     uint64
	since    time.Time
	reported bool
}

// After a stall the next looks come sooner, until so many have found no other:
// thousands of handlers that block one after the other must not take thousands
// of StallAfter. A handler that only looks stalled at that pace loses nothing.
const (
	hurryPace  = 100 * time.Microsecond
	hurryLooks = 50
)

// quietLooks is after how many looks at which nothing ran the monitor sleeps.
const quietLooks = 8

func (o *monitor) init(m *Machine) {
	o.m = m
	o.start = make(chan struct{}, 1)
	o.stop, o.stopped = make(chan struct{}), make(chan struct{})
	o.shardRuns = make([]uint64, len(m.shards))
	o.portRuns = make(map[*Port]slowSeen)
	for i := range m.shards {
		o.c = append(o.c, &Context{m: m, cpu: machine.CPU(i), atomic: true})
	}
	go o.run()
}

func (o *monitor) close() {
	close(o.stop)
	<-o.stopped
}

// watch starts the monitor unless it looks already. It costs one load then.
func (m *Machine) watch() {
	if m.mon.watching.Load() || m.mon.watching.Swap(true) {
		return
	}
	select {
	case m.mon.start <- struct{}{}:
	default:
	}
}

func (o *monitor) run() {
	defer close(o.stopped)
	tick := time.NewTicker(o.m.cfg.StallAfter)
	tick.Stop()
	defer tick.Stop()
	quiet := 0
	for {
		select {
		case <-o.stop:
			return
		case <-o.start:
			quiet = 0
			tick.Reset(o.m.cfg.StallAfter)
		case <-tick.C:
			busy := o.look()
			// Where one handler blocks, those behind it may block too.
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
			if busy {
				quiet = 0
				continue
			}
			if quiet++; quiet < quietLooks {
				continue
			}
			o.watching.Store(false)
			if o.look() { // began between the last look and the store
				o.watching.Store(true)
				quiet = 0
				continue
			}
			tick.Stop()
		}
	}
}

// look reports whether anything has run since the last look.
func (o *monitor) look() bool {
	busy := false
	for i, s := range o.m.shards {
		s.mu.Lock()
		runs := s.runs
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
	if o.m.sleeping.Load() > 0 {
		busy = true
		o.m.poll()
	}
	for _, p := range *o.m.ports.Load() {
		busy = o.lookAtPort(p) || busy
	}
	return busy
}

func (o *monitor) lookAtPort(p *Port) bool {
	runs := p.runs.Load()
	seen, ok := o.portRuns[p]
	if !ok || seen.runs != runs {
		o.portRuns[p] = slowSeen{runs: runs, since: time.Now()}
		return true
	}
	if runs&1 == 0 {
		return false
	}
	if d := time.Since(seen.since); d >= o.m.cfg.SlowInline && !seen.reported {
		seen.reported = true
		o.portRuns[p] = seen
		if pc, f := p.what.Load(), p.where.Load(); p.runs.Load() == runs && o.m.cfg.OnSlowInline != nil {
			o.m.cfg.OnSlowInline(pc, f, d)
		}
	}
	return true
}
