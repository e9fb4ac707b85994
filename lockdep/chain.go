// SPDX-License-Identifier: Apache-2.0

package lockdep

import "math/bits"

// A chain is a sequence of held locks, as a hash of their classes, modes and interrupt context. A chain that
// was checked once needs no second check, whatever the instances.
const (
	chainStart uint64 = 0x9e3779b97f4a7c15
	chainMix   uint64 = 0xa0761d6478bd642f
	chainHelp  uint64 = 0x8ebc6af09c88c6e3
)

// chainNext returns the key of the chain key extended by one lock.
//
// Source: iterate_chain_key and hlock_id, kernel/locking/lockdep.c, Linux v6.12.
func chainNext(key uint64, rec *classRec, how How, irq uint8) uint64 {
	id := uint64(rec.idx)<<8 | uint64(how&(modeMask|nestedFlag)) | uint64(irq)<<4
	hi, lo := bits.Mul64(key^id, chainMix)
	return (hi ^ lo) | 1 // never 0, which marks a free slot
}

// chainKnown reports whether the chain was checked before. It takes no lock.
func (v *Validator) chainKnown(key uint64) bool {
	for i := key >> 1; ; i++ {
		switch v.chainKeys[i&v.chainMask].Load() {
		case key:
			return true
		case 0:
			return false
		}
	}
}

// chainAdd enters a chain, and reports whether it is new. When the table is full
// the chain counts as new each time: slower, and nothing is missed.
// Preconditions: v.mu is held.
func (v *Validator) chainAdd(t *Task, key uint64, stack stackRef) bool {
	if len(v.chainSlots) >= v.cfg.MaxChains {
		known := v.chainKnown(key)
		if !known {
			v.reportLimit(t, limitChains)
		}
		return !known
	}
	for i := key >> 1; ; i++ {
		slot := i & v.chainMask
		switch v.chainKeys[slot].Load() {
		case key:
			return false
		case 0:
			v.chainSlots = append(v.chainSlots, uint32(slot))
			if v.chainStack != nil {
				v.chainStack[slot] = stack
			}
			v.chainKeys[slot].Store(key)
			return true
		}
	}
}

// chainSite returns where the last lock of a chain was taken when the chain was
// new, or 0. Preconditions: v.mu is held.
func (v *Validator) chainSite(key uint64) stackRef {
	if v.chainStack == nil {
		return stackRef{}
	}
	for i := key >> 1; ; i++ {
		slot := i & v.chainMask
		switch v.chainKeys[slot].Load() {
		case key:
			return v.chainStack[slot]
		case 0:
			return stackRef{}
		}
	}
}
