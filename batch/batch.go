// SPDX-License-Identifier: Apache-2.0

// Package batch runs completions where they may block.
//
// # Model
//
// A completion that is learned of in an atomic context, but wants a task
// context, is put on the [Batch] of its CPU; a work item of that CPU runs what
// has gathered. A batch forms because the work item is armed only by the first
// completion that finds the list empty. This mirrors the kernel's
// bio_complete_batch (block/bio.c, Linux 7.3), and goes on from there:
//
//   - A handler that blocks does not hold up those behind it. The kernel's worker
//     takes the whole list, and what it has not run waits until it wakes up. Here
//     the worker takes one at a time, and when it stalls, a fresh work item (a
//     [lane]) goes on with the rest.
//   - A worker leaves after [Options.Pass] handlers and queues itself again, so
//     that other work of the CPU has its turn.
//   - What a CPU has gathered when it goes down, and what ends on it until it is dead or
//     back, is run elsewhere, at once. The kernel keeps it until then, and runs it in
//     the task that took the CPU down.
//
// A completion that wants one particular task is put on that task's [Owner].
//
// # Order
//
// The handlers of one CPU start in the order in which they were added, until a CPU
// goes down or comes back. There is no order between CPUs. Handlers of one CPU
// overlap only when one of them stalls.
//
// # CPUs that come and go
//
// Down disables the work item, because from then on it could run on another
// CPU, where the [machine.Local] of this one protects nothing. The CPU goes on
// completing I/O, and may do so for as long as it likes: it can be parked between
// Down and its death. So Down moves what has gathered to one more batch, the
// strays, which is protected by a lock, so that its work item may run on any CPU, and
// completions that end on the CPU follow. Nothing is left that a dead CPU could leave
// behind, so there is no Dead callback; Online turns the adders back to the batch of
// their CPU.
package batch

import (
	"endio/bio"
	"endio/machine"
)

// DefaultPass is how many handlers a worker runs before it lets other work of
// its CPU run. One pass of short handlers takes some 10 µs, which hides the cost
// of queueing (well under 1 µs) and is still short beside a device's latency.
const DefaultPass = 64

// Options tune [New]. The zero value is what most want.
type Options struct {
	// Pass is the number of handlers after which a worker yields; 0 means
	// [DefaultPass].
	Pass int

	// Delay is for how long completions gather before a worker runs them: the bound
	// on the latency that batching adds. 0 runs them at once. Larger batches cost
	// fewer context switches.
	Delay machine.Duration
}

// Batches has a Batch for each CPU of a machine. It is a [bio.Deferrer].
type Batches struct {
	m     machine.Machine
	local machine.Local // section of CPU i protects percpu[i]
	pass  int
	delay machine.Duration

	percpu []Batch

	lock   machine.Lock // protects strays; taken inside of sections
	strays Batch        // of the CPUs that are down
}

// anywhere is the CPU of the strays.
const anywhere machine.CPU = -1

// A Batch holds the completions that wait for a task context of one CPU.
// All fields but cpu are protected by the CPU's section of Batches.local, those of the
// strays by Batches.lock.
type Batch struct {
	all    *Batches
	cpu    machine.CPU
	data   machine.Var // announces the fields below
	list   bio.List
	active *lane // runs the list
	down   bool  // between Down and Online: active is disabled, list is empty
}

// A lane is a work item that runs a batch. A batch has one, until its handler
// stalls: then a new lane takes over, and the old one is done with the batch
// when that handler returns.
type lane struct {
	b       *Batch
	work    machine.Work
	stalled machine.Counter // 1: must not touch b any more
}

// New returns batches for the CPUs of m and registers their hotplug callbacks.
// No completion may be added before it has returned.
func New(m machine.Machine, c machine.Context, o Options) *Batches {
	if o.Pass <= 0 {
		o.Pass = DefaultPass
	}
	bs := &Batches{
		m:      m,
		local:  m.NewLocal("batch.local"),
		pass:   o.Pass,
		delay:  o.Delay,
		percpu: make([]Batch, m.CPUs()),
	}
	for i := range bs.percpu {
		b := &bs.percpu[i]
		b.all, b.cpu, b.data = bs, machine.CPU(i), m.NewVar("batch.list")
		b.active = b.newLane()
		if !m.Online(b.cpu) {
			b.down = true
			b.active.work.Disable(c)
		}
	}
	bs.lock = m.NewLock("strays.lock")
	bs.strays = Batch{all: bs, cpu: anywhere, data: m.NewVar("strays.list")}
	bs.strays.active = bs.strays.newLane()
	m.AddHotplug(machine.Hotplug{Name: "batch", Online: bs.online, Down: bs.downPrep})
	return bs
}

func (b *Batch) newLane() *lane {
	l := &lane{b: b, stalled: b.all.m.NewCounter("batch.stalled", 0)}
	// The work of the strays is CPU 0's, and runs elsewhere while that is down.
	l.work = b.all.m.NewWork("batch.work", max(b.cpu, 0), l.run, l.stall)
	return l
}

// enter lets a worker of b at its fields, until leave.
func (b *Batch) enter(c machine.Context) {
	if b.cpu == anywhere {
		b.all.lock.Lock(c)
	} else {
		b.all.local.LockOn(c, b.cpu)
	}
}

func (b *Batch) leave(c machine.Context) {
	if b.cpu == anywhere {
		b.all.lock.Unlock(c)
	} else {
		b.all.local.Unlock(c, b.cpu)
	}
}

// Defer adds x to the batch of the CPU that runs the caller; a worker of that CPU,
// or of another one if it is down, will run its handler. Any context may call it; it
// does not block.
func (bs *Batches) Defer(c machine.Context, x *bio.Bio) {
	cpu := bs.local.Lock(c)
	b := &bs.percpu[cpu]
	b.data.Write(c)
	if b.down {
		var one bio.List
		one.Push(x)
		bs.addStrays(c, one)
	} else {
		b.addLocked(c, x)
	}
	bs.local.Unlock(c, cpu)
}

// addLocked appends x and arms the worker if the list was empty. Arming belongs
// into the section: outside of it, the adder may move to another CPU in between,
// and a CPU that goes down and comes back may be missed.
func (b *Batch) addLocked(c machine.Context, x *bio.Bio) {
	wasEmpty := b.list.Empty()
	b.list.Push(x)
	if wasEmpty {
		b.active.work.QueueAfter(c, b.all.delay)
	}
}

// addStrays appends more to the strays and arms their worker if there were none.
func (bs *Batches) addStrays(c machine.Context, more bio.List) {
	s := &bs.strays
	bs.lock.Lock(c)
	s.data.Write(c)
	wasEmpty := s.list.Empty()
	s.list.Append(more)
	if wasEmpty {
		s.active.work.Queue(c) // at once: the timers of a dead CPU do not run
	}
	bs.lock.Unlock(c)
}

// run is the function of the lane's work item: one pass over the list.
func (l *lane) run(c machine.Context) {
	b := l.b
	for range b.all.pass {
		x := l.next(c)
		if x == nil {
			return
		}
		bio.Run(c, x)
		if l.stalled.Load(c) != 0 {
			return // another lane has the batch, and its CPU may be gone
		}
	}
	b.enter(c)
	b.data.Read(c)
	if b.active == l && !b.list.Empty() {
		l.work.Queue(c)
	}
	b.leave(c)
}

// next takes the first completion, or returns nil if there is none for l.
func (l *lane) next(c machine.Context) *bio.Bio {
	b := l.b
	b.enter(c)
	defer b.leave(c)
	b.data.Write(c)
	if b.active != l {
		return nil
	}
	return b.list.Pop()
}

// stall hands the batch to a new lane while a handler of l blocks. The machine
// calls it in an atomic context.
func (l *lane) stall(c machine.Context) {
	b := l.b
	b.enter(c)
	b.data.Write(c)
	if b.active == l {
		l.work.Retire(c)
		b.active = b.newLane()
		switch {
		case b.down:
			b.active.work.Disable(c) // idle: nothing to wait for
		case !b.list.Empty():
			b.active.work.Queue(c)
		}
	}
	b.leave(c)
	l.stalled.Add(c, 1)
}

// online lets the work item run again, and adders add to the batch.
func (bs *Batches) online(c machine.Context, cpu machine.CPU) {
	b := &bs.percpu[cpu]
	bs.local.LockOn(c, cpu)
	b.data.Write(c)
	b.down = false
	b.active.work.Enable(c)
	bs.local.Unlock(c, cpu)
}

// downPrep moves what has gathered to the strays, and stops the work item while
// its CPU still runs, so that it can not run elsewhere later. The handlers are not
// called here: one that blocks would hold up hotplug, and one that starts hotplug
// would wait for itself.
func (bs *Batches) downPrep(c machine.Context, cpu machine.CPU) {
	b := &bs.percpu[cpu]
	bs.local.LockOn(c, cpu)
	b.data.Write(c)
	b.down = true
	l := b.active
	if !b.list.Empty() {
		bs.addStrays(c, b.list.Take())
	}
	bs.local.Unlock(c, cpu)
	// If the handler of l stalls meanwhile, stall makes a lane that is disabled.
	l.work.Disable(c)
}
