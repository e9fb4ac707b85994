// SPDX-License-Identifier: Apache-2.0

package explore

import "math/bits"

func trailing(set uint64) int { return bits.TrailingZeros64(set) }
func count(set uint64) int    { return bits.OnesCount64(set) }

// A Hash gathers the state of a program, for [Exec.OnState]. The order of the
// calls matters.
type Hash struct{ a, b uint64 }

// Add adds a value.
func (h *Hash) Add(v uint64) {
	h.a = mix(h.a, v)
	h.b = (h.b^v)*0x9e3779b97f4a7c15 + 0x2545f4914f6cdd1d
	h.b ^= h.b >> 31
}

// AddBool adds a truth value.
func (h *Hash) AddBool(v bool) {
	if v {
		h.Add(1)
	} else {
		h.Add(0)
	}
}

// AddString adds a text.
func (h *Hash) AddString(s string) {
	h.Add(uint64(len(s)))
	for i := 0; i < len(s); i++ {
		h.Add(uint64(s[i]))
	}
}

// Sum returns the 128 bits gathered so far.
func (h *Hash) Sum() [2]uint64 { return [2]uint64{h.a, h.b} }

// The rest of this file is about sets of events: bit sets of equal width.

func empty(a []uint64) bool {
	for _, w := range a {
		if w != 0 {
			return false
		}
	}
	return true
}

func disjoint(a, b []uint64) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return false
		}
	}
	return true
}

func and(dst, src []uint64) {
	for i := range src {
		dst[i] &= src[i]
	}
}

func andNot(dst, src []uint64) {
	for i := range src {
		dst[i] &^= src[i]
	}
}

func clearBit(a []uint64, i int) { a[i>>6] &^= 1 << (i & 63) }

// limit removes the events from n on.
func limit(a []uint64, n int) {
	if w := n >> 6; w < len(a) {
		a[w] &= 1<<(n&63) - 1
		clear(a[w+1:])
	}
}

// fill makes a the set of the events from from to before to.
func fill(a []uint64, from, to int) {
	for w := range a {
		lo, hi := max(from-w<<6, 0), min(to-w<<6, 64)
		switch {
		case lo >= 64 || hi <= lo:
			a[w] = 0
		case hi == 64:
			a[w] = ^uint64(0) << lo
		default:
			a[w] = (1<<hi - 1) &^ (1<<lo - 1)
		}
	}
}

// orRange adds the events before n.
func orRange(a []uint64, n int) {
	for w := 0; w<<6 < n; w++ {
		if hi := n - w<<6; hi >= 64 {
			a[w] = ^uint64(0)
		} else {
			a[w] |= 1<<hi - 1
		}
	}
}

// onlyBit reports whether i is the only common member of a and b.
func onlyBit(a, b []uint64, i int) bool {
	for w := range a {
		c := a[w] & b[w]
		if w == i>>6 {
			c &^= 1 << (i & 63)
		}
		if c != 0 {
			return false
		}
	}
	return true
}

func firstCommon(a, b []uint64) int {
	for w := range a {
		if c := a[w] & b[w]; c != 0 {
			return w<<6 + bits.TrailingZeros64(c)
		}
	}
	return -1
}

func lastCommon(a, b []uint64) int {
	for w := len(a) - 1; w >= 0; w-- {
		if c := a[w] & b[w]; c != 0 {
			return w<<6 + 63 - bits.LeadingZeros64(c)
		}
	}
	return -1
}
