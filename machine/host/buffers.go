// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"

	"endio/uring"
)

// maxArenas is how many arenas of buffers can be registered with the rings.
const maxArenas = 16

// buffers are the arenas that one ring has registered. The ring adds those that
// the machine has got since it last looked; it never drops one.
type buffers struct {
	m    *Machine
	r    *uring.Ring
	have []([]byte) // registered, by index
	seen int        // length of the machine's list when last looked at
	off  bool       // registration was refused: memlock, an old kernel
	last int
}

// arenas is the list of a machine, replaced as a whole.
type arenas struct{ list atomic.Pointer[[][]byte] }

// AddArena makes buffers within arena known to all rings, which then need not
// look its pages up for each request. arena is pinned and must stay mapped.
// Up to maxArenas arenas are taken; more are used unregistered.
func (m *Machine) AddArena(arena []byte) {
	m.portsMu.Lock()
	defer m.portsMu.Unlock()
	var list [][]byte
	if old := m.arenas.list.Load(); old != nil {
		list = append(list, *old...)
	}
	if len(list) == maxArenas {
		return
	}
	list = append(list, arena)
	m.arenas.list.Store(&list)
}

// index returns the number of the registered buffer that b lies in. Submit lock.
func (b *buffers) index(p []byte) (uint16, bool) {
	list := b.m.arenas.list.Load()
	if list == nil || b.off {
		return 0, false
	}
	if len(*list) != b.seen {
		b.register(*list)
	}
	if b.last < len(b.have) && uring.Within(b.have[b.last], p) {
		return uint16(b.last), true
	}
	for i, arena := range b.have {
		if uring.Within(arena, p) {
			b.last = i
			return uint16(i), true
		}
	}
	return 0, false
}

// register adds what is new in list.
func (b *buffers) register(list [][]byte) {
	if b.seen == 0 {
		if err := b.r.RegisterBufferTable(maxArenas); err != nil {
			b.off = true
			return
		}
	}
	for i := b.seen; i < len(list); i++ {
		if err := b.r.UpdateBuffers(i, list[i:i+1]); err != nil {
			b.off = true
			if !b.m.unregistered.Swap(true) { // each ring has the same reason
				b.m.note("buffers are not registered with rings, which costs some CPU: %v", err)
			}
			return
		}
		b.have = append(b.have, list[i])
	}
	b.seen = len(list)
}
