// SPDX-License-Identifier: Apache-2.0

package iogen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// slowMap is the obvious map: a slice of bools, searched from the front.
type slowMap []bool

func (m slowMap) take(from, want int64) (first, n int64) {
	for i := range m {
		at := (from + int64(i)) % int64(len(m))
		if m[at] {
			continue
		}
		for n < want && at+n < int64(len(m)) && !m[at+n] {
			m[at+n] = true
			n++
		}
		return at, n
	}
	return 0, 0
}

// TestMapAgainstSlow takes at random from a Map and from a slice of bools.
func TestMapAgainstSlow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Around the word sizes of two and three levels.
		units := rapid.OneOf(rapid.Int64Range(1, 300), rapid.Int64Range(4000, 4200)).Draw(t, "units")
		m, slow := NewMap(units), make(slowMap, units)
		wants := rapid.SliceOfN(rapid.Int64Range(1, 200), 1, 100).Draw(t, "wants")
		for i, want := range wants {
			from := rapid.Int64Range(0, units-1).Draw(t, "from")
			first, n := m.Take(from, want)
			wantFirst, wantN := slow.take(from, want)
			if first != wantFirst && wantN > 0 || n != wantN {
				t.Fatalf("step %d: Take(%d, %d) = %d, %d, want %d, %d", i, from, want, first, n, wantFirst, wantN)
			}
		}
		free := int64(0)
		for i, taken := range slow {
			if m.Taken(int64(i)) != taken {
				t.Fatalf("Taken(%d) = %v, want %v", i, !taken, taken)
			}
			if !taken {
				free++
			}
		}
		if m.Free() != free {
			t.Fatalf("Free() = %d, want %d", m.Free(), free)
		}
		m.Reset()
		if first, n := m.Take(0, units); first != 0 || n != units {
			t.Fatalf("after Reset: Take = %d, %d, want 0, %d", first, n, units)
		}
	})
}

// TestRandomPass checks that a random pass touches each byte of the region once
// and nothing outside it, whatever the sizes.
func TestRandomPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]int64{512, 4096}).Draw(t, "unit")
		units := rapid.Int64Range(1, 500).Draw(t, "units")
		layout := Layout{Start: 1 << 20, Bytes: unit * units, MinBytes: unit, UnitBytes: unit, Random: true, Once: true,
			Run: rapid.IntRange(1, 9).Draw(t, "run")}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		region, err := NewRegion(layout, rng)
		if err != nil {
			t.Fatal(err)
		}
		sizes := SizeRange(unit, unit*rapid.Int64Range(1, 5).Draw(t, "blocks"), false)
		for pass := range int64(3) {
			seen := make([]bool, units)
			for done := int64(0); done < layout.Bytes; {
				off, size := region.Next(int(done)%2, sizes.Draw(rng))
				if region.Passes() != pass || size < unit || size%unit != 0 {
					t.Fatalf("pass %d: Next = %d, %d in pass %d", pass, off, size, region.Passes())
				}
				for at := off; at < off+size; at += unit {
					i := (at - layout.Start) / unit
					if at < layout.Start || i >= units || seen[i] {
						t.Fatalf("pass %d: offset %d is outside or came twice", pass, at)
					}
					seen[i] = true
				}
				done += size
			}
		}
	})
}

// TestNoRoom checks that a region in which nothing fits is refused.
func TestNoRoom(t *testing.T) {
	for _, layout := range []Layout{
		{Bytes: 4095, MinBytes: 4096, UnitBytes: 4096},
		{Bytes: 65536, MinBytes: 4096, UnitBytes: 1 << 20, Random: true, Run: 1},
		{Bytes: 65536, MinBytes: 4096, UnitBytes: 1 << 20, Random: true, Run: 1, Once: true},
	} {
		region, err := NewRegion(layout, rand.New(rand.NewPCG(1, 1)))
		if err == nil {
			off, size := region.Next(0, 4096)
			t.Errorf("%+v is taken, and begins with %d bytes at %d", layout, size, off)
		}
	}
}

// TestStaysInside checks that no layout leaves its region or stands still.
func TestStaysInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.Int64Range(1, 64).Draw(t, "unit")
		minBytes := rapid.Int64Range(1, 128).Draw(t, "min")
		layout := Layout{
			Start: rapid.Int64Range(0, 1000).Draw(t, "start"), Bytes: minBytes + rapid.Int64Range(0, 5000).Draw(t, "more"),
			MinBytes: minBytes, UnitBytes: min(unit, minBytes), Random: rapid.Bool().Draw(t, "random"),
			Once: rapid.Bool().Draw(t, "once"), Run: rapid.IntRange(1, 4).Draw(t, "run"), Identical: rapid.Bool().Draw(t, "identical"),
			SkipBytes: rapid.Int64Range(-300, 300).Draw(t, "skip"),
		}
		rng := rand.New(rand.NewPCG(1, 2))
		region, err := NewRegion(layout, rng)
		if err != nil {
			t.Fatal(err)
		}
		sizes := SizeRange(minBytes, 3*minBytes, rapid.Bool().Draw(t, "unaligned"))
		for range 1000 {
			off, size := region.Next(0, sizes.Draw(rng))
			if size < 1 || off < layout.Start || off+size > layout.Start+layout.Bytes {
				t.Fatalf("Next = %d, %d, outside of %d, %d", off, size, layout.Start, layout.Bytes)
			}
		}
	})
}

func ExampleRegion_sequential() {
	show := func(layout Layout) {
		layout.Bytes, layout.MinBytes, layout.UnitBytes, layout.Run = 20, 4, 4, 1
		region, err := NewRegion(layout, rand.New(rand.NewPCG(1, 1)))
		if err != nil {
			fmt.Println(err)
			return
		}
		var offsets []int64
		for range 6 {
			off, _ := region.Next(0, 4)
			offsets = append(offsets, off)
		}
		fmt.Println(offsets)
	}
	show(Layout{})
	show(Layout{Start: 100})
	show(Layout{SkipBytes: 4})
	show(Layout{SkipBytes: -8})
	// Output:
	// [0 4 8 12 16 0]
	// [100 104 108 112 116 100]
	// [0 8 16 0 8 16]
	// [16 12 8 4 0 16]
}

// TestRuns checks rw=rand...:N: N operations behind each other, or at one place.
func TestRuns(t *testing.T) {
	for _, identical := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(3, 4))
		region, err := NewRegion(Layout{Bytes: 1 << 30, MinBytes: 4096, UnitBytes: 4096, Random: true, Run: 8, Identical: identical}, rng)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			first, _ := region.Next(0, 4096)
			for i := int64(1); i < 8; i++ {
				want := first + i*4096
				if identical {
					want = first
				}
				// The region's end cuts a run; 1 in 2^15 does.
				if got, _ := region.Next(0, 4096); got != want && first+8*4096 < 1<<30 {
					t.Errorf("identical %v: operation %d of a run at %d, want %d", identical, i, got, want)
				}
			}
		}
	}
}

// TestZipf compares the frequencies of the ranks with the definition of the
// distribution, k^-theta over the sum of all: chi-squared over the first ranks
// and the rest.
func TestZipf(t *testing.T) {
	const draws = 200000
	for _, tt := range []struct {
		n     int64
		theta float64
	}{{10, 0.5}, {1000, 0.9}, {1000, 1.1}, {100000, 1.2}, {5, 3}, {1, 1.1}, {2, 0.99}} {
		rng := rand.New(rand.NewPCG(7, uint64(tt.n)))
		z := NewZipf(tt.n, tt.theta).(*zipf)
		sum := 0.0
		for k := int64(1); k <= tt.n; k++ {
			sum += math.Pow(float64(k), -tt.theta)
		}
		counts := make([]float64, min(tt.n, 20)+1)
		for range draws {
			k := z.rank(rng)
			if k < 1 || k > tt.n {
				t.Fatalf("rank %d is outside of 1 to %d", k, tt.n)
			}
			counts[min(k-1, int64(len(counts)-1))]++
		}
		chi, rest := 0.0, float64(draws)
		for i := range len(counts) - 1 {
			want := draws * math.Pow(float64(i+1), -tt.theta) / sum
			chi += (counts[i] - want) * (counts[i] - want) / want
			rest -= want
		}
		if rest > 5 {
			chi += (counts[len(counts)-1] - rest) * (counts[len(counts)-1] - rest) / rest
		}
		// 20 degrees of freedom: 1 in 10^5 is above 60. The seed is fixed.
		if chi > 60 {
			t.Errorf("zipf n=%d theta=%v: chi squared %.1f, want at most 60", tt.n, tt.theta, chi)
		}
	}
}

// TestPareto checks the definition: a share h of the units gets 1-h of the
// draws, and again within it.
func TestPareto(t *testing.T) {
	const n, draws = 1000000, 200000
	for _, h := range []float64{0.1, 0.2, 0.4} {
		rng := rand.New(rand.NewPCG(9, 9))
		p := NewPareto(n, h).(*pareto)
		p.scatter = scatter{n: n, factor: 1} // ranks themselves
		first, second := 0.0, 0.0
		for range draws {
			rank := float64(p.Draw(rng))
			if rank < h*n {
				first++
			}
			if rank < h*h*n {
				second++
			}
		}
		if got, want := first/draws, 1-h; math.Abs(got-want) > 0.01 {
			t.Errorf("pareto %v: the first units get %.3f, want %.3f", h, got, want)
		}
		if got, want := second/draws, (1-h)*(1-h); math.Abs(got-want) > 0.01 {
			t.Errorf("pareto %v: the first of the first get %.3f, want %.3f", h, got, want)
		}
	}
}

// TestScatter checks that scattering loses and doubles no unit.
func TestScatter(t *testing.T) {
	for n := int64(1); n < 3000; n += 1 + n/7 {
		seen := make([]bool, n)
		s := newScatter(n)
		for i := range n {
			p := s.place(i)
			if p < 0 || p >= n || seen[p] {
				t.Fatalf("n=%d: place(%d) = %d, outside or twice", n, i, p)
			}
			seen[p] = true
		}
	}
	s := newScatter(1 << 62)
	if p := s.place(1<<62 - 1); p < 0 || p >= 1<<62 {
		t.Errorf("place at the end of 2^62 units = %d", p)
	}
}

func TestSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	const draws = 100000
	counts := map[int64]float64{}
	split := SplitSizes([]int64{4096, 8192, 65536}, []float64{60, 30, 10})
	for range draws {
		counts[split.Draw(rng)]++
	}
	for size, want := range map[int64]float64{4096: 0.6, 8192: 0.3, 65536: 0.1} {
		if got := counts[size] / draws; math.Abs(got-want) > 0.01 {
			t.Errorf("split: %d is drawn with %.3f, want %.1f", size, got, want)
		}
	}
	if split.Min() != 4096 || split.Max() != 65536 || len(counts) != 3 {
		t.Errorf("split: sizes %v between %d and %d", counts, split.Min(), split.Max())
	}
	r := SizeRange(4096, 10000, false)
	seen := map[int64]bool{}
	for range 1000 {
		seen[r.Draw(rng)] = true
	}
	if len(seen) != 2 || !seen[4096] || !seen[8192] {
		t.Errorf("range 4096 to 10000 draws %v, want 4096 and 8192", seen)
	}
	if n := FixedSize(512); n.Draw(rng) != 512 {
		t.Errorf("FixedSize(512) draws something else")
	}
}

// BenchmarkNext measures the choice of a random operation in a region of 1 TiB.
func BenchmarkNext(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	layout := Layout{Bytes: 1 << 40, MinBytes: 4096, UnitBytes: 4096, Random: true, Run: 1}
	for _, tt := range []struct {
		name string
		once bool
		dist Distribution
	}{{"uniform", false, nil}, {"map", true, nil}, {"zipf", false, NewZipf(1<<28, 1.1)}, {"pareto", false, NewPareto(1<<28, 0.2)}} {
		b.Run(tt.name, func(b *testing.B) {
			layout.Once, layout.Dist = tt.once, tt.dist
			region, err := NewRegion(layout, rng)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				region.Next(0, 4096)
			}
		})
	}
}
