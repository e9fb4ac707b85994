// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"syscall"

	"endio/machine"
)

// A port's ring can be the own one of a thread, with SINGLE_ISSUER and DEFER_TASKRUN: the
// kernel lets that thread alone submit to it, and posts completions only when that
// thread enters it. That is cheaper, and has its price: what others wait for is over
// when the owner comes, and not before. So
//
//   - others only put requests into the ring, and bring the owner back if it waits in
//     the kernel; it submits them when it next comes;
//   - others, the monitor too, reap what was posted, and can't make the kernel post;
//   - nobody leads such a port but its owner, whatever it waits for: a call of the owner
//     that blocks waits in its own ring, and so brings what others wait for, who may be
//     those for whom it waits.

// ownership is the part of a Port that is about its owner.
type ownership struct {
	owner    uint64 // thread; 0: anybody's
	together int    // completions that a wait may wait for; 1 if owner is 0
	want     uint32 // those that the next wait waits for; the leader's
	name     string // for reports: where it was opened

	// orphans are slots of the table of files whose file is forgotten, which only the
	// owner can empty. Guarded by submitMu.
	orphans []int32
}

// ErrOneOwn reports that the calling thread has a port of its own already: a wait in one
// would not serve the other.
var ErrOneOwn = errors.New("the thread has a queue of its own already")

// MaxTogether is the most completions that a wait can be asked to wait for: whoever
// brings a leader back posts as many.
const MaxTogether = 64

// OpenOwnPort is [Machine.OpenPort] for a ring that is the calling thread's own, to which the
// goroutine must be locked for as long as the port is open. [Port.Owner] tells whether it is:
// where that can't be had, before Linux 6.1 or without rings, the port is one like all
// others. A wait asked to wait for several completions waits for up to together.
// opener says in reports whose it is.
func (m *Machine) OpenOwnPort(cpu machine.CPU, entries, together int, opener string) (*Port, error) {
	if m.ownPort() != nil {
		return nil, ErrOneOwn
	}
	if p := m.openOwn(cpu, entries, together, opener); p != nil {
		return p, nil
	}
	return m.OpenPort(cpu, entries)
}

// openOwn returns nil if such a ring can't be had.
func (m *Machine) openOwn(cpu machine.CPU, entries, together int, opener string) *Port {
	m.openMu.Lock()
	defer m.openMu.Unlock()
	if m.reason != "" {
		return nil
	}
	d, err := openRing(entries, 2*entries+together, m.workers, true)
	if err != nil {
		m.note("a queue has no ring of its own thread: %v", err)
		return nil
	}
	p := m.newRingPort(cpu, d, entries)
	p.owner, p.together = threadID(), together
	p.name = fmt.Sprintf("%s, thread %d", opener, p.owner)
	p.Expect(0)
	m.addPort(p)
	m.with(&m.owned, p)
	return p
}

// Owner returns the thread whose own p is, or 0.
func (p *Port) Owner() uint64 { return p.owner }

// Owned reports whether the calling goroutine may submit to p and reap it: it runs on the
// thread whose own p is, or p is nobody's.
func (p *Port) Owned() bool { return p.owner == 0 || p.owner == threadID() }

// OwnerEnded reports whether p was a thread's own that has ended: what it had in flight
// is never known to be over.
func (p *Port) OwnerEnded() bool { return p.owner != 0 && threadEnded(p.owner) }

// ownPort returns the port that is the calling thread's own, or nil.
func (m *Machine) ownPort() *Port {
	list := m.owned.Load()
	if list == nil || len(*list) == 0 {
		return nil
	}
	self := threadID()
	for _, p := range *list {
		if p.owner == self {
			return p
		}
	}
	return nil
}

// errNotOwner is the kernel's answer to a thread that submits to another's ring: it has
// taken nothing.
var errNotOwner = fmt.Errorf("not the owner of the ring: %w", syscall.EEXIST)

// flushOwn submits, and has the kernel post what is complete on the way.
func (d *ring) flushOwn() error {
	_, err := d.r.SubmitAndFlush()
	if err == syscall.EEXIST {
		return errNotOwner
	}
	return err
}

// Post has the kernel post what is complete, if p is the calling thread's own and nothing
// is there to be reaped; a wait and a flush do that as well.
func (p *Port) Post() {
	if p.owner == 0 || p.inFlight.Load() == 0 || p.dev.ready() {
		return
	}
	if err := p.ring.r.Flush(); err != nil {
		p.m.bug(fmt.Errorf("look for completions: %w", err))
	}
}

// ownWaitLocked is what the owner does before it waits. It must not wait for more than
// was started.
func (p *Port) ownWaitLocked() {
	started := len(p.slots) - len(p.free)
	if f, ok := p.dev.(*faulty); ok {
		started = f.inside()
	}
	p.want = max(1, min(p.want, uint32(started)))
	for _, slot := range p.orphans {
		if err := p.ring.r.UpdateFiles(int(slot), []int32{-1}); err != nil {
			p.m.bug(err)
			continue // without the slot
		}
		p.fileFree = append(p.fileFree, slot)
	}
	p.orphans = p.orphans[:0]
}
