// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"sync/atomic"

	"endio/lockdep"
)

// MaxGeneration is the last generation that a [Ledger] can count to.
const MaxGeneration = 1<<30 - 1

// The two top bits of a unit's state; the others are its generation. inFlight: a
// write of that generation is in flight. unknown: what the unit holds is not
// known, since a write failed or it was trimmed.
const (
	inFlight = 1 << 31
	unknown  = 1 << 30
)

// chunkUnits is how many units a ledger allocates at once: 256 KiB.
const chunkUnits = 1 << 16

// A Ledger holds the state of each unit of one file: its generation, and
// whether a write to it is in flight. Any goroutine may use it.
type Ledger struct {
	UnitBytes int64

	mu     lockdep.Mutex // held while chunks grows; chunks themselves are atomic
	chunks atomic.Pointer[[]*chunk]
}

type chunk [chunkUnits]atomic.Uint32

// NewLedger returns a ledger in which no unit was written.
func NewLedger(unitBytes int64) *Ledger {
	l := &Ledger{UnitBytes: unitBytes}
	l.chunks.Store(&[]*chunk{})
	return l
}

// at returns the state of unit i, or nil if its chunk does not exist.
func (l *Ledger) at(i int64) *atomic.Uint32 {
	chunks := *l.chunks.Load()
	if c := i / chunkUnits; c < int64(len(chunks)) && chunks[c] != nil {
		return &chunks[c][i%chunkUnits]
	}
	return nil
}

// make returns the state of unit i.
func (l *Ledger) make(i int64) *atomic.Uint32 {
	if state := l.at(i); state != nil {
		return state
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	chunks := *l.chunks.Load()
	c := i / chunkUnits
	if c >= int64(len(chunks)) || chunks[c] == nil {
		grown := make([]*chunk, max(c+1, int64(len(chunks))))
		copy(grown, chunks)
		grown[c] = new(chunk)
		l.chunks.Store(&grown)
	}
	return l.at(i)
}

// Generation returns the generation of the unit at offset, 0 if it was not
// written, and whether a write to it is in flight, which then has that
// generation.
func (l *Ledger) Generation(offset int64) (generation uint32, writing bool) {
	state := l.at(offset / l.UnitBytes)
	if state == nil {
		return 0, false
	}
	v := state.Load()
	if v&unknown != 0 {
		return 0, false
	}
	return v &^ inFlight, v&inFlight != 0
}

// Begin marks the units of a write as in flight and advances their generations.
// It returns false, and changes nothing, if a write to one of them is in flight
// already. offset and bytes are multiples of the unit.
func (l *Ledger) Begin(offset, bytes int64) bool {
	first, count := offset/l.UnitBytes, bytes/l.UnitBytes
	for i := range count {
		state := l.make(first + i)
		v := state.Load()
		if v&inFlight != 0 || !state.CompareAndSwap(v, v|inFlight) {
			for k := range i {
				l.at(first + k).And(^uint32(inFlight))
			}
			return false
		}
	}
	// All are ours: nobody else changes a unit in flight.
	for i := range count {
		state := l.at(first + i)
		v := state.Load() &^ (inFlight | unknown)
		if v == MaxGeneration {
			panic(fmt.Sprintf("verify: unit at %d was written %d times", offset, v))
		}
		state.Store((v + 1) | inFlight)
	}
	return true
}

// End marks the units of a write as no longer in flight. With ok false their
// content is unknown until the next write.
func (l *Ledger) End(offset, bytes int64, ok bool) {
	first := offset / l.UnitBytes
	for i := range bytes / l.UnitBytes {
		state := l.at(first + i)
		v := state.Load() &^ inFlight
		if !ok {
			v |= unknown
		}
		state.Store(v)
	}
}

// Forget marks the content of a range as unknown, for a trim. No write to it is
// in flight.
func (l *Ledger) Forget(offset, bytes int64) {
	first := offset / l.UnitBytes
	for i := range bytes / l.UnitBytes {
		if state := l.at(first + i); state != nil {
			state.Or(unknown)
		}
	}
}

// Written calls f for each unit of the range that has a generation and no write
// in flight, in order, until f returns false.
func (l *Ledger) Written(offset, bytes int64, f func(offset int64, generation uint32) bool) {
	for i := offset / l.UnitBytes; i < (offset+bytes)/l.UnitBytes; i++ {
		state := l.at(i)
		if state == nil {
			i = (i/chunkUnits+1)*chunkUnits - 1 // none in this chunk
			continue
		}
		if v := state.Load(); v != 0 && v&(inFlight|unknown) == 0 && !f(i*l.UnitBytes, v) {
			return
		}
	}
}
