// SPDX-License-Identifier: Apache-2.0

package iogen

import "math/rand/v2"

// Sizes draws the sizes of operations in one direction.
type Sizes struct {
	min, max int64
	step     int64   // sizes of a range are multiples of it
	split    []int64 // nil for a fixed size or a range
	upTo     []float64
}

// FixedSize returns Sizes that always draw n bytes.
func FixedSize(n int64) Sizes { return Sizes{min: n, max: n, step: n} }

// SizeRange returns Sizes from low to high, both included; multiples of low,
// unless any is true.
func SizeRange(low, high int64, any bool) Sizes {
	s := Sizes{min: low, max: high, step: low}
	if any {
		s.step = 1
	}
	return s
}

// SplitSizes returns Sizes that draw sizes[i] in percents[i] of the cases. The
// percents add up to 100.
func SplitSizes(sizes []int64, percents []float64) Sizes {
	s := Sizes{min: sizes[0], max: sizes[0], split: sizes}
	total := 0.0
	for i, p := range percents {
		total += p
		s.upTo = append(s.upTo, total/100)
		s.min, s.max = min(s.min, sizes[i]), max(s.max, sizes[i])
	}
	return s
}

// Min returns the smallest size, in bytes.
func (s *Sizes) Min() int64 { return s.min }

// Max returns the largest size, in bytes.
func (s *Sizes) Max() int64 { return s.max }

// Draw returns the size of the next operation, in bytes.
func (s *Sizes) Draw(rng *rand.Rand) int64 {
	if s.min == s.max {
		return s.min
	}
	if s.split == nil {
		return (s.min+s.step-1)/s.step*s.step + rng.Int64N((s.max-s.min)/s.step+1)*s.step
	}
	u := rng.Float64()
	for i, limit := range s.upTo {
		if u < limit {
			return s.split[i]
		}
	}
	return s.split[len(s.split)-1] // rounding left the sum of the shares below 1
}
