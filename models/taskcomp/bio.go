// SPDX-License-Identifier: Apache-2.0

package taskcomp

import (
	"endio/machine/sim"
	"endio/scenario"
)

// completeInTask is BIO_COMPLETE_IN_TASK, include/linux/blk_types.h, Linux 7.3.
const completeInTask = 1

// A modelBio is struct bio, as far as completion goes. Bios are numbered; what changes
// is in model.state.
type modelBio struct {
	id        int
	def       *scenario.Bio
	parent    *modelBio
	remaining *sim.Atomic[int] // __bi_remaining of a chained parent, or nil
	status    *sim.Atomic[int] // bi_status, if it or a bio below it fails, or nil: which bio has failed, counted from 1
	verify    *sim.Work        // bip_work of a read with integrity data, or nil
	done      *sim.Completion  // the handler has run
}

// bioState is what changes of a bio. The bio belongs to one context at a time.
type bioState struct {
	flags     int
	stacked   bool // the original handler is not back yet
	started   int  // calls of the handler
	runs      int  // ends of the handler
	deferrals int
	cached    bool // its uncached folio is still in the cache
	ended     int  // calls of bio_endio
	cpu       int  // whose list it was added to last
	chained   bool // BIO_CHAIN
	verifying bool // its integrity work has it
	verified  bool // its integrity data is gone

	// For version endio, which tells nobody of its lists, and only if the order is wanted.
	returned bool   // its bio.End has returned, in an interrupt on cpu
	before   uint64 // bios of that CPU whose End had returned when its own was called
}

// driverEnd is the driver at the end of an I/O: it sets bi_status if that has failed, and calls bio_endio.
func (m *model) driverEnd(c *sim.Context, b *modelBio) {
	if b.def.Error {
		b.status.Store(c, b.id+1)
	}
	m.bioEndio(c, b)
}

// bioEndio is bio_endio. Source: block/bio.c, Linux 7.3; the order of steps is in
// kernel-semantics B1.2: chain and integrity first, then the choice of the context.
func (m *model) bioEndio(c *sim.Context, b *modelBio) {
	for {
		if !m.remainingDone(c, b) {
			return // children are in flight
		}
		if !m.integrityHook(c, b) {
			return // it comes again
		}
		if b.parent == nil {
			break
		}
		m.chainEndio(c, b)
		b = b.parent // the chain marker: go on with the parent, in a loop
	}
	st := &m.state[b.id]
	st.ended++
	c.Learn(uint64(st.flags))
	if st.flags&completeInTask != 0 && m.proto.inAtomic(c) {
		m.defer_(c, b)
		return
	}
	if b.def.Handler != "none" {
		m.endIO(c, b)
	}
}

// remainingDone is bio_remaining_done: whoever takes the count to 0 ends the chain, and goes on; a bio that comes again is no chain any more.
func (m *model) remainingDone(c *sim.Context, b *modelBio) bool {
	st := &m.state[b.id]
	if b.remaining == nil || !learned(c, st.chained) {
		return true
	}
	n := b.remaining.Update(c, func(n int) int { return n - 1 })
	if n < 0 {
		c.Fail(sim.Imbalance, "__bi_remaining of bio %s falls below 0: a bio of its chain has ended twice", b.def.Name)
	}
	st.chained = n > 0
	return n == 0
}

func learned(c *sim.Context, v bool) bool {
	c.LearnBool(v)
	return v
}

// integrityEndio is bio_integrity_endio: a read that has not failed is verified by a worker, which ends the bio again.
//
// Source: block/bio-integrity-auto.c, Linux 7.3; kernel-semantics.md, B1.2.
func (m *model) integrityEndio(c *sim.Context, b *modelBio) bool {
	st := &m.state[b.id]
	if b.verify == nil || learned(c, st.verified) || m.failed(c, b) {
		return true
	}
	c.LocalIRQSave()
	st.verifying = true
	m.kintegrityd.QueueWorkOn(c, int(c.CPU()), b.verify) // queue_work: the pool of the CPU that it is called on
	c.LocalIRQRestore()
	return false
}

// verifyFn is bio_integrity_verify_fn: it frees the integrity data, and the bio ends again, in a task.
func (m *model) verifyFn(c *sim.Context, b *modelBio) {
	m.state[b.id].verifying, m.state[b.id].verified = false, true
	m.again(c, b)
}

// failed reports whether the status of b is an error.
func (m *model) failed(c *sim.Context, b *modelBio) bool {
	if m.engine != nil {
		return b.def.Error
	}
	return b.status != nil && b.status.Load(c) != 0
}

// bioChainEndio is __bio_chain_endio but for the way to the parent: the first error stays. Nothing protects the two statuses; of two children
// that fail at a time either may be the one.
func (m *model) bioChainEndio(c *sim.Context, b *modelBio) {
	if b.status == nil {
		return
	}
	if of := b.status.Load(c); of != 0 && b.parent.status.Load(c) == 0 {
		b.parent.status.Store(c, of)
	}
}

// checkError finds a handler that is not told of the failure of its bio or of one that is chained to it.
func (m *model) checkError(c *sim.Context, b *modelBio, told bool) {
	if told {
		return
	}
	for _, o := range m.bios {
		for up := o; o.def.Error && up != nil; up = m.bio(up.def.Parent) {
			if up == b {
				c.Fail(lostError, "the handler of bio %s is told of no error, and bio %s has failed", b.def.Name, o.def.Name)
			}
		}
	}
}

// defer_ is __bio_complete_in_task, whichever version.
func (m *model) defer_(c *sim.Context, b *modelBio) {
	st := &m.state[b.id]
	st.deferrals++
	limit := 1
	if b.def.Handler == "restores" && !m.cfg.Count {
		limit++ // each layer may be deferred once where nobody can tell
	}
	if st.deferrals > limit {
		c.Fail(sim.EndlessDefer, "bio %s is deferred again (deferral %d), in %s %q: nothing ends this", b.def.Name, st.deferrals, c.Kind(), c.Name())
	}
	m.proto.add(c, b)
}

// callEndIO is bio->bi_end_io(bio) of a worker or a drain: the pointer is not tested
// unless the version does.
func (m *model) callEndIO(c *sim.Context, b *modelBio, tested bool) {
	if b.def.Handler == "none" {
		if tested {
			m.state[b.id].started++
			m.state[b.id].runs++
			return
		}
		c.Fail(sim.NilHandler, "bio->bi_end_io of bio %s is NULL and is called by %s %q", b.def.Name, c.Kind(), c.Name())
	}
	m.endIO(c, b)
}

// endIO is the handler. With the dynamic helper it may only move the bio.
func (m *model) endIO(c *sim.Context, b *modelBio) {
	st := &m.state[b.id]
	if b.def.Handler == "dynamic" && m.proto.completeInTask(c, b) {
		return
	}
	c.Learn(uint64(st.started)<<1 | 1)
	if b.def.Handler == "restores" && st.stacked {
		st.stacked = false // bi_end_io is the original one again
		m.bioEndio(c, b)
		return
	}
	if c.Tracing() {
		c.Note("handler of bio %s", b.def.Name)
	}
	m.running[b.id] = c
	st.started++
	if st.started > 1 {
		c.Fail(sim.RunTwice, "the handler of bio %s runs twice, now in %s %q on cpu %d", b.def.Name, c.Kind(), c.Name(), c.CPU())
	}
	m.checkContext(c, b)
	m.checkOrder(c, b)
	if b.status != nil {
		m.checkError(c, b, b.status.Load(c) != 0)
	}
	m.handle(c, b)
	st.runs++
	if b.done != nil {
		b.done.CompleteAll(c)
	}
}

// handle does what the handler of b does.
func (m *model) handle(c *sim.Context, b *modelBio) {
	switch b.def.Handler {
	case "sleeps":
		c.MightSleep("the handler of bio " + b.def.Name)
	case "locks":
		mu := m.stage.Mutex(b.def.Arg)
		mu.Lock(c)
		mu.Unlock(c)
	case "waits":
		m.bio(b.def.Arg).done.Wait(c)
	case "resubmits":
		m.submit(c, m.bio(b.def.Arg), b.def.CPU)
	case "writeback":
		// folio_end_dropbehind: in task context, if the folio lock is free, the
		// folio leaves the cache; in an interrupt it stays.
		m.state[b.id].cached = !c.InTask()
	case "hotplugs":
		_ = m.stage.K.CPUDown(c, b.def.CPU, "")
	}
}

// submit sends b to a device that ends it with an interrupt on cpu.
func (m *model) submit(c *sim.Context, b *modelBio, cpu int) {
	if cpu < 0 {
		cpu = 0
	}
	m.stage.K.Interrupt(c, cpu, "irq for "+b.def.Name, sim.IRQOptions{}, func(c *sim.Context) {
		m.end(c, b)
	})
}

// checkContext finds a handler that was promised a task context and has none.
func (m *model) checkContext(c *sim.Context, b *modelBio) {
	wants := b.def.InTask || b.def.Handler == "dynamic" && m.proto.hasHelper()
	if !wants {
		return
	}
	if !c.InTask() || m.cfg.Count && c.Atomic() {
		c.Fail(sim.WrongContext, "the handler of bio %s was promised a task context and runs in %s %q on cpu %d, which may not block",
			b.def.Name, c.Kind(), c.Name(), c.CPU())
	}
}

// checkOrder finds a handler that overtakes one that was added to the same list before.
func (m *model) checkOrder(c *sim.Context, b *modelBio) {
	if !m.fifo || m.state[b.id].deferrals == 0 {
		return
	}
	for i, id := range m.added {
		if id != b.id {
			continue
		}
		for _, other := range m.added[:i] {
			if m.state[other].cpu == m.state[b.id].cpu && m.state[other].started == 0 {
				c.Fail(sim.OutOfOrder, "the handler of bio %s runs before that of %s, which was added to the list of cpu %d earlier",
					b.def.Name, m.bios[other].def.Name, m.state[b.id].cpu)
			}
		}
		return
	}
}

// inAtomic is bio_in_atomic. Source: include/linux/bio.h, Linux 7.3.
func inAtomic(c *sim.Context) bool { return c.Atomic() }
