// SPDX-License-Identifier: Apache-2.0

package sim

import "endio/explore"

// A timerBase has the timers of one CPU. Time is abstract: an armed timer fires at
// any moment after it was armed, as long as its CPU runs.
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

func (b *timerBase) expiry(int) int { return 0 }

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
}

func (b *timerBase) start(k *Kernel) {
	body := func(t *explore.Task) {
		for {
			c := k.tickContext(b, t)
			c.step("timer", b, b.objects()...)
			w := b.armed[0]
			if len(b.armed) > 1 {
				w = b.armed[c.t.Choose(len(b.armed))]
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
	return append(a, acc{b.cpu.obj, explore.Modify})
}

// ready reports whether a timer of b can fire.
func (b *timerBase) ready(*Context) bool { return len(b.armed) > 0 && b.cpu.online }

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
