// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// The default bounds of a validator's tables, each as in the kernel. What happens
// at a bound: one report, and what does not fit is not checked.
//
// Source: kernel/locking/lockdep_internals.h and include/linux/sched.h, Linux v6.12.
const (
	DefaultMaxClasses    = 8192    // MAX_LOCKDEP_KEYS
	DefaultMaxEdges      = 1 << 15 // MAX_LOCKDEP_ENTRIES, here per pair of classes
	DefaultMaxChains     = 1 << 16 // MAX_LOCKDEP_CHAINS
	DefaultMaxDepth      = 48      // MAX_LOCK_DEPTH
	DefaultMaxStackWords = 1 << 19 // MAX_STACK_TRACE_ENTRIES
)

// A Config says what a [Validator] checks and where its reports go. The zero
// Config checks lock order, waits and wait contexts, and drops the reports' texts
// into [Validator.Reports] only.
type Config struct {
	// Bounds of the tables; 0 means the default of the same name.
	MaxClasses, MaxEdges, MaxChains, MaxDepth, MaxStackWords int

	// Interrupts models hardirqs and softirqs: in which each class is used, and
	// with which enabled it is held. Go programs have none.
	Interrupts bool

	// RawNesting tells spinlock_t from raw_spinlock_t, as PREEMPT_RT needs it
	// (CONFIG_PROVE_RAW_LOCK_NESTING).
	RawNesting bool

	// OneShot switches the validator off after its first report, as the kernel
	// does. Otherwise each pair of classes and kind of report comes once.
	OneShot bool

	// Serial promises that one goroutine at a time uses the validator and all its
	// tasks. Debts of other tasks are then booked at once.
	Serial bool

	// Stacks records the call stack of each new chain, edge and usage bit, for
	// the reports. It costs about a microsecond for each, and nothing after.
	Stacks bool

	// SiteName prints a site that was given to an acquire. Nil prints it as a
	// program counter: function and file:line.
	SiteName func(site uintptr) string

	// Ident is the second line of each report. Empty means the Go version and
	// platform.
	Ident string

	// OnReport is called for each report, on the goroutine whose operation
	// caused it and with no lock of the validator held. Operations on the
	// validator's tasks from inside it are not checked. It may panic; the
	// acquire that caused the report is then undone.
	OnReport func(*Report)
}

// A Validator learns in which order classes of locks are taken, and reports the
// first order that could deadlock. Use [New].
//
// The fast path of an acquire reads the chain table and the usage bits with atomic
// loads and takes no lock. What it has not seen before goes through mu.
type Validator struct {
	cfg Config

	off       atomic.Bool     // set by the first report of a one-shot validator
	chainKeys []atomic.Uint64 // open addressing; 0 is free
	chainMask uint64

	mu          sync.Mutex // guards everything below
	families    map[*Class]*family
	classes     []*classRec // by index
	used        []*classRec // in order of first use since Reset
	epoch       uint32      // counts Resets; 0 is never current
	edges       []edge
	chainSlots  []uint32   // slots of chainKeys in use
	chainStack  []stackRef // by slot: where the last lock of the chain was taken
	stacks      stackTable
	search      searcher
	tasks       []*Task // by number; those from numTasks on wait for reuse
	numTasks    int
	numInst     uint32
	reported    map[reportKey]struct{}
	pending     []*Report
	limitsHit   uint32
	numReports  int
	learned     atomic.Uint64 // see Learned
	opSite      uintptr       // of the operation that is being checked; 0 if not known
	lastReports []*Report
}

// maxKeptReports bounds what [Validator.Reports] keeps; the hook sees all.
const maxKeptReports = 256

// New returns a validator. It allocates the chain table (16 bytes for each possible
// chain, rounded up to a power of two) and little else; the other tables grow up to their bounds.
func New(cfg Config) *Validator {
	for _, d := range []struct {
		field *int
		value int
	}{
		{&cfg.MaxClasses, DefaultMaxClasses},
		{&cfg.MaxEdges, DefaultMaxEdges},
		{&cfg.MaxChains, DefaultMaxChains},
		{&cfg.MaxDepth, DefaultMaxDepth},
		{&cfg.MaxStackWords, DefaultMaxStackWords},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	slots := 1 << bits.Len(uint(2*cfg.MaxChains-1))
	v := &Validator{
		cfg:       cfg,
		chainKeys: make([]atomic.Uint64, slots),
		chainMask: uint64(slots - 1),
		families:  make(map[*Class]*family),
		epoch:     1,
		reported:  make(map[reportKey]struct{}),
	}
	v.stacks.max = cfg.MaxStackWords
	if cfg.Stacks {
		v.chainStack = make([]stackRef, slots)
	}
	return v
}

// Reset forgets everything learned, all tasks and all reports, in time proportional to what was
// used since the last Reset, and without allocating. Classes stay registered. No
// task of v may be in use; the handles that [Validator.NewTask] gave out are void.
func (v *Validator) Reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, rec := range v.used {
		rec.usage.Store(0)
		rec.after = rec.after[:0]
		rec.before = rec.before[:0]
		rec.usageStack = [usageBits]stackRef{}
	}
	v.used = v.used[:0]
	v.edges = v.edges[:0]
	for _, slot := range v.chainSlots {
		v.chainKeys[slot].Store(0)
	}
	v.chainSlots = v.chainSlots[:0]
	v.stacks.reset()
	for _, t := range v.tasks[:v.numTasks] {
		t.reset()
	}
	v.numTasks = 0
	v.numInst = 0
	if len(v.reported) > 0 {
		clear(v.reported)
	}
	clear(v.lastReports)
	v.lastReports = v.lastReports[:0]
	v.pending = v.pending[:0]
	v.numReports = 0
	v.learned.Store(0)
	v.limitsHit = 0
	v.off.Store(false)
	v.epoch++
}

// NewTask returns a handle for one thread of control: a goroutine, a simulated
// task, a worker. The name and id appear in reports as COMM/PID. Handles are
// reused after [Validator.Reset].
func (v *Validator) NewTask(name string, id int) *Task {
	v.mu.Lock()
	defer v.mu.Unlock()
	var t *Task
	if v.numTasks < len(v.tasks) {
		t = v.tasks[v.numTasks]
	} else {
		t = &Task{v: v, slot: v.numTasks}
		v.tasks = append(v.tasks, t)
	}
	v.numTasks++
	t.name, t.id = name, id
	t.updateContext()
	return t
}

// Reports returns the reports since the last Reset, oldest first, at most 256.
func (v *Validator) Reports() []*Report {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]*Report(nil), v.lastReports...)
}

// ReportCount returns the number of reports since the last Reset.
func (v *Validator) ReportCount() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.numReports
}

// Learned returns a hash of the dependencies and usages learned since the last Reset, whatever the
// order in which they were: what, beside the locks that are held, decides what v reports next. A
// search over states needs it, because the same state may be reached in two ways of which one taught more.
// Classes count by their names.
func (v *Validator) Learned() uint64 { return v.learned.Load() }

// learn notes a new dependency or usage of rec. Preconditions: v.mu is held.
func (v *Validator) learn(rec *classRec, what uint64) {
	x := (uint64(rec.name)<<32 | uint64(rec.name)) ^ what
	x = (x ^ x>>31) * 0xff51afd7ed558ccd
	x = (x ^ x>>32) * 0xc4ceb9fe1a85ec53
	v.learned.Add(x ^ x>>29)
}

// Stats counts what the tables of a validator hold.
type Stats struct {
	Classes, Edges, Chains, StackWords, Tasks, Reports int
}

// Stats returns the present fill of v's tables.
func (v *Validator) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Stats{
		Classes: len(v.used), Edges: len(v.edges), Chains: len(v.chainSlots),
		StackWords: len(v.stacks.words), Tasks: v.numTasks, Reports: v.numReports,
	}
}

// unlockAndDeliver releases v.mu and then calls the hook for what was reported.
// Preconditions: v.mu is held.
func (v *Validator) unlockAndDeliver(t *Task) {
	v.opSite = 0
	if len(v.pending) == 0 {
		v.mu.Unlock()
		return
	}
	reports := append([]*Report(nil), v.pending...)
	v.pending = v.pending[:0]
	v.mu.Unlock()
	if v.cfg.OnReport == nil {
		return
	}
	if t != nil {
		t.inHook++
		t.attention.Or(attentionHook)
		defer func() {
			if t.inHook--; t.inHook == 0 {
				t.attention.And(^uint32(attentionHook))
			}
		}()
	}
	for _, r := range reports {
		v.cfg.OnReport(r)
	}
}
