// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync"
	"sync/atomic"

	"endio/lockdep"
	"endio/machine"
)

// A waiter is one goroutine that sleeps until it is woken, on a channel or in a
// port. The one who wakes does not know which: see wake.
type waiter struct {
	note  lockdep.Chan[struct{}] // has room for one
	woken atomic.Bool
	in    atomic.Pointer[Port] // the port that the waiter leads, while it does

	queue   link // in the list of who waits for one thing
	willing link // in the list of who would lead any port
	owed    link // in the list of who waits for what it owes itself
}

// A link makes a waiter a member of one list.
type link struct {
	w          *waiter
	next, prev *link
	linked     bool
}

var waiters = sync.Pool{New: func() any {
	w := &waiter{note: lockdep.NewChan[struct{}](1)}
	w.note.SetClass(className(noteWait))
	w.queue.w, w.willing.w, w.owed.w = w, w, w
	return w
}}

func newWaiter() *waiter { return waiters.Get().(*waiter) }

// free returns w to the pool. Nobody may wake it any more.
func (w *waiter) free() {
	w.drainNote()
	w.woken.Store(false)
	waiters.Put(w)
}

// wake ends w's sleep, now or when it begins. Waker and sleeper each write one
// word and then read the other's (woken and in), so one of them sees the other.
func (w *waiter) wake() {
	if w.woken.Swap(true) {
		return // someone else has woken it, and it has not slept since
	}
	for p := w.in.Load(); p != nil; p = w.in.Load() {
		p.wakers.Add(1) // holds up ClosePort
		p.waking.Owe(nil)
		leads := w.in.Load() == p
		if leads {
			p.dev.wake()
		}
		p.waking.Paid(nil)
		p.wakers.Add(-1)
		if leads {
			return
		}
	}
	select {
	case w.note.C() <- struct{}{}:
	default:
	}
}

// sleep returns when w was woken or has reaped something.
//
// If it has a port of its own (own), it leads that, or waits for a note. Else it
// leads any port that has requests in flight and no leader; but a thread with a port of its
// own leads that. It can wait in one only: while it sleeps, the monitor reaps those that nobody waits in.
func (w *waiter) sleep(m *Machine, own *Port) {
	if w.woken.Swap(false) {
		w.drainNote()
		return
	}
	w.note.WaitRecv() // whether it sleeps on the channel or in a port
	if own != nil {
		w.sleepAt(own)
		return
	}
	m.sleeping.Add(1)
	defer m.sleeping.Add(-1)
	m.watch()
	if p := m.ownPort(); p != nil {
		w.sleepAt(p) // others may wait for what only this thread can bring
		return
	}
	if p := m.lead(w); p != nil {
		w.leadOnce(p)
		return
	}
	// m.lead has put w among the willing: a leader that leaves wakes one.
	w.note.Recv()
	w.woken.Store(false)
	m.willing.remove(&w.willing)
}

// sleepAt is sleep for a waiter that only leads p: it must not be away in another
// port when p needs it.
func (w *waiter) sleepAt(p *Port) {
	p.led.Wait(nil) // whether somebody leads just now or not
	if !p.leadMu.TryLock() {
		p.followers.add(&w.willing)
		// A leader that left before w was added has not seen it.
		if !p.leadMu.TryLock() {
			p.Flush() // what was submitted without; the leader is in the kernel already
			w.note.Recv()
			w.woken.Store(false)
			p.followers.remove(&w.willing)
			return
		}
		p.followers.remove(&w.willing)
	}
	w.leadOnce(p)
}

// leadOnce waits in p, whose leadMu w has locked, until something can be reaped,
// reaps it and leaves.
func (w *waiter) leadOnce(p *Port) {
	w.in.Store(p)
	if !w.woken.Load() {
		p.wait()
	}
	// Before reaping: news that w brings to itself needs no message.
	w.in.Store(nil)
	p.reap()
	w.woken.Store(false)
	w.drainNote()
	p.leave()
}

func (w *waiter) drainNote() {
	select {
	case <-w.note.C():
	default:
	}
}

// A waiterList is a list of waiters with its own lock.
type waiterList struct {
	n    atomic.Int32 // length, to make looking into an empty list cheap
	mu   lockdep.Mutex
	news lockdep.IOMap // owed by who is about to wake members
	head *link         // guarded by mu, as are the links of the members
}

// name gives the list's lock a class of its own, and its members' waits theirs.
func (l *waiterList) name(lock string) {
	nameLock(&l.mu, lock)
	l.news.SetClass(className(noteWait))
}

func (l *waiterList) add(k *link) {
	l.n.Add(1)
	l.mu.Lock()
	k.prev, k.next, k.linked = nil, l.head, true
	if l.head != nil {
		l.head.prev = k
	}
	l.head = k
	l.mu.Unlock()
}

func (l *waiterList) remove(k *link) {
	l.mu.Lock()
	if k.linked {
		if k.prev != nil {
			k.prev.next = k.next
		} else {
			l.head = k.next
		}
		if k.next != nil {
			k.next.prev = k.prev
		}
		k.next, k.prev, k.linked = nil, nil, false
		l.n.Add(-1)
	}
	l.mu.Unlock()
}

// wakeOne wakes a member and reports whether there was one. It stays a member:
// it takes itself off.
func (l *waiterList) wakeOne() bool {
	if l.n.Load() == 0 {
		return false
	}
	l.news.Owe(nil)
	l.mu.Lock()
	head := l.head
	if head != nil {
		head.w.wake()
	}
	l.mu.Unlock()
	l.news.Paid(nil)
	return head != nil
}

// wakeAll wakes all members.
func (l *waiterList) wakeAll() {
	if l.n.Load() == 0 {
		return
	}
	l.news.Owe(nil)
	l.mu.Lock()
	for k := l.head; k != nil; k = k.next {
		k.w.wake()
	}
	l.mu.Unlock()
	l.news.Paid(nil)
}

// waitQueue is a [machine.WaitQueue].
type waitQueue struct{ sleepers waiterList }

// Sleep implements [machine.WaitQueue].
func (q *waitQueue) Sleep(mc machine.Context, cond machine.Condition) {
	c := mc.(*Context)
	w := newWaiter()
	q.sleepers.add(&w.queue)
	owed := c.owedQueue()
	if owed == q {
		owed = nil
	}
	if owed != nil {
		owed.sleepers.add(&w.owed)
	}
	// Whoever changes the condition first changes it and then looks for sleepers.
	if !cond.Ready(c) && !c.owes() {
		w.sleep(c.m, c.port)
	}
	q.sleepers.remove(&w.queue)
	if owed != nil {
		owed.sleepers.remove(&w.owed)
	}
	w.free()
	c.m.passOn()
}

// Wake implements [machine.WaitQueue].
func (q *waitQueue) Wake(machine.Context) { q.sleepers.wakeAll() }
