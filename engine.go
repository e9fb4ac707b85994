// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"endio/batch"
	"endio/dio"
	"endio/internal/cgroup"
	"endio/lockdep"
	"endio/machine"
	"endio/machine/host"
)

// An Engine does I/O. Any goroutine may use it.
type Engine struct {
	opts    Options
	m       *host.Machine
	batches *batch.Batches
	calls   *calls // blocking calls that go through a ring

	old, slow atomic.Int64 // what Stats says of reports
	closing   atomic.Bool
	submitted atomic.Int64      // Inline and Task operations ever
	idle      machine.WaitQueue // Close waits here for their handlers

	aloneMu  lockdep.Mutex
	alone    map[*alone]struct{}   // writes in line for their inode; guarded by aloneMu
	sections map[*section]struct{} // the same of blocking calls, and those that have it

	sightMu  lockdep.Mutex
	sighted  map[flightKey]sighting // at the last look; guarded by sightMu
	handling map[*Context]slowTask  // the same

	shardsMu lockdep.Mutex // one SetShards at a time
	steered  atomic.Bool   // by SetShards: follow does nothing
	follows  bool          // follow runs
	cgroups  *cgroup.Reader

	unwatch  lockdep.Chan[struct{}] // closed to end the watchdog and follow
	watchers lockdep.WaitGroup      // those

	mu       lockdep.Mutex
	closed   bool                   // guarded by mu, as all below
	inodes   map[inodeKey]*inodeRef // of open files
	files    map[*File]struct{}     // open
	queues   map[*Queue]struct{}    // open
	contexts []*Context             // all ever made

	retired Stats // what contexts that are gone have counted
}

// watchersClass is what the validator calls the end of an engine's own goroutines.
var watchersClass = lockdep.NewClass("engine.watchers")

// inodeKey names an inode of the system; see fileKey for where it comes from.
type inodeKey struct {
	dev, ino uint64
	isDevice bool // dev is a block device's own number, and ino 0
}

type inodeRef struct {
	*dio.Inode
	refs int
}

// Open returns an engine. Close it when done. It fails for options that make no sense,
// and where [IOUring] was asked for and can't be had.
func Open(o Options) (*Engine, error) {
	e := &Engine{
		opts:   o,
		inodes: make(map[inodeKey]*inodeRef),
		files:  make(map[*File]struct{}),
		queues: make(map[*Queue]struct{}),
		alone:  make(map[*alone]struct{}),

		sections: make(map[*section]struct{}),

		cgroups: cgroup.New(os.DirFS("/")),
		unwatch: lockdep.NewChan[struct{}](0),
	}
	if o.OldAfter == 0 {
		e.opts.OldAfter = 30 * time.Second
	}
	if o.Logger == nil {
		e.opts.Logger = slog.Default()
	}
	if o.Backend != Auto && o.Backend != IOUring && o.Backend != Threads {
		return nil, fmt.Errorf("open engine: backend %q: %w: want %q, %q or \"\"", o.Backend, ErrInvalid, IOUring, Threads)
	}
	shards, most := o.Shards, o.MaxShards
	if shards == 0 {
		shards = e.processors()
		if most == 0 {
			most = max(runtime.GOMAXPROCS(0), runtime.NumCPU()) // limits may be lifted
		} else if most > 0 {
			shards = min(shards, most)
		}
	}
	m, err := host.New(host.Config{
		Shards:       shards,
		MaxShards:    most,
		UseThreads:   o.Backend == Threads,
		Threads:      o.Threads,
		Entries:      o.Depth,
		StallAfter:   o.StallAfter,
		SlowInline:   o.SlowInline,
		OnSlowInline: e.slowInline,
		Logger:       e.opts.Logger,
		Faults:       o.Faults,
		NewPrivate:   e.newContext,

		RetirePrivate: func(c any) { e.retire(c.(*Context)) },
	})
	if err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	if rings, why := m.Backend(); o.Backend == IOUring && !rings {
		return nil, errors.Join(fmt.Errorf("open engine: io_uring was asked for and can't be had: %s", why), m.Close())
	}
	e.m = m
	e.batches = batch.New(m, m.Anyone(), batch.Options{Pass: o.TaskPass, Delay: machine.Duration(o.TaskDelay)})
	e.idle = m.NewWaitQueue("engine.idle")
	m.Start()
	if e.calls, err = newCalls(e); err != nil {
		return nil, errors.Join(fmt.Errorf("open engine: %w", err), m.Close())
	}
	lockdep.SetClass(&e.watchers, watchersClass)
	if e.opts.OldAfter > 0 {
		e.watchers.Go(e.watchdog)
	}
	if o.Shards == 0 {
		e.follows = true
		e.watchers.Go(e.follow)
	}
	return e, nil
}

// Backend returns how the engine does its I/O, and if that is not io_uring, why.
func (e *Engine) Backend() (b Backend, why string) {
	if rings, why := e.m.Backend(); !rings {
		return Threads, why
	}
	return IOUring, ""
}

// Submit starts operations whose handlers run Inline or as a Task; some may have run
// when it returns. On an error none of them was started, and all are still the
// caller's: it is an [*OpError] that says what is wrong with the first that is
// ([ErrInvalid], [ErrAlignment], [ErrNoHandler], [ErrBusy] and others), or
// [ErrClosed]. Submit does not wait for I/O, and may be called from anywhere; from a
// handler, [Context.Submit] does the same and batches better.
func (e *Engine) Submit(ops ...*Op) error {
	return e.submit(e.m.Anyone(), e.m.NextCPU(), true, ops)
}

func (e *Engine) submit(c machine.Context, cpu machine.CPU, flush bool, ops []*Op) error {
	// Counted before looking at closing, which Close sets before it looks at the count:
	// so Close waits for all that goes on from here.
	e.submitted.Add(int64(len(ops)))
	if e.closing.Load() {
		e.refused(c, ops)
		return fmt.Errorf("submit: engine: %w", ErrClosed)
	}
	p := e.m.ShardPort(cpu)
	for i, op := range ops {
		err := op.prepare(e, p, nil)
		if err == nil && op.In == Caller {
			op.bio.Abandon()
			err = op.refuse(ErrInvalid, "an operation for the Caller context goes through a Queue")
		}
		if err != nil {
			for _, op := range ops[:i] {
				op.bio.Abandon()
			}
			e.refused(c, ops)
			return err
		}
	}
	for _, op := range ops {
		op.issue(c)
	}
	if flush {
		p.Flush()
	}
	return nil
}

// refused takes ops, which are not started, out of the count.
func (e *Engine) refused(c machine.Context, ops []*Op) {
	e.submitted.Add(-int64(len(ops)))
	if e.closing.Load() {
		e.idle.Wake(c)
	}
}

// Ready reports whether every Inline and Task handler has run and every file is
// closed. It makes an Engine what Close waits for. It is not for users.
func (e *Engine) Ready(machine.Context) bool {
	e.mu.Lock()
	open := len(e.files)
	e.mu.Unlock()
	return open == 0 && e.handled() == e.submitted.Load()
}

// Close waits for what is in flight and for its handlers, closes the files that
// are still open, and ends the engine. It fails, and closes nothing, while a
// [Queue] is open (only its owner can run what it holds), in an Inline handler
// ([ErrWouldBlock]) and in a Task handler ([ErrInHandler]). A second call gets
// [ErrClosed].
func (e *Engine) Close() error {
	if e.m.InInline() {
		return fmt.Errorf("close engine: %w", ErrWouldBlock)
	}
	if e.m.InWork() {
		return fmt.Errorf("close engine: %w", ErrInHandler)
	}
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		return fmt.Errorf("close engine: %w", ErrClosed)
	case len(e.queues) > 0:
		n := len(e.queues)
		e.mu.Unlock()
		return fmt.Errorf("close engine: %d queues are open: close each in the goroutine that owns it", n)
	}
	e.closed = true
	files := slices.Collect(maps.Keys(e.files))
	e.mu.Unlock()
	e.shardsMu.Lock() // whoever has it ends; whoever comes later sees closing
	e.closing.Store(true)
	e.shardsMu.Unlock()
	e.unwatch.Close()
	e.watchers.Wait()
	var errs []error
	for _, f := range files { // others may be closing some of them: see Ready
		if err := f.Close(); err != nil && !errors.Is(err, ErrClosed) {
			errs = append(errs, err)
		}
	}
	c := e.m.Anyone()
	for !e.Ready(c) {
		e.idle.Sleep(c, e)
	}
	errs = append(errs, e.m.Close())
	return errors.Join(errs...)
}

// slowInline reports an Inline handler that blocks. The monitor calls it.
func (e *Engine) slowInline(pc uintptr, f *host.File, d time.Duration) {
	e.slow.Add(1)
	s := SlowHandler{Handler: handlerName(pc), For: d, Path: f.F.Name()}
	if e.opts.OnSlowHandler != nil {
		e.opts.OnSlowHandler(s)
		return
	}
	e.opts.Logger.Warn("endio: an Inline handler blocks its shard", "handler", s.Handler, "for", s.For, "file", s.Path)
}

// panicked reports a handler that panicked.
func (e *Engine) panicked(p HandlerPanic) {
	if e.opts.OnPanic != nil {
		e.opts.OnPanic(p)
		return
	}
	e.opts.Logger.Error("endio: a handler panicked", "handler", p.Handler, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
}
