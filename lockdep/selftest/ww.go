// SPDX-License-Identifier: Apache-2.0

package selftest

import "endio/lockdep"

// A wwContext is an acquire context of wait/wound mutexes, as far as its debug checks
// know it. The class is a wait-die class: of two contexts the younger backs off.
//
// Source: struct ww_acquire_ctx, include/linux/ww_mutex.h, and
// kernel/locking/ww_mutex.h, Linux v6.12, with CONFIG_DEBUG_MUTEXES.
type wwContext struct {
	m          lockdep.Map
	stamp      int
	acquired   int
	done       bool
	contending *lock
	classless  bool
}

// context returns the context of that name; one that was never begun has no stamp and no
// lock.
func (x *execution) context(name string) *wwContext {
	c := x.ctxs[name]
	if c == nil {
		c = &wwContext{}
		c.m.Init(x.r.class(object{"ww_acquire", "ww"}))
		x.ctxs[name] = c
	}
	return c
}

// begin is ww_acquire_init.
func (x *execution) begin(name string) *wwContext {
	delete(x.ctxs, name)
	c := x.context(name)
	x.stamp += 100
	c.stamp = x.stamp
	x.t.Acquire(&c.m, lockdep.Exclusive, x.site)
	return c
}

// doWW runs the steps that only wait/wound mutexes have.
func (x *execution) doWW(s *step) {
	switch s.op {
	case opCtx:
		x.begin(s.ctx)
	case opCtxCopy:
		from := x.context(s.from)
		c := &wwContext{stamp: from.stamp - 1, acquired: from.acquired, done: from.done,
			contending: from.contending, classless: from.classless}
		if s.flag {
			c.stamp = from.stamp + 1
		}
		c.m.Init(from.m.Class())
		x.ctxs[s.ctx] = c
	case opDone:
		c := x.context(s.ctx)
		if !x.t.Holds(&c.m) {
			x.warn("the context is not held")
		}
		if c.done {
			x.warn("the context is done already")
		}
		c.done = true
	case opFini:
		c := x.context(s.ctx)
		x.t.Release(&c.m, x.site)
		if c.acquired > 0 {
			x.warn("%d locks are still held in the context", c.acquired)
		}
	case opSlow:
		c := x.context(s.ctx)
		if c.contending == nil {
			x.warn("there was no EDEADLK before the slow path")
		}
		x.lockWW(s, x.lock(s.obj))
	case opSetAcquired:
		x.context(s.ctx).acquired = s.number
	case opSetClassNil:
		x.context(s.ctx).classless = true
	case opSetCtx:
		l := x.lock(s.obj)
		if s.flag {
			l.poisoned = true
		} else {
			l.ctx = x.context(s.ctx)
		}
	case opHeldBy, opReleases:
		x.otherTask(s)
	default:
		x.doBase(s)
	}
}

// otherTask lets another task, which the validator does not follow, take or release
// locks.
func (x *execution) otherTask(s *step) {
	c := x.context(s.ctx)
	for _, o := range s.objects {
		l := x.lock(o)
		if s.op == opHeldBy {
			c.stamp = 1 << 30
			if s.flag {
				c.stamp = -1
			}
			l.other, l.ctx = c, c
			continue
		}
		if l.other != c {
			x.warn("%s does not hold %s", s.ctx, o)
		}
		l.other, l.ctx = nil, nil
	}
}

// doBase works on the mutex inside a ww, as code does that knows nothing of contexts.
func (x *execution) doBase(s *step) {
	l := x.lock(s.obj)
	switch s.op {
	case opBaseLock:
		if s.ctx != "" {
			c := x.ctxs[s.ctx]
			if c == nil {
				c = x.begin(s.ctx)
			}
			x.t.AcquireNest(&l.m.Map, &c.m, lockdep.Exclusive, x.site)
		} else {
			x.t.Acquire(&l.m.Map, lockdep.Exclusive, x.site)
		}
		l.writers++
	case opBaseTry:
		got := "false"
		if l.free() {
			got = "true"
			x.t.Acquire(&l.m.Map, lockdep.Try, x.site)
			l.writers++
		}
		x.result(s, got)
	case opBaseUnlock:
		x.t.Release(&l.m.Map, x.site)
		l.writers = max(0, l.writers-1)
	case opBaseCheck:
		if !l.poisoned {
			x.warn("the ctx field changed")
		}
	}
}

// lockWW is L, LSLOW, T and U on a ww.
//
// Source: __mutex_lock_common, ww_mutex_lock_acquired, __ww_mutex_kill and
// __ww_mutex_unlock, Linux v6.12.
func (x *execution) lockWW(s *step, l *lock) {
	if s.op == opUnlock {
		if l.ctx != nil && l.other == nil {
			if l.ctx.acquired == 0 {
				x.warn("the context holds no locks")
			} else {
				l.ctx.acquired--
			}
			l.ctx = nil
		}
		x.t.Release(&l.m.Map, x.site)
		l.writers = max(0, l.writers-1)
		return
	}
	var c *wwContext
	if s.ctx != "" {
		c = x.context(s.ctx)
	}
	if s.op == opTry {
		x.tryWW(s, l, c)
		return
	}
	if s.nest != (object{}) {
		x.t.AcquireNest(&l.m.Map, &x.lock(s.nest).m.Map, lockdep.Exclusive, x.site)
		l.writers++
		return
	}
	if c == nil {
		x.t.Acquire(&l.m.Map, lockdep.Exclusive, x.site)
		x.result(s, "ok")
		l.writers++
		return
	}
	if l.ctx == c && !l.free() {
		x.result(s, "EALREADY")
		return
	}
	x.t.AcquireNest(&l.m.Map, &c.m, lockdep.Exclusive, x.site)
	if !l.free() && l.ctx != nil && c.stamp > l.ctx.stamp && c.acquired > 0 {
		if c.contending != nil {
			x.warn("a second EDEADLK before the first was resolved")
		}
		c.contending = l
		x.t.Release(&l.m.Map, x.site)
		x.result(s, "EDEADLK")
		return
	}
	if !l.free() {
		x.warn("this waits for ever: another task holds it")
	}
	x.acquired(l, c)
	x.result(s, "ok")
}

func (x *execution) tryWW(s *step, l *lock, c *wwContext) {
	if !l.free() {
		x.result(s, "false")
		return
	}
	if c != nil {
		x.t.AcquireNest(&l.m.Map, &c.m, lockdep.Try, x.site)
		x.acquired(l, c)
	} else {
		x.t.Acquire(&l.m.Map, lockdep.Try, x.site)
		l.writers++
	}
	x.result(s, "true")
}

// acquired checks what must hold when a context gets a lock.
func (x *execution) acquired(l *lock, c *wwContext) {
	if l.ctx != nil {
		x.warn("the lock still has a context")
	}
	if c.done {
		x.warn("the context is done")
	}
	if c.contending != nil {
		if c.contending != l {
			x.warn("after EDEADLK on %s another lock is taken", c.contending.obj)
		}
		if c.acquired > 0 {
			x.warn("after EDEADLK locks are still held in the context")
		}
		c.contending = nil
	}
	if c.classless {
		x.warn("the context is of another class")
	}
	c.acquired++
	l.ctx = c
	l.writers++
}
