// SPDX-License-Identifier: Apache-2.0

package endio

import "slices"

// Stats are counts since the engine was opened. They are not of one instant.
type Stats struct {
	Backend Backend
	Shards  int // online
	Files   int // open
	Queues  int // open

	// Handlers run, by context, and how many of all have panicked.
	Inline, Task, Caller int64
	Panics               int64

	// TaskRuns is how often workers were set to run Task handlers: Task / TaskRuns is
	// how many handlers a run has on average.
	TaskRuns int64

	// InFlight is the number of requests that shards, queues and blocking calls have
	// with the kernel or in line for it.
	InFlight int64
}

// Stats returns counts. Any goroutine may call it; it takes some µs.
func (e *Engine) Stats() Stats {
	s := e.handlers()
	s.Shards, s.InFlight, s.TaskRuns = e.Shards(), e.m.InFlight(), e.m.WorkRuns()
	s.Backend, _ = e.Backend()
	e.mu.Lock()
	s.Files, s.Queues = len(e.files), len(e.queues)
	e.mu.Unlock()
	return s
}

// handlers returns the counts of handlers.
func (e *Engine) handlers() (s Stats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	by := e.retired
	for _, c := range e.contexts {
		by[c.Where()] += c.handled.Load()
		s.Panics += c.panics.Load()
	}
	s.Panics += e.retiredPanics
	s.Inline, s.Task, s.Caller = by[Inline], by[Task], by[Caller]
	return s
}

// handled returns how many Inline and Task handlers have run.
func (e *Engine) handled() int64 {
	s := e.handlers()
	return s.Inline + s.Task
}

// retire keeps the counts of a context that is not used any more.
func (e *Engine) retire(c *Context) {
	e.mu.Lock()
	e.retired[c.Where()] += c.handled.Load()
	e.retiredPanics += c.panics.Load()
	e.contexts = slices.DeleteFunc(e.contexts, func(x *Context) bool { return x == c })
	e.mu.Unlock()
}
