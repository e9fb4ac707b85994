// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
	"reflect"
	"sync"
)

// A WaitGroup is a sync.WaitGroup that is checked: Wait waits for the goroutines that [WaitGroup.Go]
// started, and for those that said [Owe]. Done pays what its goroutine owes.
type WaitGroup struct {
	wg sync.WaitGroup
	w  WaitMap
}

func (wg *WaitGroup) born(pc uintptr) {
	if wg.w.fam.Load() == nil {
		wg.w.birth("WaitGroup", wg, pc)
	}
}

// Add adds delta to the counter. It says nothing about who will call Done: the
// goroutine that will says so with [Owe].
//
//go:noinline
func (wg *WaitGroup) Add(delta int) {
	_, pc := here()
	wg.born(pc)
	wg.wg.Add(delta)
}

// Done decrements the counter by one, and pays one event if the goroutine owes one.
//
//go:noinline
func (wg *WaitGroup) Done() {
	t, pc := here()
	wg.born(pc)
	if t.attend() && t.owed(&wg.w.Map) > 0 {
		t.apply(inboxEntry{m: &wg.w.Map, how: oweHow, delta: -1, site: pc})
		t.published()
	}
	wg.wg.Done()
}

// Go runs f in a new goroutine that owes wg an event until f returns.
//
//go:noinline
func (wg *WaitGroup) Go(f func()) {
	_, pc := here()
	wg.born(pc)
	wg.wg.Go(func() {
		t, _ := here()
		t.apply(inboxEntry{m: &wg.w.Map, how: oweHow, delta: 1, site: pc})
		t.published()
		defer func() {
			if t.owed(&wg.w.Map) > 0 {
				t.apply(inboxEntry{m: &wg.w.Map, how: oweHow, delta: -1, site: pc})
				t.published()
			}
		}()
		f()
	})
}

// Wait waits until the counter is zero.
//
//go:noinline
func (wg *WaitGroup) Wait() {
	t, pc := here()
	wg.born(pc)
	wg.w.Wait(t, pc)
	t.published()
	wg.wg.Wait()
}

// A Cond is a sync.Cond that is checked: what is locked across Wait, other than
// L, must not be needed by whoever said [Owe]. Use [NewCond], or set L before the first use.
type Cond struct {
	// L is held while observing or changing the condition.
	L sync.Locker

	cond sync.Cond
	w    WaitMap
}

// NewCond returns a new Cond with Locker l.
//
//go:noinline
func NewCond(l sync.Locker) *Cond {
	_, pc := here()
	c := &Cond{L: l}
	c.born(pc)
	return c
}

func (c *Cond) born(pc uintptr) {
	if c.w.fam.Load() == nil {
		c.w.birth("Cond", c, pc)
	}
}

// A condLocker stands for c.L inside the sync.Cond: between its Unlock and the wait
// is the moment in which L is not held and the rest is.
type condLocker Cond

func (l *condLocker) Lock() { l.L.Lock() }

func (l *condLocker) Unlock() {
	l.L.Unlock()
	t, _ := here()
	l.w.Wait(t, t.condSite)
	t.published()
}

// Wait unlocks c.L, waits for Signal or Broadcast, and locks c.L again.
//
//go:noinline
func (c *Cond) Wait() {
	t, pc := here()
	c.born(pc)
	if c.cond.L == nil { // L is held, so only one goroutine is here
		c.cond.L = (*condLocker)(c)
	}
	t.condSite = pc
	c.cond.Wait()
}

// Signal wakes one goroutine that waits on c, if there is any.
func (c *Cond) Signal() { c.cond.Signal() }

// Broadcast wakes all goroutines that wait on c.
func (c *Cond) Broadcast() { c.cond.Broadcast() }

// A Once is a sync.Once that is checked: f runs with the Once held, and each Do waits for it,
// also when it comes too late to find it running.
type Once struct {
	once sync.Once
	m    Map
}

// Do calls f if Do was never called on o before, and returns when f has returned.
//
//go:noinline
func (o *Once) Do(f func()) {
	t, pc := here()
	if o.m.fam.Load() == nil {
		o.m.birth("Once", o, pc)
	}
	t.Sync(&o.m, Exclusive, pc)
	t.published()
	o.once.Do(func() {
		t.Acquire(&o.m, Try, pc)
		defer func() {
			t.Release(&o.m, pc)
			t.published()
		}()
		f()
	})
}

// An IOMap is the I/O in flight on one object, such as the direct I/O on an inode. The task
// that has to run a completion owes it; who drains waits. A nil task means the calling
// goroutine. The zero IOMap is of the class "I/O in flight".
type IOMap struct{ w WaitMap }

var ioClass = NewClass("I/O in flight")

func (m *IOMap) born(t *Task) *Task {
	if m.w.fam.Load() == nil {
		siteClasses.mu.Lock()
		if m.w.class == nil {
			m.w.class = ioClass
		}
		if t == nil || t.v == defaultValidator { // a simulated kernel's reports name no addresses
			m.w.addr = reflect.ValueOf(m).Pointer()
		}
		siteClasses.mu.Unlock()
	}
	return t
}

// SetClass gives m a class of its own.
func (m *IOMap) SetClass(c *Class) {
	siteClasses.mu.Lock()
	defer siteClasses.mu.Unlock()
	if m.w.class != c {
		m.w.Init(c)
	}
}

// Owe says that t has to bring about the end of one more I/O.
//
//go:noinline
func (m *IOMap) Owe(t *Task) {
	self, pc := here()
	m.born(t)
	self.book1(t, &m.w, 1, pc)
}

// Paid says that an I/O that t owed has ended.
//
//go:noinline
func (m *IOMap) Paid(t *Task) {
	self, pc := here()
	m.born(t)
	self.book1(t, &m.w, -1, pc)
}

// HandOver moves one I/O from the task that owed it to the one that owes it now.
//
//go:noinline
func (m *IOMap) HandOver(from, to *Task) {
	self, pc := here()
	m.born(to)
	self.book1(from, &m.w, -1, pc)
	self.book1(to, &m.w, 1, pc)
}

// book1 books events of w to t, at once if t is the caller itself or nil.
func (self *Task) book1(t *Task, w *WaitMap, delta int, pc uintptr) {
	e := inboxEntry{m: &w.Map, how: oweHow, delta: delta, site: pc}
	if t == nil || t == self {
		if self.attention.Load() == 0 || self.attend() {
			self.apply(e)
			self.published()
		}
		return
	}
	t.post(e)
}

// Wait says that t is about to wait until all I/O of m has ended, and does nothing else
// until then.
//
//go:noinline
func (m *IOMap) Wait(t *Task) {
	self, pc := here()
	if t == nil {
		t = self
	}
	m.born(t)
	m.w.Wait(t, pc)
	t.published()
}

// WaitHelping is [IOMap.Wait] for a task that while it waits runs the completions that
// it owes.
//
//go:noinline
func (m *IOMap) WaitHelping(t *Task) {
	self, pc := here()
	if t == nil {
		t = self
	}
	m.born(t)
	m.w.WaitHelping(t, pc)
	t.published()
}

// A Chan is a channel of T that is checked. Who sends says so with OweSend until it has sent
// for the last time, who receives with OweRecv: a goroutine that locks what
// is held across a Recv while it owes the Send is a cycle, and is reported in whatever order it
// happened. The zero Chan is a nil channel.
type Chan[T any] struct {
	c chan T
	s *chanMaps
}

// chanMaps are the two waits of a channel.
type chanMaps struct {
	data  WaitMap // waited for by receivers, owed by senders
	space WaitMap // waited for by senders, owed by receivers
}

// NewChan returns a channel with room for size values.
//
//go:noinline
func NewChan[T any](size int) Chan[T] {
	_, pc := here()
	c := Chan[T]{make(chan T, size), &chanMaps{}}
	data := siteClass("Chan", pc)
	c.s.data.birth("Chan", c.s, pc)
	c.s.space.setClass(spaceClass(data), c.s)
	return c
}

var spaceClasses struct {
	mu sync.Mutex
	of map[*Class]*Class
}

// spaceClass returns the class of the room in channels of class c.
func spaceClass(c *Class) *Class {
	spaceClasses.mu.Lock()
	defer spaceClasses.mu.Unlock()
	s := spaceClasses.of[c]
	if s == nil {
		s = NewClass(c.Name + ".space")
		if spaceClasses.of == nil {
			spaceClasses.of = make(map[*Class]*Class)
		}
		spaceClasses.of[c] = s
	}
	return s
}

// C returns the channel itself, for select, range, len and cap. Say WaitSend or WaitRecv
// before an operation on it that may wait.
func (c Chan[T]) C() chan T { return c.c }

// SetClass gives the channel a class of its own. Call it before the first use.
func (c Chan[T]) SetClass(class *Class) {
	if c.s != nil {
		c.s.data.setClass(class, c.s)
		c.s.space.setClass(spaceClass(class), c.s)
	}
}

// wait checks a wait for w on the calling goroutine.
func (c Chan[T]) wait(t *Task, pc uintptr, space bool) {
	if c.s == nil {
		return
	}
	w := &c.s.data
	if space {
		w = &c.s.space
	}
	w.Wait(t, pc)
	t.published()
}

func (c Chan[T]) book(t *Task, pc uintptr, space bool, delta int) {
	if c.s == nil {
		return
	}
	w := &c.s.data
	if space {
		w = &c.s.space
	}
	t.book1(nil, w, delta, pc)
}

// Send sends x, waiting for room or for a receiver.
//
//go:noinline
func (c Chan[T]) Send(x T) {
	t, pc := here()
	c.wait(t, pc, true)
	c.c <- x
}

// Recv receives a value, waiting for one; ok is false if the channel is closed
// and empty.
//
//go:noinline
func (c Chan[T]) Recv() (x T, ok bool) {
	t, pc := here()
	c.wait(t, pc, false)
	x, ok = <-c.c
	return x, ok
}

// Close closes the channel.
func (c Chan[T]) Close() { close(c.c) }

// OweSend says that the calling goroutine has to send, or close, before receivers can go on.
//
//go:noinline
func (c Chan[T]) OweSend() { t, pc := here(); c.book(t, pc, false, 1) }

// PaidSend undoes one OweSend.
//
//go:noinline
func (c Chan[T]) PaidSend() { t, pc := here(); c.book(t, pc, false, -1) }

// OweRecv says that the calling goroutine has to receive before senders can go on.
//
//go:noinline
func (c Chan[T]) OweRecv() { t, pc := here(); c.book(t, pc, true, 1) }

// PaidRecv undoes one OweRecv.
//
//go:noinline
func (c Chan[T]) PaidRecv() { t, pc := here(); c.book(t, pc, true, -1) }

// WaitSend says that the calling goroutine is about to wait for room in c.C().
//
//go:noinline
func (c Chan[T]) WaitSend() { t, pc := here(); c.wait(t, pc, true) }

// WaitRecv says that the calling goroutine is about to wait for a value from c.C().
//
//go:noinline
func (c Chan[T]) WaitRecv() { t, pc := here(); c.wait(t, pc, false) }
