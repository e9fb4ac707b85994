// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

	"endio/explore"
)

// An Audit checks what any model of deferred handlers must keep: each handler runs
// exactly as often as it was asked for, in a context that it may run in, in the
// order of its CPU where that is promised, and is not deferred again and again. Its methods
// belong to the running step.
type Audit struct {
	k     *Kernel
	items []*Audited
	fifo  [MaxCPUs][]*Audited // added and not yet run, by CPU
}

// An Audited is one handler under audit.
type Audited struct {
	a         *Audit
	name      string
	task      bool // wants a task context
	want      int
	runs      int
	deferrals int
	limit     int
	lists     int // the CPU's list on which it is + 1
}

// NewAudit starts an audit: at the end of an execution, each handler must have run as often
// as wanted. Call it in Init.
func (k *Kernel) NewAudit() *Audit {
	a := &Audit{k: k}
	k.add(a)
	k.AtEnd(func(k *Kernel) {
		for _, h := range a.items {
			if h.runs < h.want {
				k.Fail(NeverRun, fmt.Sprintf("the handler of %s ran %d times, asked for %d, and nothing is left that could run it", h.name, h.runs, h.want))
			}
		}
	})
	return a
}

// Handler puts a handler under audit that is to run once. inTask says that it wants a task
// context, and deferrals how often it may be put off: 1, and 1 more for each layer that is
// stacked with PREEMPT_COUNT=n (kernel-semantics.md, F2, L-term).
func (a *Audit) Handler(name string, inTask bool, deferrals int) *Audited {
	h := &Audited{a: a, name: name, task: inTask, want: 1, limit: deferrals}
	a.items = append(a.items, h)
	return h
}

func (a *Audit) hash(h *explore.Hash) {
	for _, i := range a.items {
		h.Add(uint64(i.runs) | uint64(i.want)<<16 | uint64(i.deferrals)<<32 | uint64(i.lists)<<48)
	}
	for p := range a.k.cpus {
		v := uint64(len(a.fifo[p]))
		for _, i := range a.fifo[p] {
			for n, o := range a.items {
				if i == o {
					v = mix(v, uint64(n))
				}
			}
		}
		h.Add(v)
	}
}

// Again asks for one more run, of a handler that was started again.
func (h *Audited) Again() { h.want++ }

// Deferred notes that h was put off.
func (h *Audited) Deferred(c *Context) {
	if h.deferrals++; h.deferrals > h.limit {
		c.Fail(EndlessDefer, "the handler of %s is deferred for the %d. time, at most %d are allowed", h.name, h.deferrals, h.limit)
	}
}

// Added notes that h was added to the list of a CPU on which handlers start in the order in
// which they were added.
func (h *Audited) Added(cpu int) {
	h.lists = cpu + 1
	h.a.fifo[cpu] = append(h.a.fifo[cpu][:len(h.a.fifo[cpu]):len(h.a.fifo[cpu])], h)
}

// Moved notes that what is on the list of a CPU was taken elsewhere, where it has no promised
// order any more: the CPU goes down.
func (a *Audit) Moved(cpu int) {
	for _, h := range a.fifo[cpu] {
		h.lists = 0
	}
	a.fifo[cpu] = nil
}

// Runs notes that h starts to run.
func (h *Audited) Runs(c *Context) {
	if h.runs++; h.runs > h.want {
		c.Fail(RunTwice, "the handler of %s ran %d times, asked for %d", h.name, h.runs, h.want)
	}
	if h.task {
		if c.k.cfg.Count && c.Atomic() {
			c.Fail(WrongContext, "the handler of %s wants a task and runs in %s %q", h.name, c.kind, c.name)
		}
		c.MightSleep("the handler of " + h.name)
	}
	if h.lists == 0 {
		return
	}
	list := &h.a.fifo[h.lists-1]
	if first := (*list)[0]; first != h {
		c.Fail(OutOfOrder, "the handler of %s starts before that of %s, which was added to cpu %d earlier", h.name, first.name, h.lists-1)
	}
	*list, h.lists = append([]*Audited(nil), (*list)[1:]...), 0
}
