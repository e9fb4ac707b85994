// SPDX-License-Identifier: Apache-2.0

package host

import "endio/lockdep"

// busyPorts are the ports that have requests in flight, and some that had until the monitor
// looked last: so that who has to look through them pays for those that are in use, and not
// for thousands of queues that have nothing to do.
type busyPorts struct {
	mu   lockdep.Mutex
	list []*Port // in any order; guarded by mu, as are Port.busyAt and writes of Port.busy
}

func (b *busyPorts) init() { nameLock(&b.mu, "machine.busy") }

// add makes p a member. Who has made Port.inFlight more than 0 calls it if Port.busy is
// not set.
func (b *busyPorts) add(p *Port) {
	b.mu.Lock()
	if !p.busy.Load() {
		p.busy.Store(true)
		p.busyAt = len(b.list)
		b.list = append(b.list, p)
	}
	b.mu.Unlock()
}

// drop takes p off the list, if it is on it, unless something is in flight.
func (b *busyPorts) drop(p *Port) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !p.busy.Load() {
		return
	}
	// One side stores and then looks at what the other has stored: see Port.accept.
	p.busy.Store(false)
	if p.inFlight.Load() > 0 {
		p.busy.Store(true)
		return
	}
	last := len(b.list) - 1
	moved := b.list[last]
	b.list[p.busyAt], moved.busyAt = moved, p.busyAt
	b.list[last] = nil
	b.list = b.list[:last]
}

// appendTo appends the members to list.
func (b *busyPorts) appendTo(list []*Port) []*Port {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(list, b.list...)
}

// lead returns a port with requests in flight and no leader, which is not a thread's own and
// whose leadMu it has locked, or nil.
func (b *busyPorts) lead() *Port {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.list {
		if p.owner == 0 && p.inFlight.Load() > 0 && p.leadMu.TryLock() {
			return p
		}
	}
	return nil
}
