// SPDX-License-Identifier: Apache-2.0

package lockdep

import "slices"

// A WaitMap is something that tasks wait for and that certain tasks have to bring
// about: the direct I/O in flight on an inode, a completion, a WaitGroup, a
// channel. Who owes the event holds the map shared, from the moment on from which only it can bring
// the event about; who waits acquires it exclusively for no time. So a task that waits for what
// it owes itself is a recursion, and a lock held across a wait that the
// payer needs is a cycle, and both are reported without anything having to
// hang.
//
// Owing does not wait: it adds no dependency from what the task holds at that moment.
// Who owes is always said, never guessed.
//
// Source: the annotation of i_dio_count in the thread about IOCB_DIO_CALLER_COMP
// (linux-fsdevel, October 2023); reference/kernel-semantics.md, A4.4.
type WaitMap struct {
	Map
}

const oweHow = Shared | Try | debtFlag

// Owe says that t owes one more event of w. It may be called by any goroutine.
func (w *WaitMap) Owe(t *Task, site uintptr) {
	t.post(inboxEntry{m: &w.Map, how: oweHow, delta: 1, site: site})
}

// Paid says that an event that t owed has come about. It may be called by any goroutine. An
// event that t does not owe is reported.
func (w *WaitMap) Paid(t *Task, site uintptr) {
	t.post(inboxEntry{m: &w.Map, how: oweHow, delta: -1, site: site})
}

// HandOver moves one event from who owed it to who owes it now, as when the work that brings it
// about is queued to another task.
func (w *WaitMap) HandOver(from, to *Task, site uintptr) {
	w.Paid(from, site)
	w.Owe(to, site)
}

// Wait says that t is about to wait until nobody owes an event of w, and that while it waits it
// does nothing else. The wait is over with t's next operation. Call it before the
// wait.
func (w *WaitMap) Wait(t *Task, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	t.sync(&w.Map, Exclusive|syncFlag, site)
	t.announceWait(&w.Map, site)
}

// WaitHelping is [WaitMap.Wait] for a task that while it waits brings about what it owes
// itself, so that neither this event nor any other that it owes can be held up.
// What it has locked still counts.
func (w *WaitMap) WaitHelping(t *Task, site uintptr) {
	if t.attention.Load() != 0 && !t.attend() {
		return
	}
	t.sync(&w.Map, Exclusive|syncFlag|helpFlag, site)
}

// Owed returns how many events of w t owes. For t's goroutine.
func (w *WaitMap) Owed(t *Task) int {
	if t.attention.Load() != 0 {
		t.attend()
	}
	return t.owed(&w.Map)
}

// announceWait lets others see what t waits for, so that a debt that is handed to
// it only then is noticed.
func (t *Task) announceWait(m *Map, site uintptr) {
	t.inbox.mu.Lock()
	t.inbox.waiting, t.inbox.waitSub, t.inbox.waitSite = m.fam.Load(), m.subclass(0), site
	t.attention.Or(attentionWaiting)
	var late *Map
	var owedAt uintptr
	for _, e := range t.inbox.entries {
		if e.how&debtFlag != 0 && e.delta > 0 && t.waitsForLocked(e.m) {
			late, owedAt = e.m, e.site
		}
	}
	t.inbox.mu.Unlock()
	if late != nil {
		t.reportLateDebt(late, owedAt, site)
	}
}

// waitsForLocked reports whether t has announced to wait for m's class.
// Preconditions: t.inbox.mu is held.
func (t *Task) waitsForLocked(m *Map) bool {
	return t.inbox.waiting != nil && t.inbox.waiting.class == m.class && t.inbox.waitSub == m.subclass(0)
}

// post books e to t: at once if the validator is serial, or else with t's next
// operation. Debts that come and go in between cancel out.
func (t *Task) post(e inboxEntry) {
	if t.v.off.Load() {
		return
	}
	if t.v.cfg.Serial {
		if t.attention.Load()&attentionHook == 0 {
			waits := e.delta > 0 && e.how&debtFlag != 0 && t.waitsForLocked(e.m)
			t.apply(e)
			if waits {
				t.reportLateDebt(e.m, e.site, t.inbox.waitSite)
			}
		}
		return
	}
	t.inbox.mu.Lock()
	waits := e.how&debtFlag != 0 && e.delta > 0 && t.waitsForLocked(e.m)
	waitedAt := t.inbox.waitSite
	t.inbox.add(e)
	t.attention.Or(attentionInbox)
	t.inbox.mu.Unlock()
	if waits {
		t.reportLateDebt(e.m, e.site, waitedAt)
	}
}

// add appends e, or joins it with a debt of the same instance. Preconditions:
// in.mu is held.
func (in *inbox) add(e inboxEntry) {
	if e.how&debtFlag != 0 {
		for i := len(in.entries) - 1; i >= 0; i-- {
			old := &in.entries[i]
			if old.m != e.m || old.how&debtFlag == 0 {
				continue
			}
			if old.delta < 0 && e.delta > 0 {
				break // what was paid before was owed before that
			}
			if old.delta += e.delta; old.delta == 0 {
				in.entries = append(in.entries[:i], in.entries[i+1:]...)
			}
			return
		}
	}
	in.entries = append(in.entries, e)
}

// drainInbox applies what others booked. The wait that t may have announced is
// over.
func (t *Task) drainInbox() {
	t.inbox.mu.Lock()
	t.attention.And(^uint32(attentionInbox | attentionWaiting))
	t.inbox.waiting = nil
	t.draining, t.inbox.entries = t.inbox.entries, t.draining[:0]
	t.inbox.mu.Unlock()
	for i := 0; i < len(t.draining); i++ {
		t.apply(t.draining[i])
	}
	clear(t.draining)
	t.draining = t.draining[:0]
}

// apply books e on t's own list.
func (t *Task) apply(e inboxEntry) {
	switch {
	case e.drop:
		if i := t.find(e.m); i >= 0 {
			t.remove(i)
		}
	case e.delta < 0:
		for range -e.delta {
			t.unbook(e)
		}
	default:
		t.book(e)
	}
}

// book enters a debt, or a lock that was transferred, in t's list.
func (t *Task) book(e inboxEntry) {
	rec := t.resolve(e.m, e.how)
	if rec == nil {
		return
	}
	debt := e.how&debtFlag != 0
	if debt {
		t.addDebt(e.m, e.delta)
		if i := t.findDebt(rec); i >= 0 {
			t.held[i].refs += uint32(e.delta)
			return
		}
	}
	if len(t.held) >= cap(t.held) && !t.grow() {
		if debt {
			t.addDebt(e.m, -e.delta)
		}
		return
	}
	// Entries of one interrupt context are contiguous, and what is booked
	// belongs to none: it goes below those of interrupts.
	at := len(t.held)
	for at > 0 && t.held[at-1].irq != 0 {
		at--
	}
	t.held = t.held[:len(t.held)+1]
	copy(t.held[at+1:], t.held[at:])
	t.held[at] = held{rec: rec, m: e.m, site: e.site, how: e.how, refs: uint32(e.delta)}
	t.placeOnly(at)
	if rec.usage.Load()&(1<<usageUsedRead) == 0 {
		t.v.mu.Lock()
		t.v.mark(t, &t.held[at], 1<<usageUsedRead, t.v.captureStack(e.site))
		t.v.unlockAndDeliver(t)
	}
}

// unbook takes one debt off t's list.
func (t *Task) unbook(e inboxEntry) {
	rec := e.m.record(t.v, 0)
	i := -1
	if rec != nil {
		i = t.findDebt(rec)
	}
	if i < 0 || t.owed(e.m) == 0 {
		if t.untracked > 0 {
			t.untracked--
			return
		}
		t.v.mu.Lock()
		t.v.opSite = e.site
		t.v.reportImbalance(t, e.m, e.site, "The task does not owe this event.")
		t.v.unlockAndDeliver(t)
		return
	}
	if t.addDebt(e.m, -1); t.held[i].m == e.m {
		t.renameDebt(i)
	}
	if t.held[i].refs--; t.held[i].refs == 0 {
		t.remove(i)
	}
}

// renameDebt lets entry i stand for the oldest instance of its class that t still
// owes.
func (t *Task) renameDebt(i int) {
	for _, d := range t.debts {
		if d.m.record(t.v, 0) == t.held[i].rec {
			t.held[i].m = d.m
			return
		}
	}
}

// owed returns how many events of m are in t's list.
func (t *Task) owed(m *Map) int {
	for _, d := range t.debts {
		if d.m == m {
			return d.events
		}
	}
	return 0
}

// addDebt changes the number of events of m in t's list.
func (t *Task) addDebt(m *Map, delta int) {
	for i := range t.debts {
		d := &t.debts[i]
		if d.m != m {
			continue
		}
		if d.events += delta; d.events == 0 {
			t.debts = slices.Delete(t.debts, i, i+1)
		}
		return
	}
	t.debts = append(t.debts, debt{m, delta})
}

// findDebt returns the index of the entry for debts of class rec, or -1.
func (t *Task) findDebt(rec *classRec) int {
	for i := range t.held {
		if t.held[i].how&debtFlag != 0 && t.held[i].rec == rec {
			return i
		}
	}
	return -1
}

// reportLateDebt reports a debt that was handed to t while t waits for it. It may
// run on another goroutine, so it must not touch what t holds.
func (t *Task) reportLateDebt(m *Map, owed, waited uintptr) {
	v := t.v
	if m.record(v, 0) == nil && v.resolve(nil, m, 0) == nil {
		return
	}
	rec := m.record(v, 0)
	debt := held{rec: rec, m: m, site: owed, how: oweHow, refs: 1}
	wait := held{rec: rec, m: m, site: waited, how: syncFlag, refs: 1}
	v.mu.Lock()
	v.opSite = owed
	v.reportRecursion(t, &debt, &wait, []held{debt})
	v.unlockAndDeliver(nil)
}
