// SPDX-License-Identifier: Apache-2.0

package iogen

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// A Distribution draws a unit of 0 to n-1.
type Distribution interface {
	Draw(rng *rand.Rand) int64
}

// uniform draws each unit as often as any other.
type uniform struct{ n int64 }

// NewUniform returns the uniform distribution over n units.
func NewUniform(n int64) Distribution { return uniform{n} }

func (u uniform) Draw(rng *rand.Rand) int64 { return rng.Int64N(u.n) }

// zipf draws rank k (from 1) with a probability proportional to k^-theta, by
// rejection-inversion: the hat is the integral of x^-theta around each rank, so
// that nothing has to be summed up in advance, whatever n is.
//
// Source: W. Hörmann, G. Derflinger, "Rejection-inversion to generate variates
// from monotone discrete distributions", ACM TOMACS 6(3), 1996.
type zipf struct {
	n       int64
	theta   float64
	hFirst  float64 // H(1.5) - 1
	hLast   float64 // H(n + 0.5)
	squeeze float64
	scatter scatter
}

// NewZipf returns a Zipf distribution over n units with exponent theta, which is
// positive and not 1. Hot units lie scattered over the region, at places that
// depend on n only.
func NewZipf(n int64, theta float64) Distribution {
	z := &zipf{n: n, theta: theta, scatter: newScatter(n)}
	z.hFirst = z.integral(1.5) - 1
	z.hLast = z.integral(float64(n) + 0.5)
	z.squeeze = 2 - z.inverse(z.integral(2.5)-z.density(2))
	return z
}

func (z *zipf) density(x float64) float64 { return math.Exp(-z.theta * math.Log(x)) }

// integral is H(x), the integral of the density from 1 to x.
func (z *zipf) integral(x float64) float64 {
	return math.Expm1((1-z.theta)*math.Log(x)) / (1 - z.theta)
}

// inverse is the inverse function of integral.
func (z *zipf) inverse(y float64) float64 {
	// Rounding may bring the argument just below -1, where log1p ends.
	return math.Exp(math.Log1p(max(-1, y*(1-z.theta))) / (1 - z.theta))
}

func (z *zipf) rank(rng *rand.Rand) int64 {
	for {
		u := z.hLast + rng.Float64()*(z.hFirst-z.hLast)
		x := z.inverse(u)
		k := min(max(math.Round(x), 1), float64(z.n))
		if k-x <= z.squeeze || u >= z.integral(k+0.5)-z.density(k) {
			return int64(k)
		}
	}
}

func (z *zipf) Draw(rng *rand.Rand) int64 { return z.scatter.place(z.rank(rng) - 1) }

// pareto draws self-similarly: a share h of the units gets a share 1-h of the
// draws, and the same holds within that share.
//
// Source: J. Gray et al., "Quickly generating billion-record synthetic
// databases", SIGMOD 1994, section 3.2.
type pareto struct {
	n       int64
	power   float64
	scatter scatter
}

// NewPareto returns a Pareto distribution over n units; h is between 0 and 1.
// Hot units lie scattered, as those of [NewZipf].
func NewPareto(n int64, h float64) Distribution {
	return &pareto{n: n, power: math.Log(h) / math.Log(1-h), scatter: newScatter(n)}
}

func (p *pareto) Draw(rng *rand.Rand) int64 {
	rank := int64(float64(p.n) * math.Pow(rng.Float64(), p.power))
	return p.scatter.place(min(rank, p.n-1))
}

// A scatter is a permutation of 0 to n-1 that puts neighbours far apart:
// multiplication by a number without a common factor with n.
type scatter struct {
	n, factor, shift uint64
}

func newScatter(n int64) scatter {
	s := scatter{n: uint64(n), shift: uint64(n) / 3}
	// Around the golden section of n, so that few hot ranks do not cluster.
	s.factor = max(1, uint64(float64(n)*0.6180339887498949))
	for gcd(s.factor, s.n) != 1 {
		s.factor++
	}
	return s
}

func (s scatter) place(rank int64) int64 {
	return int64((mulMod(uint64(rank), s.factor%s.n, s.n) + s.shift) % s.n)
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// mulMod returns a*b mod n, also where the product has 128 bits. a and b are
// less than n.
func mulMod(a, b, n uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return bits.Rem64(high, low, n)
}
