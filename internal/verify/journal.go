// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"

	"endio/lockdep"
)

// A Journal records, for each unit of one file, the last generation of which a
// write was begun and the last that was acknowledged, durable. It is written
// with plain writes in place, so that it has a fixed size (8 bytes a unit) and
// survives the death of the process at any instruction.
//
// It is not synced: after a crash of the machine it may know less than was
// acknowledged, never more, as long as the file system keeps the order of the
// journal's own writes and those of the file; a check then finds less to check.
//
// The layout is a page with the header, the begun generations of all units, then
// the acknowledged ones, all little-endian. Any goroutine may use it.
type Journal struct {
	JournalHeader
	file *os.File

	mu  lockdep.Mutex
	buf []byte // guarded by mu
}

// A JournalHeader says what a journal is about.
type JournalHeader struct {
	Checksum  Checksum
	UnitBytes int64
	Units     int64
	Run       uint64
}

const (
	journalMagic     = 0x6c6e_6a6f_6964_6e65 // "endiojnl"
	journalPageBytes = 4096
	generationBytes  = 4
)

// CreateJournal makes the journal at path anew.
func CreateJournal(path string, h JournalHeader) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create journal: %w", err)
	}
	page := make([]byte, journalPageBytes)
	le := binary.LittleEndian
	le.PutUint64(page, journalMagic)
	le.PutUint64(page[8:], uint64(h.Checksum))
	le.PutUint64(page[16:], uint64(h.UnitBytes))
	le.PutUint64(page[24:], uint64(h.Units))
	le.PutUint64(page[32:], h.Run)
	le.PutUint32(page[40:], crc32.Checksum(page[:40], castagnoli))
	_, err = file.WriteAt(page, 0)
	if err == nil {
		err = file.Truncate(journalPageBytes + 2*h.Units*generationBytes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create journal: %w", err), file.Close())
	}
	return &Journal{JournalHeader: h, file: file}, nil
}

// OpenJournal opens an existing journal for reading.
func OpenJournal(path string) (*Journal, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: file}
	if err := j.readHeader(); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", path, err), file.Close())
	}
	return j, nil
}

func (j *Journal) readHeader() error {
	page := make([]byte, journalPageBytes)
	if _, err := j.file.ReadAt(page, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	le := binary.LittleEndian
	if le.Uint64(page) != journalMagic || le.Uint32(page[40:]) != crc32.Checksum(page[:40], castagnoli) {
		return errors.New("the file is no journal, or its header is damaged")
	}
	j.JournalHeader = JournalHeader{
		Checksum: Checksum(le.Uint64(page[8:])), UnitBytes: int64(le.Uint64(page[16:])),
		Units: int64(le.Uint64(page[24:])), Run: le.Uint64(page[32:]),
	}
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	if j.UnitBytes < 1 || j.Units < 0 || j.Units > math.MaxInt64/j.UnitBytes || j.Units > math.MaxInt64/(4*generationBytes) {
		return fmt.Errorf("the journal is of %d units of %d bytes: no file has so many", j.Units, j.UnitBytes)
	}
	if want := journalPageBytes + 2*j.Units*generationBytes; info.Size() != want {
		return fmt.Errorf("the journal has %d bytes, want %d", info.Size(), want)
	}
	return nil
}

// Begin records that writes of the given generations are about to be submitted,
// one for each unit from offset on.
func (j *Journal) Begin(offset int64, generations ...uint32) error {
	return j.put(journalPageBytes, offset, generations)
}

// Acknowledge records that writes of the given generations are durable, one for
// each unit from offset on.
func (j *Journal) Acknowledge(offset int64, generations ...uint32) error {
	return j.put(journalPageBytes+j.Units*generationBytes, offset, generations)
}

// put writes generations into the array that starts at base.
func (j *Journal) put(base, offset int64, generations []uint32) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = j.buf[:0]
	for _, g := range generations {
		j.buf = binary.LittleEndian.AppendUint32(j.buf, g)
	}
	if _, err := j.file.WriteAt(j.buf, base+offset/j.UnitBytes*generationBytes); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// An Entry is what a journal knows of one unit.
type Entry struct {
	Offset       int64
	Begun        uint32
	Acknowledged uint32 // 0: never
}

// Entries calls f for each unit of which a write was begun, in order, until f
// returns false.
func (j *Journal) Entries(f func(Entry) bool) error {
	const batch = 1 << 16
	begun, acked := make([]byte, batch*generationBytes), make([]byte, batch*generationBytes)
	for first := int64(0); first < j.Units; first += batch {
		n := min(batch, j.Units-first) * generationBytes
		at := journalPageBytes + first*generationBytes
		if _, err := j.file.ReadAt(begun[:n], at); err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		if _, err := j.file.ReadAt(acked[:n], at+j.Units*generationBytes); err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		for i := int64(0); i < n; i += generationBytes {
			e := Entry{Offset: (first + i/generationBytes) * j.UnitBytes,
				Begun: binary.LittleEndian.Uint32(begun[i:]), Acknowledged: binary.LittleEndian.Uint32(acked[i:])}
			if e.Begun != 0 && !f(e) {
				return nil
			}
		}
	}
	return nil
}

// Close closes the journal's file.
func (j *Journal) Close() error { return j.file.Close() }
