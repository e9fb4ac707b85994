// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

// mapOf returns the map of an adapter, and what kind it is.
func mapOf(l any) (m *Map, kind string) {
	switch l := l.(type) {
	case *Mutex:
		return &l.m, "Mutex"
	case *RWMutex:
		return &l.m, "RWMutex"
	case *WaitGroup:
		return &l.w.Map, "WaitGroup"
	case *Cond:
		return &l.w.Map, "Cond"
	case *Once:
		return &l.m, "Once"
	case *IOMap:
		return &l.w.Map, "IOMap"
	}
	panic("lockdep: not an adapter") // the constraints allow no other
}

// SetClass gives l a class. Call it before the first use, in the constructor of
// what contains l.
func SetClass[L annotated](l L, c *Class) {
	m, _ := mapOf(l)
	m.setClass(c, l)
}

// Init makes the place of this call the class of l, so that all that one constructor makes are of
// one class, wherever they are locked first. A lock that the calling goroutine
// holds is reported as freed.
//
//go:noinline
func Init[L annotated](l L) {
	t, pc := here()
	initAt(t, pc, l)
}

func initAt(t *Task, pc uintptr, l any) {
	m, kind := mapOf(l)
	freed(t, pc, l, m)
	m.setClass(siteClass(kind, pc), l)
}

// Freed says that the memory of l is about to be used for something else, such as when its
// container goes to a pool. A lock that somebody holds is reported.
//
//go:noinline
func Freed[L annotated](l L) {
	t, pc := here()
	m, _ := mapOf(l)
	freed(t, pc, l, m)
}

func freed(t *Task, pc uintptr, l any, m *Map) {
	if m.fam.Load() == nil {
		return
	}
	t.Freed(m, pc)
	t.published()
	var holder *Task
	switch l := l.(type) {
	case *Mutex:
		holder = l.owner.load()
	case *RWMutex:
		holder = l.owner.load()
	}
	if holder == nil || holder == away || holder == t {
		return
	}
	v := t.v
	rec := m.record(v, 0)
	if rec == nil || v.off.Load() {
		return
	}
	v.mu.Lock()
	v.reportFreedBy(t, holder.goid.Load(), &held{rec: rec, m: m, refs: 1})
	v.unlockAndDeliver(t)
}

// reportFreedBy reports a lock that is freed while goroutine holder, which may be running,
// holds it.
func (v *Validator) reportFreedBy(t *Task, holder uint64, h *held) {
	if !v.fresh(HeldFreed, h.rec.idx, 0) {
		return
	}
	p := v.newPage(t, HeldFreed, "WARNING: held lock freed!", '-')
	p.names(h.rec)
	inst := v.instance(h.m)
	p.line("%s is freeing memory %s-%s, with a lock still held there!", p.comm(), inst, inst)
	p.line("%s", p.lock(h))
	p.line("It is held by goroutine/%d.", holder)
	p.heldLocks()
	p.done()
}

// LockNested locks m as a lock of a subclass, for a second lock of the class of one that is
// held, such as a child's under its parent's.
//
//go:noinline
func LockNested(m *Mutex, subclass int) {
	t, pc := here()
	m.lock(t, Subclass(subclass), pc)
}

// RWLockNested locks m for writing, as [LockNested] does.
//
//go:noinline
func RWLockNested(m *RWMutex, subclass int) {
	t, pc := here()
	m.lock(t, Subclass(subclass), pc)
}

// RLockNested locks m for reading, as [LockNested] does.
//
//go:noinline
func RLockNested(m *RWMutex, subclass int) {
	t, pc := here()
	m.rlock(t, Shared|Subclass(subclass), pc)
}

// LockUnder locks m while nest is held, which every goroutine holds that locks several of m's class:
// among themselves they need no order then.
//
//go:noinline
func LockUnder(m, nest *Mutex) {
	t, pc := here()
	if m.m.fam.Load() == nil {
		m.m.birth("Mutex", m, pc)
	}
	t.AcquireNest(&m.m, &nest.m, Exclusive, pc)
	t.published()
	m.mu.Lock()
	m.owner.set(t)
}

// Disown says that the calling goroutine will not unlock what it has locked:
// another one will, after [Adopt].
//
//go:noinline
func Disown[L ownable](l L) {
	t, pc := here()
	disown(t, pc, l)
}

func disown(t *Task, pc uintptr, l any) {
	m, _ := mapOf(l)
	switch l := l.(type) {
	case *Mutex:
		if l.owner.load() == t {
			l.owner.set(away)
		}
	case *RWMutex:
		if l.owner.load() == t {
			l.owner.set(away)
		} else if t.Holds(m) {
			l.away.Add(1)
		}
	}
	t.Release(m, pc)
	t.published()
}

// Adopt says that the calling goroutine holds from now on what another one locked and
// gave up with [Disown].
//
//go:noinline
func Adopt[L ownable](l L) {
	t, pc := here()
	adopt(t, pc, l)
}

func adopt(t *Task, pc uintptr, l any) {
	m, _ := mapOf(l)
	how := Try
	switch l := l.(type) {
	case *Mutex:
		if l.owner.load() != away {
			t.imbalance(m, "Adopt of a lock that nobody disowned.", pc)
			return
		}
		l.owner.set(t)
	case *RWMutex:
		switch {
		case l.owner.load() == away:
			l.owner.set(t)
		case l.takeAway():
			how |= Shared
		default:
			t.imbalance(m, "Adopt of a lock that nobody disowned.", pc)
			return
		}
	}
	t.Acquire(m, how, pc)
	t.published()
}

// Owe says that the calling goroutine has to bring about what w's waiters wait for: a
// Done, or a Signal.
//
//go:noinline
func Owe[W owable](w W) {
	t, pc := here()
	oweAt(t, pc, w, 1)
}

// Paid undoes one [Owe]. Done of a WaitGroup does it by itself.
//
//go:noinline
func Paid[W owable](w W) {
	t, pc := here()
	oweAt(t, pc, w, -1)
}

func oweAt(t *Task, pc uintptr, w any, delta int) {
	switch w := w.(type) {
	case *WaitGroup:
		w.born(pc)
		t.book1(nil, &w.w, delta, pc)
	case *Cond:
		w.born(pc)
		t.book1(nil, &w.w, delta, pc)
	}
}
