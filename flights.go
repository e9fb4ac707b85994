// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"endio/dio"
	"endio/machine/host"
)

// A Flight is an operation in flight, as [Engine.Flights] saw it.
type Flight struct {
	Op      string        `json:"op"` // "read", "write", ...
	Path    string        `json:"path"`
	Off     int64         `json:"offset"`
	Len     int           `json:"bytes"`             // of the transfer that is under way
	In      string        `json:"context"`           // of the handler; "call" for blocking calls
	Handler string        `json:"handler,omitempty"` // its function; none for blocking calls
	Age     time.Duration `json:"age_ns"`            // since it was first seen: it is at least so old
	Shard   int           `json:"shard"`             // shard, or that of the queue
	Started bool          `json:"started"`           // false: in line for room in the ring, or held back
	Held    bool          `json:"held"`              // held back by Truncate or the like, or in line for the inode
	Led     bool          `json:"led"`               // somebody waits in the kernel for it
	Waiting int           `json:"waiting"`           // goroutines that wait for its ring besides
	Queue   string        `json:"queue,omitempty"`   // with [QueueOptions.OwnThread]: where it was opened, and the thread that alone can complete this
}

// State says where the operation is: "held back" by an exclusive section or in line for its inode,
// "in line" for room in its ring, "waited for" in the kernel, or with the kernel while "nobody waits"
// there: the owner of its queue is busy elsewhere.
func (f Flight) State() string {
	switch {
	case f.Held:
		return "held back"
	case !f.Started:
		return "in line"
	case f.Led:
		return "waited for"
	default:
		return "nobody waits"
	}
}

var flightOps = map[host.Op]string{host.OpRead: "read", host.OpWrite: "write", host.OpReadv: "read", host.OpWritev: "write",
	host.OpSync: "sync", host.OpSyncData: "syncdata", host.OpSyncRange: "sync_range", host.OpNop: "closed", host.OpCancelled: "cancelled"}

// A sighting is when a request was first seen.
type sighting struct {
	since  time.Time
	logged bool
}

// A flightKey tells a request in a port from all others, or a submission of an
// operation that is held back.
type flightKey struct {
	port, serial uint64
	held         any // *Op, *heldCall, *alone, *section or *callSlot; nil: in a port
}

// Flights returns what is in flight with the kernel, in line for it, or held back by
// an exclusive section, oldest first; blocking calls too, and those that have the inode to
// themselves, such as [File.Truncate]. Nothing is noted for an operation when it
// starts, so its age counts from when this method or the watchdog
// ([Options.OldAfter]) first saw it. Any goroutine may call it.
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
	add := func(f Flight, key flightKey) {
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
		all = append(all, f)
	}
	for _, h := range e.m.Flights() {
		f := Flight{Op: flightOps[h.Op], Off: h.Off, Len: h.Len, In: "call", Shard: int(h.CPU), Started: h.Started, Led: h.Led, Waiting: int(h.Waiting), Queue: h.Owner}
		if h.File != nil {
			f.Path = h.File.F.Name()
		}
		if _, ok := h.User.(*Op); ok {
			f.In, f.Handler = Where(h.Tag).String(), handlerName(h.Handler) // Op.In may be written by now: the operation may be over
		}
		if h.Started {
			add(f, flightKey{port: h.Port, serial: h.Serial})
		} else {
			all = append(all, f)
		}
	}
	e.heldBack(add)
	e.calls.each(func(s *callSlot, state uint64, f Flight) { add(f, flightKey{held: s, serial: state}) })
	e.sighted = seen
	slices.SortStableFunc(all, func(a, b Flight) int { return cmp.Compare(b.Age, a.Age) })
	return all, old
}

// heldBack adds what is in line for its inode.
func (e *Engine) heldBack(add func(Flight, flightKey)) {
	flight := func(op *Op) Flight {
		return Flight{Op: op.Kind.String(), Path: op.File.path, Off: op.Off, Len: op.want, In: op.In.String(),
			Handler: handlerName(op.req.Handler), Shard: op.port.Shard(), Held: true}
	}
	e.mu.Lock()
	inodes := slices.Collect(maps.Values(e.inodes))
	e.mu.Unlock()
	c := e.m.Anyone()
	for _, n := range inodes {
		n.Held(c, func(w *dio.Waiter) {
			switch op := w.Op.(type) {
			case *Op:
				add(flight(op), flightKey{serial: op.times, held: op})
			case *heldCall:
				add(Flight{Op: op.kind.String(), Path: op.f.path, Off: op.off, Len: op.n, In: "call", Held: true}, flightKey{held: op})
			}
		})
	}
	// One that is taken belongs to who writes it, until it is removed.
	e.aloneMu.Lock()
	defer e.aloneMu.Unlock()
	for a := range e.alone {
		f := flight(a.op)
		f.Started = a.taken.Load()
		f.Held = !f.Started
		add(f, flightKey{held: a})
	}
	for s := range e.sections {
		begun := s.begun.Load()
		add(Flight{Op: s.op, Path: s.f.path, Off: s.off, Len: max(0, int(s.n)), In: "call", Started: begun, Held: !begun, Led: begun}, flightKey{held: s})
	}
}

// A section is a blocking call that has an inode to itself, or waits for that.
type section struct {
	op     string
	f      *File
	off, n int64 // -1: none
	begun  atomic.Bool
}

func (e *Engine) addSection(s *section) {
	e.aloneMu.Lock()
	e.sections[s] = struct{}{}
	e.aloneMu.Unlock()
}

func (e *Engine) removeSection(s *section) {
	e.aloneMu.Lock()
	delete(e.sections, s)
	e.aloneMu.Unlock()
}

func (e *Engine) addAlone(a *alone) {
	e.aloneMu.Lock()
	e.alone[a] = struct{}{}
	e.aloneMu.Unlock()
}

func (e *Engine) removeAlone(a *alone) {
	e.aloneMu.Lock()
	delete(e.alone, a)
	e.aloneMu.Unlock()
}

// watchdog reports, once, each operation that gets old and each Task handler that
// does not return.
func (e *Engine) watchdog() {
	tick := time.NewTicker(max(e.opts.OldAfter/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-e.unwatch.C():
			return
		case now := <-tick.C:
			_, old := e.sight(now)
			e.old.Add(int64(len(old)))
			for _, f := range old {
				e.m.Report(func() {
					e.opts.Logger.Warn("endio: an operation does not complete", "op", f.Op, "file", f.Path, "offset", f.Off, "bytes", f.Len, "context", f.In,
						"handler", f.Handler, "age", f.Age, "shard", f.Shard, "state", f.State(), "waiters", f.Waiting,
						"only completed by", cmp.Or(f.Queue, "anybody"))
				})
			}
			_, stuck := e.sightHandlers(now)
			e.old.Add(int64(len(stuck)))
			for _, h := range stuck {
				e.m.Report(func() {
					e.opts.Logger.Warn("endio: a Task handler does not return", "handler", h.Handler, "file", h.Path, "age", h.Age, "shard", h.Shard)
				})
			}
		}
	}
}

// A Running is a Task handler that has not returned, as [Engine.Handlers] saw it.
type Running struct {
	Handler string        `json:"handler"` // its function
	Path    string        `json:"path"`    // the file of its operation
	Age     time.Duration `json:"age_ns"`  // since it was first seen: it is at least so old
	Shard   int           `json:"shard"`   // whose worker runs it
}

// Handlers returns the Task handlers that run, oldest first: those that block are among them. Their ages
// count as those of [Engine.Flights] do. With [Options.OldAfter] less than 0 it returns none. Any goroutine
// may call it.
func (e *Engine) Handlers() []Running {
	list, _ := e.sightHandlers(time.Now())
	return list
}

// A slowTask is a Task handler that was seen running.
type slowTask struct {
	run uint64
	sighting
}

// sightHandlers is sight for Task handlers.
func (e *Engine) sightHandlers(now time.Time) (all, old []Running) {
	seen := make(map[*Context]slowTask)
	e.sightMu.Lock()
	defer e.sightMu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.contexts {
		run := c.task.runs.Load()
		if run&1 == 0 {
			continue
		}
		s, known := e.handling[c]
		if !known || s.run != run {
			s = slowTask{run: run, sighting: sighting{since: now}}
		}
		pc, f := c.task.handler.Load(), c.task.file.Load()
		if c.task.runs.Load() != run {
			continue // pc and f may be of the next
		}
		h := Running{Handler: handlerName(pc), Path: f.F.Name(), Age: now.Sub(s.since), Shard: c.Shard()}
		if e.opts.OldAfter > 0 && h.Age >= e.opts.OldAfter && !s.logged {
			s.logged = true
			old = append(old, h)
		}
		all = append(all, h)
		seen[c] = s
	}
	e.handling = seen
	slices.SortStableFunc(all, func(a, b Running) int { return cmp.Compare(b.Age, a.Age) })
	return all, old
}
