// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"errors"
	"fmt"

	"endio/batch"
	"endio/bio"
	"endio/dio"
	"endio/explore"
	"endio/machine"
	"endio/machine/sim"
	"endio/models/stage"
	"endio/scenario"
)

// engine is the version "endio": the production packages bio, batch and dio,
// unchanged. A ring is an owner of completions: its I/O asks for its caller. A
// fallocate and its like exclude on the inode, as does an unaligned write. A lock
// of the scenario is one of the program that calls the engine. There are no links: what
// is linked is begun by the handler of the operation before it, or if that has failed, told so.
//
// Below the engine is the kernel, whose file system may be frozen: a write tries sb_writers and
// leaves the wait for the thaw to a thread of the kernel (io-wq since the fix of 2024, or
// the engine's own where it has no ring), ends it before its completion is seen, and
// a call like fallocate waits for the thaw itself, after the engine has drained the inode. A freeze
// is a call past the engine (FIFREEZE).
type engine struct {
	stage   *stage.Stage
	k       *sim.Kernel
	mach    *sim.Machine
	batches *batch.Batches
	inodes  map[string]*engineInode
	ioWq    *sim.IOWorkQueue
	sb      *sim.SuperBlock  // nil if nobody freezes it: then nobody can tell
	thawWq  *sim.IOWorkQueue // writes that wait for the thaw, a thread each
	tasks   map[string]*sim.Task
	ops     []*op
	bios    int   // of all operations
	ran     []int // by ring of the file: handlers run
}

// An op is one I/O.
type op struct {
	id     int
	step   *scenario.Step
	bio    bio.Bio
	waiter dio.Waiter
	done   *sim.Completion
	ino    *engineInode
	ring   int      // index into the file's rings, -1 for none
	irq    int      // by which the interrupt of its first bio is known
	left   *sim.Ref // bios that have not ended; nil if there is one

	next, prev *op // linked behind it, and to which it is linked

	task string // whose step it is; for reports only, like at, by and sb
	at   place
	by   *sim.Context
	sb   bool // counted by sb_writers

	cancelled bool // follows from the file: the one before it has failed
}

// An account is a task's owner of completions.
type account struct {
	owner *batch.Owner
	reap  map[int]int
}

func startEngine(x *explore.Exec, f *scenario.File, cfg sim.Config) {
	s := stage.New(x, f, cfg)
	e := &engine{stage: s, k: s.K, mach: sim.NewMachine(s.K), inodes: map[string]*engineInode{}, tasks: map[string]*sim.Task{}}
	e.batches = batch.New(e.mach, e.mach.InitContext(), batch.Options{Pass: f.Pass})
	e.k.Root(e.batches)
	for _, d := range f.Inodes {
		n := &engineInode{Inode: dio.NewInode(e.mach), name: d.Name}
		n.tell = func(what machine.Condition, w *explore.Wait) { e.tellInode(n, what, w) }
		e.inodes[d.Name] = n
		e.k.Root(n.Inode)
	}
	e.ran = make([]int, len(f.Rings)+1)
	e.k.Root(&e.ran)
	workers := f.IOWorkers
	if workers == 0 {
		workers = 2
	}
	if len(f.Rings) > 0 {
		e.ioWq = e.k.NewIOWorkQueue(nil, workers)
	}
	if f.Uses("freeze") || f.Uses("thaw") {
		e.sb = e.k.NewSuperBlock(nil)
		e.sb.Tell(e.tellWriters)
		e.thawWq = e.k.NewIOWorkQueue(nil, max(1, writes(f)))
	}
	for i := range f.Actors {
		e.actor(f, &f.Actors[i])
	}
}

// writes returns how many writes f has.
func writes(f *scenario.File) (n int) {
	for i := range f.Actors {
		for _, st := range f.Actors[i].Steps {
			if st.Writes() {
				n++
			}
		}
	}
	return n
}

func (e *engine) actor(f *scenario.File, a *scenario.Actor) {
	acc := &account{owner: batch.NewOwner(e.mach), reap: map[int]int{}}
	e.k.Root(acc.owner)
	o := sim.TaskOptions{}
	if a.CPU >= 0 {
		o.CPU = sim.OnCPU(a.CPU)
	}
	ops := make([]*op, len(a.Steps))
	for i := range a.Steps {
		st := &a.Steps[i]
		o.Daemon = o.Daemon || st.Verb == "spin"
		if st.Verb != "submit" && st.Verb != "write" && st.Verb != "read" {
			continue
		}
		p := &op{id: len(e.ops), step: st, task: a.Name, ino: e.inodes[st.Name], ring: -1, irq: e.bios + 1, done: e.k.NewCompletion(nil, fmt.Sprintf("I/O %d", len(e.ops)+1))}
		e.bios += st.Bios
		if st.Bios > 1 {
			p.left = e.k.NewRef(nil, fmt.Sprintf("the bios of I/O %d", p.id+1))
		}
		if i > 0 && a.Steps[i-1].Link {
			p.prev, ops[i-1].next = ops[i-1], p
		}
		for j := range f.Rings {
			if f.Rings[j].Name == st.Ring {
				p.ring = j
				p.bio.Owner = acc.owner
			}
		}
		p.bio.EndIO = func(c machine.Context, _ *bio.Bio) { e.handler(c.(*sim.Context), p) }
		p.done.Tell(func(w *explore.Wait) { e.tellSync(p, w) })
		p.waiter.Start = func(c machine.Context, _ *dio.Waiter) { e.device(c.(*sim.Context), p) }
		_ = p.bio.Start()
		e.k.Root(&p.bio)
		e.k.Root(&p.waiter)
		e.ops = append(e.ops, p)
		ops[i] = p
	}
	e.tasks[a.Name] = e.k.Go(nil, a.Name, o, func(c *sim.Context) {
		c.SetHelper(acc.owner)
		if len(a.Steps) > 0 && a.Steps[0].Verb == "signal" {
			c.Yield() // the task that is signalled may not exist yet
		}
		for i := range a.Steps {
			h := c.History()
			e.step(c, f, acc, &a.Steps[i], ops[i])
			c.Keep(h, 0)
		}
	})
}

func (e *engine) step(c *sim.Context, f *scenario.File, acc *account, st *scenario.Step, p *op) {
	if e.stage.Step(c, st) {
		return
	}
	switch st.Verb {
	case "submit":
		if p.prev != nil {
			return // it was given together with that one
		}
		for n := p.next; n != nil; n = n.next {
			n.at = linked
		}
		e.submit(c, p)
	case "write", "read":
		if p.step.Unaligned {
			e.partial(c, p)
			return
		}
		h := c.History()
		e.begin(c, p)
		c.Keep(h, 4) // issued or held back: the wait is the same
		p.done.Wait(c)
	case "wait":
		for j := range f.Rings {
			if f.Rings[j].Name == st.Ring {
				acc.reap[j] += st.Count
				c.TellSleep(func(_ machine.Condition, w *explore.Wait) { e.tellRing(c, f.Rings[j].Name, j, w) })
				acc.owner.Wait(c, reaped{e, j, acc.reap[j], c.History()})
			}
		}
	case "fallocate", "truncate", "clone":
		if st.Under == "" {
			e.exclusive(c, e.inodes[st.Name])
			return
		}
		mu := e.stage.Mutex(st.Under)
		mu.Lock(c)
		e.exclusive(c, e.inodes[st.Name])
		mu.Unlock(c)
	case "freeze":
		e.sb.Freeze(c)
	case "thaw":
		e.sb.Thaw(c)
	case "signal":
		e.tasks[st.Name].Signal(c, sim.Signal{})
	case "spin":
		c.UserWait("the end of an endless loop", func() bool { return false })
	}
}

// reaped is ready when n handlers of a ring have run.
type reaped struct {
	e    *engine
	ring int
	n    int
	from uint64 // what the task knew when it began to wait
}

// Ready is called by the task that waits, in which alone the handlers run: at the head of the loop of [batch.Owner.Wait], which keeps
// nothing from one round to the next, and once more in the middle of one, when the task is about to sleep.
func (r reaped) Ready(mc machine.Context) bool {
	c := mc.(*sim.Context)
	if !c.FallsAsleep() {
		c.Keep(r.from, 3)
	}
	ready := r.e.ran[r.ring] >= r.n
	c.LearnBool(ready)
	return ready
}

func (e *engine) exclusive(c *sim.Context, n *engineInode) {
	e.exclude(c, n)
	if e.sb != nil { // the call
		e.sb.StartWriteSync(c)
		e.sb.EndWriteSync(c)
	}
	e.admit(c, n)
}

func (e *engine) exclude(c *sim.Context, n *engineInode) {
	h := c.History()
	c.TellSleep(n.tell)
	n.line = append(n.line, c)
	if err := n.Exclude(c); err != nil {
		c.Fail(explore.Assertion, "%v", err)
	}
	n.holder = c
	c.Keep(h, 1) // and not as at the end of a step
}

func (e *engine) admit(c *sim.Context, n *engineInode) {
	h := c.History()
	n.leave(c)
	n.Admit(c)
	c.Keep(h, 2)
}

// submit starts an operation without waiting; what has to wait does so on another task.
func (e *engine) submit(c *sim.Context, p *op) {
	switch {
	case p.step.Request == "fallocate" || p.step.Request == "truncate":
		p.at = forWorker
		e.ioWq.QueueID(c, uint64(p.id)+1, p.step.Request, func(c *sim.Context) {
			p.at, p.by = issued, c
			e.exclusive(c, p.ino)
			p.at = forTask
			bio.End(c, e.batches, &p.bio, p.err())
		})
	case p.step.Unaligned:
		p.at = forWorker
		e.ioWq.QueueID(c, uint64(p.id)+1, "unaligned write", func(c *sim.Context) {
			e.partial(c, p)
			p.at = forTask
			bio.End(c, e.batches, &p.bio, p.err())
		})
	default:
		e.begin(c, p)
	}
}

// partial writes a part of a block: an exclusive section with a write in it that waits.
func (e *engine) partial(c *sim.Context, p *op) {
	p.at, p.by = issued, c
	e.exclude(c, p.ino)
	if e.sb != nil {
		e.sb.StartWrite(c)
	}
	p.at, p.sb = onDevice, e.sb != nil
	e.give(c, p, func(c *sim.Context) {
		if e.sb != nil {
			p.sb = false
			e.sb.EndWrite(c)
		}
		p.done.Complete(c)
	})
	p.done.Wait(c)
	p.at = issued
	e.admit(c, p.ino)
}

// begin counts the I/O and gives it to the device, or leaves it with the inode.
func (e *engine) begin(c *sim.Context, p *op) {
	p.at, p.by = issued, c
	if p.ino.Begin(c, &p.waiter) {
		e.device(c, p)
	} else if p.at == issued { // whoever let it in was not faster
		p.at = forTurn
	}
}

// device gives the I/O to the kernel, in any context.
func (e *engine) device(c *sim.Context, p *op) {
	counted := e.sb != nil && p.step.Writes()
	start := func(c *sim.Context) {
		p.at, p.sb = onDevice, counted
		e.give(c, p, func(c *sim.Context) {
			if counted {
				p.sb = false
				e.sb.EndWrite(c)
			}
			p.at = forTask
			dio.Complete(c, e.batches, p.ino.Inode, &p.bio, p.err())
		})
	}
	if !counted || e.sb.StartWriteTry(c) {
		start(c)
		return
	}
	p.at = forThaw
	e.thawWq.QueueID(c, uint64(p.id)+1, "a write", func(c *sim.Context) {
		p.at, p.by = issued, c
		e.sb.StartWrite(c)
		start(c)
	})
}

// give gives the I/O to the device. The kernel below has it in as many bios as the file says, the last of which to end ends it; that its own
// submitter may be the last one, no engine sees.
func (e *engine) give(c *sim.Context, p *op, end func(c *sim.Context)) {
	name := fmt.Sprintf("irq of I/O %d", p.id+1)
	if p.left == nil {
		e.k.Interrupt(c, 0, name, sim.IRQOptions{ID: p.irq, Merge: true}, end)
		return
	}
	p.left.Set(p.step.Bios)
	for i := range p.step.Bios {
		e.k.Interrupt(c, 0, fmt.Sprintf("%s, bio %d", name, i+1), sim.IRQOptions{ID: p.irq + i, Merge: true}, func(c *sim.Context) {
			if p.left.Put(c) {
				end(c)
			}
		})
	}
}

// errDevice is what the device answers to an operation that the file makes fail.
var errDevice = errors.New("EIO")

func (p *op) err() error {
	if p.step.Error {
		return errDevice
	}
	return nil
}

func (e *engine) handler(c *sim.Context, p *op) {
	p.at = nowhere
	if p.ring < 0 {
		p.done.Complete(c)
		return
	}
	e.ran[p.ring]++
	if p.next == nil {
		return
	}
	if p.step.Error || p.cancelled {
		p.next.cancelled = true
		e.handler(c, p.next)
		return
	}
	h := c.History()
	e.submit(c, p.next)
	c.Keep(h, 5)
}
