// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cespare/xxhash/v2"
)

// A Checksum is the function that covers the data of a unit.
type Checksum uint8

// The checksums. Zero is none, so that a zeroed block is never valid.
const (
	CRC32C Checksum = iota + 1
	XXHash
	SHA256
)

func (c Checksum) String() string {
	switch c {
	case CRC32C:
		return "crc32c"
	case XXHash:
		return "xxhash"
	case SHA256:
		return "sha256"
	}
	return fmt.Sprintf("checksum %d", uint8(c))
}

// A Header is at the start of each unit.
type Header struct {
	Checksum   Checksum
	Bytes      uint32 // length of the unit
	Offset     int64  // of the unit in its file
	Run        uint64 // identifies the run of the program
	Clone      uint32 // which clone of which job, counted over the whole run
	Generation uint32 // how often the unit was written in this run, from 1
}

// The layout of a header, all little-endian. HeaderBytes is a multiple of 8, so
// that the data after it is filled in whole words.
const (
	magicAt      = 0
	checksumAt   = 4
	bytesAt      = 8
	generationAt = 12
	offsetAt     = 16
	runAt        = 24
	cloneAt      = 32
	sumAt        = 40 // up to 32 bytes, then 4 of zeros
	sumEnd       = 72
	headerSumAt  = 76 // CRC-32C of what is before it
	HeaderBytes  = 80

	magic = 0x6f69_6476 // "vdio"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write fills unit with data of its own and puts h in front. unit has h.Bytes
// bytes, more than [HeaderBytes].
func Write(unit []byte, h *Header) {
	fill(unit[HeaderBytes:], h)
	le := binary.LittleEndian
	clear(unit[:HeaderBytes])
	le.PutUint32(unit[magicAt:], magic)
	unit[checksumAt] = byte(h.Checksum)
	le.PutUint32(unit[bytesAt:], h.Bytes)
	le.PutUint32(unit[generationAt:], h.Generation)
	le.PutUint64(unit[offsetAt:], uint64(h.Offset))
	le.PutUint64(unit[runAt:], h.Run)
	le.PutUint32(unit[cloneAt:], h.Clone)
	putSum(unit[sumAt:sumEnd], h.Checksum, unit[HeaderBytes:])
	le.PutUint32(unit[headerSumAt:], crc32.Checksum(unit[:headerSumAt], castagnoli))
}

// fill writes pseudo-random words that depend on all of h, so that no two units
// hold the same data and no device can compress it away (xorshift64*, G.
// Marsaglia 2003 and S. Vigna 2016).
func fill(data []byte, h *Header) {
	x := h.Run ^ uint64(h.Offset)*0x9e3779b97f4a7c15 ^ uint64(h.Generation)<<32 ^ uint64(h.Clone) | 1
	for len(data) >= 8 {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		binary.LittleEndian.PutUint64(data, x*0x2545f4914f6cdd1d)
		data = data[8:]
	}
	for i := range data {
		data[i] = byte(x >> (8 * i))
	}
}

// putSum writes the checksum of data to sum, which has 32 bytes.
func putSum(sum []byte, c Checksum, data []byte) {
	clear(sum)
	switch c {
	case CRC32C:
		binary.LittleEndian.PutUint32(sum, crc32.Checksum(data, castagnoli))
	case XXHash:
		binary.LittleEndian.PutUint64(sum, xxhash.Sum64(data))
	case SHA256:
		full := sha256.Sum256(data)
		copy(sum, full[:])
	}
}

// ErrNotWritten says that a unit has no header: it was never written by a job
// that verifies, or its header is destroyed.
var ErrNotWritten = errors.New("no verify header")

// A Mismatch says what is wrong with a unit that has a header.
type Mismatch struct {
	Field     string // "offset", "generation", "data", ...
	Got, Want any
}

func (m *Mismatch) Error() string {
	if m.Want == nil {
		return fmt.Sprintf("%s is %v", m.Field, m.Got)
	}
	return fmt.Sprintf("%s is %v, want %v", m.Field, m.Got, m.Want)
}

// Read returns the header of unit if it is one and the data fits its checksum.
// The error is [ErrNotWritten] or a [Mismatch].
func Read(unit []byte) (Header, error) {
	le := binary.LittleEndian
	if len(unit) <= HeaderBytes || le.Uint32(unit[magicAt:]) != magic {
		return Header{}, ErrNotWritten
	}
	if got, want := crc32.Checksum(unit[:headerSumAt], castagnoli), le.Uint32(unit[headerSumAt:]); got != want {
		return Header{}, &Mismatch{"checksum of the header", hex(got), hex(want)}
	}
	h := Header{
		Checksum: Checksum(unit[checksumAt]), Bytes: le.Uint32(unit[bytesAt:]), Offset: int64(le.Uint64(unit[offsetAt:])),
		Run: le.Uint64(unit[runAt:]), Clone: le.Uint32(unit[cloneAt:]), Generation: le.Uint32(unit[generationAt:]),
	}
	if int(h.Bytes) != len(unit) {
		return h, &Mismatch{"length in the header", h.Bytes, len(unit)}
	}
	var sum [sumEnd - sumAt]byte
	putSum(sum[:], h.Checksum, unit[HeaderBytes:])
	if stored := [sumEnd - sumAt]byte(unit[sumAt:sumEnd]); sum != stored {
		return h, wrongSum(h.Checksum, sum, stored)
	}
	return h, nil
}

// wrongSum takes the sums by value, so that those of the caller stay on its
// stack.
func wrongSum(c Checksum, got, want [sumEnd - sumAt]byte) error {
	// Zeros pad a short checksum.
	text := func(sum [sumEnd - sumAt]byte) string { return fmt.Sprintf("%x", bytes.TrimRight(sum[:], "\x00")) }
	return &Mismatch{c.String() + " of the data", text(got), text(want)}
}

type hex uint32

func (h hex) String() string { return fmt.Sprintf("%08x", uint32(h)) }

// A Want is what a unit must be.
type Want struct {
	Checksum Checksum
	Offset   int64
	AnyRun   bool // the run is not known: a reader of an older run's data
	Run      uint64

	// Generation is between MinGeneration and MaxGeneration. With AnyRun it is
	// not looked at.
	MinGeneration, MaxGeneration uint32
}

// Check returns nil if unit is what w wants. The error is [ErrNotWritten] or a
// [Mismatch].
func Check(unit []byte, w *Want) error {
	h, err := Read(unit)
	switch {
	case err != nil:
		return err
	case h.Checksum != w.Checksum:
		return &Mismatch{"kind of checksum", h.Checksum, w.Checksum}
	case h.Offset != w.Offset:
		return &Mismatch{"offset in the header", h.Offset, w.Offset}
	case w.AnyRun:
		return nil
	case h.Run != w.Run:
		return &Mismatch{"run", fmt.Sprintf("%016x", h.Run), fmt.Sprintf("%016x", w.Run)}
	case h.Generation < w.MinGeneration || h.Generation > w.MaxGeneration:
		want := any(w.MinGeneration)
		if w.MinGeneration != w.MaxGeneration {
			want = fmt.Sprintf("%d to %d", w.MinGeneration, w.MaxGeneration)
		}
		return &Mismatch{"generation", h.Generation, want}
	}
	return nil
}
