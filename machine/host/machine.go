// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"endio/lockdep"
	"endio/machine"
)

// A Config says what machine to make.
type Config struct {
	// Shards is the number of CPUs that are online at first; 0 means GOMAXPROCS.
	Shards int
	// MaxShards is the number that can ever be; 0 means the larger of Shards and
	// the number of processors.
	MaxShards int
	// UseThreads makes ports of threads even where there is io_uring.
	UseThreads bool
	// Threads is how many system calls are under way at a time where there are no rings,
	// and with rings, how many goroutines wait in one; 0 means DefaultThreads, or a quarter of
	// what RLIMIT_NPROC and pids.max allow if that is less.
	Threads int
	// Entries is how many requests a port's ring takes at a time, a power of two; 0
	// means ShardEntries. More are kept in the port until there is room.
	Entries int
	// StallAfter is after what time a work item counts as stalled; 0 means
	// DefaultStallAfter. The monitor's clock has this grain, so up to twice that.
	StallAfter time.Duration
	// SlowInline is after what time an Inline handler is reported; 0 means
	// DefaultSlowInline.
	SlowInline time.Duration
	// OnSlowInline is told of an Inline handler, with entry pc, that has run for
	// SlowInline and still runs, for a request on f, by way of [Machine.Report].
	// nil: not told.
	OnSlowInline func(pc uintptr, f *File, d time.Duration)
	// Logger gets what has no other way out; nil means slog.Default().
	Logger *slog.Logger
	// Faults, if not nil, make all ports misbehave: for tests.
	Faults *Faults
	// NewPrivate returns what the engine wants in [Context.Private], and RetirePrivate
	// is told when that context is gone; nil: not told.
	NewPrivate    func(c *Context) any
	RetirePrivate func(private any)
}

// MostShards bounds the shards of a machine: no Linux has more processors (NR_CPUS), and each shard
// takes a ring with its descriptors and its memory.
const MostShards = 8192

// ShardEntries is the size of the ring of a shard's port: the depth at which fast devices are saturated. What is
// beyond it waits in lines, one for each file, whereas a device serves a full queue as it likes: a small reader
// beside a flood then waits for most of that (docs/benchmarks.md, the levers).
const ShardEntries = 64

// QueueEntries is the size of the ring of a port that is one goroutine's, who decides how much is in flight.
const QueueEntries = 256

// DefaultStallAfter is longer than any handler that only computes should take, and
// shorter than what waiters behind it notice beside the latency of a disk.
const DefaultStallAfter = time.Millisecond

// DefaultSlowInline is longer than a goroutine stays descheduled on a machine
// whose processors are busy (sysmon preempts after 10 ms).
const DefaultSlowInline = 50 * time.Millisecond

// A Machine is the host. It implements [machine.Machine].
type Machine struct {
	cfg    Config
	reason string // why ports are of threads; "" if they are rings

	unregistered atomic.Bool // the note on buffers that rings do not take was given
	anyone       *Context

	online []atomic.Bool
	shards []*shard
	locals []*local // guarded by hotplugMu
	arenas arenas
	next   atomic.Uint32 // shard that the next goroutine is given

	opened  atomic.Uint64 // ports ever
	openMu  lockdep.Mutex // one port is opened or taken apart at a time: each has a thread in the kernel for that
	portsMu lockdep.Mutex
	ports   atomic.Pointer[[]*Port] // all; replaced under portsMu
	busy    busyPorts
	inlines atomic.Pointer[[]*Port] // that have run Inline handlers; replaced under portsMu
	owned   atomic.Pointer[[]*Port] // that are a thread's own; replaced under portsMu

	willing  waiterList   // would lead any port
	sleeping atomic.Int32 // waiters in Sleep that would, or that lead one
	inline   atomic.Int32 // ports whose reaper runs Inline handlers

	hotplugMu lockdep.Mutex
	hotplug   []machine.Hotplug // guarded by hotplugMu

	holds    atomic.Int32 // waits that keep their P
	maxHolds int32

	gate    gate   // of system calls without rings
	seats   int    // that many ports have a thread for their leader; more share as many, see poller
	poller  poller // of the rings of those
	workers uint32 // of the kernel, for each thread that submits to a ring; 0: as it likes
	mon     monitor
	reports reports
}

// New returns a machine whose shards run. If rings can't be had it uses threads;
// [Machine.Backend] says so.
func New(cfg Config) (*Machine, error) {
	if cfg.Shards == 0 {
		cfg.Shards = runtime.GOMAXPROCS(0)
	}
	if cfg.MaxShards == 0 {
		cfg.MaxShards = max(cfg.Shards, runtime.NumCPU())
	}
	if cfg.Entries == 0 {
		cfg.Entries = ShardEntries
	}
	if cfg.StallAfter == 0 {
		cfg.StallAfter = DefaultStallAfter
	}
	if cfg.SlowInline == 0 {
		cfg.SlowInline = DefaultSlowInline
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.NewPrivate == nil {
		cfg.NewPrivate = func(*Context) any { return nil }
	}
	if cfg.Threads < 0 {
		return nil, fmt.Errorf("host: %d threads: want at least 0", cfg.Threads)
	}
	if cfg.StallAfter < 0 || cfg.SlowInline < 0 {
		return nil, fmt.Errorf("host: stall after %v, slow inline handler after %v: want at least 0", cfg.StallAfter, cfg.SlowInline)
	}
	if cfg.Faults != nil {
		if err := cfg.Faults.check(); err != nil {
			return nil, err
		}
	}
	if cfg.Shards < 1 || cfg.MaxShards < cfg.Shards || cfg.MaxShards > MostShards {
		return nil, fmt.Errorf("host: %d shards of at most %d: want at least 1, no more than that, and at most %d", cfg.Shards, cfg.MaxShards, MostShards)
	}
	if cfg.Entries < 2 || cfg.Entries > 1<<14 || cfg.Entries&(cfg.Entries-1) != 0 {
		return nil, fmt.Errorf("host: %d entries for a port: want a power of two from 2 to %d", cfg.Entries, 1<<14)
	}
	m := &Machine{cfg: cfg, online: make([]atomic.Bool, cfg.MaxShards), shards: make([]*shard, cfg.MaxShards)}
	nameLock(&m.openMu, "machine.open")
	nameLock(&m.portsMu, "machine.ports")
	nameLock(&m.hotplugMu, "machine.hotplug")
	m.busy.init()
	m.willing.name("machine.willing")
	m.maxHolds = int32(runtime.GOMAXPROCS(0) / 2)
	m.anyone = m.NewContext(0, nil, nil)
	m.boundThreads(cfg.Threads)
	m.reports.init()
	m.mon.init(m)
	if cfg.UseThreads {
		m.reason = "asked for by the options"
	}
	for i := range m.shards {
		m.shards[i] = newShard(m, machine.CPU(i))
	}
	for i := range cfg.Shards {
		if err := m.shards[i].open(); err != nil {
			return nil, err
		}
		m.online[i].Store(true)
	}
	return m, nil
}

// boundThreads sets how many system calls are under way at a time, n if not 0, how many
// leaders of rings wait in one, and how many workers rings have.
func (m *Machine) boundThreads(n int) {
	limit := threadLimit()
	if limit > 0 && limit < 1024 {
		m.workers = max(1, uint32(limit)/128)
	}
	if n == 0 {
		n = DefaultThreads
		if limit > 0 {
			n = max(1, min(n, limit/4)) // the runtime and others want some
		}
	}
	m.gate.init(n)
	m.seats = max(1, n/2)
	m.poller.init(m.seats)
}

// Start lets the shards work. It is apart from New so that completion code can
// be set up in between.
func (m *Machine) Start() {
	for i, s := range m.shards {
		if m.online[i].Load() {
			s.start()
		}
	}
}

// open gives the shard its port.
func (s *shard) open() error {
	if s.port != nil {
		return nil
	}
	p, err := s.m.OpenPort(s.cpu, s.m.cfg.Entries)
	if err != nil {
		return err
	}
	p.served = true
	s.port = p
	return nil
}

// Backend returns whether ports are rings, and if not, why.
func (m *Machine) Backend() (rings bool, reason string) { return m.reason == "", m.reason }

// OpenPort returns a port for requests of cpu that takes entries at a time. The
// first port of a machine decides whether all are rings.
func (m *Machine) OpenPort(cpu machine.CPU, entries int) (*Port, error) {
	m.openMu.Lock()
	defer m.openMu.Unlock()
	if m.reason == "" {
		d, err := openRing(entries, 2*entries, m.workers, false)
		if err == nil && m.countPorts() >= m.seats {
			if err = m.poller.add(d); err != nil {
				_ = d.close()
			}
			d.polled = err == nil
		}
		if err == nil {
			p := m.newRingPort(cpu, d, entries)
			m.addPort(p)
			return p, nil
		}
		if m.ports.Load() != nil {
			// A later port may fail where the first did not: descriptors, memlock.
			m.note("a port uses threads: %v", err)
		} else {
			m.reason = err.Error()
		}
	}
	p := newPort(m, cpu, newThreads(m), entries)
	m.addPort(p)
	return p, nil
}

// newRingPort returns a port on d that is not in the machine's list yet.
func (m *Machine) newRingPort(cpu machine.CPU, d *ring, entries int) *Port {
	p := newPort(m, cpu, d, entries)
	p.ring = d
	d.port, d.bufs = p, &buffers{m: m, r: d.r}
	for i := range registeredFiles {
		p.fileFree = append(p.fileFree, int32(registeredFiles-1-i))
	}
	return p
}

// countPorts returns how many ports there are whose leaders need a thread for it.
func (m *Machine) countPorts() int {
	n := 0
	if list := m.ports.Load(); list != nil {
		n = len(*list)
	}
	if own := m.owned.Load(); own != nil {
		n -= len(*own)
	}
	return n
}

func (m *Machine) addPort(p *Port) { m.with(&m.ports, p) }

// with replaces a list by one that has p as well.
func (m *Machine) with(ports *atomic.Pointer[[]*Port], p *Port) {
	m.portsMu.Lock()
	var list []*Port
	if old := ports.Load(); old != nil {
		list = append(list, *old...)
	}
	list = append(list, p)
	ports.Store(&list)
	m.portsMu.Unlock()
}

// without replaces a list by one that does not have p.
func (m *Machine) without(ports *atomic.Pointer[[]*Port], p *Port) {
	m.portsMu.Lock()
	if old := ports.Load(); old != nil && slices.Contains(*old, p) {
		list := slices.DeleteFunc(slices.Clone(*old), func(x *Port) bool { return x == p })
		ports.Store(&list)
	}
	m.portsMu.Unlock()
}

// ClosePort waits until nothing is in flight in p and closes it. Its completions
// run as ever. No other goroutine may submit to p any more.
func (m *Machine) ClosePort(p *Port) error {
	m.Quiesce(p)
	p.kicks.Wait()
	m.without(&m.ports, p)
	m.without(&m.inlines, p)
	m.without(&m.owned, p)
	m.busy.drop(p)
	// Whoever found p in one of those lists may still lead it, and wait in the kernel for
	// what another has reaped. With nothing in flight it does not come again.
	p.kick()
	p.leadMu.Lock()
	p.waking.Wait(nil)
	for p.wakers.Load() > 0 {
		runtime.Gosched() // polls: who wakes a leader that has just left is a few instructions from its end
	}
	defer p.leadMu.Unlock()
	p.reapMu.Lock()
	defer p.reapMu.Unlock()
	p.submitMu.Lock()
	defer p.submitMu.Unlock()
	p.closed = true
	for f := range p.files {
		f.mu.Lock()
		delete(f.slots, p)
		f.mu.Unlock()
	}
	m.retire(p.rc)
	m.openMu.Lock()
	defer m.openMu.Unlock()
	return p.dev.close()
}

// Quiesce waits until nothing is in flight in p. It reaps if nobody else does.
func (m *Machine) Quiesce(p *Port) {
	w := newWaiter()
	defer w.free()
	p.quiescing.Add(1)
	defer p.quiescing.Add(-1)
	for p.inFlight.Load() > 0 {
		if p.leadMu.TryLock() {
			p.wait()
			p.reap()
			p.leave()
			continue
		}
		// Another goroutine leads, and reaps; it yields when it leaves.
		p.followers.add(&w.queue)
		switch {
		case p.inFlight.Load() == 0:
		case p.leadMu.TryLock():
			p.leave() // whoever led is gone: lead, or find that nothing is left
		default:
			p.kick()
			p.led.Wait(nil)
			w.note.Recv()
			w.woken.Store(false)
		}
		p.followers.remove(&w.queue)
	}
}

// NewContext returns a task context for one goroutine, on a shard of cpu, which
// owes what helper runs and reaps p first.
func (m *Machine) NewContext(cpu machine.CPU, helper Helper, p *Port) *Context {
	c := &Context{m: m, cpu: cpu, helper: helper, port: p}
	c.Private = m.cfg.NewPrivate(c)
	return c
}

// retire ends the use of a context that [Config.NewPrivate] was asked for.
func (m *Machine) retire(c *Context) {
	if m.cfg.RetirePrivate != nil {
		m.cfg.RetirePrivate(c.Private)
	}
}

// Anyone returns the task context of goroutines that owe nothing.
func (m *Machine) Anyone() *Context { return m.anyone }

// InFlight returns how many requests all ports have in flight.
func (m *Machine) InFlight() int64 {
	var n int64
	for _, p := range *m.ports.Load() {
		n += p.inFlight.Load()
	}
	return n
}

// InInline reports whether the calling goroutine runs an Inline handler.
func (m *Machine) InInline() bool {
	if m.inline.Load() == 0 {
		return false
	}
	list := m.inlines.Load()
	if list == nil {
		return false
	}
	self := threadID()
	for _, p := range *list {
		if p.inline.Load() == self {
			return true
		}
	}
	return false
}

// InWork reports whether the calling goroutine runs a work item, and so maybe a
// Task handler. It takes some µs.
func (m *Machine) InWork() bool {
	self := goroutineID()
	for _, s := range m.shards {
		s.mu.Lock()
		_, ours := s.members[self]
		s.mu.Unlock()
		if ours {
			return true
		}
	}
	return false
}

// ShardPort returns the port of cpu's shard, which must be online.
func (m *Machine) ShardPort(cpu machine.CPU) *Port { return m.shards[cpu].port }

// fullShard is how many requests in flight make a shard leave new ones to the
// next: completions that come together cost less, until they keep one goroutine
// busy.
const fullShard = 64

// NextCPU returns the CPU for new requests: the same one until it has enough.
func (m *Machine) NextCPU() machine.CPU {
	cpu := m.onlineNear(machine.CPU(int(m.next.Load()) % len(m.shards)))
	if p := m.shards[cpu].port; p.inFlight.Load() < fullShard {
		return cpu
	}
	cpu = m.onlineNear((cpu + 1) % machine.CPU(len(m.shards)))
	m.next.Store(uint32(cpu))
	return cpu
}

// onlineNear returns cpu or, if that is offline, one that is not.
func (m *Machine) onlineNear(cpu machine.CPU) machine.CPU {
	for i := range m.online {
		at := (int(cpu) + i) % len(m.online)
		if m.online[at].Load() {
			return machine.CPU(at)
		}
	}
	return cpu // all are going: the machine is being closed
}

// lead finds a port with requests in flight and no leader, and makes w its
// leader; or it puts w among the willing and returns nil.
func (m *Machine) lead(w *waiter) *Port {
	if p := m.busy.lead(); p != nil {
		return p
	}
	m.willing.add(&w.willing)
	// A leader that left before w was added has not seen it.
	p := m.busy.lead()
	if p != nil {
		m.willing.remove(&w.willing)
	}
	return p
}

// passOn gives ports without a leader to those who would lead.
func (m *Machine) passOn() {
	if m.willing.n.Load() == 0 {
		return
	}
	if p := m.busy.lead(); p != nil {
		p.leave()
	}
}

// poll reaps the ports in which nobody waits. Those who sleep may wait for what
// is there, and be away in another port; the owner of a queue may be busy.
func (m *Machine) poll(busy []*Port) {
	for _, p := range busy {
		if p.served || p.inFlight.Load() == 0 || !p.leadMu.TryLock() {
			continue // served ones have a shard that waits
		}
		if !p.isClosed() {
			if p.owner == 0 {
				p.Flush()
			}
			if p.dev.ready() || p.cuts.Load() > 0 {
				p.reap()
			}
		}
		p.leave()
	}
}

// bug reports what the kernel should never answer.
func (m *Machine) bug(err error) {
	m.Report(func() { m.cfg.Logger.Error("endio: " + err.Error()) })
}

// note reports what costs speed and loses nothing.
func (m *Machine) note(format string, args ...any) {
	text := "endio: " + fmt.Sprintf(format, args...)
	m.Report(func() { m.cfg.Logger.Warn(text) })
}

// CPUs implements [machine.Machine].
func (m *Machine) CPUs() int { return len(m.online) }

// Online implements [machine.Machine].
func (m *Machine) Online(cpu machine.CPU) bool { return m.online[cpu].Load() }

// NewLocal implements [machine.Machine].
func (m *Machine) NewLocal(name string) machine.Local {
	l := &local{m: m, sections: make([]section, m.CPUs())}
	for i := range l.sections {
		nameLock(&l.sections[i].mu, name)
	}
	m.hotplugMu.Lock()
	m.locals = append(m.locals, l)
	m.hotplugMu.Unlock()
	return l
}

// NewLock implements [machine.Machine].
func (m *Machine) NewLock(name string) machine.Lock {
	l := &lock{}
	nameLock(&l.mu, name)
	return l
}

// NewVar implements [machine.Machine].
func (m *Machine) NewVar(string) machine.Var { return noVar{} }

// NewCounter implements [machine.Machine].
func (m *Machine) NewCounter(_ string, n int64) machine.Counter {
	k := &counter{}
	k.n.Store(n)
	return k
}

// NewWaitQueue implements [machine.Machine].
func (m *Machine) NewWaitQueue(string) machine.WaitQueue {
	q := &waitQueue{}
	q.sleepers.name("waitqueue")
	return q
}

// NewWork implements [machine.Machine].
func (m *Machine) NewWork(_ string, cpu machine.CPU, fn, stalled func(machine.Context)) machine.Work {
	return &work{s: m.shards[cpu], fn: fn, stalled: stalled}
}

// AddHotplug implements [machine.Machine].
func (m *Machine) AddHotplug(h machine.Hotplug) {
	m.hotplugMu.Lock()
	m.hotplug = append(m.hotplug, h)
	m.hotplugMu.Unlock()
}

// ErrLastCPU reports that the last online CPU was to go offline.
var ErrLastCPU = errors.New("the last online CPU can not go offline")

// ErrAborted reports that a change of a CPU's state was taken back on the way.
var ErrAborted = errors.New("the change of the CPU's state was aborted")

// SetOnline brings cpu up or down, with the callbacks of [machine.Hotplug] in the
// kernel's order. What is in flight on a CPU that goes down completes first.
// Task context; it may wait as long as handlers and I/O take.
func (m *Machine) SetOnline(cpu machine.CPU, online bool) error {
	m.hotplugMu.Lock()
	defer m.hotplugMu.Unlock()
	if m.online[cpu].Load() == online {
		return nil
	}
	if online {
		return m.up(cpu)
	}
	return m.down(cpu)
}

func (m *Machine) up(cpu machine.CPU) error {
	s := m.shards[cpu]
	if err := s.open(); err != nil {
		return fmt.Errorf("host: bring up shard %d: %w", cpu, err)
	}
	s.start()
	m.online[cpu].Store(true)
	n := len(m.hotplug)
	at, aborts := m.cfg.Faults.abortsHotplug(true, n+1)
	if !aborts {
		m.callOnline(cpu, m.hotplug)
		return nil
	}
	m.callOnline(cpu, m.hotplug[:at])
	m.callDown(cpu, m.hotplug[:at])
	m.die(cpu)
	return fmt.Errorf("host: bring up shard %d: %w", cpu, ErrAborted)
}

func (m *Machine) down(cpu machine.CPU) error {
	others := 0
	for i := range m.online {
		if machine.CPU(i) != cpu && m.online[i].Load() {
			others++
		}
	}
	if others == 0 {
		return ErrLastCPU
	}
	n := len(m.hotplug)
	if at, aborts := m.cfg.Faults.abortsHotplug(false, n+1); aborts {
		m.callDown(cpu, m.hotplug[at:])
		m.callOnline(cpu, m.hotplug[at:])
		return fmt.Errorf("host: take down shard %d: %w", cpu, ErrAborted)
	}
	m.callDown(cpu, m.hotplug)
	m.die(cpu)
	return nil
}

// callOnline and callDown call the callbacks of those subsystems, on cpu, in the
// order of the way up and of the way down.
func (m *Machine) callOnline(cpu machine.CPU, hs []machine.Hotplug) {
	c := &Context{m: m, cpu: cpu}
	for _, h := range hs {
		if h.Online != nil {
			h.Online(c, cpu)
		}
	}
}

func (m *Machine) callDown(cpu machine.CPU, hs []machine.Hotplug) {
	c := &Context{m: m, cpu: cpu}
	for i := len(hs) - 1; i >= 0; i-- {
		if hs[i].Down != nil {
			hs[i].Down(c, cpu)
		}
	}
}

// die takes cpu offline, for which all subsystems are down, and has them take over
// what it leaves.
func (m *Machine) die(cpu machine.CPU) {
	// With every section of cpu held, nobody is between finding it online and
	// adding to what belongs to it.
	for _, l := range m.locals {
		l.sections[cpu].mu.Lock()
	}
	m.online[cpu].Store(false)
	for _, l := range m.locals {
		l.sections[cpu].mu.Unlock()
	}
	// The shard goes on serving its port, as an interrupt line has its handler: for
	// those who found cpu online and have not submitted yet, for what an exclusive
	// section has held back, and for what Complete submits again. What it reaps
	// completes on other CPUs.
	m.Quiesce(m.shards[cpu].port)
	there := &Context{m: m, cpu: m.onlineNear(cpu)}
	for i := len(m.hotplug) - 1; i >= 0; i-- {
		if h := m.hotplug[i]; h.Dead != nil {
			h.Dead(there, cpu)
		}
	}
}

// Close stops all shards and closes all ports. Nothing may be in flight.
// Handlers that still run are waited for.
func (m *Machine) Close() error {
	m.hotplugMu.Lock()
	for _, s := range m.shards {
		s.idle.Owe(nil)
	}
	for _, s := range m.shards {
		s.stop()
		s.idle.Paid(nil)
	}
	m.hotplugMu.Unlock() // a handler that still runs may want it
	for _, s := range m.shards {
		s.wg.Wait()
	}
	m.mon.close()
	var errs []error
	for _, p := range *m.ports.Load() {
		errs = append(errs, m.ClosePort(p))
	}
	errs = append(errs, m.poller.close())
	m.endReports()
	return errors.Join(errs...)
}
