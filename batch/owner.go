// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"endio/bio"
	"endio/machine"
)

// An Owner holds the completions that one task runs itself, when it next looks.
// It is a [bio.Owner], and mirrors the task work of the kernel (task_work_add,
// kernel/task_work.c), with the order kept.
//
// Only the notification waits here. What others may wait for must have been
// released before End was called on the bio, or they wait for the owner.
type Owner struct {
	lock machine.Lock
	data machine.Var // announces list
	list bio.List    // guarded by lock
	n    machine.Counter
	wq   machine.WaitQueue
}

// NewOwner returns an Owner without completions.
func NewOwner(m machine.Machine) *Owner {
	return &Owner{
		lock: m.NewLock("owner.lock"),
		data: m.NewVar("owner.list"),
		n:    m.NewCounter("owner.pending", 0),
		wq:   m.NewWaitQueue("owner.wait"),
	}
}

// Post adds b and wakes the owner if it sleeps in [Owner.Wait] or helps in
// another wait. Any context may call it; it does not block.
func (o *Owner) Post(c machine.Context, b *bio.Bio) {
	o.lock.Lock(c)
	o.data.Write(c)
	o.list.Push(b)
	// Counted inside the lock: a count that ran ahead of the list would send
	// the owner for something that is not there yet.
	first := o.n.Add(c, 1) == 1
	o.lock.Unlock(c)
	if first {
		o.wq.Wake(c)
	}
}

// RunOne runs the handler of the first completion and reports whether there
// was one. Only the owner may call it, in a task context; also from within a
// handler that it runs.
func (o *Owner) RunOne(c machine.Context) bool {
	if o.n.Load(c) == 0 {
		return false
	}
	o.lock.Lock(c)
	o.data.Write(c)
	b := o.list.Pop()
	if b != nil {
		o.n.Add(c, -1)
	}
	o.lock.Unlock(c)
	if b == nil {
		return false
	}
	bio.Run(c, b)
	return true
}

// Ready reports whether RunOne has something to run.
// It makes an Owner a [machine.Condition].
func (o *Owner) Ready(c machine.Context) bool { return o.n.Load(c) != 0 }

// Queue returns what is woken when there is something to run: a machine must end
// every sleep of the owner then, whatever it sleeps on.
func (o *Owner) Queue() machine.WaitQueue { return o.wq }

// Wait runs completions until cond is ready, and sleeps while there are none.
// Only the owner may call it, in a task context, holding nothing.
func (o *Owner) Wait(c machine.Context, cond machine.Condition) {
	for !cond.Ready(c) {
		if !o.RunOne(c) {
			o.wq.Sleep(c, ownerOr{o, cond})
		}
	}
}

// ownerOr is ready when the owner has something to run or cond is ready.
type ownerOr struct {
	o    *Owner
	cond machine.Condition
}

func (x ownerOr) Ready(c machine.Context) bool { return x.o.Ready(c) || x.cond.Ready(c) }
