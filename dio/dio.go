// SPDX-License-Identifier: Apache-2.0

// Package dio counts the I/O in flight on an inode, and lets some operations have
// the inode for themselves.
//
// # Model
//
// An I/O calls [Inode.Begin] before it is issued and [Inode.End] when it is over.
// Truncate and its like call [Inode.Exclude]: it holds new I/O back, and returns
// when what was in flight is over; [Inode.Admit] lets I/O in again.
//
// This mirrors inode_dio_begin, inode_dio_end and inode_dio_wait together with
// the inode's rwsem (include/linux/fs.h, Linux 6.18), without their trap. There,
// from 6.6-rc1 to rc7, the count went down in the task that had submitted, when
// it next left the kernel; waiting for the count in that task then waited for
// ever. Here:
//
//   - End is called in whatever context learns that the I/O is over, before the
//     handler is chosen a context ([Complete]). Only the handler waits for its owner.
//   - The wait helps: between looks at the count it runs what the waiter owes
//     ([machine.Context.Help]).
//   - An I/O that is held back waits in a list and is started by Admit. Nobody
//     sleeps to submit, so an atomic context can submit too.
//
// # Fairness
//
// Operations that exclude take turns in the order in which they came. At each
// change of turn, all I/O that was held back so far is let in first, and what
// comes later is held back for the next. So neither kind starves the other.
package dio

import (
	"errors"

	"endio/bio"
	"endio/lockdep"
	"endio/machine"
)

// ErrAtomic reports an Exclude in a context that may not block.
var ErrAtomic = errors.New("would block in a context that may not block")

// excluded is added to [Inode.state] while an exclusive section is pending or
// held. The bits below it count the I/O in flight.
const excluded = 1 << 40

// An Inode tracks the I/O of one file, however often it is open.
type Inode struct {
	m     machine.Machine
	state machine.Counter // I/O in flight, plus excluded
	wq    machine.WaitQueue

	lock  machine.Lock
	data  machine.Var // announces the fields below
	held  waiterList  // I/O that is held back; guarded by lock
	turns turnList    // who wants to exclude, first the holder; guarded by lock
	spare *Turn       // one for reuse; guarded by lock

	// What the validator is told: who has the inode for itself owes the Admit that
	// all others wait for, and who waits for I/O in the middle of a call owes its End.
	section lockdep.IOMap
	flight  lockdep.IOMap
}

var (
	sectionClass = lockdep.NewClass("dio.section")
	flightClass  = lockdep.NewClass("dio.flight")
)

// A Waiter is an I/O that may be held back. It belongs to the inode from a Begin
// that returns false until Start is called.
type Waiter struct {
	// Start issues the I/O, which has begun. It is called once for each Begin that
	// returned false, in a task context, by whoever lets I/O in; it must not block.
	Start func(c machine.Context, w *Waiter)

	// Op is the user's; this package does not look at it.
	Op any

	next, prev *Waiter
	held       bool // in the inode's list; guarded by its lock
}

type waiterList struct{ head, tail *Waiter }

func (l *waiterList) push(w *Waiter) {
	w.next, w.prev = nil, l.tail
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
}

func (l *waiterList) remove(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.tail = w.prev
	}
	w.next, w.prev = nil, nil
}

// A Turn is one pending or running exclusive section.
type Turn struct {
	next *Turn
	mine machine.Counter // 1: at the head, and the one before has admitted
}

// Ready makes a Turn a [machine.Condition].
func (t *Turn) Ready(c machine.Context) bool { return t.mine.Load(c) != 0 }

type turnList struct{ head, tail *Turn }

// NewInode returns an Inode without I/O.
func NewInode(m machine.Machine) *Inode {
	n := &Inode{
		m:     m,
		state: m.NewCounter("dio.state", 0),
		wq:    m.NewWaitQueue("dio.wait"),
		lock:  m.NewLock("dio.lock"),
		data:  m.NewVar("dio.inode"),
	}
	n.section.SetClass(sectionClass)
	n.flight.SetClass(flightClass)
	return n
}

// Begin counts an I/O. It returns true if the I/O may be issued now. False
// means that it is held back: it belongs to the inode and w.Start is called
// when it may be issued. Any context may call it; it does not block.
func (n *Inode) Begin(c machine.Context, w *Waiter) bool {
	for n.state.Add(c, 1) >= excluded {
		n.End(c) // not begun after all: whoever excludes must not wait for it
		n.lock.Lock(c)
		n.data.Write(c)
		if n.turns.head != nil {
			w.held = true
			n.held.push(w)
			n.lock.Unlock(c)
			return false
		}
		n.lock.Unlock(c) // the section has ended in between
	}
	return true
}

// TryBegin is Begin for those who can also wait in another way: false means that
// the I/O has not begun and is not held.
func (n *Inode) TryBegin(c machine.Context) bool {
	if n.state.Add(c, 1) < excluded {
		return true
	}
	n.End(c)
	return false
}

// Withdraw takes back a Begin that returned false, if w is still held back: true
// means that w.Start will not be called, and that the I/O has not begun. Any context
// may call it, with a Waiter that was given to Begin of this inode.
func (n *Inode) Withdraw(c machine.Context, w *Waiter) bool {
	n.lock.Lock(c)
	n.data.Write(c)
	held := w.held
	if held {
		w.held = false
		n.held.remove(w)
	}
	n.lock.Unlock(c)
	return held
}

// Held calls fn for each I/O that is held back, in the order of Begin. fn must not
// block or call the inode: a lock is held. Any context may call it.
func (n *Inode) Held(c machine.Context, fn func(w *Waiter)) {
	n.lock.Lock(c)
	n.data.Read(c)
	for w := n.held.head; w != nil; w = w.next {
		fn(w)
	}
	n.lock.Unlock(c)
}

// End says that an I/O that had begun is over. Any context may call it.
func (n *Inode) End(c machine.Context) {
	left := n.state.Add(c, -1)
	if left < 0 {
		panic("dio: End without Begin")
	}
	if left == excluded {
		n.wq.Wake(c)
	}
}

// Enter tells the validator that a task is about to begin an I/O, will wait if it is held
// back, and is the only one that will call End; then it calls Leave before that. An I/O
// whose End anybody may call needs neither.
func (n *Inode) Enter(c machine.Context) {
	if lockdep.Enabled {
		n.section.Wait(c.Task())
		n.flight.Owe(c.Task())
	}
}

// Leave is the opposite of Enter.
func (n *Inode) Leave(c machine.Context) {
	if lockdep.Enabled {
		n.flight.Paid(c.Task())
	}
}

// InFlight returns the number of I/Os that have begun and not ended. It is old
// when it arrives, and may count an I/O that is about to be held back.
func (n *Inode) InFlight(c machine.Context) int64 { return n.state.Load(c) &^ excluded }

// drained is ready when nothing is in flight under an exclusive section.
type drained struct{ n *Inode }

func (d drained) Ready(c machine.Context) bool { return d.n.state.Load(c) == excluded }

// Exclude waits for its turn, holds new I/O back, and waits until what had begun
// is over. While it waits, it runs what the caller owes. On success the caller
// has the inode for itself and must call [Inode.Admit].
//
// It fails with [ErrAtomic] where the caller may not block. A task that has the
// inode for itself must not exclude again.
func (n *Inode) Exclude(c machine.Context) error {
	// Not Atomic, which on a machine that can't tell would refuse every task.
	if !c.InTask() {
		return ErrAtomic
	}
	if lockdep.Enabled {
		n.section.Wait(c.Task())
	}
	n.await(c, n.enqueue(c))
	return nil
}

// Reserve gets in line to exclude, and holds new I/O back from the moment that
// it is its turn. Somebody must call [Inode.Await] for the turn, and then
// [Inode.Admit]: what comes after waits for that. Any context may call it; it
// does not block.
func (n *Inode) Reserve(c machine.Context) *Turn { return n.enqueue(c) }

// Await is the rest of [Inode.Exclude] for a turn that was reserved, and fails
// where that fails.
func (n *Inode) Await(c machine.Context, t *Turn) error {
	if !c.InTask() {
		return ErrAtomic
	}
	if lockdep.Enabled {
		n.section.Wait(c.Task())
	}
	n.await(c, t)
	return nil
}

// await waits for the turn and then for what is in flight.
func (n *Inode) await(c machine.Context, t *Turn) {
	n.wait(c, t)
	if lockdep.Enabled {
		n.section.Owe(c.Task())
		n.flight.Wait(c.Task()) // what Enter owes no help can bring about
	}
	n.wait(c, drained{n})
}

// Admit ends the exclusive section of the caller: it starts all I/O that was held
// back, and gives the turn to who comes next. Task context.
func (n *Inode) Admit(c machine.Context) {
	if lockdep.Enabled {
		n.section.Paid(c.Task())
	}
	n.lock.Lock(c)
	n.data.Write(c)
	if n.turns.head == nil {
		panic("dio: Admit without Exclude")
	}
	t := n.turns.head
	n.turns.head = t.next
	t.next = nil
	held := n.held
	n.held = waiterList{}
	var begun int64
	for w := held.head; w != nil; w = w.next {
		w.held = false // too late to withdraw
		begun++
	}
	// What was held back begins here. It must be counted before the next holder can
	// see that it is his turn, or he finds the inode drained.
	next := n.turns.head
	if next == nil {
		n.turns.tail = nil
		begun -= excluded
	}
	n.state.Add(c, begun)
	if next != nil {
		next.mine.Add(c, 1)
	}
	t.mine.Add(c, -1)
	n.spare = t
	n.lock.Unlock(c)
	if next != nil {
		n.wq.Wake(c)
	}
	for w := held.head; w != nil; {
		following := w.next
		w.next, w.prev = nil, nil
		w.Start(c, w) // w may be gone when this returns
		w = following
	}
}

// enqueue puts a turn at the end of the line. The one at the head holds I/O back.
func (n *Inode) enqueue(c machine.Context) *Turn {
	n.lock.Lock(c)
	n.data.Write(c)
	t := n.spare
	n.spare = nil
	if t == nil {
		t = &Turn{mine: n.m.NewCounter("dio.turn", 0)}
	}
	if n.turns.tail == nil {
		n.turns.head, n.turns.tail = t, t
		t.mine.Add(c, 1)
		n.state.Add(c, excluded)
	} else {
		n.turns.tail.next = t
		n.turns.tail = t
	}
	n.lock.Unlock(c)
	return t
}

// wait sleeps until cond is ready, and meanwhile runs what the caller owes: I/O
// that the wait is for may depend on it.
func (n *Inode) wait(c machine.Context, cond machine.Condition) {
	for !cond.Ready(c) {
		if !c.Help() {
			n.wq.Sleep(c, cond)
		}
	}
}

// Complete ends an I/O that had begun on n: first what others may wait for is
// released, here, in the context that learned of it; then the handler of b is
// called or handed over. n is nil for I/O that was not counted. Any context may
// call it, once for each [bio.Bio.Start].
func Complete(c machine.Context, d bio.Deferrer, n *Inode, b *bio.Bio, err error) {
	if n != nil {
		n.End(c)
	}
	bio.End(c, d, b, err)
}
