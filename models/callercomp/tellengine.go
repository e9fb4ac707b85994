// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"fmt"
	"slices"
	"strings"

	"endio/dio"
	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
)

// Reports of version endio say who waits for whom, as those of the kernel's versions do (tell.go). Nothing here takes part in the
// model, and none of what it reads is state.

// An engineInode is an inode of the engine with what reports say of it.
type engineInode struct {
	*dio.Inode
	name   string
	line   []*sim.Context // who excludes on it, or waits to
	holder *sim.Context   // who has it for himself
	tell   func(what machine.Condition, w *explore.Wait)
}

func (n *engineInode) leave(c *sim.Context) {
	n.holder = nil
	if i := slices.Index(n.line, c); i >= 0 {
		n.line = slices.Delete(n.line, i, i+1)
	}
}

// first returns who has the inode, or drains it, or nil.
func (n *engineInode) first() *sim.Context {
	if n.holder != nil {
		return n.holder
	}
	for _, c := range n.line {
		if _, turn := c.SleepsFor().(*dio.Turn); !turn && c.SleepsFor() != nil {
			return c
		}
	}
	return nil
}

// String names an operation as [request.String] does.
func (p *op) String() string {
	what := p.step.Request
	if what == "" {
		what = p.step.Verb
	}
	return fmt.Sprintf("I/O %d [%s: %s %s]", p.id+1, p.task, what, p.ino.name)
}

// blame adds to w who must end p, and what they have to do; self is left out.
func (e *engine) blame(p *op, w *explore.Wait, self *sim.Context) {
	why := func(format string, args ...any) {
		w.Why = strings.TrimPrefix(w.Why+"; "+fmt.Sprintf(format, args...), "; ")
	}
	owner := func(c *sim.Context) bool {
		if c == nil || c == self || c.Explorer() == nil {
			return false
		}
		w.Owners = append(w.Owners, c.Explorer())
		return true
	}
	switch p.at {
	case forWorker:
		why("%s is to be issued by a worker, and none is free", p)
	case issued:
		if owner(p.by) {
			why("it works on %s", p)
		}
	case forThaw:
		why("%s is to be issued by a thread that has not begun to wait for the thaw", p)
	case onDevice:
		why("%s is on the device", p)
	case forTurn:
		if owner(p.ino.first()) {
			why("%s is held back until it lets I/O of %s in", p, p.ino.name)
		} else {
			why("%s is held back, and nobody lets I/O of %s in", p, p.ino.name)
		}
	case linked:
		why("%s is begun by the handler of %s", p, p.prev) // of whom is told, too
	case forTask:
		if p.ring >= 0 && owner(e.tasks[p.task].Context()) {
			why("the handler of %s is run by %s", p, p.task)
		}
	}
}

// tellInode says for what an operation waits that wants n for itself, and who ends that.
func (e *engine) tellInode(n *engineInode, what machine.Condition, w *explore.Wait) {
	if _, turn := what.(*dio.Turn); turn {
		w.For = "its turn to have " + n.name + " for itself"
		if c := n.first(); c != nil && c.Explorer() != nil {
			w.Owners = append(w.Owners, c.Explorer())
		}
		return
	}
	w.For, w.By = "the direct I/O in flight on "+n.name, "ended only by"
	for _, p := range e.ops {
		if p.ino == n && !p.step.Unaligned && (p.at == onDevice || p.at == issued || p.at == forThaw) {
			e.blame(p, w, nil)
		}
	}
}

// tellRing says whose completions the task of c waits for, which runs all handlers of the ring itself.
func (e *engine) tellRing(c *sim.Context, name string, ring int, w *explore.Wait) {
	w.For, w.By = "completions of ring "+name, "brought about only by"
	for _, p := range e.ops {
		if p.ring == ring && p.at != nowhere {
			e.blame(p, w, c)
		}
	}
}

// tellWriters says who ends the asynchronous writes.
func (e *engine) tellWriters(w *explore.Wait) {
	for _, p := range e.ops {
		if p.sb {
			e.blame(p, w, nil)
		}
	}
}

// tellSync says why a synchronous I/O does not end.
func (e *engine) tellSync(p *op, w *explore.Wait) {
	w.For, w.By = "the end of "+p.String(), "brought about only by"
	e.blame(p, w, e.tasks[p.task].Context())
}
