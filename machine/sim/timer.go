// SPDX-License-Identifier: Apache-2.0

package sim

import "endio/explore"

// A timerBase has the timers of one CPU. Time is abstract: an armed timer fires at
// any moment after it was armed, as long as its CPU runs. With [Config.Ticks] it fires at any moment after
// it has expired, the earliest first.
//
// Source: kernel/time/timer.c, Linux 7.3; kernel-semantics.md, B4.3.
type timerBase struct {
	cpu   *CPU
	armed []*Work
	irq   *Context
}

func (k *Kernel) newTimerBase(cpu *CPU) {
	b := &cpu.base
	b.cpu = cpu
	k.add(b)
}

func (b *timerBase) hash(h *explore.Hash) {
	v := uint64(len(b.armed))
	for _, w := range b.armed {
		v = mix(v, w.id)
	}
	h.Add(v)
}

// expiry returns the jiffy at which a timer fires that is armed now for a number of ticks: a tick is already under way, so one more, never early. It
// is 0 where time is abstract.
//
// Source: calc_index, kernel/time/timer.c, Linux 7.3; kernel-semantics.md, B4.3.
func (b *timerBase) expiry(delay int) int {
	if !b.cpu.k.cfg.Ticks {
		return 0
	}
	return b.cpu.k.jiffies + delay + 1
}

// first moves a timer that fires next to the front, and returns the number of those that might as well: they expire at the same time.
func (b *timerBase) first() int {
	n := 0
	for i, w := range b.armed {
		if n > 0 && w.expires < b.armed[0].expires {
			n = 0
		}
		if n == 0 || w.expires == b.armed[0].expires {
			b.armed[n], b.armed[i] = b.armed[i], b.armed[n]
			n++
		}
	}
	return n
}

// earliest returns when the next timer of b expires. There must be one.
func (b *timerBase) earliest() int {
	e := b.armed[0].expires
	for _, w := range b.armed {
		e = min(e, w.expires)
	}
	return e
}

// Jiffies returns the number of ticks since the start. It needs [Config.Ticks]. Ticks are taken only while a timer is armed that has not
// expired: nobody could tell others apart.
func (k *Kernel) Jiffies(c *Context) int {
	c.step("read jiffies", nil, acc{k.clock, explore.AtomicRead})
	c.fold(uint64(k.jiffies))
	return k.jiffies
}

// startClock starts the task that counts jiffies.
func (k *Kernel) startClock() {
	body := func(t *explore.Task) {
		var a []acc
		for _, p := range k.cpus {
			a = append(a, acc{p.wq, explore.AtomicRead})
		}
		for {
			s := t.Next().On(k.clock, explore.AtomicUpdate).When((*timePasses)(k)).Waiting((*timePasses)(k)).Label("tick")
			for _, x := range a {
				s.On(x.o, x.k)
			}
			s.Do()
			k.jiffies++
		}
	}
	k.spawn(nil, "clock", explore.TaskOptions{Daemon: true}, body)
}

// timePasses is ready while some timer has not expired.
type timePasses Kernel

// Enabled reports whether a tick would matter.
func (k *timePasses) Enabled() bool {
	for _, p := range k.cpus {
		for _, w := range p.base.armed {
			if w.expires > k.jiffies {
				return true
			}
		}
	}
	return false
}

// DescribeWait says what the clock waits for.
func (k *timePasses) DescribeWait(w *explore.Wait) { w.For = "a timer to be armed" }

func (b *timerBase) remove(w *Work) {
	for i, o := range b.armed {
		if o == w {
			b.armed = append(b.armed[:i], b.armed[i+1:]...)
			return
		}
	}
}

// timerBaseFor returns where a timer that is meant for cpu is armed.
func (k *Kernel) timerBaseFor(c *Context, cpu int) *timerBase {
	if k.cfg.Housekeeping {
		return &k.firstOnline().base
	}
	return &k.cpus[cpu].base
}

// startTicks starts the timer softirq of each CPU, when the first timer is armed.
func (k *Kernel) startTicks() {
	if k.ticking {
		return
	}
	k.ticking = true
	for _, p := range k.cpus {
		p.base.start(k)
	}
	if k.cfg.Ticks {
		k.startClock()
	}
}

func (b *timerBase) start(k *Kernel) {
	body := func(t *explore.Task) {
		for {
			c := k.tickContext(b, t)
			c.step("timer", b, b.objects()...)
			n := b.first()
			w := b.armed[0]
			if n > 1 {
				w = b.armed[c.t.Choose(n)]
			}
			b.remove(w)
			w.base = nil
			w.insert(w.wq, w.target)
			c.exitInterrupt()
		}
	}
	k.spawn(nil, "timer", explore.TaskOptions{Daemon: true, Lane: b.cpu.id}, body)
}

// tickContext returns the context of the next timer interrupt.
func (k *Kernel) tickContext(b *timerBase, t *explore.Task) *Context {
	c := b.irq
	if c == nil {
		c = k.newContext(InHardirq, b.cpu, "timer")
		c.hardIRQ = true
		b.irq = c
	}
	c.bind(t)
	c.cpu = b.cpu
	c.dead, c.entering, c.irqsOff = false, true, 1
	c.Forget(1)
	return c
}

func (b *timerBase) objects() []acc {
	var a []acc
	for _, p := range b.cpu.k.cpus {
		a = append(a, acc{p.wq, explore.AtomicUpdate})
	}
	if b.cpu.k.cfg.Ticks {
		a = append(a, acc{b.cpu.k.clock, explore.AtomicRead})
	}
	return append(a, acc{b.cpu.obj, explore.Modify})
}

// ready reports whether a timer of b can fire.
func (b *timerBase) ready(*Context) bool {
	return len(b.armed) > 0 && b.cpu.online && (!b.cpu.k.cfg.Ticks || b.earliest() <= b.cpu.k.jiffies)
}

func (b *timerBase) describe(_ *Context, w *explore.Wait) { w.For = "a timer" }

// migrate moves the timers of a dead CPU, timers_dead_cpu.
func (b *timerBase) migrate(to *timerBase) {
	for _, w := range b.armed {
		w.base = to
	}
	to.armed = append(to.armed, b.armed...)
	b.armed = nil
	b.cpu.k.timersMoved = b.cpu.k.timersMoved || len(to.armed) > 0
}
