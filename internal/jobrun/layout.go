// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"endio/fiojob"
	"endio/internal/verify"
)

// layoutBytes is how much of a new file is written at once.
const layoutBytes = 1 << 20

// layOut makes the file of t as the jobs of a wave need it: there, large enough,
// and with data in it where it is read or shall be overwritten. If that fails it
// is not tried again for the next clone.
func (t *target) layOut(ctx context.Context, job *fiojob.Job, run uint64) error {
	t.base = max(t.end, t.found)
	if t.device || job.VerifyOnly || !t.reads && !t.writes {
		return nil
	}
	if t.broken != nil {
		return t.broken
	}
	info, err := os.Stat(t.path)
	if err == nil && info.Size() >= t.end {
		return nil // an earlier wave, or an earlier run
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.broken = t.fill(ctx, job, run); t.broken != nil {
		t.broken = fmt.Errorf("lay out %s with %d bytes: %w", t.path, t.end, t.broken)
	}
	return t.broken
}

// fill makes the file, if it does not exist, and fills it.
func (t *target) fill(ctx context.Context, job *fiojob.Job, run uint64) error {
	file, err := os.OpenFile(t.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	t.made = t.made || err == nil
	if errors.Is(err, os.ErrExist) {
		// A link to nothing exists, and what it points to does not.
		file, err = os.OpenFile(t.path, os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		return cause(err)
	}
	if t.reads {
		err = t.writeData(ctx, file, job, run)
	} else {
		err = preallocate(file, job.Fallocate, t.end)
	}
	return errors.Join(cause(err), file.Close())
}

// cause returns err without the operation and the path, which layOut says.
func cause(err error) error {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err
	}
	return err
}

// writeData fills the file from its end to t.end. A job that only reads and
// verifies finds units that are right.
func (t *target) writeData(ctx context.Context, file *os.File, job *fiojob.Job, run uint64) error {
	if err := preallocate(file, job.Fallocate, t.end); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(run, 1))
	buf := make([]byte, layoutBytes)
	verified := t.ledger != nil && !job.Pattern.Uses[fiojob.Write]
	if verified {
		unit := t.ledger.UnitBytes
		buf = make([]byte, max(unit, layoutBytes/unit*unit))
	}
	for off := int64(0); off < t.end; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := buf[:min(int64(len(buf)), t.end-off)]
		if verified {
			t.fillUnits(piece, off, run, 0)
		} else {
			fillRandom(piece, rng)
		}
		if _, err := file.WriteAt(piece, off); err != nil {
			return err
		}
	}
	return file.Sync()
}

// fillUnits writes valid units into buf and into the ledger. The last piece of a
// file that is not a whole unit stays as it is: no operation covers it.
func (t *target) fillUnits(buf []byte, off int64, run uint64, clone uint32) {
	unit := t.ledger.UnitBytes
	for at := int64(0); at+unit <= int64(len(buf)); at += unit {
		if !t.ledger.Begin(off+at, unit) {
			panic("jobrun: a write is in flight while the file is laid out")
		}
		generation, _ := t.ledger.Generation(off + at)
		verify.Write(buf[at:at+unit], &verify.Header{Checksum: t.sum, Bytes: uint32(unit), Offset: off + at, Run: run, Clone: clone, Generation: generation})
		t.ledger.End(off+at, unit, true)
	}
}

// fillRandom fills buf with random words.
func fillRandom(buf []byte, rng *rand.Rand) {
	for len(buf) >= 8 {
		binary.LittleEndian.PutUint64(buf, rng.Uint64())
		buf = buf[8:]
	}
	for i := range buf {
		buf[i] = byte(rng.Uint32())
	}
}

// errNoFallocate is what allocate returns where the system or the file system
// can not allocate space.
var errNoFallocate = errors.New("preallocation is not supported here")

// preallocate reserves the space of a file in the way that fallocate= says.
func preallocate(file *os.File, how fiojob.Prealloc, size int64) error {
	switch how {
	case fiojob.PreallocNone:
		return nil
	case fiojob.PreallocTruncate:
		return file.Truncate(size)
	}
	err := allocate(file, size, how == fiojob.PreallocKeep)
	if how == fiojob.PreallocNative && errors.Is(err, errNoFallocate) {
		return nil
	}
	return err
}
