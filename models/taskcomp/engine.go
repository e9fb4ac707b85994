// SPDX-License-Identifier: Apache-2.0

package taskcomp

import (
	"errors"
	"strings"

	"endio/batch"
	"endio/bio"
	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
)

// engine is the version "endio": the production packages bio and batch, unchanged,
// on the simulated kernel. It only carries handlers over.
type engine struct {
	m    *model
	mach *sim.Machine
	all  *batch.Batches
	ours []*bio.Bio
	over []bool // by bio: it has ended, its children perhaps not; for reports only
}

func newEngine(m *model) *engine {
	mach := sim.NewMachine(m.stage.K)
	init := mach.InitContext()
	e := &engine{m: m, mach: mach, over: make([]bool, len(m.bios)), all: batch.New(mach, init, batch.Options{Pass: m.file.Pass})}
	for _, b := range m.bios {
		o := &bio.Bio{}
		if b.def.Handler != "none" && b.def.Parent == "" {
			o.EndIO = func(c machine.Context, o *bio.Bio) { e.handle(c.(*sim.Context), b, o) }
		}
		if b.def.InTask {
			o.Flags = bio.CompleteInTask
		}
		e.ours = append(e.ours, o)
	}
	for i, b := range m.bios {
		if b.def.Parent != "" {
			_ = bio.Chain(mach, init, e.ours[i], e.ours[m.bio(b.def.Parent).id])
		}
	}
	for _, o := range e.ours {
		if !o.InFlight() {
			_ = o.Start() // one without a handler is refused, and never ends
		}
	}
	m.stage.K.Root(e.all)
	m.stage.K.Root(&e.ours)
	m.end, m.again = e.end, e.end
	m.engine = e
	return e
}

func (e *engine) end(c *sim.Context, b *modelBio) {
	o := e.ours[b.id]
	c.Learn(uint64(o.Flags))
	if !o.InFlight() {
		return // refused at the start
	}
	if !e.m.integrityEndio(c, b) {
		return // below endio the kernel verifies before anybody learns that the I/O is over, and tells of it in a task
	}
	e.over[b.id] = true
	if b.def.Parent == "" {
		e.m.state[b.id].ended++
	}
	var err error
	if b.def.Error {
		err = errIO
	}
	if !e.m.fifo || b.def.Parent != "" || !e.bound(c) {
		bio.End(c, e.all, o, err)
		return
	}
	st := &e.m.state[b.id]
	st.cpu = int(c.CPU())
	for i := range e.m.state {
		if e.m.state[i].returned && e.m.state[i].cpu == st.cpu {
			st.before |= 1 << i
		}
	}
	bio.End(c, e.all, o, err)
	st.returned = true
}

// errIO is what a bio fails with.
var errIO = errors.New("I/O error")

// bound reports whether c stays on its CPU from the first to the last step of an end.
func (e *engine) bound(c *sim.Context) bool { return !c.InTask() || !c.Migratable() }

// checkOrder finds a handler that overtakes one whose bio ended before, on the same CPU.
func (e *engine) checkOrder(c *sim.Context, b *modelBio) {
	if !e.m.fifo {
		return
	}
	for i := range e.m.state {
		if e.m.state[b.id].before>>i&1 == 1 && e.m.state[i].started == 0 {
			c.Fail(sim.OutOfOrder, "the handler of bio %s runs before that of %s, which ended on cpu %d earlier",
				b.def.Name, e.m.bios[i].def.Name, e.m.state[i].cpu)
		}
	}
}

// handle is the handler of b.
func (e *engine) handle(c *sim.Context, b *modelBio, o *bio.Bio) {
	st := &e.m.state[b.id]
	if b.def.Handler == "dynamic" && bio.CompleteLater(c, e.all, o) {
		st.deferrals++
		if st.deferrals > 1 {
			c.Fail(sim.EndlessDefer, "bio %s is deferred again (deferral %d)", b.def.Name, st.deferrals)
		}
		return
	}
	c.Learn(uint64(st.started)<<1 | 1)
	if b.def.Handler == "restores" && st.stacked {
		st.stacked = false
		outcome := o.Err
		if err := o.Start(); err != nil {
			c.Fail(sim.NeverRun, "bio %s can't be started again: %v", b.def.Name, err)
		}
		bio.End(c, e.all, o, outcome)
		return
	}
	e.m.running[b.id] = c
	if c.Tracing() {
		c.Note("handler of bio %s", b.def.Name)
	}
	st.started++
	if st.started > 1 {
		c.Fail(sim.RunTwice, "the handler of bio %s runs twice, now in %s %q on cpu %d", b.def.Name, c.Kind(), c.Name(), c.CPU())
	}
	e.m.checkContext(c, b)
	e.checkOrder(c, b)
	e.m.checkError(c, b, o.Err != nil)
	e.m.handle(c, b)
	st.runs++
	b.done.CompleteAll(c)
}

// The methods of a protocol that only the kernel's versions need.

func (e *engine) inAtomic(c *sim.Context) bool                { return c.Atomic() }
func (e *engine) add(*sim.Context, *modelBio)                 {}
func (e *engine) completeInTask(*sim.Context, *modelBio) bool { return false }
func (e *engine) hasHelper() bool                             { return true }
func (e *engine) peek(int) int                                { return 0 }
func (e *engine) workOf(*modelBio) *sim.Work                  { return nil }

// awaits says who runs the handler of a bio that has ended and whose handler has not begun: a child of it that has not
// ended, or the work items of the batches.
func (e *engine) awaits(b *modelBio, w *explore.Wait) {
	var why []string
	for i, o := range e.m.bios {
		if o.def.Parent == b.def.Name && !e.over[i] {
			why = append(why, "its child "+o.def.Name+" has not ended")
		}
	}
	if why == nil {
		w.By = "to be run by"
		for _, item := range e.mach.Works() {
			if item.Busy() {
				w.Owners = append(w.Owners, item.Runners()...)
				why = append(why, item.Fate())
			}
		}
	}
	if why == nil {
		why = append(why, "it has ended, and no work item is to run it")
	}
	w.Why = strings.Join(why, "; ")
}
