// SPDX-License-Identifier: Apache-2.0

package lockdep

// Acquire says that t is about to take m; call it before the lock is taken, so that a
// report comes before the hang. The site is the caller's program counter or whatever
// [Config.SiteName] understands, 0 if it is not known.
//
// Source: lock_acquire, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) Acquire(m *Map, how How, site uintptr) {
	v := t.v
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	rec := m.record(v, how)
	if rec == nil || how >= badSubclass {
		if rec = t.resolve(m, how); rec == nil {
			return
		}
	}
	n := len(t.held)
	if n >= cap(t.held) && !t.grow() {
		return
	}
	key, ceil := chainStart, t.base
	if n > 0 {
		if top := &t.held[n-1]; top.irq == t.irq {
			key, ceil = top.key, top.ceil
		}
	}
	key = chainNext(key, rec, how, t.irq)
	t.held = t.held[:n+1]
	h := &t.held[n]
	h.rec, h.m, h.key, h.site, h.nest = rec, m, key, site, nil
	h.how, h.refs, h.irq = how, 1, t.irq
	h.ceil = lower(ceil, rec)
	need := t.usageNeeded(how)
	if need&^rec.usage.Load() == 0 && (rec.outer <= ceil || how&Try != 0) &&
		rec.class.Order == nil && (how&(Try|NoCheck) != 0 || v.chainKnown(key)) {
		return
	}
	t.acquireSlow(n, need, ceil)
}

// AcquireNest is [Task.Acquire] for a lock of which several of one class may be
// held at once because nest, held too, keeps others out of them all.
//
// Source: lock_acquire with nest_lock, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) AcquireNest(m, nest *Map, how How, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	rec := t.resolve(m, how)
	if rec == nil {
		return
	}
	n := len(t.held)
	if n > 0 && nest != nil && t.held[n-1].rec == rec && t.held[n-1].nest != nil {
		t.held[n-1].refs++
		t.held[n-1].how |= mergedFlag
		return
	}
	if n >= cap(t.held) && !t.grow() {
		return
	}
	t.held = t.held[:n+1]
	t.held[n] = held{rec: rec, m: m, site: site, nest: nest, how: how, refs: 1}
	t.place(n)
}

// Sync says that t waits for whoever holds m, without taking it: an acquire and a release
// in one.
//
// Source: lock_sync, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) Sync(m *Map, how How, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	t.sync(m, how|syncFlag, site)
}

func (t *Task) sync(m *Map, how How, site uintptr) {
	rec := t.resolve(m, how)
	if rec == nil {
		return
	}
	n := len(t.held)
	if n >= cap(t.held) && !t.grow() {
		t.untracked--
		return
	}
	t.held = t.held[:n+1]
	t.held[n] = held{rec: rec, m: m, site: site, how: how, refs: 1}
	defer func() {
		t.held[n] = held{}
		t.held = t.held[:n]
	}()
	t.place(n)
}

// resolve returns m's class record, or nil if the operation can not be checked.
func (t *Task) resolve(m *Map, how How) *classRec {
	v := t.v
	if v.off.Load() {
		t.untracked++
		return nil
	}
	if how&badSubclass != 0 {
		v.mu.Lock()
		v.reportClassMisuse(t, m, "looking up invalid subclass", "Subclasses are numbered 0 to 7.")
		v.unlockAndDeliver(t)
		t.untracked++
		return nil
	}
	rec := m.record(v, how)
	if rec == nil {
		rec = v.resolve(t, m, how)
	}
	if rec == nil && how&syncFlag == 0 {
		t.untracked++
	}
	return rec
}

// grow makes room for one more held lock, or reports that the task holds too
// many.
func (t *Task) grow() bool {
	v := t.v
	if v.off.Load() {
		t.untracked++
		return false
	}
	if len(t.held) >= v.cfg.MaxDepth {
		v.mu.Lock()
		v.reportLimit(t, limitDepth)
		v.unlockAndDeliver(t)
		t.untracked++
		return false
	}
	bigger := make([]held, len(t.held), min(max(8, 2*cap(t.held)), v.cfg.MaxDepth))
	copy(bigger, t.held)
	t.held = bigger
	return true
}

// place computes key and ceiling of held lock n, whose other fields are set,
// from those below it, and checks it.
func (t *Task) place(n int) {
	h := &t.held[n]
	h.irq = t.irq
	ceil := t.placeOnly(n)
	t.acquireSlow(n, t.usageNeeded(h.how), ceil)
}

// placeOnly computes key and ceiling of held lock n and returns the ceiling
// above it.
func (t *Task) placeOnly(n int) (above WaitType) {
	h := &t.held[n]
	key, ceil := chainStart, t.base
	for i := n - 1; i >= 0 && t.held[i].irq == h.irq; i-- {
		below := &t.held[i]
		if h.how&helpFlag != 0 && below.how&debtFlag != 0 {
			continue
		}
		key, ceil = below.key, below.ceil
		break
	}
	if h.how&helpFlag != 0 {
		key = t.keyWithoutDebts(n)
	}
	how := h.how
	if h.nest != nil {
		how |= nestedFlag
	}
	h.key = chainNext(key, h.rec, how, h.irq)
	h.ceil = lower(ceil, h.rec)
	return ceil
}

// keyWithoutDebts is the chain key of what is held below n, leaving out what is
// owed.
func (t *Task) keyWithoutDebts(n int) uint64 {
	key := chainStart
	irq := t.held[n].irq
	for i := range t.held[:n] {
		if h := &t.held[i]; h.irq == irq && h.how&debtFlag == 0 {
			key = chainNext(key, h.rec, h.how, h.irq)
		}
	}
	return key ^ chainHelp
}

// acquireSlow checks held lock n wherever it is new: usage, wait context, recursion, order.
//
// Source: __lock_acquire and validate_chain, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) acquireSlow(n int, need uint32, ceil WaitType) {
	v, h := t.v, &t.held[n]
	if v.off.Load() {
		return
	}
	newChain := h.how&(Try|NoCheck) == 0 && !v.chainKnown(h.key)
	missing := need &^ h.rec.usage.Load()
	badWait := h.rec.inner != WaitInv && h.rec.outer > ceil && h.how&Try == 0
	recheck := h.rec.class.Order != nil && h.how&(Try|NoCheck) == 0
	if !newChain && missing == 0 && !badWait && !recheck && h.nest == nil {
		return
	}
	checked := false
	defer t.pop(n, &checked)
	v.mu.Lock()
	t.acquiring, v.opSite = true, h.site
	if badWait {
		v.reportWaitContext(t, h)
	}
	var stack stackRef
	if newChain || missing != 0 {
		stack = v.captureStack(h.site)
	}
	if missing != 0 {
		v.mark(t, h, missing, stack)
	}
	if h.nest != nil && t.find(h.nest) < 0 {
		v.reportNestNotHeld(t, h)
	}
	if newChain && !v.chainAdd(t, h.key, stack) {
		newChain = false // another task was faster
	}
	if newChain || recheck {
		v.validate(t, n, stack)
	}
	t.acquiring = false
	v.unlockAndDeliver(t)
	checked = true
}

// pop drops held lock n unless its check ended as it should: a report hook that
// panics, or ends the goroutine, must not leave a lock that is not taken.
func (t *Task) pop(n int, checked *bool) {
	if !*checked {
		t.held[n] = held{}
		t.held = t.held[:n]
	}
}

// validate checks the order of held lock n, whose chain is new. Preconditions: v.mu is
// held.
func (v *Validator) validate(t *Task, n int, stack stackRef) {
	h := &t.held[n]
	switch v.checkRecursion(t, n) {
	case recursionBad:
		return
	case recursionNested:
		h.how |= nestedFlag
		return
	}
	for i := n - 1; i >= 0 && t.held[i].irq == h.irq; i-- {
		prev := &t.held[i]
		if prev.how&NoCheck != 0 || prev.how&debtFlag != 0 && h.how&helpFlag != 0 {
			continue
		}
		v.checkPrev(t, prev, h, stack)
		// A lock that was waited for is linked to all before it, and what is
		// taken under it through it to them. Not so a trylock and a nested
		// lock, which have no links; a recursive read, behind which a
		// path is weak; and a per-CPU lock, which no interrupt rule passes.
		// What is held below them has a link of its own.
		if prev.how&(Try|nestedFlag) == 0 && prev.mode() != Recursive && prev.rec.class.Type != PerCPU {
			break
		}
	}
}

type recursion int

const (
	recursionNone recursion = iota
	recursionNested
	recursionBad
)

// checkRecursion looks for a lock of the same class among those held.
// Preconditions: v.mu is held.
//
// Source: check_deadlock, kernel/locking/lockdep.c, Linux v6.12.
func (v *Validator) checkRecursion(t *Task, n int) recursion {
	h := &t.held[n]
	nest := false
	for i := range t.held[:n] {
		prev := &t.held[i]
		if h.nest != nil && prev.m == h.nest {
			nest = true
		}
		if prev.rec != h.rec || prev.how&NoCheck != 0 ||
			prev.how&debtFlag != 0 && h.how&helpFlag != 0 {
			continue
		}
		if h.mode() == Recursive && prev.mode() != Exclusive || ordered(prev, h) {
			continue
		}
		if nest {
			return recursionNested
		}
		v.reportRecursion(t, prev, h, t.held[:n])
		return recursionBad
	}
	return recursionNone
}

// Release says that t releases m. Call it before the lock is released.
//
// Source: lock_release, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) Release(m *Map, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	if n := len(t.held) - 1; n >= 0 {
		if h := &t.held[n]; h.m == m && h.refs == 1 && h.how&debtFlag == 0 {
			h.m = nil
			t.held = t.held[:n]
			return
		}
	}
	t.releaseSlow(m, site)
}

func (t *Task) releaseSlow(m *Map, site uintptr) {
	v := t.v
	i := t.find(m)
	if i < 0 {
		if v.off.Load() {
			return
		}
		if t.untracked > 0 {
			t.untracked--
			return
		}
		v.mu.Lock()
		v.opSite = site
		v.reportImbalance(t, m, site, "")
		v.unlockAndDeliver(t)
		return
	}
	if t.held[i].refs > 1 {
		t.held[i].refs--
		return
	}
	t.remove(i)
}

// find returns the index of the newest entry for m, or of one into which m was
// merged, or -1.
func (t *Task) find(m *Map) int {
	for i := len(t.held) - 1; i >= 0; i-- {
		if t.held[i].m == m && t.held[i].how&debtFlag == 0 {
			return i
		}
	}
	for i := len(t.held) - 1; i >= 0; i-- {
		if h := &t.held[i]; h.how&mergedFlag != 0 && h.rec == m.record(t.v, 0) {
			return i
		}
	}
	return -1
}

// remove takes entry i out and acquires those above it again, as they depend on
// less now.
//
// Source: reacquire_held_locks, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) remove(i int) {
	last := len(t.held) - 1
	copy(t.held[i:], t.held[i+1:])
	t.held[last] = held{}
	t.held = t.held[:last]
	for ; i < len(t.held); i++ {
		t.placeOnly(i)
		t.revalidate(i)
	}
}

// revalidate checks the chain of entry i after one below it went.
func (t *Task) revalidate(i int) {
	v, h := t.v, &t.held[i]
	if h.how&(Try|NoCheck) != 0 || v.off.Load() || v.chainKnown(h.key) {
		return
	}
	v.mu.Lock()
	stack := v.captureStack(h.site)
	if v.chainAdd(t, h.key, stack) {
		v.validate(t, i, stack)
	}
	v.unlockAndDeliver(t)
}

// Transfer moves m from t to another task, for a lock that one goroutine takes and another
// releases. Dependencies that m took part in stay learned; those of the
// receiver begin with its next acquire. The call is for t's goroutine; the receiver
// sees m as held from its next operation on.
func (t *Task) Transfer(m *Map, to *Task, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	i := t.find(m)
	if i < 0 {
		t.releaseSlow(m, site)
		return
	}
	how := t.held[i].how &^ nestedFlag
	if t.held[i].refs > 1 {
		t.held[i].refs--
	} else {
		t.remove(i)
	}
	to.post(inboxEntry{m: m, how: how | Try, delta: 1, site: site})
}

// Reinit gives m a class anew, or the same; if t holds m this is a lock freed while held.
//
// Source: lockdep_init_map and debug_check_no_locks_freed, Linux v6.12.
func (t *Task) Reinit(m *Map, class *Class, site uintptr) {
	t.Freed(m, site)
	m.Init(class)
}

// Freed says that the memory of m is about to be used for something else. A lock that t
// holds, or on a serial validator that any task holds, is reported, and stays held until it is released.
func (t *Task) Freed(m *Map, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() || t.v.off.Load() {
		return
	}
	v := t.v
	owners := []*Task{t}
	if v.cfg.Serial {
		owners = v.tasks[:v.numTasks]
	}
	for _, owner := range owners {
		if i := owner.find(m); i >= 0 {
			v.mu.Lock()
			v.opSite = site
			v.reportFreed(t, owner, &owner.held[i])
			v.unlockAndDeliver(t)
		}
	}
}

// Exit says that t's thread of control ends. Locks still held and events still
// owed are reported; the handle may be used again.
//
// Source: debug_check_no_locks_held, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) Exit(site uintptr) {
	if t.attention.Load() != 0 && !t.attend() || t.v.off.Load() {
		return
	}
	if len(t.held) > 0 {
		t.v.mu.Lock()
		t.v.opSite = site
		t.v.reportStillHeld(t)
		t.v.unlockAndDeliver(t)
	}
	t.reset()
	t.updateContext()
}

// lower returns the ceiling under a lock of class rec.
func lower(ceil WaitType, rec *classRec) WaitType {
	if rec.inner == WaitInv || rec.inner >= ceil && rec.class.Type != WaitOverride {
		return ceil
	}
	return rec.inner
}
