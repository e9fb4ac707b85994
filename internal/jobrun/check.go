// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"endio/fiojob"
	"endio/internal/verify"
)

// This file has the verify phase: what was written is read again and checked.

// verifyPhase reads each unit of the clone's shares that must hold known data.
func (c *Clone) verifyPhase(ctx context.Context) {
	start := c.clock()
	c.measuring = true
	c.live.phase.Store(phaseVerify)
	stopped := context.AfterFunc(ctx, func() { c.stop.Store(true) })
	defer stopped()
	usage := startUsage()
	for i := range c.shares {
		units, run, err := c.unitsToCheck(i)
		if err != nil {
			c.fail(err)
			break
		}
		c.checkRun = run
		c.readAll(i, units)
	}
	c.stats.addUsage(usage)
	elapsed := time.Duration(c.clock() - start)
	c.stats.verified.RuntimeMs += elapsed.Milliseconds()
	// fio counts the reads of a verify phase among the job's reads, and so does
	// record.
	c.stats.dirs[fiojob.Read].runtime += elapsed
}

// unitsToCheck returns the units of share i that must hold known data, in order
// of their offsets, and the run that wrote them; 0 for any run.
func (c *Clone) unitsToCheck(i int) (iter.Seq[verify.Entry], uint64, error) {
	s, ledger := c.shares[i], c.shares[i].target.ledger
	if !c.Job.VerifyOnly {
		return func(yield func(verify.Entry) bool) {
			ledger.Written(s.start, s.bytes, func(off int64, generation uint32) bool {
				return yield(verify.Entry{Offset: off, Begun: generation, Acknowledged: generation})
			})
		}, c.run, nil
	}
	if s.target.journal != "" {
		return c.unitsOfJournal(s)
	}
	return func(yield func(verify.Entry) bool) {
		for off := s.start; off+ledger.UnitBytes <= s.start+s.bytes; off += ledger.UnitBytes {
			if !yield(verify.Entry{Offset: off}) {
				return
			}
		}
	}, 0, nil
}

// unitsOfJournal returns the units of s that a journal says were acknowledged.
func (c *Clone) unitsOfJournal(s share) (iter.Seq[verify.Entry], uint64, error) {
	journal, err := verify.OpenJournal(s.target.journal)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: run the job first, without verify_only", err)
	}
	if err != nil {
		return nil, 0, err
	}
	if journal.UnitBytes != s.target.ledger.UnitBytes || journal.Checksum != s.target.sum {
		err := fmt.Errorf("journal %s was kept with %v of %d bytes, and the job says %v of %d: use the job file that wrote it",
			s.target.journal, journal.Checksum, journal.UnitBytes, s.target.sum, s.target.ledger.UnitBytes)
		return nil, 0, errors.Join(err, journal.Close())
	}
	return func(yield func(verify.Entry) bool) {
		err := journal.Entries(func(e verify.Entry) bool {
			if e.Acknowledged == 0 || e.Offset < s.start || e.Offset >= s.start+s.bytes {
				return true
			}
			c.stats.verified.Acknowledged++
			return yield(e)
		})
		c.fail(errors.Join(err, journal.Close()))
	}, journal.Run, nil
}

// readAll reads units of share i, neighbours together, as deep as the queue is.
func (c *Clone) readAll(i int, units iter.Seq[verify.Entry]) {
	next, end := iter.Pull(units)
	defer end()
	most := c.maxBlock()
	unit := c.shares[i].target.ledger.UnitBytes
	entry, more := next()
	for more && c.err == nil && !c.stop.Load() {
		for more && len(c.free) > 0 {
			r := c.take()
			r.Kind, r.File, r.target, r.Off, r.Len = OpRead, c.files[i], c.shares[i].target, entry.Offset, 0
			r.trace.issued = c.clock()
			for more && int64(r.Len)+unit <= most && entry.Offset == r.Off+int64(r.Len) {
				r.trace.entries = append(r.trace.entries, entry)
				r.Len += int(unit)
				entry, more = next()
			}
			c.batch = append(c.batch, r)
			if len(c.batch) >= c.Job.BatchSubmit {
				c.submit()
			}
		}
		c.submit()
		if c.inFlight > 0 && !c.reap(c.reapCount()) {
			return
		}
	}
	c.drain()
}

// checkEntries checks the units that the verify phase has read with r.
func (c *Clone) checkEntries(r *Request) {
	ledger := r.target.ledger
	for i, e := range r.trace.entries {
		at := int64(i) * ledger.UnitBytes
		want := verify.Want{Checksum: r.target.sum, Offset: e.Offset, Run: c.checkRun,
			MinGeneration: e.Acknowledged, MaxGeneration: e.Begun}
		if e.Begun == 0 {
			want.AnyRun = true
		}
		if !c.Job.VerifyOnly {
			// Another job may have written to the unit since it was listed.
			if now, writing := ledger.Generation(e.Offset); writing || now != e.Begun {
				c.stats.verified.Skipped++
				continue
			}
		}
		if e.Begun > e.Acknowledged && c.torn(r.Buf[at:at+ledger.UnitBytes], &want) {
			continue
		}
		c.checkUnit(r, at, &want)
	}
}

// torn reports whether a unit on which a write was in flight when the process
// was killed is neither old nor new. That breaks no promise: the old data was
// being replaced, and the new data was not acknowledged. A unit of somebody else,
// of another place or of an older generation is no such case.
func (c *Clone) torn(unit []byte, want *verify.Want) bool {
	h, err := verify.Read(unit)
	if err == nil || h.Run != want.Run && h.Run != 0 || h.Offset != want.Offset && h.Run != 0 {
		return false
	}
	c.stats.verified.Torn++
	return true
}
