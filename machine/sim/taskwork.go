// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"

	"endio/explore"
)

// ErrInterrupted is -EINTR: a signal handler ran instead of a restart.
var ErrInterrupted = errors.New("EINTR")

// A NotifyMode says how a task learns of task work: enum task_work_notify_mode.
//
// Source: kernel/task_work.c and include/linux/task_work.h, Linux 7.3;
// kernel-semantics.md, A1.3.
type NotifyMode uint8

// The notification modes.
const (
	NotifyNone        NotifyMode = iota // at its next exit to user space, if it notices
	NotifyResume                        // at its next exit to user space
	NotifySignal                        // TIF_NOTIFY_SIGNAL: ends interruptible sleeps, interrupts user mode
	NotifySignalNoIPI                   // the same without interrupting user mode
)

type taskWork struct {
	id   uint64
	name string
	fn   func(*Context)
}

// newTaskWork returns work that is known by id, or if that is 0, by who makes it.
func (k *Kernel) newTaskWork(c *Context, id uint64, name string, fn func(*Context)) taskWork {
	k.mustHave(fn != nil, "task work or request ", name, " has no function")
	if id == 0 {
		id = k.newID(c)
	}
	return taskWork{id, name, fn}
}

// AddWork gives t something to run in its own context, task_work_add. It reports
// false if t is exiting. Any context may call it.
func (t *Task) AddWork(c *Context, name string, mode NotifyMode, fn func(*Context)) bool {
	return t.addWork(c, 0, name, mode, fn)
}

// addWork is AddWork of work that is known by id, or if that is 0, by who adds it.
func (t *Task) addWork(c *Context, id uint64, name string, mode NotifyMode, fn func(*Context)) bool {
	if !c.within("task_work_add to", t.name, t.obj) {
		c.stepOn("task_work_add to", t.name, nil, acc{t.obj, explore.AtomicUpdate})
	}
	if !c.foldBool(!t.exiting) {
		return false
	}
	t.work = append(t.work, t.k.newTaskWork(c, id, name, fn))
	switch mode {
	case NotifySignal:
		t.notifySignal, t.ipi = true, true
	case NotifySignalNoIPI:
		t.notifySignal = true
	}
	return true
}

// RunWork runs the task work of the current task, newest first, and reports whether
// there was any. It clears TIF_NOTIFY_SIGNAL before.
func (c *Context) RunWork() bool {
	t := c.task
	c.step("task_work_run", nil, acc{t.obj, explore.AtomicUpdate})
	return c.runWork()
}

// runWork is RunWork in a step that modifies the task.
func (c *Context) runWork() bool {
	t := c.task
	t.notifySignal, t.ipi = false, false
	work := t.work
	t.work = nil
	history := c.hist
	c.foldWork(work)
	for i := len(work) - 1; i >= 0; i-- {
		h := c.hist
		work[i].fn(c)
		c.Keep(h, 0)
	}
	c.Keep(history, uint64(min(1, len(work))))
	return len(work) > 0
}

// foldWork notes what c has taken to run, all of it before the first is run: what is left of it
// while one runs is known to c only.
func (c *Context) foldWork(work []taskWork) {
	c.fold(uint64(len(work)))
	for i := range work {
		c.fold(work[i].id)
	}
}

// NotifyPending reports whether t has TIF_NOTIFY_SIGNAL set, without a step.
func (t *Task) NotifyPending() bool { return t.notifySignal }

// Exiting is PF_EXITING. It is asked by the task itself, or by who runs what is left of it: for them it does not change.
func (t *Task) Exiting() bool { return t.leaving }

// Pending returns the number of task works of t, without a step.
func (t *Task) Pending() int { return len(t.work) }

// A Signal is what is sent to a task.
type Signal struct {
	Fatal   bool // kills: ends killable sleeps too
	Restart bool // its handler was installed with SA_RESTART
}

// Signal sends a signal to t. Any context may call it.
func (t *Task) Signal(c *Context, s Signal) {
	c.stepOn("signal", t.name, nil, acc{t.obj, explore.AtomicUpdate})
	t.sigpending, t.ipi = true, true
	t.fatal = t.fatal || s.Fatal
	t.norestart = t.norestart || !s.Restart
}

// SignalPending is signal_pending(current): also true for TIF_NOTIFY_SIGNAL.
func (c *Context) SignalPending() bool {
	c.step("signal_pending", nil, acc{c.task.obj, explore.AtomicRead})
	return c.foldBool(c.task.sigpending || c.task.notifySignal)
}

// Syscall runs fn as a system call of the current task and then leaves the kernel:
// task work is run, signals are handled, and a call that returned [ErrRestartSys] is
// restarted, unless a handler without SA_RESTART ran: then the answer is
// [ErrInterrupted].
//
// Source: exit_to_user_mode_loop, kernel/entry/common.c; get_signal, kernel/signal.c, Linux 7.3.
func (c *Context) Syscall(name string, fn func(*Context) error) error {
	for restarts := 0; ; restarts++ {
		history := c.hist
		if max := c.k.cfg.MaxRestarts; max > 0 && restarts > max {
			c.Fail(Restarts, "system call %s of %q was restarted %d times", name, c.name, restarts)
		}
		err := fn(c)
		if len(c.locks) > 0 {
			c.Fail(Imbalance, "%s of %q returns to user space holding %v", name, c.name, c.locks)
		}
		handled := c.exitToUser(name)
		switch {
		case err == nil:
			c.Keep(history, 1)
			return nil
		case !errors.Is(err, ErrRestartSys):
			return err
		case handled:
			return fmt.Errorf("%s: %w", name, ErrInterrupted)
		}
		if c.k.cfg.MaxRestarts == 0 {
			c.hist = history // begins anew
		}
	}
}

// exitToUser does what is pending on the way to user mode. It reports whether a
// handler ran that forbids a restart.
func (c *Context) exitToUser(name string) (norestart bool) {
	t := c.task
	history := c.hist
	for {
		c.stepOn("leave", name, nil, acc{t.obj, explore.AtomicUpdate})
		switch {
		case len(t.work) > 0 || t.notifySignal:
			c.fold(1)
			c.runWork()
		case t.sigpending:
			norestart = norestart || t.norestart
			t.sigpending, t.norestart, t.ipi = false, false, false
			t.handled++
		default:
			c.Keep(history, boolBit(norestart)|2)
			c.unpin()
			return norestart
		}
		c.Keep(history, boolBit(norestart)) // and look again
	}
}

func boolBit(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

// UserWait is user code that spins until cond is ready; objs are what cond reads. It
// leaves user mode only when the task is interrupted for a signal or for task
// work whose mode says so.
func (c *Context) UserWait(what string, cond func() bool, objs ...explore.Object) {
	t := c.task
	u := &userWait{what: what, cond: cond, t: t}
	accs := []acc{{t.obj, explore.AtomicUpdate}}
	for _, o := range objs {
		accs = append(accs, acc{o, explore.AtomicRead})
	}
	for {
		c.unpin()
		c.step(what, u, accs...)
		if c.foldBool(u.cond()) {
			return
		}
		c.exitToUser("interrupt")
	}
}

type userWait struct {
	what string
	cond func() bool
	t    *Task
}

func (u *userWait) ready(*Context) bool                  { return u.t.ipi || u.cond() }
func (u *userWait) describe(_ *Context, w *explore.Wait) { w.For = u.what + ", in user mode" }

// Exit ends the current task's life as far as task work goes: what is pending is run,
// and no more is accepted. What is left on rings' own lists is run by a kworker.
//
// Source: io_move_task_work_from_local, io_uring/io_uring.c, Linux 6.12; kernel-semantics.md, A1.3.
func (c *Context) Exit() {
	t := c.task
	objs := []acc{{t.obj, explore.AtomicUpdate}}
	for _, r := range t.rings {
		objs = append(objs, acc{r.obj, explore.AtomicUpdate})
	}
	c.step("exit", nil, objs...)
	t.leaving = true
	for len(t.work) > 0 {
		c.runWork()
		c.step("exit", nil, objs...)
	}
	t.exiting = true
	var left []taskWork
	for _, r := range t.rings {
		left = append(left, r.local...)
		r.local, r.eager = nil, false
	}
	c.foldWork(left)
	for _, w := range left {
		c.k.fallback(c, w.name, w.fn)
	}
}
