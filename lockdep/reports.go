// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"fmt"
	"strings"
)

// The reports, one function each. All run under v.mu and queue what they wrote. The
// layouts are those of print_*_bug in kernel/locking/lockdep.c, Linux v6.12.

func (v *Validator) reportRecursion(t *Task, prev, next *held, heldList []held) {
	if !v.fresh(Recursion, prev.rec.idx, next.rec.idx) {
		return
	}
	p := v.newPage(t, Recursion, "WARNING: possible recursive locking detected", '-')
	p.held = heldList
	p.names(next.rec, prev.rec)
	p.certain = prev.m == next.m && next.how&Try == 0 &&
		(prev.mode() == Exclusive || next.mode() == Exclusive)
	p.line("%s is trying to acquire lock:", p.comm())
	p.line("%s", p.lock(next))
	p.line("")
	p.line("but task is already holding lock:")
	p.line("%s", p.lock(prev))
	if order := next.rec.class.Order; order != nil {
		p.line("and the lock comparison function returns %d:", order(prev.m, next.m))
	}
	p.line("")
	p.line("other info that might help us debug this:")
	p.line(" Possible unsafe locking scenario:")
	p.line("")
	p.line("       CPU0")
	p.line("       ----")
	p.line("  lock(%s);", v.name(prev.rec))
	p.line("  lock(%s);", v.name(next.rec))
	p.line("")
	p.line(" *** DEADLOCK ***")
	p.line("")
	p.line(" May be due to missing lock nesting notation")
	p.line("")
	p.heldLocks()
	p.done()
}

// reportCircular reports that next, taken under prev, closes the path from next's class to
// prev's.
func (v *Validator) reportCircular(t *Task, prev, next *held, path []node) {
	if !v.fresh(Circular, prev.rec.idx, next.rec.idx) {
		return
	}
	p := v.newPage(t, Circular, "WARNING: possible circular locking dependency detected", '-')
	p.names(next.rec, prev.rec)
	p.line("%s is trying to acquire lock:", p.comm())
	p.line("%s", p.lock(next))
	p.line("")
	p.line("but task is already holding lock:")
	p.line("%s", p.lock(prev))
	p.line("")
	p.line("which lock already depends on the new lock.")
	p.line("")
	p.line("")
	p.line("the existing dependency chain (in reverse order) is:")
	recs := make([]*classRec, len(path))
	for i := len(path) - 1; i >= 0; i-- {
		n := path[i]
		recs[i] = n.rec
		p.line("")
		p.line("-> #%d%s:", i, v.lockName(n.rec))
		if n.edge >= 0 {
			p.stackLines(v.frames(v.edges[n.edge].stack), 6)
		} else {
			p.stackLines(p.stack, 6)
		}
	}
	p.line("")
	p.line("other info that might help us debug this:")
	p.line("")
	if n := len(recs); n > 2 {
		p.chainExists(recs[0], recs[n-2], recs[n-1])
	}
	p.circularScenario(prev, next, recs)
	p.heldLocks()
	p.done()
}

func (p *page) circularScenario(prev, next *held, path []*classRec) {
	parent := next.rec
	if len(path) > 1 {
		parent = path[len(path)-2]
	}
	const cpu1 = "                               "
	hold, take := "lock", "lock"
	if prev.mode() != Exclusive {
		hold = "rlock"
	}
	if next.mode() != Exclusive {
		take = "rlock"
	} else if next.how&syncFlag != 0 {
		take = "sync"
	}
	p.line(" Possible unsafe locking scenario:")
	p.line("")
	p.line("       CPU0                    CPU1")
	p.line("       ----                    ----")
	p.line("  %s(%s);", hold, p.v.name(prev.rec))
	p.line("%slock(%s);", cpu1, p.v.name(parent))
	p.line("%slock(%s);", cpu1, p.v.name(prev.rec))
	p.line("  %s(%s);", take, p.v.name(next.rec))
	p.line("")
	p.line(" *** DEADLOCK ***")
	p.line("")
}

// irqContext is CTX: the interrupt state of the task.
func (p *page) irqContext() string {
	h, s, he, se := 0, 0, 0, 0
	if p.t.irq&irqHard != 0 {
		h = 1
	}
	if p.t.irq&irqSoft != 0 {
		s = 1
	}
	if !p.t.hardirqsOff {
		he = 1
	}
	if !p.t.softirqsOff {
		se = 1
	}
	return fmt.Sprintf("[HC%d[%d]:SC%d[%d]:HE%d:SE%d]", h, len(p.t.hardirqs), s, p.t.softirqs, he, se)
}

// irqEvents prints when the interrupt state changed last.
func (p *page) irqEvents() {
	t := p.t
	p.line("irq event stamp: %d", t.events)
	for _, e := range []struct {
		what string
		ev   irqEvent
	}{
		{"hardirqs last  enabled", t.hardirqEvent[1]},
		{"hardirqs last disabled", t.hardirqEvent[0]},
		{"softirqs last  enabled", t.softirqEvent[1]},
		{"softirqs last disabled", t.softirqEvent[0]},
	} {
		where := "never"
		if e.ev.stamp != 0 {
			where = p.v.siteName(e.ev.site)
		}
		p.line("%s at (%d): %s", e.what, e.ev.stamp, where)
	}
}

// reportUsage reports that h's class has usage old and now gets the conflicting usage bit.
func (v *Validator) reportUsage(t *Task, h *held, old, bit int) {
	if !v.fresh(Inconsistent, h.rec.idx, uint32(bit)) {
		return
	}
	p := v.newPage(t, Inconsistent, "WARNING: inconsistent lock state", '-')
	p.names(h.rec)
	p.line("inconsistent {%s} -> {%s} usage.", usageNames[old], usageNames[bit])
	p.line("%s %s takes:", p.comm(), p.irqContext())
	p.line("%s", p.lock(h))
	p.line("{%s} state was registered at:", usageNames[old])
	p.stackLines(v.frames(h.rec.usageStack[old]), 1)
	p.irqEvents()
	p.line("")
	p.line("other info that might help us debug this:")
	p.line(" Possible unsafe locking scenario:")
	p.line("")
	p.line("       CPU0")
	p.line("       ----")
	p.line("  lock(%s);", v.name(h.rec))
	p.line("  <Interrupt>")
	p.line("    lock(%s);", v.name(h.rec))
	p.line("")
	p.line(" *** DEADLOCK ***")
	p.line("")
	p.heldLocks()
	p.done()
}

// irqName is HARDIRQ or SOFTIRQ, with -READ for a reading usage.
func irqName(bit int) string {
	s := "HARDIRQ"
	if bit&usageSoftirq != 0 {
		s = "SOFTIRQ"
	}
	if bit&usageRead != 0 {
		s += "-READ"
	}
	return s
}

// reportInversion reports that the new state of h's class is at odds with the state match of a
// class at node found, after it on a path if forward and before it if not.
func (v *Validator) reportInversion(t *Task, h *held, found int, forward bool, match int) {
	path := v.search.path(found)
	other := path[len(path)-1].rec
	if !v.fresh(Inversion, h.rec.idx, other.idx) {
		return
	}
	p := v.newPage(t, Inversion, "WARNING: possible irq lock inversion dependency detected", '-')
	p.names(h.rec, other)
	p.line("%s just changed the state of lock:", p.comm())
	p.line("%s", p.lock(h))
	if forward {
		p.line("but this lock took another, %s-unsafe lock in the past:", irqName(match))
	} else {
		p.line("but this lock was taken by another, %s-safe lock in the past:", irqName(match))
	}
	p.line("%s", v.lockName(other))
	p.line("")
	p.line("")
	p.line("and interrupts could create inverse lock ordering between them.")
	p.line("")
	p.line("")
	p.line("other info that might help us debug this:")
	middle := h.rec // the neighbour of this lock on the path
	if len(path) > 1 {
		middle = path[1].rec
	}
	if forward {
		p.irqScenario(h.rec, middle, other)
	} else {
		p.irqScenario(other, middle, h.rec)
	}
	p.heldLocks()
	p.line("")
	p.line("the shortest dependencies between 2nd lock and 1st lock:")
	p.dependencies(path)
	p.end()
}

// irqScenario prints how an interrupt closes the path from a safe lock to an
// unsafe one.
func (p *page) irqScenario(safe, middle, unsafe *classRec) {
	const cpu1 = "                               "
	if middle == safe {
		middle = unsafe
	}
	if middle != unsafe {
		p.chainExists(safe, middle, unsafe)
	}
	p.line(" Possible interrupt unsafe locking scenario:")
	p.line("")
	p.line("       CPU0                    CPU1")
	p.line("       ----                    ----")
	p.line("  lock(%s);", p.v.name(unsafe))
	p.line("%slocal_irq_disable();", cpu1)
	p.line("%slock(%s);", cpu1, p.v.name(safe))
	p.line("%slock(%s);", cpu1, p.v.name(middle))
	p.line("  <Interrupt>")
	p.line("    lock(%s);", p.v.name(safe))
	p.line("")
	p.line(" *** DEADLOCK ***")
	p.line("")
}

// dependencies prints the classes on a path, leaf first, each with where it was used how
// and where the edge to it was made.
func (p *page) dependencies(path []node) {
	for i := len(path) - 1; i >= 0; i-- {
		n := path[i]
		pad := strings.Repeat(" ", len(path)-1-i)
		p.line("%s->%s {", pad, p.v.lockName(n.rec))
		usage := n.rec.usage.Load()
		for bit := range usageBits {
			if usage&(1<<bit) != 0 {
				p.line("%s   %s at:", pad, usageNames[bit])
				p.stackLines(p.v.frames(n.rec.usageStack[bit]), len(pad)+5)
			}
		}
		p.line("%s }", pad)
		if n.edge >= 0 {
			p.line("%s ... acquired at:", pad)
			p.stackLines(p.v.frames(p.v.edges[n.edge].stack), len(pad)+1)
		}
	}
}

// reportIRQOrder reports that prev -> next joins a class used in an interrupt to one
// held with that interrupt enabled. The paths run from prev backwards and from next
// forwards.
func (v *Validator) reportIRQOrder(t *Task, prev, next *held, safe, unsafe []node, used, enabled uint32) {
	safeRec, unsafeRec := safe[len(safe)-1].rec, unsafe[len(unsafe)-1].rec
	if !v.fresh(IRQOrder, safeRec.idx, unsafeRec.idx) {
		return
	}
	safeBit, unsafeBit := exclusivePair(used, enabled)
	irq := irqName(safeBit &^ usageRead)
	p := v.newPage(t, IRQOrder, fmt.Sprintf("WARNING: %s-safe -> %s-unsafe lock order detected", irq, irq), '-')
	p.names(next.rec, prev.rec)
	p.line("%s %s is trying to acquire:", p.comm(), p.irqContext())
	p.line("%s", p.lock(next))
	p.line("")
	p.line("and this task is already holding:")
	p.line("%s", p.lock(prev))
	p.line("which would create a new lock dependency:")
	p.line("%s ->%s", v.lockName(prev.rec), v.lockName(next.rec))
	p.line("")
	p.line("but this new dependency connects a %s-irq-safe lock:", irq)
	p.line("%s", v.lockName(safeRec))
	p.line("")
	p.line("... which became %s-irq-safe at:", irq)
	p.stackLines(v.frames(safeRec.usageStack[safeBit]), 1)
	p.line("")
	p.line("to a %s-irq-unsafe lock:", irq)
	p.line("%s", v.lockName(unsafeRec))
	p.line("")
	p.line("... which became %s-irq-unsafe at:", irq)
	p.line("...")
	p.stackLines(v.frames(unsafeRec.usageStack[unsafeBit]), 1)
	p.line("")
	p.line("other info that might help us debug this:")
	p.line("")
	middle := prev.rec
	if middle == safeRec {
		middle = next.rec
	}
	p.irqScenario(safeRec, middle, unsafeRec)
	p.heldLocks()
	p.line("")
	p.line("the dependencies between %s-irq-safe lock and the holding lock:", irq)
	p.dependencies(safe)
	p.line("")
	p.line("the dependencies between the lock to be acquired and %s-irq-unsafe lock:", irq)
	p.dependencies(unsafe)
	p.done()
}

// exclusivePair picks the first used-in bit and an enabled bit that exclude each
// other.
func exclusivePair(used, enabled uint32) (usedBit, enabledBit int) {
	for u := range usageUsed {
		if used&(1<<u) == 0 || u&usageEnabled != 0 {
			continue
		}
		excl := exclusiveBit(u)
		if enabled&(1<<excl) != 0 {
			return u, excl
		}
		if enabled&(1<<(excl|usageRead)) != 0 {
			return u, excl | usageRead
		}
	}
	return 0, usageEnabled
}

func (v *Validator) reportWaitContext(t *Task, h *held) {
	below := uint32(t.irq)
	if n := len(t.held); n > 1 {
		below = t.held[n-2].rec.idx + 4
	}
	if !v.fresh(WaitContext, h.rec.idx, below) {
		return
	}
	p := v.newPage(t, WaitContext, "[ BUG: Invalid wait context ]", '-')
	p.names(h.rec)
	p.line("%s is trying to lock:", p.comm())
	p.line("%s", p.lock(h))
	p.line("other info that might help us debug this:")
	base := v.waitNumber(t.base)
	p.line("context-{%d:%d}", base, base)
	p.heldLocks()
	p.end()
}

// reportImbalance reports a release of what is not held; why may say more.
func (v *Validator) reportImbalance(t *Task, m *Map, site uintptr, why string) {
	var idx uint32
	name := "?"
	rec := m.record(v, 0)
	if rec != nil {
		idx, name = rec.idx, v.name(rec)
	} else if m.class != nil {
		name = m.class.Name
	}
	if !v.fresh(Imbalance, idx, 0) {
		return
	}
	p := v.newPage(t, Imbalance, "WARNING: bad unlock balance detected!", '-')
	p.classes = []string{name}
	p.line("%s is trying to release lock (%s) at:", p.comm(), name)
	p.line("%s", p.here(site))
	p.line("but there are no more locks to release!")
	if why != "" {
		p.line("%s", why)
	}
	p.line("")
	p.line("other info that might help us debug this:")
	p.heldLocks()
	p.done()
}

// here is the present site: as given, or from the stack.
func (p *page) here(site uintptr) string {
	if site == 0 && len(p.stack) > 0 {
		return p.stack[0]
	}
	return p.v.siteName(site)
}

func (v *Validator) reportFreed(t, owner *Task, h *held) {
	if !v.fresh(HeldFreed, h.rec.idx, 0) {
		return
	}
	p := v.newPage(t, HeldFreed, "WARNING: held lock freed!", '-')
	p.held = owner.held
	p.names(h.rec)
	inst := v.instance(h.m)
	p.line("%s is freeing memory %s-%s, with a lock still held there!", p.comm(), inst, inst)
	p.line("%s", p.lock(h))
	p.heldBy(owner)
	p.done()
}

// heldBy is HELD for another task than the page's.
func (p *page) heldBy(owner *Task) {
	t := p.t
	p.t = owner
	p.heldLocks()
	p.t = t
}

func (v *Validator) reportNestNotHeld(t *Task, h *held) {
	if !v.fresh(NestNotHeld, h.rec.idx, 0) {
		return
	}
	p := v.newPage(t, NestNotHeld, "WARNING: Nested lock was not taken", '-')
	p.names(h.rec)
	p.line("%s is trying to lock:", p.comm())
	p.line("%s", p.lock(h))
	p.line("")
	p.line("but this task is not holding:")
	if c := h.nest.class; c != nil {
		p.line("%s", c.Name)
	} else {
		p.line("(a lock without a class)")
	}
	p.line("")
	p.backtrace()
	p.line("")
	p.line("other info that might help us debug this:")
	p.heldLocks()
	p.done()
}

func (v *Validator) reportStillHeld(t *Task) {
	if !v.fresh(StillHeld, t.held[0].rec.idx, uint32(len(t.held))) {
		return
	}
	p := v.newPage(t, StillHeld, fmt.Sprintf("WARNING: %s/%d still has locks held!", t.name, t.id), '-')
	for i := range t.held {
		p.names(t.held[i].rec)
	}
	p.heldLocks()
	p.done()
}

// reportClassMisuse reports a lock that can not be given a class.
func (v *Validator) reportClassMisuse(t *Task, m *Map, what, why string) {
	name := ""
	if m.class != nil {
		name = m.class.Name
	}
	var idx uint32
	for _, c := range []byte(what + name) {
		idx = idx*16777619 ^ uint32(c)
	}
	if !v.fresh(ClassMisuse, idx, 0) {
		return
	}
	p := v.newPage(t, ClassMisuse, "INFO: "+what, '-')
	if name != "" {
		p.classes = []string{name}
	}
	p.line("%s uses the lock %s.", p.comm(), v.instance(m))
	p.line("%s", why)
	p.line("The code is fine but needs lockdep annotation, or maybe")
	p.line("you didn't initialize this object before use?")
	p.line("This operation is not checked.")
	p.done()
}

// reportLimit reports a full table, once.
func (v *Validator) reportLimit(t *Task, l limit) {
	if !v.fresh(Limit, uint32(l), 0) {
		return
	}
	texts := [...]struct {
		name string
		max  int
		then string
	}{
		limitClasses: {"MAX_LOCKDEP_KEYS", v.cfg.MaxClasses, "Locks of further classes are not checked."},
		limitEdges:   {"MAX_LOCKDEP_ENTRIES", v.cfg.MaxEdges, "Further dependencies are checked against those known, and not recorded."},
		limitChains:  {"MAX_LOCKDEP_CHAINS", v.cfg.MaxChains, "Further chains are checked in full each time."},
		limitDepth:   {"MAX_LOCK_DEPTH", v.cfg.MaxDepth, "Locks that this task takes beyond that are not checked."},
		limitStacks:  {"MAX_STACK_TRACE_ENTRIES", v.cfg.MaxStackWords, "Further reports name fewer call sites."},
	}
	x := texts[l]
	p := v.newPage(t, Limit, fmt.Sprintf("BUG: %s too low!", x.name), '-')
	p.line("The table holds %d.", x.max)
	p.line("%s", x.then)
	if t != nil && l == limitDepth {
		p.heldLocks()
	}
	p.done()
}
