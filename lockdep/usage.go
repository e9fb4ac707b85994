// SPDX-License-Identifier: Apache-2.0

package lockdep

// Usage bits of a class. Bits 0 to 7 are, for the states hardirq and softirq, used in it
// and held with it enabled, each for writing and for reading.
//
// Source: enum lock_usage_bit, kernel/locking/lockdep_internals.h, Linux v6.12.
const (
	usageRead    = 1 << 0 // in a bit number: held for reading
	usageEnabled = 1 << 1 // in a bit number: held with the interrupts enabled
	usageSoftirq = 1 << 2 // in a bit number: softirq instead of hardirq

	usageUsed     = 8
	usageUsedRead = 9
	usageBits     = 10

	maskAllWrites  uint32 = 0x55 // every interrupt usage for writing
	maskAllReads   uint32 = 0xaa
	maskAllUsedIn  uint32 = 0x33
	maskAllEnabled uint32 = 0xcc
)

// usageNames are the states as reports print them, by bit number.
var usageNames = [usageBits]string{
	"IN-HARDIRQ-W", "IN-HARDIRQ-R", "HARDIRQ-ON-W", "HARDIRQ-ON-R",
	"IN-SOFTIRQ-W", "IN-SOFTIRQ-R", "SOFTIRQ-ON-W", "SOFTIRQ-ON-R",
	"INITIAL USE", "INITIAL READ USE",
}

// exclusiveBit returns the writing usage in the other direction that bit can not go with.
//
// Source: exclusive_bit, kernel/locking/lockdep.c, Linux v6.12.
func exclusiveBit(bit int) int { return (bit ^ usageEnabled) &^ usageRead }

// exclusiveMask returns all usages, of either mode, that one of mask could deadlock
// with when a path of dependencies joins the two.
//
// Source: exclusive_mask, kernel/locking/lockdep.c, Linux v6.12.
func exclusiveMask(mask uint32) uint32 {
	flipped := (mask&maskAllUsedIn)<<2 | (mask&maskAllEnabled)>>2
	return flipped | (flipped&maskAllReads)>>1 | (flipped&maskAllWrites)<<1
}

// usageNeeded returns the usage bits that an acquire of this kind leaves behind.
//
// Source: mark_usage, kernel/locking/lockdep.c, Linux v6.12.
func (t *Task) usageNeeded(how How) uint32 {
	read := 0
	if how&modeMask != 0 {
		read = 1
	}
	need := t.need[read]
	if how&(Try|NoCheck|syncFlag) != 0 {
		switch {
		case how&NoCheck != 0:
			need &^= 0xff
		default:
			if how&Try != 0 {
				need &^= maskAllUsedIn
			}
			if how&syncFlag != 0 {
				need &^= maskAllEnabled
			}
		}
	}
	return need
}

// mark sets the missing usage bits of h's class and checks each against what the class and
// its neighbours in the graph did before. Preconditions: v.mu is held.
//
// Source: mark_lock and mark_lock_irq, kernel/locking/lockdep.c, Linux v6.12.
func (v *Validator) mark(t *Task, h *held, missing uint32, stack stackRef) {
	v.useLocked(h.rec)
	for bit := range usageBits {
		if missing&(1<<bit) == 0 || h.rec.usage.Load()&(1<<bit) != 0 {
			continue
		}
		h.rec.usage.Store(h.rec.usage.Load() | 1<<bit)
		h.rec.usageStack[bit] = stack
		v.learn(h.rec, uint64(bit)<<48)
		if bit < usageUsed {
			v.checkUsage(t, h, bit)
		}
	}
}

// checkUsage checks a new usage bit of h's class. Preconditions: v.mu is held.
func (v *Validator) checkUsage(t *Task, h *held, bit int) {
	excl := exclusiveBit(bit)
	usage := h.rec.usage.Load()
	if usage&(1<<excl) != 0 {
		v.reportUsage(t, h, excl, bit)
		return
	}
	if bit&usageRead == 0 && usage&(1<<(excl|usageRead)) != 0 {
		v.reportUsage(t, h, excl|usageRead, bit)
		return
	}
	mask := uint32(1<<excl | 1<<(excl|usageRead))
	forward := bit&usageEnabled == 0
	var weak bool
	if forward {
		weak = h.mode() == Recursive
	} else {
		weak = h.mode() != Exclusive
	}
	found := v.search.run(v, h.rec, weak, forward, true, func(n *node) bool {
		return n.usage()&mask != 0
	})
	if found >= 0 {
		other := v.search.nodes[found].rec
		match := excl
		if other.usage.Load()&(1<<excl) == 0 {
			match |= usageRead
		}
		v.reportInversion(t, h, found, forward, match)
	}
}

// checkIRQEdge reports a new dependency prev -> next that joins a lock taken in
// an interrupt with one held while that interrupt was enabled. Preconditions: v.mu
// is held.
//
// Source: check_irq_usage, kernel/locking/lockdep.c, Linux v6.12.
func (v *Validator) checkIRQEdge(t *Task, prev, next *held) bool {
	var usedIn uint32
	v.search.run(v, prev.rec, prev.mode() != Exclusive, false, true, func(n *node) bool {
		usedIn |= n.usage()
		return false
	})
	usedIn &= maskAllUsedIn
	if usedIn == 0 {
		return true
	}
	excl := exclusiveMask(usedIn)
	unsafeAt := v.search.run(v, next.rec, next.mode() == Recursive, true, true, func(n *node) bool {
		return n.usage()&excl != 0
	})
	if unsafeAt < 0 {
		return true
	}
	unsafePath := v.search.path(unsafeAt)
	enabled := v.search.nodes[unsafeAt].usage() & maskAllEnabled
	back := exclusiveMask(enabled)
	safeAt := v.search.run(v, prev.rec, prev.mode() != Exclusive, false, true, func(n *node) bool {
		return n.usage()&back&maskAllUsedIn != 0
	})
	if safeAt < 0 {
		return true
	}
	used := v.search.nodes[safeAt].usage() & back
	v.reportIRQOrder(t, prev, next, v.search.path(safeAt), unsafePath, used, enabled)
	return false
}
