// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
)

// Enabled says whether the Go adapters check anything: whether the program was
// built with the tag lockdep.
const Enabled = true

// defaultValidator serves all Go adapters.
var defaultValidator = New(Config{Stacks: true, OnReport: dispatch})

// Default returns the validator of the Go adapters.
func Default() *Validator { return defaultValidator }

// Current returns the calling goroutine's task in the default validator.
//
//go:noinline
func Current() *Task {
	t, _ := here()
	t.exposed = true
	return t
}

// published tells the race detector, if there is one, that what the goroutine did to its task
// happened before whoever looks at the task when the goroutine has ended.
func (t *Task) published() {
	if raceEnabled {
		t.fence.Add(1)
	}
}

// siteClasses are the classes of locks that were given none, by the place of
// their first use or of their Init.
var siteClasses struct {
	mu     sync.Mutex
	byPC   map[uintptr]*Class
	byLine map[string]*Class // one line has several program counters where it is inlined
}

// siteClass returns the class of locks of that kind born at pc.
func siteClass(kind string, pc uintptr) *Class {
	siteClasses.mu.Lock()
	defer siteClasses.mu.Unlock()
	c := siteClasses.byPC[pc]
	if c != nil {
		return c
	}
	f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	line := fmt.Sprintf("%s@%s:%d", kind, f.File, f.Line)
	if c = siteClasses.byLine[line]; c == nil {
		c = NewClass(fmt.Sprintf("%s@%s:%d", kind, filepath.Base(f.File), f.Line))
	}
	if siteClasses.byPC == nil {
		siteClasses.byPC, siteClasses.byLine = make(map[uintptr]*Class), make(map[string]*Class)
	}
	siteClasses.byPC[pc], siteClasses.byLine[line] = c, c
	return c
}

// birth gives m a class by its place of birth, unless it has one. Several
// goroutines may come here at once.
func (m *Map) birth(kind string, lock any, pc uintptr) {
	siteClasses.mu.Lock()
	born := m.class != nil
	siteClasses.mu.Unlock()
	if born {
		return
	}
	c := siteClass(kind, pc)
	siteClasses.mu.Lock()
	defer siteClasses.mu.Unlock()
	if m.class == nil {
		m.addr = reflect.ValueOf(lock).Pointer()
		m.class = c
	}
}

// setClass gives m a class before or between uses. A lock that is held is reported.
func (m *Map) setClass(c *Class, lock any) {
	siteClasses.mu.Lock()
	defer siteClasses.mu.Unlock()
	m.addr = reflect.ValueOf(lock).Pointer()
	if m.class == c {
		return
	}
	m.Init(c)
}

// away is the owner of a lock that was disowned and not adopted.
var away = &Task{}

// A Mutex is a sync.Mutex that is checked. The zero Mutex is unlocked and belongs to the class of
// all that are locked first at the same place; [Init] and [SetClass] say better.
// It must not be copied after its first use.
//
// Unlock of a Mutex that is not locked is reported and does nothing; sync.Mutex would end
// the program.
type Mutex struct {
	mu    sync.Mutex
	m     Map
	owner owner
}

// Lock locks m.
//
//go:noinline
func (m *Mutex) Lock() {
	g, id, pc := where(goidOffset)
	t := lookup(g, id)
	if t == nil {
		t, pc = hereSlow(g, id, pc)
	}
	if m.m.fam.Load() == nil {
		m.m.birth("Mutex", m, pc)
	}
	t.Acquire(&m.m, Exclusive, pc)
	t.published()
	m.mu.Lock()
	m.owner.set(t)
}

func (m *Mutex) lock(t *Task, how How, pc uintptr) {
	if m.m.fam.Load() == nil {
		m.m.birth("Mutex", m, pc)
	}
	t.Acquire(&m.m, how, pc)
	t.published()
	m.mu.Lock()
	m.owner.set(t)
}

// TryLock tries to lock m and reports whether it did.
//
//go:noinline
func (m *Mutex) TryLock() bool {
	t, pc := here()
	if !m.mu.TryLock() {
		return false
	}
	if m.m.fam.Load() == nil {
		m.m.birth("Mutex", m, pc)
	}
	t.Acquire(&m.m, Try, pc)
	t.published()
	m.owner.set(t)
	return true
}

// Unlock unlocks m.
//
//go:noinline
func (m *Mutex) Unlock() {
	g, id, pc := where(goidOffset)
	if t := m.owner.load(); t != nil && t.g == g && t.goid.Load() == id {
		m.owner.set(nil)
		t.Release(&m.m, pc)
		t.published()
		m.mu.Unlock()
		return
	}
	if unlockSlow(&m.m, &m.owner, g, id, pc) {
		m.mu.Unlock()
	}
}

// unlockSlow handles the unlock of a lock of which it is not plain that the goroutine
// holds it, and reports whether it is locked at all.
func unlockSlow(m *Map, o *owner, g uintptr, id uint64, pc uintptr) (locked bool) {
	t, pc := hereSlow(g, id, pc)
	switch holder := o.load(); holder {
	case nil:
		t.imbalance(m, "It is not locked.", pc)
		return false
	case t:
		t.Release(m, pc)
		t.published()
	case away:
	default:
		t.imbalance(m, fmt.Sprintf("It is held by goroutine/%d; Disown and Adopt hand a lock over.", holder.goid.Load()), pc)
		holder.post(inboxEntry{m: m, drop: true, site: pc})
	}
	o.set(nil)
	return true
}

// imbalance reports a release of what t does not hold.
func (t *Task) imbalance(m *Map, why string, pc uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	t.v.mu.Lock()
	t.v.reportImbalance(t, m, pc, why)
	t.v.unlockAndDeliver(t)
}

// A RWMutex is a sync.RWMutex that is checked. RLock is a shared acquire: it waits for a writer
// that waits, so a second RLock under the first can deadlock and is reported.
// The rest is as for [Mutex].
type RWMutex struct {
	mu    sync.RWMutex
	m     Map
	owner owner        // of the writer
	away  atomic.Int32 // read locks that were disowned and not adopted
}

// Lock locks rw for writing.
//
//go:noinline
func (rw *RWMutex) Lock() {
	g, id, pc := where(goidOffset)
	t := lookup(g, id)
	if t == nil {
		t, pc = hereSlow(g, id, pc)
	}
	rw.lock(t, 0, pc)
}

func (rw *RWMutex) lock(t *Task, how How, pc uintptr) {
	rw.born(pc)
	t.Acquire(&rw.m, how, pc)
	t.published()
	rw.mu.Lock()
	rw.owner.set(t)
}

func (rw *RWMutex) born(pc uintptr) {
	if rw.m.fam.Load() == nil {
		rw.m.birth("RWMutex", rw, pc)
	}
}

// TryLock tries to lock rw for writing and reports whether it did.
//
//go:noinline
func (rw *RWMutex) TryLock() bool {
	t, pc := here()
	if !rw.mu.TryLock() {
		return false
	}
	rw.born(pc)
	t.Acquire(&rw.m, Try, pc)
	t.published()
	rw.owner.set(t)
	return true
}

// Unlock unlocks rw for writing.
//
//go:noinline
func (rw *RWMutex) Unlock() {
	g, id, pc := where(goidOffset)
	if t := rw.owner.load(); t != nil && t.g == g && t.goid.Load() == id {
		rw.owner.set(nil)
		t.Release(&rw.m, pc)
		t.published()
		rw.mu.Unlock()
		return
	}
	if unlockSlow(&rw.m, &rw.owner, g, id, pc) {
		rw.mu.Unlock()
	}
}

// RLock locks rw for reading.
//
//go:noinline
func (rw *RWMutex) RLock() {
	g, id, pc := where(goidOffset)
	t := lookup(g, id)
	if t == nil {
		t, pc = hereSlow(g, id, pc)
	}
	rw.rlock(t, Shared, pc)
}

func (rw *RWMutex) rlock(t *Task, how How, pc uintptr) {
	rw.born(pc)
	t.Acquire(&rw.m, how, pc)
	t.published()
	rw.mu.RLock()
}

// TryRLock tries to lock rw for reading and reports whether it did.
//
//go:noinline
func (rw *RWMutex) TryRLock() bool {
	t, pc := here()
	if !rw.mu.TryRLock() {
		return false
	}
	rw.born(pc)
	t.Acquire(&rw.m, Shared|Try, pc)
	t.published()
	return true
}

// RUnlock undoes one RLock.
//
//go:noinline
func (rw *RWMutex) RUnlock() {
	t, pc := here()
	how, held := t.heldHow(&rw.m)
	if held && how&modeMask == Exclusive {
		t.imbalance(&rw.m, "It is locked for writing, not for reading.", pc)
		return
	}
	if held || t.inHook > 0 {
		t.Release(&rw.m, pc)
		t.published()
		rw.mu.RUnlock()
		return
	}
	if rw.readLocked() {
		if t.untracked > 0 {
			t.untracked--
		} else if !rw.takeAway() {
			t.imbalance(&rw.m, "Another goroutine holds it; Disown and Adopt hand a lock over.", pc)
		}
		rw.mu.RUnlock()
		return
	}
	t.imbalance(&rw.m, "It is not locked for reading.", pc)
}

// heldHow returns how t holds m, if it does.
func (t *Task) heldHow(m *Map) (how How, ok bool) {
	if t.attention.Load() != 0 {
		t.attend()
	}
	if i := t.find(m); i >= 0 {
		return t.held[i].how, true
	}
	return 0, false
}

// takeAway takes one disowned read lock, and reports whether there was one.
func (rw *RWMutex) takeAway() bool {
	for {
		n := rw.away.Load()
		if n <= 0 {
			return false
		}
		if rw.away.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// readLocked reports whether somebody holds rw for reading.
func (rw *RWMutex) readLocked() bool {
	if rw.mu.TryLock() {
		rw.mu.Unlock()
		return false
	}
	return rw.owner.load() == nil
}

// RLocker returns a Locker whose Lock and Unlock are rw.RLock and rw.RUnlock.
func (rw *RWMutex) RLocker() sync.Locker { return (*rlocker)(rw) }

type rlocker RWMutex

//go:noinline
func (r *rlocker) Lock() {
	t, pc := here()
	(*RWMutex)(r).rlock(t, Shared, pc)
}

func (r *rlocker) Unlock() { (*RWMutex)(r).RUnlock() }
