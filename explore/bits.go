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
