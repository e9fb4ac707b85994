// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"slices"

	"endio/explore"
	"endio/lockdep"
)

// ErrAgain is -EAGAIN: the caller may not block, and would have.
var ErrAgain = errors.New("EAGAIN")

// An Inode has what direct I/O and its opposites lock and count.
//
// Source: struct inode, inode_dio_begin and others, include/linux/fs.h, Linux 6.6 to 7.3;
// kernel-semantics.md, A2.
type Inode struct {
	k              *Kernel
	name           string
	RWSem          *RWSem // i_rwsem
	InvalidateLock *RWSem // i_mapping->invalidate_lock
	obj            explore.Object
	dio            int     // i_dio_count
	pending        []*Task // whose task work must end an I/O; for reports only
	tell           func(w *explore.Wait)
}

// NewInode makes an inode without I/O. c is nil in Init.
func (k *Kernel) NewInode(c *Context, name string) *Inode {
	n := &Inode{k: k, name: name, RWSem: k.NewRWSem(c, "i_rwsem"), InvalidateLock: k.NewRWSem(c, "invalidate_lock"),
		obj: newObject(k.maker(c), name+" dio count", -1)}
	k.add(n)
	return n
}

func (n *Inode) hash(h *explore.Hash) { h.Add(uint64(n.dio)) }

// DioCount returns i_dio_count without a step.
func (n *Inode) DioCount() int { return n.dio }

// Object returns the object of the dio count.
func (n *Inode) Object() explore.Object { return n.obj }

// DioBegin is inode_dio_begin.
func (n *Inode) DioBegin(c *Context) {
	c.step("inode_dio_begin", nil, acc{n.obj, explore.AtomicUpdate})
	n.dio++
}

// DioBeginLocked is inode_dio_begin of who holds i_rwsem. It is no step, but part of the one before: whoever waits
// for the count holds i_rwsem alone, so that nobody sees it go up, and to count up and to count down commute.
func (n *Inode) DioBeginLocked(c *Context) {
	if n.RWSem.owner != c && !slices.Contains(n.RWSem.readers, c) {
		c.Fail(Imbalance, "inode_dio_begin on %s without its i_rwsem in %q", n.name, c.name)
	}
	if c.Tracing() {
		c.Note("inode_dio_begin")
	}
	n.dio++
}

// DioEnd is inode_dio_end. Any context may call it.
func (n *Inode) DioEnd(c *Context) {
	if !c.within("inode_dio_end", "", n.obj) {
		c.step("inode_dio_end", nil, acc{n.obj, explore.AtomicUpdate})
	}
	if n.dio--; n.dio < 0 {
		c.Fail(Imbalance, "inode_dio_end without inode_dio_begin on %s", n.name)
	}
}

// Owes says that only t can end one more I/O of n, and Paid that it was ended. They
// take no step and change nothing but reports: a wait for the count then
// names t.
func (n *Inode) Owes(t *Task) { n.pending = append(n.pending, t) }

// Paid ends an Owes.
func (n *Inode) Paid(t *Task) {
	for i, o := range n.pending {
		if o == t {
			n.pending = append(n.pending[:i:i], n.pending[i+1:]...)
			return
		}
	}
}

// Tell has f add to the report of a wait for the count who ends the I/O in flight, and why nobody does. It
// changes nothing but reports.
func (n *Inode) Tell(f func(w *explore.Wait)) { n.tell = f }

// DioWait is inode_dio_wait: it sleeps until no I/O is in flight. In an interruptible
// state a signal ends it with [ErrRestartSys].
func (n *Inode) DioWait(c *Context, mode SleepState) error {
	c.MightSleep("inode_dio_wait")
	c.block("inode_dio_wait", (*dioZero)(n), mode, acc{n.obj, explore.AtomicUpdate})
	if !c.foldBool(n.dio == 0) {
		return ErrRestartSys
	}
	return nil
}

type dioZero Inode

func (n *dioZero) ready(*Context) bool { return n.dio == 0 }
func (n *dioZero) describe(_ *Context, w *explore.Wait) {
	w.For, w.By = "the direct I/O in flight on "+n.name, "ended only by"
	if n.tell != nil {
		n.tell(w)
		return
	}
	for _, t := range n.pending {
		if t.c.t != nil {
			w.Owners = append(w.Owners, t.c.t)
		}
	}
}

// A SuperBlock has the write count of a file system, against which it is frozen:
// the first level of sb_writers.
//
// Source: sb_start_write, include/linux/fs.h; freeze_super, fs/super.c, Linux 7.3.
type SuperBlock struct {
	obj     explore.Object
	writers int
	frozen  bool
	never   bool // will it be
	dep     lockdep.Map

	// For reports only.
	freezer *Context
	sync    []*Context // between StartWriteSync and EndWriteSync
	tell    func(w *explore.Wait)
}

// Tell has f add to the report of a wait for the writers who ends the asynchronous ones, and why nobody does. It
// changes nothing but reports.
func (s *SuperBlock) Tell(f func(w *explore.Wait)) { s.tell = f }

// NewSuperBlock makes one that is not frozen. c is nil in Init.
func (k *Kernel) NewSuperBlock(c *Context) *SuperBlock {
	s := &SuperBlock{obj: newObject(k.maker(c), "sb_writers", -1)}
	s.dep.Init(k.class("sb_writers", lockdep.WaitSleep, lockdep.Normal))
	k.add(s)
	return s
}

func (s *SuperBlock) hash(h *explore.Hash) {
	h.Add(uint64(s.writers))
	h.AddBool(s.frozen)
}

// NeverFrozen says that nobody will freeze the file system: only a freeze looks at the count of writers
// or holds them back, so that counting them is no step then. Call it in Init.
func (s *SuperBlock) NeverFrozen() { s.never = true }

// StartWrite waits while the file system is frozen, and counts a writer.
func (s *SuperBlock) StartWrite(c *Context) {
	c.MightSleep("sb_start_write")
	if s.never {
		s.writers++
		return
	}
	c.block("sb_start_write", (*thawed)(s), Uninterruptible, acc{s.obj, explore.AtomicUpdate})
	s.writers++
}

// StartWriteSync is StartWrite of a call that ends its write itself, with EndWriteSync: the
// validator knows that it is in between. Asynchronous writes end elsewhere, and drop the
// annotation when they have been submitted (kiocb_start_write), so they have none here.
func (s *SuperBlock) StartWriteSync(c *Context) {
	c.dep(&s.dep, lockdep.Shared)
	s.StartWrite(c)
	s.sync = append(s.sync, c)
}

// EndWriteSync ends a StartWriteSync.
func (s *SuperBlock) EndWriteSync(c *Context) {
	c.undep(&s.dep)
	for i, o := range s.sync {
		if o == c {
			s.sync = append(s.sync[:i:i], s.sync[i+1:]...)
			break
		}
	}
	s.EndWrite(c)
}

// StartWriteTry counts a writer unless the file system is frozen.
func (s *SuperBlock) StartWriteTry(c *Context) bool {
	if s.never {
		s.writers++
		return true
	}
	c.step("sb_start_write_trylock", nil, acc{s.obj, explore.AtomicUpdate})
	if !c.foldBool(!s.frozen) {
		return false
	}
	s.writers++
	return true
}

// EndWrite ends a writer. Any context may call it: writes end where their I/O does.
func (s *SuperBlock) EndWrite(c *Context) {
	if s.never {
		c.enterNow()
	} else {
		c.step("sb_end_write", nil, acc{s.obj, explore.AtomicUpdate})
	}
	if s.writers--; s.writers < 0 {
		c.Fail(Imbalance, "sb_end_write without sb_start_write")
	}
}

// Freeze holds new writers back and waits for those that write.
func (s *SuperBlock) Freeze(c *Context) {
	c.MightSleep("freeze_super")
	if s.never {
		c.Fail(explore.BadProgram, "a file system is frozen that was said to be frozen by nobody")
	}
	c.step("freeze_super", nil, acc{s.obj, explore.AtomicUpdate})
	s.frozen, s.freezer = true, c
	c.block("wait for writers", (*noWriters)(s), Uninterruptible, acc{s.obj, explore.AtomicUpdate})
}

// Thaw lets writers in again.
func (s *SuperBlock) Thaw(c *Context) {
	c.step("thaw_super", nil, acc{s.obj, explore.AtomicUpdate})
	s.frozen = false
}

type thawed SuperBlock

func (s *thawed) ready(*Context) bool { return !s.frozen }
func (s *thawed) describe(_ *Context, w *explore.Wait) {
	w.For, w.By = "the thaw of the file system", "done only by"
	if s.freezer != nil && s.freezer.t != nil {
		w.Owners = append(w.Owners, s.freezer.t)
	}
}

type noWriters SuperBlock

func (s *noWriters) ready(*Context) bool { return s.writers == 0 }
func (s *noWriters) describe(_ *Context, w *explore.Wait) {
	w.For, w.By = "the writers of the file system", "ended only by"
	for _, c := range s.sync {
		if c.t != nil {
			w.Owners = append(w.Owners, c.t)
		}
	}
	if s.tell != nil {
		s.tell(w)
	}
}
