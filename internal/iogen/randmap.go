// SPDX-License-Identifier: Apache-2.0

package iogen

import "math/bits"

// A Map remembers which units of a region were taken in this pass. It is a
// bitmap with summaries: a set bit at level k says that a whole word at level
// k-1 is set, so that a free unit is found in a few steps however full it is.
//
// It takes one bit for each unit and 1/63 more.
type Map struct {
	levels [][]uint64 // levels[0] has a bit for each unit
	units  int64
	free   int64
}

// NewMap returns a map of units, at least 1, none of them taken.
func NewMap(units int64) *Map {
	m := &Map{units: units}
	for n := units; ; n = (n + 63) / 64 {
		m.levels = append(m.levels, make([]uint64, (n+63)/64))
		if n <= 64 {
			break
		}
	}
	m.Reset()
	return m
}

// Free returns how many units are not taken.
func (m *Map) Free() int64 { return m.free }

// Reset makes all units free.
func (m *Map) Reset() {
	n := m.units
	for _, level := range m.levels {
		clear(level)
		// Bits after the last unit count as taken, so that no search finds them.
		if rest := n % 64; rest != 0 {
			level[len(level)-1] = ^uint64(0) << rest
		}
		n = (n + 63) / 64
	}
	m.free = m.units
}

// Taken reports whether unit i is taken.
func (m *Map) Taken(i int64) bool { return m.levels[0][i/64]>>(i%64)&1 == 1 }

// Take takes up to want units: the first free one at or after from (going on at
// 0 after the end), and those behind it as far as they are free. It returns the
// first unit and how many were taken, which is 0 if none is free.
func (m *Map) Take(from, want int64) (first, n int64) {
	if m.free == 0 {
		return 0, 0
	}
	first, ok := m.nextFree(from)
	if !ok {
		first, _ = m.nextFree(0)
	}
	for n < want && first+n < m.units && !m.Taken(first+n) {
		m.set(first + n)
		n++
	}
	return first, n
}

// nextFree returns the first free unit at or after i.
func (m *Map) nextFree(i int64) (int64, bool) {
	// Climb until a word has a clear bit at or after the position, then descend
	// along the first clear bits.
	for k := range m.levels {
		word := i / 64
		if word < int64(len(m.levels[k])) {
			if clearBits := ^m.levels[k][word] &^ (1<<(i%64) - 1); clearBits != 0 {
				return m.descend(k, word*64+int64(bits.TrailingZeros64(clearBits))), true
			}
		}
		i = word + 1
	}
	return 0, false
}

// descend returns the first free unit below bit i of level k, which is clear.
func (m *Map) descend(k int, i int64) int64 {
	for ; k > 0; k-- {
		i = i*64 + int64(bits.TrailingZeros64(^m.levels[k-1][i]))
	}
	return i
}

// set marks unit i, and the summaries of what becomes full by it.
func (m *Map) set(i int64) {
	m.free--
	for _, level := range m.levels {
		level[i/64] |= 1 << (i % 64)
		if level[i/64] != ^uint64(0) {
			return
		}
		i /= 64
	}
}
