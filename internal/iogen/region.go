// SPDX-License-Identifier: Apache-2.0

package iogen

import (
	"fmt"
	"math/rand/v2"
)

// Dirs is the number of directions whose positions a Region keeps apart.
const Dirs = 3

// A Layout says how the offsets of a [Region] run.
type Layout struct {
	// Start and Bytes are the part of the file that the region covers.
	Start, Bytes int64

	// MinBytes is the smallest operation. Random offsets are multiples of
	// UnitBytes from Start, sequential operations are cut to multiples of it.
	MinBytes, UnitBytes int64

	Random bool

	// Once is true if a random pass touches no unit twice.
	Once bool

	// Dist draws units; nil is uniform.
	Dist Distribution

	// Run is how many random operations follow each other before a new offset is
	// drawn, at least 1; Identical sends them all to the same offset instead of
	// one behind the other.
	Run       int
	Identical bool

	// SkipBytes is added after each sequential operation. It may be negative.
	SkipBytes int64
}

// A Region hands out the offsets of one job in one file. It never ends: after
// all units of a pass, the next pass begins.
type Region struct {
	Layout
	units  int64
	taken  *Map // nil unless Random and Once
	rng    *rand.Rand
	next   [Dirs]int64 // sequential position, relative to Start
	runs   [Dirs]int   // random operations left before the next draw
	passes int64
}

// NewRegion returns the region that layout describes. It is an error if not
// even one operation fits.
func NewRegion(layout Layout, rng *rand.Rand) (*Region, error) {
	if layout.Bytes < layout.MinBytes {
		return nil, fmt.Errorf("a region of %d bytes has no room for a block of %d", layout.Bytes, layout.MinBytes)
	}
	if layout.Random && layout.Bytes < layout.UnitBytes {
		return nil, fmt.Errorf("a region of %d bytes is less than one step of random offsets, %d", layout.Bytes, layout.UnitBytes)
	}
	r := &Region{Layout: layout, rng: rng, units: layout.Bytes / layout.UnitBytes}
	if r.Dist == nil {
		r.Dist = NewUniform(r.units)
	}
	if layout.Random && layout.Once {
		r.taken = NewMap(r.units)
	}
	if layout.SkipBytes < 0 {
		r.rewind()
	}
	return r, nil
}

// rewind puts backward sequential positions at the last block.
func (r *Region) rewind() {
	for dir := range r.next {
		r.next[dir] = r.Bytes - r.MinBytes
	}
}

// Passes returns how often all units were handed out (regions with a map) or the
// end was reached (sequential ones).
func (r *Region) Passes() int64 { return r.passes }

// Next returns the next operation in direction dir that is at most want bytes:
// its offset in the file and its size, which is less than want where the region
// or the free units end.
func (r *Region) Next(dir int, want int64) (off, size int64) {
	if !r.Random {
		return r.sequential(dir, want)
	}
	if r.runs[dir] > 0 {
		r.runs[dir]--
		if off, size, ok := r.follow(dir, want); ok {
			return off, size
		}
	}
	r.runs[dir] = r.Run - 1
	return r.take(dir, r.Dist.Draw(r.rng), want)
}

// sequential goes on behind the last operation, and back to the start where no
// block is left.
func (r *Region) sequential(dir int, want int64) (off, size int64) {
	pos := r.next[dir]
	if pos < 0 || r.Bytes-pos < r.MinBytes {
		r.passes++
		pos = 0
		if r.SkipBytes < 0 {
			pos = r.Bytes - r.MinBytes
		}
	}
	size = r.cut(min(want, r.Bytes-pos))
	r.next[dir] = pos + size + r.SkipBytes
	return r.Start + pos, size
}

// cut shortens size to a multiple of the unit, but not below the smallest block.
func (r *Region) cut(size int64) int64 { return max(size/r.UnitBytes*r.UnitBytes, r.MinBytes) }

// follow places an operation of a run: at the same offset as the one before, or
// behind it if that is possible.
func (r *Region) follow(dir int, want int64) (off, size int64, ok bool) {
	pos := r.next[dir]
	if r.Identical {
		// next is the offset itself; the map has it already.
		return r.Start + pos, min(want, r.Bytes-pos), true
	}
	unit := (pos + r.UnitBytes - 1) / r.UnitBytes
	if r.Bytes-unit*r.UnitBytes < r.MinBytes || r.taken != nil && r.taken.Taken(unit) {
		return 0, 0, false
	}
	off, size = r.take(dir, unit, want)
	return off, size, true
}

// take places an operation at unit, or at the next one that is free.
func (r *Region) take(dir int, unit, want int64) (off, size int64) {
	size = want
	if r.taken != nil {
		if r.taken.Free() == 0 {
			r.taken.Reset()
			r.passes++
		}
		wantUnits := (want + r.UnitBytes - 1) / r.UnitBytes
		first, n := r.taken.Take(unit, wantUnits)
		unit, size = first, min(want, n*r.UnitBytes)
	}
	pos := unit * r.UnitBytes
	// The last units of a region may be less than a block: step back into it.
	pos = min(pos, r.Bytes-min(size, r.Bytes))
	size = min(size, r.Bytes-pos)
	r.next[dir] = pos + size
	if r.Identical {
		r.next[dir] = pos
	}
	return r.Start + pos, size
}
