// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"io"
	"slices"
	"sync/atomic"
)

// Stats are counts since the engine was opened. They are not of one instant.
type Stats struct {
	Backend Backend `json:"backend"`
	Shards  int     `json:"shards"` // online
	Files   int     `json:"files"`  // open
	Queues  int     `json:"queues"` // open

	// What is over, by kind. Truncate and its like are not counted.
	Read     KindStats `json:"read"`
	Write    KindStats `json:"write"`
	Sync     KindStats `json:"sync"`
	SyncData KindStats `json:"syncdata"`

	// Handlers run, by context, and how many of all have panicked or ended their goroutine.
	Inline int64 `json:"inline"`
	Task   int64 `json:"task"`
	Caller int64 `json:"caller"`
	Panics int64 `json:"panics"`

	// TaskRuns is how often workers were set to run Task handlers: Task / TaskRuns is
	// how many handlers a run has on average.
	TaskRuns int64 `json:"task_runs"`

	// InFlight is the number of requests that shards, queues and blocking calls have
	// with the kernel or in line for it. What an exclusive section holds back, and a blocking call
	// that is a plain system call, is not among them.
	InFlight int64 `json:"in_flight"`

	// Old is how many operations and Task handlers the watchdog has reported
	// ([Options.OldAfter]), and Slow how many Inline handlers were reported ([Options.SlowInline]).
	Old  int64 `json:"old"`
	Slow int64 `json:"slow"`
}

// KindStats are counts of one kind of operation.
type KindStats struct {
	Ops    int64 `json:"ops"`    // whose handlers have returned
	Calls  int64 `json:"calls"`  // blocking calls
	Errors int64 `json:"errors"` // of both, that failed or were cancelled; the end of the file is no error
	Bytes  int64 `json:"bytes"`  // transferred by both
}

// A tally is where KindStats are counted.
type tally struct{ n, errors, bytes atomic.Int64 }

func (t *tally) add(bytes int, failed bool) {
	t.n.Add(1)
	if bytes > 0 {
		t.bytes.Add(int64(bytes))
	}
	if failed {
		t.errors.Add(1)
	}
}

// failure reports whether err counts as one.
func failure(err error) bool { return err != nil && err != io.EOF }

// addTo adds what t has counted to s, and returns how many that are.
func (t *tally) addTo(s *KindStats) (n int64) {
	s.Errors += t.errors.Load()
	s.Bytes += t.bytes.Load()
	return t.n.Load()
}

// kind returns where operations of kind k are counted.
func (s *Stats) kind(k Kind) *KindStats {
	return [...]*KindStats{&s.Read, &s.Write, &s.Sync, &s.SyncData}[k]
}

// handlers returns the count of handlers run in w.
func (s *Stats) handlers(w Where) *int64 {
	return [...]*int64{&s.Inline, &s.Task, &s.Caller}[w]
}

// addContext adds what c has counted.
func (s *Stats) addContext(c *Context) {
	for k := range c.done {
		kind := s.kind(Kind(k))
		n := c.done[k].addTo(kind)
		kind.Ops += n
		*s.handlers(c.Where()) += n
	}
	s.Panics += c.panics.Load()
}

// Stats returns counts. Any goroutine may call it; it takes some µs, and with thousands of queues or
// shards some tens of them.
func (e *Engine) Stats() Stats {
	s := e.handlers()
	for k := range e.calls.done {
		kind := s.kind(Kind(k))
		kind.Calls = e.calls.done[k].addTo(kind)
	}
	s.Shards, s.InFlight, s.TaskRuns = e.Shards(), e.m.InFlight(), e.m.WorkRuns()
	s.Backend, _ = e.Backend()
	s.Old, s.Slow = e.old.Load(), e.slow.Load()
	e.mu.Lock()
	s.Files, s.Queues = len(e.files), len(e.queues)
	e.mu.Unlock()
	return s
}

// handlers returns the counts of what handlers have run for.
func (e *Engine) handlers() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.retired
	for _, c := range e.contexts {
		s.addContext(c)
	}
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
	e.retired.addContext(c)
	e.contexts = slices.DeleteFunc(e.contexts, func(x *Context) bool { return x == c })
	e.mu.Unlock()
}
