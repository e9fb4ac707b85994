// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var checksums = []Checksum{CRC32C, XXHash, SHA256}

func unitOf(h Header) []byte {
	unit := make([]byte, h.Bytes)
	Write(unit, &h)
	return unit
}

// TestRoundTrip checks that what was written is read, in any size.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Header{
			Checksum: rapid.SampledFrom(checksums).Draw(t, "checksum"),
			Bytes:    rapid.Uint32Range(HeaderBytes+1, 5000).Draw(t, "bytes"), Offset: rapid.Int64Range(0, 1<<60).Draw(t, "offset"),
			Run: rapid.Uint64().Draw(t, "run"), Clone: rapid.Uint32().Draw(t, "clone"), Generation: rapid.Uint32().Draw(t, "generation"),
		}
		unit := unitOf(h)
		if got, err := Read(unit); err != nil || got != h {
			t.Fatalf("Read = %+v, %v, want %+v", got, err, h)
		}
		w := Want{Checksum: h.Checksum, Offset: h.Offset, Run: h.Run, MinGeneration: h.Generation, MaxGeneration: h.Generation}
		if err := Check(unit, &w); err != nil {
			t.Fatalf("Check = %v", err)
		}
		// Any change of any byte is found.
		i := rapid.IntRange(0, len(unit)-1).Draw(t, "byte")
		unit[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if err := Check(unit, &w); err == nil {
			t.Fatalf("Check = nil with byte %d of %d changed", i, len(unit))
		}
	})
}

// TestEachBit flips each bit of one unit of each kind.
func TestEachBit(t *testing.T) {
	for _, c := range checksums {
		unit := unitOf(Header{Checksum: c, Bytes: 256, Offset: 512, Run: 3, Generation: 4})
		w := Want{Checksum: c, Offset: 512, AnyRun: true}
		if err := Check(unit, &w); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		for bit := range len(unit) * 8 {
			unit[bit/8] ^= 1 << (bit % 8)
			if err := Check(unit, &w); err == nil {
				t.Errorf("%v: Check = nil with bit %d flipped", c, bit)
			}
			unit[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestCheck(t *testing.T) {
	h := Header{Checksum: CRC32C, Bytes: 512, Offset: 1024, Run: 7, Generation: 5}
	want := Want{Checksum: CRC32C, Offset: 1024, Run: 7, MinGeneration: 5, MaxGeneration: 5}
	for _, tt := range []struct {
		name  string
		error string // "" is none
		spoil func(unit []byte, w *Want) []byte
	}{
		{"as written", "", func(u []byte, w *Want) []byte { return u }},
		{"zeroed", "no verify header", func(u []byte, w *Want) []byte { clear(u); return u }},
		{"empty", "no verify header", func(u []byte, w *Want) []byte { return nil }},
		{"elsewhere", "offset in the header is 1024, want 2048", func(u []byte, w *Want) []byte { w.Offset = 2048; return u }},
		{"another run", "run is 0000000000000007, want 0000000000000008", func(u []byte, w *Want) []byte { w.Run = 8; return u }},
		{"any run", "", func(u []byte, w *Want) []byte { w.Run, w.AnyRun = 8, true; return u }},
		{"stale", "generation is 5, want 6", func(u []byte, w *Want) []byte { w.MinGeneration, w.MaxGeneration = 6, 6; return u }},
		{"lost", "generation is 5, want 6 to 7", func(u []byte, w *Want) []byte { w.MinGeneration, w.MaxGeneration = 6, 7; return u }},
		{"too new", "generation is 5, want 1 to 4", func(u []byte, w *Want) []byte { w.MinGeneration, w.MaxGeneration = 1, 4; return u }},
		{"newer and begun", "", func(u []byte, w *Want) []byte { w.MinGeneration, w.MaxGeneration = 4, 6; return u }},
		{"another checksum", "kind of checksum is crc32c, want sha256", func(u []byte, w *Want) []byte { w.Checksum = SHA256; return u }},
		{"half", "length in the header is 512, want 256", func(u []byte, w *Want) []byte { return u[:256] }},
		{"torn", "crc32c of the data", func(u []byte, w *Want) []byte { clear(u[256:]); return u }},
		{"header spoilt", "checksum of the header", func(u []byte, w *Want) []byte { u[generationAt]++; return u }},
	} {
		w := want
		unit := tt.spoil(unitOf(h), &w)
		err := Check(unit, &w)
		if got := errText(err); tt.error == "" && err != nil || !strings.Contains(got, tt.error) {
			t.Errorf("%s: Check = %q, want %q", tt.name, got, tt.error)
		}
		var m *Mismatch
		if err != nil && !errors.Is(err, ErrNotWritten) && !errors.As(err, &m) {
			t.Errorf("%s: error %T is no Mismatch", tt.name, err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestDataDiffers checks that units which differ in one field of the header hold
// different data, so that a checksum of data is one of its place and time too.
func TestDataDiffers(t *testing.T) {
	base := Header{Checksum: CRC32C, Bytes: 512, Offset: 4096, Run: 1, Clone: 0, Generation: 1}
	data := func(h Header) string { return string(unitOf(h)[HeaderBytes:]) }
	for name, h := range map[string]Header{
		"offset": {CRC32C, 512, 8192, 1, 0, 1}, "run": {CRC32C, 512, 4096, 2, 0, 1},
		"generation": {CRC32C, 512, 4096, 1, 0, 2},
	} {
		if data(h) == data(base) {
			t.Errorf("units with different %s hold the same data", name)
		}
	}
}

// TestLedger drives a ledger against maps, with writes that begin, end, fail and
// overlap.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const unit = 512
		l := NewLedger(unit)
		generation, writing, lost := map[int64]uint32{}, map[int64]bool{}, map[int64]bool{}
		type write struct{ first, count int64 }
		var open []write
		unitAt := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(chunkUnits-10, chunkUnits+10), rapid.Int64Range(5*chunkUnits, 5*chunkUnits+5))
		each := func(w write, f func(i int64)) {
			for i := w.first; i < w.first+w.count; i++ {
				f(i)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				w := write{unitAt.Draw(t, "unit"), rapid.Int64Range(1, 4).Draw(t, "count")}
				free := true
				each(w, func(i int64) { free = free && !writing[i] })
				if got := l.Begin(w.first*unit, w.count*unit); got != free {
					t.Fatalf("Begin(%v) = %v, want %v", w, got, free)
				}
				if free {
					each(w, func(i int64) { generation[i]++; writing[i] = true; lost[i] = false })
					open = append(open, w)
				}
			},
			"end": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "write")
				w, ok := open[i], rapid.Bool().Draw(t, "ok")
				open = append(open[:i], open[i+1:]...)
				l.End(w.first*unit, w.count*unit, ok)
				each(w, func(i int64) { writing[i] = false; lost[i] = !ok })
			},
			"forget": func(t *rapid.T) {
				i := unitAt.Draw(t, "unit")
				if !writing[i] {
					l.Forget(i*unit, unit)
					lost[i] = generation[i] > 0
				}
			},
			"": func(t *rapid.T) {
				for i := range generation {
					want := generation[i]
					if lost[i] {
						want = 0
					}
					if g, w := l.Generation(i * unit); g != want || w != writing[i] {
						t.Fatalf("Generation(unit %d) = %d, %v, want %d, %v", i, g, w, want, writing[i])
					}
				}
			},
		})
		got, want := map[int64]uint32{}, map[int64]uint32{}
		l.Written(0, 7*chunkUnits*unit, func(offset int64, g uint32) bool { got[offset/unit] = g; return true })
		for i, g := range generation {
			if !writing[i] && !lost[i] {
				want[i] = g
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("Written visits %v, want %v", got, want)
		}
	})
}

// TestLedgerConcurrent lets goroutines write to the same units: never two at
// once, and no generation is lost.
func TestLedgerConcurrent(t *testing.T) {
	const units, goroutines, writes = 8, 8, 2000
	l := NewLedger(1)
	var busy [units]int32 // guarded by the ledger, which -race confirms
	var done [goroutines]int
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for n := 0; n < writes; {
				at, count := int64(n%(units-1)), int64(1+n%2)
				if !l.Begin(at, count) {
					n++
					continue
				}
				for i := at; i < at+count; i++ {
					busy[i]++
					if busy[i] != 1 {
						t.Errorf("two writes to unit %d", i)
					}
					busy[i]--
				}
				done[g] += int(count)
				l.End(at, count, true)
				n++
			}
		})
	}
	wg.Wait()
	total, want := uint32(0), 0
	for i := range int64(units) {
		g, writing := l.Generation(i)
		if writing {
			t.Errorf("unit %d is still being written", i)
		}
		total += g
	}
	for _, n := range done {
		want += n
	}
	if int(total) != want {
		t.Errorf("generations add up to %d, want %d", total, want)
	}
}

// TestJournalOfTooMuch: numbers in a header that overflow where they are multiplied are no way to a size that fits.
func TestJournalOfTooMuch(t *testing.T) {
	for _, h := range []JournalHeader{{UnitBytes: 1, Units: 1 << 61}, {UnitBytes: 4096, Units: 1 << 61}, {UnitBytes: 1 << 60, Units: 8}, {UnitBytes: 0, Units: 1}} {
		path := filepath.Join(t.TempDir(), "journal")
		if j, err := CreateJournal(path, h); err != nil {
			t.Fatal(err)
		} else if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(path); err == nil || !strings.Contains(err.Error(), "no file has so many") {
			t.Errorf("%+v: %v", h, err)
		}
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	h := JournalHeader{Checksum: XXHash, UnitBytes: 4096, Units: 100000, Run: 42}
	j, err := CreateJournal(path, h)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(j.Begin(0, 1, 1, 1))
	must(j.Acknowledge(0, 1, 1))
	must(j.Begin(4096, 2))
	must(j.Begin(99999*4096, 7))
	must(j.Acknowledge(99999*4096, 6))
	// Nothing is closed or synced: this is what a killed process leaves.
	r, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.JournalHeader != h {
		t.Errorf("header = %+v, want %+v", r.JournalHeader, h)
	}
	var got []Entry
	must(r.Entries(func(e Entry) bool { got = append(got, e); return true }))
	want := []Entry{{0, 1, 1}, {4096, 2, 1}, {8192, 1, 0}, {99999 * 4096, 7, 6}}
	if len(got) != len(want) {
		t.Fatalf("entries = %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("entry %d = %v, want %v", i, got[i], want[i])
		}
	}
	must(r.Close())
	must(j.Close())

	for name, spoil := range map[string]func() error{
		"want 804096": func() error { return os.Truncate(path, 5000) },
		"is no journal": func() error {
			return os.WriteFile(path, []byte("something else"), 0o666)
		},
		"no such file": func() error { return os.Remove(path) },
	} {
		// A map's order is random: make the file anew for each.
		j, err := CreateJournal(path, h)
		must(err)
		must(j.Close())
		must(spoil())
		if _, err := OpenJournal(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("OpenJournal of a bad file = %v, want %q", err, name)
		}
	}
	if _, err := CreateJournal(filepath.Join(path, "x", "y"), h); err == nil {
		t.Error("CreateJournal in a missing directory = nil, want an error")
	}
}

func TestAllocs(t *testing.T) {
	unit := make([]byte, 4096)
	for _, c := range checksums {
		h, w := Header{Checksum: c, Bytes: 4096}, Want{Checksum: c, AnyRun: true}
		allocs := testing.AllocsPerRun(100, func() {
			Write(unit, &h)
			if err := Check(unit, &w); err != nil {
				t.Error(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%v: AllocsPerRun(Write, Check) = %v, want 0", c, allocs)
		}
	}
}

func BenchmarkWriteAndCheck(b *testing.B) {
	for _, c := range checksums {
		b.Run(c.String(), func(b *testing.B) {
			unit := make([]byte, 4096)
			h := Header{Checksum: c, Bytes: 4096, Run: 1}
			w := Want{Checksum: c, AnyRun: true}
			b.SetBytes(4096)
			b.ReportAllocs()
			for b.Loop() {
				h.Generation++
				Write(unit, &h)
				if err := Check(unit, &w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
