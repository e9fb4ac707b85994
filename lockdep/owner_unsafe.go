// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
	"sync/atomic"
	"unsafe"
)

// An owner is the task of the goroutine that holds a lock, or nil. It is written
// under the lock itself; who unlocks what it does not hold reads it without.
type owner struct{ p unsafe.Pointer }

func (o *owner) load() *Task { return (*Task)(atomic.LoadPointer(&o.p)) }

// set stores t. A plain store is enough for the goroutines that use the lock as they
// should, and the lock orders them; only the race detector wants more.
func (o *owner) set(t *Task) {
	if raceEnabled {
		atomic.StorePointer(&o.p, unsafe.Pointer(t))
		return
	}
	o.p = unsafe.Pointer(t)
}
