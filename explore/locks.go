// SPDX-License-Identifier: Apache-2.0

package explore

import "fmt"

// A Mutex is a lock that one task holds at a time.
type Mutex struct {
	obj   Object
	name  string
	index int // -1 if there is only one of the name
	owner *Task
}

// NewMutex makes an unlocked Mutex.
func NewMutex(m Maker, name string) *Mutex {
	return &Mutex{obj: m.NewObject(name, -1), name: name, index: -1}
}

// NewMutexes makes n of them, called name[0] to name[n-1].
func NewMutexes(m Maker, name string, n int) []*Mutex {
	all := make([]Mutex, n)
	out := make([]*Mutex, n)
	for i := range all {
		all[i] = Mutex{obj: m.NewObject(name, i), name: name, index: i}
		out[i] = &all[i]
	}
	return out
}

// Lock takes a step that waits until the lock is free, and takes it.
func (m *Mutex) Lock(t *Task) {
	t.Next().On(m.obj, Acquire).When((*mutexFree)(m)).Waiting((*mutexFree)(m)).Exclusive().Do()
	m.owner = t
}

// TryLock takes a step that takes the lock if it is free, and reports whether
// it did.
func (m *Mutex) TryLock(t *Task) bool {
	t.Step(m.obj, AtomicUpdate)
	if m.owner != nil {
		return false
	}
	m.owner = t
	return true
}

// Unlock takes a step that frees the lock. As with sync.Mutex, any task may
// unlock it; to unlock a free one fails.
func (m *Mutex) Unlock(t *Task) {
	t.Step(m.obj, Release)
	if m.owner == nil {
		t.Fail(Assertion, fmt.Sprintf("unlock of %s, which is not locked", t.x.ObjectName(m.obj)), "")
	}
	m.owner = nil
}

// Owner returns who holds the lock, without a step.
func (m *Mutex) Owner() *Task { return m.owner }

// Object returns the object, for steps of the program's own.
func (m *Mutex) Object() Object { return m.obj }

type mutexFree Mutex

func (m *mutexFree) Enabled() bool { return m.owner == nil }
func (m *mutexFree) DescribeWait(w *Wait) {
	w.For = "lock " + m.name
	if m.index >= 0 {
		w.For = fmt.Sprintf("lock %s[%d]", m.name, m.index)
	}
	if m.owner != nil {
		w.Owners = append(w.Owners, m.owner)
	}
}

// A RWMutex is a lock that one writer or many readers hold. Unlike
// sync.RWMutex it gives waiting writers no preference: all orders are explored.
type RWMutex struct {
	obj     Object
	name    string
	writer  *Task
	readers []*Task
}

// NewRWMutex makes an unlocked RWMutex.
func NewRWMutex(m Maker, name string) *RWMutex {
	return &RWMutex{obj: m.NewObject(name, -1), name: name}
}

// Lock takes a step that waits until nobody holds the lock, and takes it.
func (m *RWMutex) Lock(t *Task) {
	t.Next().On(m.obj, Acquire).When((*rwFree)(m)).Waiting((*rwFree)(m)).Do()
	m.writer = t
}

// Unlock takes a step that frees the lock from its writer.
func (m *RWMutex) Unlock(t *Task) {
	t.Step(m.obj, Release)
	if m.writer == nil {
		t.Fail(Assertion, "unlock of "+m.name+", which no writer holds", "")
	}
	m.writer = nil
}

// RLock takes a step that waits until no writer holds the lock, and takes it.
func (m *RWMutex) RLock(t *Task) {
	t.Next().On(m.obj, Acquire).When((*rwNoWriter)(m)).Waiting((*rwNoWriter)(m)).Do()
	m.readers = append(m.readers, t)
}

// RUnlock takes a step that frees the lock from one reader.
func (m *RWMutex) RUnlock(t *Task) {
	t.Step(m.obj, Release)
	for i, r := range m.readers {
		if r == t {
			m.readers = append(m.readers[:i], m.readers[i+1:]...)
			return
		}
	}
	t.Fail(Assertion, "read unlock of "+m.name+" by a task that does not hold it", "")
}

type rwFree RWMutex

func (m *rwFree) Enabled() bool { return m.writer == nil && len(m.readers) == 0 }
func (m *rwFree) DescribeWait(w *Wait) {
	w.For = "lock " + m.name
	w.Owners = append(w.Owners, m.readers...)
	if m.writer != nil {
		w.Owners = append(w.Owners, m.writer)
	}
}

type rwNoWriter RWMutex

func (m *rwNoWriter) Enabled() bool { return m.writer == nil }
func (m *rwNoWriter) DescribeWait(w *Wait) {
	w.For = "read lock " + m.name
	if m.writer != nil {
		w.Owners = append(w.Owners, m.writer)
	}
}

// A Semaphore is a counter that never goes below zero.
type Semaphore struct {
	obj   Object
	name  string
	count int
}

// NewSemaphore makes a Semaphore with a count.
func NewSemaphore(m Maker, name string, count int) *Semaphore {
	return &Semaphore{obj: m.NewObject(name, -1), name: name, count: count}
}

// Acquire takes a step that waits until the count is positive, and lowers it.
func (s *Semaphore) Acquire(t *Task) {
	t.Next().On(s.obj, AtomicUpdate).When((*semPositive)(s)).Waiting((*semPositive)(s)).Do()
	s.count--
}

// Release takes a step that raises the count.
func (s *Semaphore) Release(t *Task) {
	t.Step(s.obj, AtomicUpdate)
	s.count++
}

type semPositive Semaphore

func (s *semPositive) Enabled() bool        { return s.count > 0 }
func (s *semPositive) DescribeWait(w *Wait) { w.For = "semaphore " + s.name }

// A Cond is a condition variable on a [Mutex]. There are no spurious wakeups;
// Signal wakes any one of the waiters, and all choices are explored.
type Cond struct {
	obj     Object
	name    string
	mu      *Mutex
	waiters []*condWait
}

// NewCond makes a Cond without waiters.
func NewCond(m Maker, name string, mu *Mutex) *Cond {
	return &Cond{obj: m.NewObject(name, -1), name: name, mu: mu}
}

type condWait struct {
	c     *Cond
	t     *Task
	woken bool
}

func (w *condWait) Enabled() bool { return w.woken && w.c.mu.owner == nil }
func (w *condWait) DescribeWait(d *Wait) {
	d.For = "condition " + w.c.name
	if w.woken {
		(*mutexFree)(w.c.mu).DescribeWait(d)
	}
}

// Wait frees the mutex, waits for a wakeup, and takes the mutex again: two steps.
func (c *Cond) Wait(t *Task) {
	w := &condWait{c: c, t: t}
	t.Next().On(c.obj, AtomicUpdate).On(c.mu.obj, Release).Label("wait " + c.name).Do()
	if c.mu.owner != t {
		t.Fail(Assertion, "wait on "+c.name+" without holding "+c.mu.name, "")
	}
	c.waiters = append(c.waiters, w)
	c.mu.owner = nil
	t.Next().On(c.obj, AtomicUpdate).On(c.mu.obj, Acquire).When(w).Waiting(w).Label("woken " + c.name).Do()
	c.mu.owner = t
}

// Signal takes a step that wakes one waiter, if there is one.
func (c *Cond) Signal(t *Task) {
	t.Next().On(c.obj, AtomicUpdate).Label("signal " + c.name).Do()
	if n := len(c.waiters); n > 0 {
		i := t.Choose(n)
		c.waiters[i].woken = true
		c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
	}
}

// Broadcast takes a step that wakes all waiters.
func (c *Cond) Broadcast(t *Task) {
	t.Next().On(c.obj, AtomicUpdate).Label("broadcast " + c.name).Do()
	for _, w := range c.waiters {
		w.woken = true
	}
	c.waiters = c.waiters[:0]
}

// A WaitGroup counts down to zero.
type WaitGroup struct {
	obj   Object
	name  string
	count int
}

// NewWaitGroup makes a WaitGroup with a count.
func NewWaitGroup(m Maker, name string, count int) *WaitGroup {
	return &WaitGroup{obj: m.NewObject(name, -1), name: name, count: count}
}

// Add takes a step that adds n to the count, which must not go below zero.
func (g *WaitGroup) Add(t *Task, n int) {
	t.Step(g.obj, AtomicUpdate)
	if g.count += n; g.count < 0 {
		t.Fail(Assertion, "negative count of "+g.name, "")
	}
}

// Done is Add of -1.
func (g *WaitGroup) Done(t *Task) { g.Add(t, -1) }

// Wait takes a step that waits until the count is zero.
func (g *WaitGroup) Wait(t *Task) {
	t.Next().On(g.obj, AtomicRead).When((*groupZero)(g)).Waiting((*groupZero)(g)).Do()
}

type groupZero WaitGroup

func (g *groupZero) Enabled() bool        { return g.count == 0 }
func (g *groupZero) DescribeWait(w *Wait) { w.For = "wait group " + g.name }

// A Chan is a buffered channel.
type Chan[T any] struct {
	obj    Object
	name   string
	buf    []T
	size   int
	closed bool
}

// NewChan makes a Chan with room for size values; size must be at least 1.
func NewChan[T any](m Maker, name string, size int) *Chan[T] {
	if size < 1 {
		panic(&badProgram{"channel " + name + ": size must be at least 1"})
	}
	return &Chan[T]{obj: m.NewObject(name, -1), name: name, size: size}
}

// Send takes a step that waits for room and appends v. To send on a closed
// channel fails.
func (c *Chan[T]) Send(t *Task, v T) {
	t.Next().On(c.obj, AtomicUpdate).When((*chanRoom[T])(c)).Waiting((*chanRoom[T])(c)).Do()
	if c.closed {
		t.Fail(Panic, "send on closed channel "+c.name, "")
	}
	c.buf = append(c.buf, v)
}

// Recv takes a step that waits for a value or the close, and takes the oldest
// value; ok is false if the channel is closed and empty.
func (c *Chan[T]) Recv(t *Task) (v T, ok bool) {
	t.Next().On(c.obj, AtomicUpdate).When((*chanReady[T])(c)).Waiting((*chanReady[T])(c)).Do()
	if len(c.buf) == 0 {
		return v, false
	}
	v = c.buf[0]
	c.buf = c.buf[:copy(c.buf, c.buf[1:])]
	return v, true
}

// Close takes a step that closes the channel. To close it twice fails.
func (c *Chan[T]) Close(t *Task) {
	t.Step(c.obj, AtomicUpdate)
	if c.closed {
		t.Fail(Panic, "close of closed channel "+c.name, "")
	}
	c.closed = true
}

type chanRoom[T any] Chan[T]

func (c *chanRoom[T]) Enabled() bool        { return c.closed || len(c.buf) < c.size }
func (c *chanRoom[T]) DescribeWait(w *Wait) { w.For = "room in channel " + c.name }

type chanReady[T any] Chan[T]

func (c *chanReady[T]) Enabled() bool        { return c.closed || len(c.buf) > 0 }
func (c *chanReady[T]) DescribeWait(w *Wait) { w.For = "a value from channel " + c.name }
