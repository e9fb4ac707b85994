// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"path"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"endio/explore"
	"endio/lockdep"
)

// A Preemption is a preemption model of the kernel.
type Preemption uint8

// The preemption models. Source: kernel/Kconfig.preempt, Linux 7.3.
const (
	None      Preemption = iota // kernel code runs until it sleeps
	Voluntary                   // and at cond_resched
	Full                        // preempted wherever preemption is on
	Lazy                        // the same here: what differs is when, which is a choice of the explorer
	RT                          // and spinlock_t sleeps, softirqs and most interrupts run in tasks
)

var preemptionNames = [...]string{"none", "voluntary", "full", "lazy", "rt"}

// String returns the name, for example "lazy".
func (p Preemption) String() string {
	if int(p) < len(preemptionNames) {
		return preemptionNames[p]
	}
	return fmt.Sprintf("Preemption(%d)", p)
}

// The kinds of failures that the kernel in miniature reports, beside those of
// package explore.
const (
	AtomicSleep   explore.FailKind = "sleep in atomic context"
	Lockdep       explore.FailKind = "lockdep"
	NilHandler    explore.FailKind = "nil handler"
	Corruption    explore.FailKind = "corruption"
	SoftLockup    explore.FailKind = "soft lockup"
	Imbalance     explore.FailKind = "imbalance"
	EndlessDefer  explore.FailKind = "endless offload"
	OutOfOrder    explore.FailKind = "out of order"
	RunTwice      explore.FailKind = "handler run twice"
	NeverRun      explore.FailKind = "handler never run"
	WrongContext  explore.FailKind = "wrong context"
	Restarts      explore.FailKind = "restarts"
	HotplugMisuse explore.FailKind = "hotplug misuse"
)

// MaxCPUs is the most CPUs of a Kernel. What is interesting happens between
// two; three show what happens to bystanders.
const MaxCPUs = 4

// A Config says which kernel is simulated. The zero Config is two CPUs without
// preemption, PREEMPT_COUNT=n.
type Config struct {
	// CPUs is the number of possible CPUs; 0 means 2, [MaxCPUs] at most.
	CPUs int

	// Offline are CPUs that are down at the start.
	Offline []int

	// Preemption is the preemption model.
	Preemption Preemption

	// Count is CONFIG_PREEMPT_COUNT. Full, Lazy and RT imply it.
	Count bool

	// Workers is the number of workers of each CPU's pool; 0 means 2. A pool
	// in which all are blocked waits, as one does whose manager gets no memory.
	Workers int

	// NoMemory lets the explorer decide, for each pool, that its workers can't
	// run for want of memory to create one: only rescuers run then.
	NoMemory bool

	// LateMemory adds to NoMemory that a pool's manager may get its memory late, at any moment, and makes
	// the timer a step of its own that sends for rescuers: of what is queued later they know only when
	// it fires again. Without, they know at once.
	LateMemory bool

	// CPUIntensive lets the tick find at any moment that a worker has had its CPU for too long without sleeping (10 ms): that one does
	// not count for concurrency management from then on until its item ends.
	CPUIntensive bool

	// Ticks counts time in ticks: a timer fires when its ticks have passed and not earlier, and of two timers of a CPU the one
	// that expires earlier fires first. Without, an armed timer may fire at any moment, which allows
	// all of that and more.
	Ticks bool

	// Concurrent lets contexts of one CPU run at the same time, excluded only by
	// locks and by [machine.Local]: what machine/host is, where several threads
	// stand for one CPU. Every behaviour without it is one with it.
	Concurrent bool

	// HogSteps is the number of steps after which code that has had no scheduling
	// point on its CPU counts as hogging it: a soft lockup. 0 means no limit. It
	// applies to the models without preemption, and to atomic contexts everywhere.
	HogSteps int

	// Housekeeping puts pinned timers of delayed work on the first online CPU
	// instead of the CPU that is asked for (nohz_full, isolcpus).
	Housekeeping bool

	// MaxRestarts is how often one system call may be restarted before that counts as a
	// failure, [Restarts]; 0 means no limit. A call that is restarted for ever is a livelock
	// without it, too.
	MaxRestarts int

	// Timers starts the timers of each CPU; delayed work of this package does so
	// by itself.
	Timers bool

	// NoLockdep switches the validator off.
	NoLockdep bool
}

// String names the configuration, for example "rt" or "none, PREEMPT_COUNT=y".
func (c Config) String() string {
	s := c.Preemption.String()
	if c.Preemption <= Voluntary {
		s += ", PREEMPT_COUNT=n"
		if c.Count {
			s = c.Preemption.String() + ", PREEMPT_COUNT=y"
		}
	}
	if c.Concurrent {
		s += ", concurrent"
	}
	return s
}

// Configs returns every preemption configuration: the five models, and for the
// two that have the choice, PREEMPT_COUNT both ways.
func Configs() []Config {
	return []Config{
		{Preemption: None}, {Preemption: None, Count: true},
		{Preemption: Voluntary}, {Preemption: Voluntary, Count: true},
		{Preemption: Full}, {Preemption: Lazy}, {Preemption: RT},
	}
}

// A Kernel is one simulated kernel, good for one execution. Make it in the Init
// of an [explore.Program].
type Kernel struct {
	x    *explore.Exec
	cfg  Config
	cpus []*CPU
	memo *memo

	parts []part // all that has state, in the order of making, made in Init
	later []laterPart
	ctxs  []*Context
	extra []func(*explore.Hash)
	roots roots
	cur   *Context // the context that runs, for reports of lockdep

	hp                   hotplug
	wqs                  []*Workqueue
	hctxs                []*HardwareQueue
	systemWq             *Workqueue
	tokens, workers      int
	lockTokens           uint64 // those of locks that belong to no CPU
	atEnd                []func(*Kernel)
	workCount            int
	tracing              bool // labels of steps are wanted
	ticking, timersMoved bool
	jiffies              int            // with Config.Ticks
	clock                explore.Object // stands for jiffies
}

// A part has state that decides the future.
type part interface{ hash(h *explore.Hash) }

// A memo is what is used again in the next execution.
type memo struct {
	val     *lockdep.Validator
	classes map[string]*lockdep.Class
	log     foldLog
	ctxs    []*Context
	parts   []part
	live    []*Context
	one     explore.Hash // of one part
	plans   map[reflect.Type]*plan
	builtin []HotplugState
	states  []*HotplugState
	at      []int
	names   map[numbered]string
	workers []*worker
	cpus    []*CPU
	walker  walker
	known   pointerTable
	roots   []memory
	later   []laterPart
	kernel  *Kernel
	things  things
	sites   []string // lines that Site has named in this execution
}

// things are what executions make in large numbers, used again in the next one.
type things struct {
	kernels  pile[Kernel]
	machines pile[Machine]
	locals   pile[machineLocal]
	vars     pile[machineVar]
	counters pile[machineCounter]
	locks    pile[machineLock]
	handles  pile[machineWork]
	works    pile[Work]
	queues   pile[Workqueue]
	tasks    pile[Task]
}

// begin makes all of them free.
func (t *things) begin() {
	t.kernels.n, t.machines.n, t.locals.n, t.vars.n, t.counters.n = 0, 0, 0, 0, 0
	t.locks.n, t.handles.n, t.works.n, t.queues.n, t.tasks.n = 0, 0, 0, 0, 0
}

// A pile has values of one type. The first n are in use.
type pile[T any] struct {
	all []*T
	n   int
}

// one returns a value that is not in use. It is as the execution before left it: set all of it.
func (p *pile[T]) one() *T {
	if p.n == len(p.all) {
		p.all = append(p.all, new(T))
	}
	p.n++
	return p.all[p.n-1]
}

// of returns one that is set to v.
func (p *pile[T]) of(v T) *T {
	x := p.one()
	*x = v
	return x
}

// numbered is a name with a number behind it.
type numbered struct {
	name string
	n    int
}

// name returns name with n behind it, put together once.
func (m *memo) name(name string, n int) string {
	s, ok := m.names[numbered{name, n}]
	if !ok {
		s = fmt.Sprint(name, n)
		if strings.HasSuffix(name, "[") {
			s += "]"
		}
		m.names[numbered{name, n}] = s
	}
	return s
}

// context returns the context that was number i in the execution before, or a new one.
func (m *memo) context(i int) *Context {
	if i == len(m.ctxs) {
		m.ctxs = append(m.ctxs, &Context{})
	}
	return m.ctxs[i]
}

// New makes a kernel whose CPUs are online except those in cfg.Offline. Call it
// in [explore.Program] Init.
func New(x *explore.Exec, cfg Config) *Kernel {
	if cfg.CPUs == 0 {
		cfg.CPUs = 2
	}
	if cfg.CPUs < 1 || cfg.CPUs > MaxCPUs {
		x.Fail(explore.BadProgram, fmt.Sprintf("%d CPUs asked for: a kernel has 1 to %d", cfg.CPUs, MaxCPUs), "")
	}
	if cfg.Workers == 0 {
		cfg.Workers = 2
	}
	cfg.Count = cfg.Count || cfg.Preemption >= Full
	m, _ := (*x.Memo()).(*memo)
	if m == nil {
		m = &memo{classes: map[string]*lockdep.Class{}, plans: map[reflect.Type]*plan{}, names: map[numbered]string{}}
		*x.Memo() = m
	}
	m.things.begin()
	k := m.things.kernels.one()
	*k = Kernel{x: x, cfg: cfg, tracing: x.Tracing(), memo: m, cpus: k.cpus[:0], wqs: k.wqs[:0], atEnd: k.atEnd[:0]}
	k.memo.log.begin()
	k.memo.known.reset()
	k.roots.known, k.roots.list, k.later = &k.memo.known, k.memo.roots[:0], k.memo.later[:0]
	k.parts, k.ctxs = k.memo.parts[:0], k.memo.live[:0]
	if !cfg.NoLockdep {
		k.newValidator()
	}
	if cfg.Ticks {
		k.clock = x.NewObject("jiffies", -1)
	}
	for i := range cfg.CPUs {
		k.newCPU(i)
	}
	for _, i := range cfg.Offline {
		k.cpus[i].bootOffline()
	}
	k.initHotplug()
	k.systemWq = k.AllocWorkqueue("events", 0)
	if cfg.Timers {
		k.startTicks()
	}
	if cfg.CPUIntensive {
		for _, p := range k.cpus {
			p.startHogTick()
		}
	}
	x.OnState(k.hashState)
	x.OnQuiescent(func(*explore.Exec) { k.quiesce() })
	return k
}

// Config returns the configuration, with the defaults filled in.
func (k *Kernel) Config() Config { return k.cfg }

// CPU returns CPU i.
func (k *Kernel) CPU(i int) *CPU { return k.cpus[i] }

// Exec returns the execution that k belongs to.
func (k *Kernel) Exec() *explore.Exec { return k.x }

// mustHave fails the execution if a function that is to be called later was not given: who calls it could say only that
// it is not there.
func (k *Kernel) mustHave(given bool, what, name, lack string) {
	switch {
	case given:
	case k.cur != nil && k.cur.t != nil:
		k.cur.t.Fail(NilHandler, what+name+lack, "")
	default:
		k.x.Fail(NilHandler, what+name+lack, "")
	}
}

// newValidator starts lockdep afresh: what it learned in another execution would
// make a replay depend on what was run before.
func (k *Kernel) newValidator() {
	m := k.memo
	if m.val == nil {
		m.val = lockdep.New(lockdep.Config{Interrupts: true, RawNesting: true, Serial: true,
			MaxChains: 1 << 10, MaxDepth: 24, SiteName: m.siteName,
			Ident: "simulated kernel", OnReport: func(r *lockdep.Report) { m.report(r) }})
	}
	m.val.Reset()
	m.kernel = k
	m.sites = m.sites[:0]
}

// Site tells lockdep which line of the program does what is being checked. To find the
// line takes longer than most steps, so it is known only in executions that are
// traced: whatever fails is replayed as one.
func (c *Context) Site() uintptr {
	if c.t == nil || !c.t.Tracing() {
		return 0
	}
	f := c.t.Place()
	if f.Function == "" {
		return 0
	}
	text := siteText(f)
	m := c.k.memo
	i := slices.Index(m.sites, text)
	if i < 0 {
		i = len(m.sites)
		m.sites = append(m.sites, text)
	}
	return uintptr(i + 1)
}

// siteName is the text of what [Context.Site] returned, or of a program counter, which
// is what the adapters of lockdep give in code that runs here and on the host.
func (m *memo) siteName(site uintptr) string {
	if site <= uintptr(len(m.sites)) {
		return m.sites[site-1]
	}
	f, _ := runtime.CallersFrames([]uintptr{site}).Next()
	return siteText(f)
}

// siteText is function and place, the same on each machine that has the source.
func siteText(f runtime.Frame) string {
	dir, file := path.Split(f.File)
	return fmt.Sprintf("%s %s:%d", path.Base(f.Function), path.Join(path.Base(dir), file), f.Line)
}

// report turns a report of the validator into a failure of whoever runs.
func (m *memo) report(r *lockdep.Report) {
	k := m.kernel
	text := r.Title
	for i, c := range r.Classes {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		text += sep + c
	}
	if k.cur == nil {
		k.x.Fail(Lockdep, text, r.Text)
	}
	k.cur.t.Fail(Lockdep, text, r.Text)
}

// class returns the lock class of that name, the same in all executions.
func (k *Kernel) class(name string, wait lockdep.WaitType, typ lockdep.LockType) *lockdep.Class {
	c := k.memo.classes[name]
	if c == nil {
		c = &lockdep.Class{Name: name, Outer: wait, Inner: wait, Type: typ}
		k.memo.classes[name] = c
	}
	return c
}

// AtEnd sets a function that is called when nothing can go on any more, before
// the explorer looks for tasks that wait in vain. It may call [Kernel.Fail].
func (k *Kernel) AtEnd(f func(*Kernel)) { k.atEnd = append(k.atEnd, f) }

// Fail ends the execution with a failure found in a function of [Kernel.AtEnd].
func (k *Kernel) Fail(kind explore.FailKind, text string) { k.x.Fail(kind, text, "") }

func (k *Kernel) quiesce() {
	for _, f := range k.atEnd {
		f(k)
	}
}

// OnState adds state of the program's own that decides its future, for
// [explore.Cached]: everything shared that is not in a [Cell], a lock or another
// object of this package. What contexts know locally is accounted for: it
// follows from what the kernel told them since they started.
func (k *Kernel) OnState(f func(*explore.Hash)) { k.extra = append(k.extra, f) }

func (k *Kernel) add(p part) {
	if k.cur != nil && k.cur.t != nil {
		k.later = append(k.later, laterPart{k.newID(k.cur), p})
		k.memo.later = k.later
		return
	}
	k.parts = append(k.parts, p)
	k.memo.parts = k.parts // its room is used again
}

// partID returns a number for the next part.
func (k *Kernel) partID() int {
	if k.cur != nil && k.cur.t != nil {
		return int(k.newID(k.cur) & (1<<50 - 1))
	}
	return len(k.parts)
}

// A laterPart was made after Init. The order in which contexts make such is no part of the state:
// each counts by its number.
type laterPart struct {
	id uint64
	part
}

func (k *Kernel) hashState(h *explore.Hash) {
	for _, p := range k.parts {
		p.hash(h)
	}
	var sum uint64
	for i := range k.later {
		k.memo.one = explore.Hash{}
		k.later[i].hash(&k.memo.one)
		s := k.memo.one.Sum()
		sum += mix(mix(k.later[i].id, s[0]), s[1])
	}
	for _, c := range k.ctxs {
		if !c.dead { // what has ended decides nothing, nor does where it ran
			sum += c.state()
		}
	}
	h.Add(sum)
	if k.memo.val != nil && !k.cfg.NoLockdep {
		h.Add(k.memo.val.Learned())
	}
	k.roots.hash(k, h)
	for _, f := range k.extra {
		f(h)
	}
}

// ids of contexts in hashes: 0 is nobody.
func (c *Context) num() uint64 {
	if c == nil {
		return 0
	}
	return uint64(c.id) + 1
}

// mix adds v to the hash h. The constant keeps h from becoming 0, what nothing is, where v is equal to it: a length and a number often are.
func mix(h, v uint64) uint64 {
	h = (h ^ v ^ 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	h ^= h >> 32
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>29
}
