// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"sync"
	"sync/atomic"
)

// A How says how a lock is acquired: a mode, flags, and a subclass, or'ed together.
type How uint32

// The modes. A Shared acquire waits for a writer that waits (rwsem, sync.RWMutex); a
// Recursive one only for a writer that holds the lock (rwlock_t, RCU).
//
// Source: the read argument of lock_acquire, include/linux/lockdep.h, Linux v6.12.
const (
	Exclusive How = 0
	Shared    How = 1
	Recursive How = 2

	// Try marks an acquire that does not wait: it adds no dependency from what is held
	// already, but what is taken under it depends on it.
	Try How = 1 << 2

	// NoCheck marks an acquire that is listed as held and lowers the ceiling,
	// but takes no part in the order (RCU read sections).
	NoCheck How = 1 << 3

	modeMask         = Shared | Recursive
	syncFlag     How = 1 << 4 // zero-length: acquired and released at once
	debtFlag     How = 1 << 5 // held because an event is owed, not locked
	nestedFlag   How = 1 << 6 // taken under its nest lock: no dependencies of its own
	helpFlag     How = 1 << 7 // a wait that runs what the waiter owes
	subclassBits     = 8
)

// Subclass returns the flag for subclass n, 0 to [MaxSubclasses]-1: locks of one class that nest
// in a known order, such as parent and child, are told apart by it. A number out of range
// is reported when it is used.
func Subclass(n int) How {
	if n < 0 || n >= MaxSubclasses {
		return badSubclass
	}
	return How(n) << subclassBits
}

const (
	badSubclass How = 1 << 12
	mergedFlag  How = 1 << 13 // stands for several instances under one nest lock
)

func (h How) subclass() uint8 { return uint8(h>>subclassBits) & (MaxSubclasses - 1) }

// A held is one lock that a task holds, or one event that it owes.
type held struct {
	rec  *classRec
	m    *Map
	key  uint64  // chain key up to and with this lock
	site uintptr // as the caller gave it; 0 if unknown
	nest *Map
	how  How
	refs uint32   // more than one: merged under a nest lock, or debts of one class
	irq  uint8    // interrupt context in which it was taken
	ceil WaitType // ceiling below it, in that context
}

func (h *held) mode() How { return h.how & modeMask }

// Interrupt contexts, as bits of Task.irq.
const (
	irqHard = 1 << iota
	irqSoft
)

// A debt is how many events of one map a task owes.
type debt struct {
	m      *Map
	events int
}

// Bits of Task.attention: why the next operation must not take the fast path.
const (
	attentionInbox   = 1 << iota // debts booked by others wait in the inbox
	attentionWaiting             // the task had announced a wait, which is over now
	attentionHook                // a report hook is running on this task
)

// A Task is one thread of control: what it holds, what it owes, and in which
// context it is. Get one from [Validator.NewTask]. All its methods are for the
// goroutine that it stands for, unless they say otherwise.
type Task struct {
	v    *Validator
	held []held
	name string
	id   int
	slot int

	attention atomic.Uint32
	irq       uint8     // interrupt context: irqHard, irqSoft
	base      WaitType  // ceiling of the bare context
	need      [2]uint32 // usage bits of a blocking acquire, by writing and reading

	hardirqs     []bool // threaded or not, of each hardirq entered
	softirqs     int    // softirqs entered
	hardirqsOff  bool
	softirqsOff  bool
	savedOff     []bool // hardirqsOff before each entered interrupt
	untracked    int    // acquires that did not fit
	inHook       int
	acquiring    bool   // the newest entry is being checked and not held yet
	debts        []debt // events owed, by instance, in order
	events       uint64 // changes of interrupt state, for reports
	hardirqEvent [2]irqEvent
	softirqEvent [2]irqEvent

	adapterState // what the Go adapters know of the goroutine

	inbox    inbox
	draining []inboxEntry // taken from the inbox, not yet applied
}

// An irqEvent is the last change of an interrupt state.
type irqEvent struct {
	stamp uint64
	site  uintptr
}

// An inbox gathers what other goroutines book to a task until it looks.
type inbox struct {
	mu       sync.Mutex
	entries  []inboxEntry
	waiting  *family // class that the task waits for at the moment
	waitSub  uint8
	waitSite uintptr
}

// An inboxEntry is a change of what a task owes or holds.
type inboxEntry struct {
	m     *Map
	how   How
	delta int // debts of m's class, or -1 with drop set
	drop  bool
	site  uintptr
}

// Name and ID return what the task is called in reports.
func (t *Task) Name() string { return t.name }

// ID returns the number of the task in reports.
func (t *Task) ID() int { return t.id }

// Validator returns the validator to which t belongs.
func (t *Task) Validator() *Validator { return t.v }

// HeldCount returns how many locks t holds and how many classes of events it
// owes.
func (t *Task) HeldCount() (locks, debts int) {
	t.attend()
	for i := range t.held {
		if t.held[i].how&debtFlag != 0 {
			debts++
		} else {
			locks++
		}
	}
	return locks, debts
}

// Holds reports whether t holds m, or owes it.
func (t *Task) Holds(m *Map) bool {
	if t.attention.Load() != 0 {
		t.attend()
	}
	return t.find(m) >= 0 || t.owed(m) > 0
}

func (t *Task) reset() {
	clear(t.held[:cap(t.held)])
	t.held = t.held[:0]
	t.hardirqs = t.hardirqs[:0]
	t.savedOff = t.savedOff[:0]
	t.softirqs = 0
	t.hardirqsOff, t.softirqsOff = false, false
	t.untracked = 0
	clear(t.debts)
	t.debts = t.debts[:0]
	t.events = 0
	t.hardirqEvent, t.softirqEvent = [2]irqEvent{}, [2]irqEvent{}
	t.inbox.entries = t.inbox.entries[:0]
	t.inbox.waiting = nil
	t.attention.Store(0)
}

// attend does what others asked of t, and reports whether the validator is on
// for it.
func (t *Task) attend() bool {
	a := t.attention.Load()
	if a&attentionHook != 0 {
		return false
	}
	if a != 0 {
		t.drainInbox()
	}
	return true
}

// updateContext recomputes what depends on the interrupt state.
func (t *Task) updateContext() {
	t.irq = 0
	t.base = WaitMax
	if t.softirqs > 0 {
		t.irq |= irqSoft
		t.base = WaitConfig
	}
	if n := len(t.hardirqs); n > 0 {
		t.irq |= irqHard
		t.base = WaitSpin
		if t.hardirqs[n-1] {
			t.base = WaitConfig
		}
	}
	t.base = t.v.waitType(t.base)
	t.need = [2]uint32{1 << usageUsed, 1 << usageUsedRead}
	if !t.v.cfg.Interrupts {
		return
	}
	for read := range 2 {
		var need uint32
		if t.irq&irqHard != 0 {
			need |= 1 << read
		}
		if t.irq&irqSoft != 0 {
			need |= 1 << (usageSoftirq | read)
		}
		if !t.hardirqsOff {
			need |= 1 << (usageEnabled | read)
			if !t.softirqsOff {
				need |= 1 << (usageSoftirq | usageEnabled | read)
			}
		}
		t.need[read] |= need
	}
}

// HardirqEnter says that t now runs a hardirq handler, with hardirqs off. A
// threaded handler may take locks that sleep on PREEMPT_RT.
func (t *Task) HardirqEnter(threaded bool) {
	t.savedOff = append(t.savedOff, t.hardirqsOff)
	t.hardirqs = append(t.hardirqs, threaded)
	t.hardirqsOff = true
	t.updateContext()
}

// HardirqExit ends what HardirqEnter began. An exit without an enter is
// ignored.
func (t *Task) HardirqExit() {
	if len(t.hardirqs) == 0 {
		return
	}
	t.hardirqs = t.hardirqs[:len(t.hardirqs)-1]
	t.restoreOff()
}

// SoftirqEnter says that t now runs a softirq handler. Hardirqs stay as they are.
func (t *Task) SoftirqEnter() {
	t.savedOff = append(t.savedOff, t.hardirqsOff)
	t.softirqs++
	t.updateContext()
}

// SoftirqExit ends what SoftirqEnter began. An exit without an enter is
// ignored.
func (t *Task) SoftirqExit() {
	if t.softirqs == 0 {
		return
	}
	t.softirqs--
	t.restoreOff()
}

func (t *Task) restoreOff() {
	if n := len(t.savedOff); n > 0 {
		t.hardirqsOff = t.savedOff[n-1]
		t.savedOff = t.savedOff[:n-1]
	}
	t.updateContext()
}

// HardirqsOff and HardirqsOn disable and enable hardirqs, local_irq_disable and
// local_irq_enable. Enabling them with locks held marks those locks.
func (t *Task) HardirqsOff(site uintptr) {
	t.events++
	t.hardirqEvent[0] = irqEvent{t.events, site}
	t.hardirqsOff = true
	t.updateContext()
}

// HardirqsOn is the opposite of [Task.HardirqsOff].
//
// Source: __trace_hardirqs_on_caller, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) HardirqsOn(site uintptr) {
	t.events++
	t.hardirqEvent[1] = irqEvent{t.events, site}
	t.hardirqsOff = false
	t.updateContext()
	t.markHeld(usageEnabled, site)
	if !t.softirqsOff {
		t.markHeld(usageEnabled|usageSoftirq, site)
	}
}

// SoftirqsOff and SoftirqsOn disable and enable softirqs, local_bh_disable and
// local_bh_enable.
func (t *Task) SoftirqsOff(site uintptr) {
	t.events++
	t.softirqEvent[0] = irqEvent{t.events, site}
	t.softirqsOff = true
	t.updateContext()
}

// SoftirqsOn is the opposite of [Task.SoftirqsOff].
//
// Source: lockdep_softirqs_on, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) SoftirqsOn(site uintptr) {
	t.events++
	t.softirqEvent[1] = irqEvent{t.events, site}
	t.softirqsOff = false
	t.updateContext()
	if !t.hardirqsOff {
		t.markHeld(usageEnabled|usageSoftirq, site)
	}
}

// markHeld marks all held locks as held with an interrupt enabled.
//
// Source: mark_held_locks, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) markHeld(base int, site uintptr) {
	if !t.v.cfg.Interrupts || t.v.off.Load() || !t.attend() {
		return
	}
	for i := range t.held {
		h := &t.held[i]
		if h.how&(NoCheck|debtFlag) != 0 {
			continue
		}
		bit := base
		if h.mode() != Exclusive {
			bit |= usageRead
		}
		if h.rec.usage.Load()&(1<<bit) == 0 {
			t.v.mu.Lock()
			t.v.opSite = site
			t.v.mark(t, h, 1<<bit, t.v.captureStack(site))
			t.v.unlockAndDeliver(t)
		}
	}
}
