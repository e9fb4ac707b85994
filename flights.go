// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"cmp"
	"slices"
	"time"

	"endio/machine/host"
)

// A Flight is an operation in flight, as [Engine.Flights] saw it.
type Flight struct {
	Op      string        `json:"op"` // "read", "write", ...
	Path    string        `json:"path"`
	Off     int64         `json:"off"`
	Len     int           `json:"len"`     // of the transfer that is under way, bytes
	In      string        `json:"in"`      // context of the handler; "call" for blocking calls
	Age     time.Duration `json:"age"`     // since it was first seen: it is at least so old
	Shard   int           `json:"shard"`   // shard, or that of the queue
	Started bool          `json:"started"` // false: in line for room in the ring
	Led     bool          `json:"led"`     // somebody waits in the kernel for it
	Waiting int           `json:"waiting"` // goroutines that wait for its ring besides
}

var flightOps = map[host.Op]string{host.OpRead: "read", host.OpWrite: "write", host.OpReadv: "read", host.OpWritev: "write",
	host.OpSync: "sync", host.OpSyncData: "syncdata", host.OpSyncRange: "sync_range", host.OpNop: "closed", host.OpCancelled: "cancelled"}

// A sighting is when a request was first seen.
type sighting struct {
	since  time.Time
	logged bool
}

type flightKey struct{ port, serial uint64 }

// Flights returns what is in flight with the kernel or in line for it, oldest first.
// Operations that an exclusive section holds back are not among them. Nothing is
// noted for an operation when it starts, so its age counts from when this method or
// the watchdog ([Options.OldAfter]) first saw it. Any goroutine may call it.
func (e *Engine) Flights() []Flight {
	list, _ := e.sight(time.Now())
	return list
}

// sight looks at what is in flight, and returns all of it and what has become older
// than the limit since the last look.
func (e *Engine) sight(now time.Time) (all, old []Flight) {
	seen := make(map[flightKey]sighting)
	e.sightMu.Lock()
	defer e.sightMu.Unlock()
	for _, h := range e.m.Flights() {
		f := Flight{Op: flightOps[h.Op], Off: h.Off, Len: h.Len, In: "call", Shard: int(h.CPU), Started: h.Started, Led: h.Led, Waiting: int(h.Waiting)}
		if h.File != nil {
			f.Path = h.File.F.Name()
		}
		if op, ok := h.User.(*Op); ok {
			f.In = op.In.String()
		}
		if h.Started {
			key := flightKey{h.Port, h.Serial}
			s, known := e.sighted[key]
			if !known {
				s.since = now
			}
			f.Age = now.Sub(s.since)
			if e.opts.OldAfter > 0 && f.Age >= e.opts.OldAfter && !s.logged {
				s.logged = true
				old = append(old, f)
			}
			seen[key] = s
		}
		all = append(all, f)
	}
	e.sighted = seen
	slices.SortStableFunc(all, func(a, b Flight) int { return cmp.Compare(b.Age, a.Age) })
	return all, old
}

// watchdog reports, once, each operation that gets old.
func (e *Engine) watchdog() {
	defer close(e.watched)
	tick := time.NewTicker(max(e.opts.OldAfter/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-e.unwatch:
			return
		case now := <-tick.C:
			_, old := e.sight(now)
			for _, f := range old {
				e.opts.Logger.Warn("endio: an operation does not complete", "op", f.Op, "file", f.Path, "offset", f.Off, "bytes", f.Len,
					"context", f.In, "age", f.Age, "shard", f.Shard, "waited for", f.Led, "waiters", f.Waiting)
			}
		}
	}
}
