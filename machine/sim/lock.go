// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

	"endio/explore"
	"endio/lockdep"
)

// A lock is what all locks share: who has it, and lockdep's view of it.
type lock struct {
	k     *Kernel
	name  string
	obj   explore.Object
	owner *Context
	dep   lockdep.Map
}

func (l *lock) init(k *Kernel, m explore.Maker, name string, index int, wait lockdep.WaitType, typ lockdep.LockType) {
	l.k, l.name = k, name
	l.obj = newObject(m, name, index)
	l.dep.Init(k.class(name, wait, typ))
}

// maker returns who makes an object: the context, or Init.
func (k *Kernel) maker(c *Context) explore.Maker {
	if c == nil || c.t == nil {
		return k.x
	}
	return c.t
}

func newObject(m explore.Maker, name string, index int) explore.Object {
	return m.NewObject(name, index)
}

func (l *lock) hash(h *explore.Hash) { h.Add(l.owner.num()) }

func (l *lock) ready(*Context) bool { return l.owner == nil }

func (l *lock) describe(_ *Context, w *explore.Wait) {
	w.For = "lock " + l.name
	if l.owner != nil && l.owner.t != nil {
		w.Owners = append(w.Owners, l.owner.t)
	}
}

func (c *Context) dep(m *lockdep.Map, how lockdep.How) {
	c.enterNow()
	if c.ld != nil {
		c.k.cur = c
		c.ld.Acquire(m, how, c.Site())
	}
}

func (c *Context) undep(m *lockdep.Map) {
	if c.ld != nil {
		c.k.cur = c
		c.ld.Release(m, c.Site())
	}
}

// take makes c the owner, after the step that acquired l.
func (l *lock) take(c *Context) {
	l.owner = c
	c.hold(l.obj, l.name)
}

func (c *Context) hold(o explore.Object, name string) {
	c.held = append(c.held, o)
	c.locks = append(c.locks, name)
}

func (c *Context) unhold(o explore.Object, name string) {
	for i := len(c.held) - 1; i >= 0; i-- {
		if c.held[i] == o {
			c.held = append(c.held[:i], c.held[i+1:]...)
			break
		}
	}
	for i := len(c.locks) - 1; i >= 0; i-- {
		if c.locks[i] == name {
			c.locks = append(c.locks[:i], c.locks[i+1:]...)
			break
		}
	}
}

// drop frees l. The running step of c declares l, because c holds it, so no step
// is needed: to free a lock earlier than others notice changes nothing.
func (l *lock) drop(c *Context) {
	if l.owner != c {
		c.t.Fail(Imbalance, fmt.Sprintf("unlock of %s by %s %q, which does not hold it", l.name, c.kind, c.name), "")
	}
	l.owner = nil
	c.unhold(l.obj, l.name)
	c.undep(&l.dep)
}

// openEnd makes the end of a section with interrupts on a step: one that comes just
// before finds the lock taken, by a task that can't go on while it spins.
func (l *lock) openEnd(c *Context) {
	if c.irqsOff == 0 {
		c.stepOn("unlock", l.name, nil)
	}
}

// sleepLock acquires l in a task that may sleep for it.
func (l *lock) sleepLock(c *Context, what string) {
	history := c.hist
	c.stepOn(what, l.name, nil, acc{l.obj, explore.AtomicUpdate})
	if c.foldBool(l.owner != nil) {
		c.block(what+" "+l.name+", slow", l, Uninterruptible, acc{l.obj, explore.AtomicUpdate})
	}
	c.Keep(history, keepSleepLock)
	l.take(c)
}

// A RawSpinlock is raw_spinlock_t: it spins with preemption off.
type RawSpinlock struct {
	lock
	bit uint64 // see Guard
}

// NewRawSpinlock makes a free lock. c is nil in Init.
func (k *Kernel) NewRawSpinlock(c *Context, name string) *RawSpinlock {
	l := &RawSpinlock{}
	l.init(k, k.maker(c), name, -1, lockdep.WaitSpin, lockdep.Normal)
	k.add(l)
	return l
}

// Guard lets a [Cell] rely on l, and returns it. Call it in Init. Not every lock is one that data relies on, and there are few tokens.
func (l *RawSpinlock) Guard() *RawSpinlock {
	l.bit = l.k.newToken()
	l.k.lockTokens |= l.bit
	return l
}

// Lock spins until the lock is free. Interrupts stay as they are.
func (l *RawSpinlock) Lock(c *Context) {
	c.dep(&l.dep, lockdep.Exclusive)
	c.want = true
	c.stepOn("lock", l.name, l, acc{l.obj, explore.AtomicUpdate})
	c.want = false
	c.preempt++
	l.take(c)
	c.token |= l.bit
}

// TryLock takes the lock if it is free.
func (l *RawSpinlock) TryLock(c *Context) bool {
	c.want = true
	c.stepOn("trylock", l.name, nil, acc{l.obj, explore.AtomicUpdate})
	c.want = false
	if !c.foldBool(l.owner == nil) {
		c.relax()
		return false
	}
	c.dep(&l.dep, lockdep.Exclusive|lockdep.Try)
	c.preempt++
	l.take(c)
	c.token |= l.bit
	return true
}

// Unlock frees the lock.
func (l *RawSpinlock) Unlock(c *Context) {
	l.openEnd(c)
	l.drop(c)
	c.token &^= l.bit
	c.preempt--
	c.relax()
}

// LockIRQ turns interrupts off and locks.
func (l *RawSpinlock) LockIRQ(c *Context) {
	c.LocalIRQDisable()
	l.Lock(c)
}

// UnlockIRQ ends a LockIRQ.
func (l *RawSpinlock) UnlockIRQ(c *Context) {
	l.Unlock(c)
	c.LocalIRQEnable()
}

// A Spinlock is spinlock_t: raw without RT, and a lock that sleeps with it.
type Spinlock struct{ lock }

// NewSpinlock makes a free lock. c is nil in Init.
func (k *Kernel) NewSpinlock(c *Context, name string) *Spinlock {
	l := &Spinlock{}
	l.init(k, k.maker(c), name, -1, lockdep.WaitConfig, lockdep.Normal)
	k.add(l)
	return l
}

func (c *Context) rtSleep(what string) {
	if why := c.whyAtomic(true); why != "" {
		c.t.Fail(AtomicSleep, what+" sleeps on RT, in "+why+": "+c.kind.String()+" \""+c.name+"\"", "")
	}
}

// Lock waits until the lock is free: spinning, or on RT sleeping.
func (l *Spinlock) Lock(c *Context) {
	c.dep(&l.dep, lockdep.Exclusive)
	if l.k.cfg.Preemption == RT {
		c.rtSleep("spin_lock " + l.name)
		l.sleepLock(c, "lock")
		c.rcu++
		c.MigrateDisable()
		return
	}
	c.want = true
	c.stepOn("lock", l.name, l, acc{l.obj, explore.AtomicUpdate})
	c.want = false
	c.preempt++
	l.take(c)
}

// Unlock frees the lock.
func (l *Spinlock) Unlock(c *Context) {
	if l.k.cfg.Preemption == RT {
		l.drop(c)
		c.rcu--
		c.MigrateEnable()
		return
	}
	l.openEnd(c)
	l.drop(c)
	c.preempt--
	c.relax()
}

// LockIRQ turns interrupts off, except on RT, and locks.
func (l *Spinlock) LockIRQ(c *Context) {
	if l.k.cfg.Preemption != RT {
		c.LocalIRQDisable()
	}
	l.Lock(c)
}

// UnlockIRQ ends a LockIRQ.
func (l *Spinlock) UnlockIRQ(c *Context) {
	l.Unlock(c)
	if l.k.cfg.Preemption != RT {
		c.LocalIRQEnable()
	}
}

// A LocalLock is local_lock_t, a lock for each CPU: preemption or interrupts off, or on RT a
// spinlock_t for each CPU with interrupts on.
type LocalLock struct {
	k     *Kernel
	percp []lock
	bit   uint64
}

// NewLocalLock makes a free lock for each CPU. c is nil in Init.
func (k *Kernel) NewLocalLock(c *Context, name string) *LocalLock {
	l := &LocalLock{k: k, percp: make([]lock, len(k.cpus)), bit: k.newToken()}
	for i := range l.percp {
		l.percp[i].init(k, k.maker(c), name, i, lockdep.WaitConfig, lockdep.PerCPU)
		k.add(&l.percp[i])
	}
	return l
}

// Lock takes the lock of the CPU that runs c, which stays there until Unlock.
func (l *LocalLock) Lock(c *Context) *CPU { return l.lock(c, false) }

// LockIRQ is Lock with interrupts off, except on RT. It is local_lock_irq(save).
func (l *LocalLock) LockIRQ(c *Context) *CPU { return l.lock(c, true) }

func (l *LocalLock) lock(c *Context, irq bool) *CPU {
	if l.k.cfg.Preemption == RT {
		c.dep(&l.percp[c.cpu.id].dep, lockdep.Exclusive) // reports before it goes wrong
		c.undep(&l.percp[c.cpu.id].dep)
		c.rtSleep("local_lock " + l.percp[c.cpu.id].name)
		c.MigrateDisable()
		for {
			on := c.cpu
			p := &l.percp[on.id]
			c.dep(&p.dep, lockdep.Exclusive)
			p.sleepLock(c, "lock")
			if c.cpu == on {
				break
			}
			p.drop(c) // an interrupt thread whose CPU went off line has moved
		}
		c.rcu++
		c.enterSection(l.bit, c.cpu)
		return c.cpu
	}
	if irq {
		c.LocalIRQDisable()
	} else {
		c.PreemptDisable()
	}
	p := &l.percp[c.cpu.id]
	c.dep(&p.dep, lockdep.Exclusive)
	if p.owner != nil {
		c.t.Fail(Corruption, fmt.Sprintf("local_lock %s of cpu %d is taken by %s %q while %s %q holds it", p.name, c.cpu.id, c.kind, c.name, p.owner.kind, p.owner.name), "")
	}
	p.owner = c
	c.locks = append(c.locks, p.name)
	c.enterSection(l.bit, c.cpu)
	return c.cpu
}

// Unlock ends a Lock.
func (l *LocalLock) Unlock(c *Context) { l.unlock(c, false) }

// UnlockIRQ ends a LockIRQ.
func (l *LocalLock) UnlockIRQ(c *Context) { l.unlock(c, true) }

func (l *LocalLock) unlock(c *Context, irq bool) {
	p := &l.percp[c.cpu.id]
	if l.k.cfg.Preemption != RT {
		p.openEnd(c)
	}
	p.drop(c)
	c.leaveSection(l.bit, c.cpu)
	switch {
	case l.k.cfg.Preemption == RT:
		c.rcu--
		c.MigrateEnable()
	case irq:
		c.LocalIRQEnable()
	default:
		c.PreemptEnable()
	}
}

// A Mutex is struct mutex.
type Mutex struct{ lock }

// NewMutex makes a free lock. c is nil in Init.
func (k *Kernel) NewMutex(c *Context, name string) *Mutex {
	l := &Mutex{}
	l.init(k, k.maker(c), name, -1, lockdep.WaitSleep, lockdep.Normal)
	k.add(l)
	return l
}

// Lock sleeps until the lock is free.
func (l *Mutex) Lock(c *Context) {
	c.MightSleep("mutex_lock " + l.name)
	c.dep(&l.dep, lockdep.Exclusive)
	l.sleepLock(c, "mutex_lock")
}

// TryLock takes the lock if it is free.
func (l *Mutex) TryLock(c *Context) bool {
	c.stepOn("mutex_trylock", l.name, nil, acc{l.obj, explore.AtomicUpdate})
	if !c.foldBool(l.owner == nil) {
		return false
	}
	c.dep(&l.dep, lockdep.Exclusive|lockdep.Try)
	l.take(c)
	return true
}

// Unlock frees the lock.
func (l *Mutex) Unlock(c *Context) { l.drop(c) }

// A RWSem is struct rw_semaphore: one writer or many readers; a writer that
// waits holds new readers back.
type RWSem struct {
	lock
	readers []*Context
	writers int // waiting
}

// NewRWSem makes a free semaphore. c is nil in Init.
func (k *Kernel) NewRWSem(c *Context, name string) *RWSem {
	l := &RWSem{}
	l.init(k, k.maker(c), name, -1, lockdep.WaitSleep, lockdep.Normal)
	k.add(l)
	return l
}

func (l *RWSem) hash(h *explore.Hash) {
	v := l.owner.num() | uint64(l.writers)<<16
	for _, r := range l.readers {
		v += mix(r.num(), 3) // in any order
	}
	h.Add(v)
}

type rwWrite RWSem

func (l *rwWrite) ready(*Context) bool { return l.owner == nil && len(l.readers) == 0 }
func (l *rwWrite) describe(c *Context, w *explore.Wait) {
	l.lock.describe(c, w)
	for _, r := range l.readers {
		if r.t != nil {
			w.Owners = append(w.Owners, r.t)
		}
	}
}

type rwRead RWSem

func (l *rwRead) ready(*Context) bool { return l.owner == nil && l.writers == 0 }
func (l *rwRead) describe(c *Context, w *explore.Wait) {
	l.lock.describe(c, w)
	if l.owner == nil {
		for _, r := range l.readers {
			w.Owners = append(w.Owners, r.t) // who holds back the writer that waits
		}
	}
}

// DownWrite takes the semaphore for writing.
func (l *RWSem) DownWrite(c *Context) {
	c.MightSleep("down_write " + l.name)
	c.dep(&l.dep, lockdep.Exclusive)
	history := c.hist
	c.stepOn("down_write", l.name, nil, acc{l.obj, explore.AtomicUpdate})
	if w := (*rwWrite)(l); c.foldBool(!w.ready(c)) {
		l.writers++
		c.block("down_write "+l.name+", slow", w, Uninterruptible, acc{l.obj, explore.AtomicUpdate})
		l.writers--
	}
	c.Keep(history, keepDownWrite)
	l.take(c)
}

// DownWriteTry takes it for writing if it is free.
func (l *RWSem) DownWriteTry(c *Context) bool {
	c.stepOn("down_write_trylock", l.name, nil, acc{l.obj, explore.AtomicUpdate})
	if !c.foldBool((*rwWrite)(l).ready(c)) {
		return false
	}
	c.dep(&l.dep, lockdep.Exclusive|lockdep.Try)
	l.take(c)
	return true
}

// UpWrite ends a DownWrite.
func (l *RWSem) UpWrite(c *Context) { l.drop(c) }

// DownRead takes the semaphore for reading.
func (l *RWSem) DownRead(c *Context) {
	c.MightSleep("down_read " + l.name)
	c.dep(&l.dep, lockdep.Shared)
	history := c.hist
	c.stepOn("down_read", l.name, nil, acc{l.obj, explore.AtomicUpdate})
	if r := (*rwRead)(l); c.foldBool(!r.ready(c)) {
		c.block("down_read "+l.name+", slow", r, Uninterruptible, acc{l.obj, explore.AtomicUpdate})
	}
	c.Keep(history, keepDownRead)
	l.addReader(c)
}

// DownReadTry takes it for reading if no writer has it or waits for it.
func (l *RWSem) DownReadTry(c *Context) bool {
	c.stepOn("down_read_trylock", l.name, nil, acc{l.obj, explore.AtomicUpdate})
	if !c.foldBool((*rwRead)(l).ready(c)) {
		return false
	}
	c.dep(&l.dep, lockdep.Shared|lockdep.Try)
	l.addReader(c)
	return true
}

func (l *RWSem) addReader(c *Context) {
	l.readers = append(l.readers, c)
	c.hold(l.obj, l.name)
}

// UpRead ends a DownRead.
func (l *RWSem) UpRead(c *Context) {
	for i, r := range l.readers {
		if r == c {
			l.readers = append(l.readers[:i], l.readers[i+1:]...)
			c.unhold(l.obj, l.name)
			c.undep(&l.dep)
			return
		}
	}
	c.t.Fail(Imbalance, "up_read of "+l.name+" by \""+c.name+"\", which does not hold it", "")
}
