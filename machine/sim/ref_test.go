// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"testing"

	"endio/machine/sim"
)

// The tests of this file are about the reference that each bio of a dio has, and its submitter, kernel-semantics.md A2.2.

// refOf starts a task that has a reference on an I/O of an inode, and two interrupts that have one each; the last one to
// drop its reference ends the I/O.
func refOf(k *sim.Kernel, put func(c *sim.Context, n *sim.Inode, r *sim.Ref)) (*sim.Inode, *sim.Ref) {
	n := k.NewInode(nil, "file")
	r := k.NewRef(nil, "the reference on dio")
	k.Go(nil, "submitter", on(0), func(c *sim.Context) {
		n.RWSem.DownRead(c)
		n.DioBeginLocked(c)
		r.Set(2)
		for i := range 2 {
			if i > 0 {
				r.Get(c)
			}
			k.Interrupt(c, 1, fmt.Sprint("irq", i), sim.IRQOptions{Hard: true, Merge: true, ID: i + 1}, func(c *sim.Context) { put(c, n, r) })
		}
		put(c, n, r)
		n.RWSem.UpRead(c)
	})
	return n, r
}

// TestA22TheLastOneEndsIt: any of them may be the last one, and exactly one is.
func TestA22TheLastOneEndsIt(t *testing.T) {
	reaches(t, sim.Config{}, func(k *sim.Kernel, saw func(string)) {
		n, _ := refOf(k, func(c *sim.Context, n *sim.Inode, r *sim.Ref) {
			if r.Put(c) {
				saw(c.Name())
				n.DioEnd(c)
			}
		})
		k.AtEnd(func(k *sim.Kernel) {
			if n.DioCount() != 0 {
				k.Fail(sim.NeverRun, "nobody was the last one")
			}
		})
	}, "submitter", "irq0", "irq1")
}

// TestA22ThePutCoversWhatFollows: what the last one does at once is part of its step, and what it does without being
// asked is not.
func TestA22ThePutCoversWhatFollows(t *testing.T) {
	look := func(cover bool) func(k *sim.Kernel) {
		return func(k *sim.Kernel) {
			n, r := refOf(k, func(c *sim.Context, n *sim.Inode, r *sim.Ref) {
				last := false
				if cover {
					last = r.Put(c, n.Object())
				} else {
					last = r.Put(c)
				}
				if last {
					n.DioEnd(c)
				}
			})
			begun := false
			k.Go(nil, "other", on(1), func(c *sim.Context) {
				for range 3 {
					c.Yield()
					begun = begun || n.DioCount() > 0
					c.Check(!begun || r.Count() > 0 || n.DioCount() == 0, "the last reference is gone, and the I/O has not ended")
				}
			})
		}
	}
	holds(t, sim.Config{}, look(true))
	fails(t, sim.Config{}, "assertion: the last reference is gone, and the I/O has not ended", look(false))
}

func TestA22ReferencesAreCounted(t *testing.T) {
	fails(t, sim.Config{}, "imbalance: the reference on dio is put more often than got", func(k *sim.Kernel) {
		r := k.NewRef(nil, "the reference on dio")
		k.Go(nil, "task", on(0), func(c *sim.Context) { r.Put(c) })
	})
	fails(t, sim.Config{}, `imbalance: inode_dio_begin on file without its i_rwsem in "task"`, func(k *sim.Kernel) {
		n := k.NewInode(nil, "file")
		k.Go(nil, "task", on(0), func(c *sim.Context) { n.DioBeginLocked(c) })
	})
}
