// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"fmt"
	"strings"

	"endio/explore"
)

// Reports say who waits for whom: here is who alone can end what. Nothing of it takes part in the model, and none
// of what it reads is state.

// A place is where a request is.
type place int

const (
	nowhere   place = iota
	forSQ           // the SQ thread is to issue it
	forWorker       // an io-wq worker is to issue it
	issued          // request.by issues or ends it
	onDevice        // its interrupt is to come
	forWork         // s_dio_done_wq is to end it
	forTurn         // of endio: its inode has held it back
	forThaw         // of endio: a thread is to wait for the thaw
	forTask         // task work of the ring is to end it
	linked          // it is issued when the one has ended to which it is linked
	forIssue        // task work of the ring is to issue it, or to cancel it
)

// String names a request as the scenario does, counted from 1 in the order of the file: I/O 2 [T: write X].
func (r *request) String() string {
	what := r.step.Request
	if what == "" {
		what = r.step.Verb
	}
	return fmt.Sprintf("I/O %d [%s: %s %s]", r.id+1, r.owner.Name(), what, r.ino.name)
}

// blame adds to w who must end r, and what they have to do. A task that waits for itself is left
// out if it is self.
func (m *model) blame(r *request, w *explore.Wait, self *explore.Task) {
	why := func(format string, args ...any) {
		w.Why = strings.TrimPrefix(w.Why+"; "+fmt.Sprintf(format, args...), "; ")
	}
	owner := func(t *explore.Task) bool {
		if t == nil || t == self {
			return false
		}
		w.Owners = append(w.Owners, t)
		return true
	}
	switch r.at {
	case forSQ:
		if owner(r.ring.Runner().Context().Explorer()) {
			why("%s is to be issued by the SQ thread", r)
		}
	case forWorker:
		if m.ioWq.Free() {
			why("%s is to be issued by a worker, again and again", r)
		} else {
			why("%s is to be issued by a worker, and none is free", r)
		}
	case issued:
		if owner(r.by.Explorer()) {
			why("it works on %s", r)
		}
	case onDevice:
		why("%s is on the device", r)
	case forWork:
		for _, t := range r.work.Runners() {
			owner(t)
		}
		why("%s is to be ended by the workqueue; %s", r, r.work.Fate())
	case forTask:
		if t := r.ring.Runner().Context().Explorer(); owner(t) {
			why("the last step of %s is task work of %s", r, t.Name())
		}
	case linked:
		why("%s is linked to %s", r, r.prev) // of whom is told, too: it has not posted its CQE either
	case forIssue:
		if t := r.ring.Runner().Context().Explorer(); owner(t) {
			why("%s is to be issued by task work of %s", r, t.Name())
		}
	}
}

// tellInode says who ends the direct I/O in flight on n.
func (m *model) tellInode(n *inode, w *explore.Wait) {
	for i, r := range m.reqs {
		if st := m.state[i]; r.ino == n && st.begun && !st.ended {
			m.blame(r, w, nil)
		}
	}
}

// tellWriters says who ends the asynchronous writes.
func (m *model) tellWriters(w *explore.Wait) {
	for _, r := range m.reqs {
		if r.sb {
			m.blame(r, w, nil)
		}
	}
}

// tellRing says who posts the CQEs that are missing. What the waiter would do itself when woken is counted
// already.
func (m *model) tellRing(rg *ring, w *explore.Wait) {
	self := rg.Owner().Context().Explorer()
	for i, r := range m.reqs {
		if r.ring == rg && r.at != nowhere && !m.state[i].cqe {
			m.blame(r, w, self)
		}
	}
}

// tellSync says why a synchronous I/O does not end.
func (m *model) tellSync(r *request, w *explore.Wait) {
	w.For = "the end of " + r.String()
	m.blame(r, w, nil)
}
