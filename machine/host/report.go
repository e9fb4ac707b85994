// SPDX-License-Identifier: Apache-2.0

package host

import "endio/lockdep"

// maxReports is how many reports wait for a slow logger; more are dropped and counted.
const maxReports = 1000

// reports calls what the user wants to be told with, one report after the other, on a
// goroutine that nothing of the engine waits for: so a report may call the engine,
// whatever was locked where it came from.
type reports struct {
	mu      lockdep.Mutex
	ended   *lockdep.Cond
	queue   []func() // guarded by mu, as all below
	dropped int
	runner  uint64 // goroutine; 0: none runs
	running bool
}

func (r *reports) init() {
	nameLock(&r.mu, "reports")
	r.ended = lockdep.NewCond(&r.mu)
}

// Report lets fn run soon, on a goroutine of its own. Any goroutine may call it, with any
// lock of the engine held; it does not block.
func (m *Machine) Report(fn func()) {
	r := &m.reports
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == maxReports {
		r.dropped++
		return
	}
	r.queue = append(r.queue, fn)
	if !r.running {
		r.running = true
		go m.runReports()
	}
}

// runReports runs what is in the queue. A report that ends the goroutine is
// the last that it runs.
func (m *Machine) runReports() {
	r := &m.reports
	r.mu.Lock()
	r.runner = goroutineID()
	defer func() {
		if len(r.queue) > 0 { // fn has ended the goroutine
			go m.runReports()
		} else {
			r.running, r.runner = false, 0
			r.ended.Broadcast()
		}
		r.mu.Unlock()
	}()
	for len(r.queue) > 0 {
		fn, dropped := r.queue[0], r.dropped
		r.queue, r.dropped = r.queue[1:], 0
		r.mu.Unlock()
		func() {
			defer r.mu.Lock()
			fn()
			if dropped > 0 {
				m.cfg.Logger.Warn("endio: reports were dropped, because those before them take long", "reports", dropped)
			}
		}()
	}
}

// endReports waits until all reports have run, unless one of them is the caller.
func (m *Machine) endReports() {
	r := &m.reports
	self := goroutineID()
	r.mu.Lock()
	for r.running && r.runner != self {
		r.ended.Wait()
	}
	r.mu.Unlock()
}
