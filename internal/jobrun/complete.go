// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"endio/fiojob"
	"endio/internal/verify"
)

// This file has what happens when an operation completes.

// complete takes back r, which the queue has returned.
func (c *Clone) complete(r *Request) {
	c.inFlight--
	c.live.inFlight.Store(int64(c.inFlight))
	if r.Err == nil && r.N != r.Len {
		r.Err = fmt.Errorf("%s %s at %d: %d of %d bytes: %w", r.Kind, r.target.path, r.Off, r.N, r.Len, errShort)
	}
	switch r.Kind {
	case OpRead:
		c.record(r, fiojob.Read)
		if r.Err == nil && r.trace.verifies {
			c.checkRead(r)
		}
		if r.Err == nil {
			c.checkEntries(r)
		}
	case OpWrite:
		c.record(r, fiojob.Write)
		c.completeWrite(r)
	case OpSync, OpSyncData:
		if c.measuring && r.Err == nil {
			c.stats.sync.add(r.Completed - r.Submitted)
		}
		if r.Err == nil {
			c.acknowledge(r.trace.covers)
		}
	}
	c.fail(r.Err)
	c.release(r)
}

func (k Kind) String() string { return [...]string{"read", "write", "fsync", "fdatasync"}[k] }

// record adds r to the measurement.
func (c *Clone) record(r *Request, dir fiojob.Dir) {
	c.live.ios[dir].Add(1)
	c.live.bytes[dir].Add(int64(r.N))
	if !c.measuring {
		return
	}
	d := &c.stats.dirs[dir]
	if r.Err != nil {
		if errors.Is(r.Err, errShort) {
			d.short++
		}
		return
	}
	d.ios++
	d.bytes += int64(r.N)
	d.slat.add(r.Accepted - r.Submitted)
	d.clat.add(r.Completed - r.Submitted)
	d.lat.add(r.Completed - r.trace.issued)
	d.handler.add(r.Handled - r.Completed)
	c.stats.total.add(r.Completed - r.Submitted)
}

// completeWrite takes the units of a write out of flight, and remembers or
// acknowledges them in the journal.
func (c *Clone) completeWrite(r *Request) {
	if !r.trace.began {
		return
	}
	t, unit := r.target, r.target.ledger.UnitBytes
	if t.log == nil {
		t.ledger.End(r.Off, int64(r.Len), r.Err == nil)
		return
	}
	// The generations are read before the units are free for the next write.
	c.generations = c.generations[:0]
	for at := int64(0); at < int64(r.Len); at += unit {
		generation, _ := t.ledger.Generation(r.Off + at)
		c.generations = append(c.generations, generation)
	}
	t.ledger.End(r.Off, int64(r.Len), r.Err == nil)
	if r.Err != nil {
		return
	}
	if c.Job.Sync != fiojob.NoSync {
		if err := t.log.Acknowledge(r.Off, c.generations...); err != nil {
			c.fail(err)
		}
		return
	}
	for i, generation := range c.generations {
		c.durable = append(c.durable, ack{target: t, offset: r.Off + int64(i)*unit, generation: generation})
	}
	if len(c.durable) > 2*c.distinct+keptAcks {
		c.forgetOldAcks()
	}
}

// keptAcks is how many acks more than units a clone may keep.
const keptAcks = 1024

// forgetOldAcks keeps of the writes that wait to be durable the last one of each unit: what makes it
// durable replaces the others. A job that seldom syncs would else keep all that it has written.
func (c *Clone) forgetOldAcks() {
	type unit struct {
		target *target
		offset int64
	}
	seen := make(map[unit]bool, c.distinct)
	kept := len(c.durable)
	for i := len(c.durable) - 1; i >= 0; i-- {
		a := c.durable[i]
		if u := (unit{a.target, a.offset}); !seen[u] {
			seen[u] = true
			kept--
			c.durable[kept] = a
		}
	}
	c.durable = slices.Delete(c.durable, 0, kept)
	c.distinct = len(c.durable)
}

// acknowledge notes in the journals that writes are durable.
func (c *Clone) acknowledge(acks []ack) {
	for _, a := range acks {
		if err := a.target.log.Acknowledge(a.offset, a.generation); err != nil {
			c.fail(err)
			return
		}
	}
}

// checkRead compares the units of a read with what the ledger expects. A unit
// that was written meanwhile is skipped: it may be either.
func (c *Clone) checkRead(r *Request) {
	ledger, v := r.target.ledger, &c.stats.verified
	unit := ledger.UnitBytes
	for i, generation := range r.trace.expect {
		off := r.Off + int64(i)*unit
		if now, writing := ledger.Generation(off); writing || now != generation {
			v.Skipped++
			continue
		}
		want := verify.Want{Checksum: r.target.sum, Offset: off, Run: c.run, MinGeneration: generation, MaxGeneration: generation}
		if generation == 0 {
			// Not written in this run. Where the job writes, what was there before it
			// is nobody's promise.
			if c.Job.Pattern.Uses[fiojob.Write] && !c.Job.VerifyOnly {
				continue
			}
			want.AnyRun = true
		}
		c.checkUnit(r, int64(i)*unit, &want)
	}
}

// checkUnit checks the unit at byte at of the buffer of r.
func (c *Clone) checkUnit(r *Request, at int64, want *verify.Want) {
	v, unit := &c.stats.verified, r.target.ledger.UnitBytes
	v.Units++
	v.Bytes += unit
	err := verify.Check(r.Buf[at:at+unit], want)
	if err == nil {
		return
	}
	if errors.Is(err, verify.ErrNotWritten) && want.AnyRun && c.sparse() {
		v.NotWritten++
		return
	}
	c.mismatch(r, want.Offset, err)
}

// sparse reports whether the job may have left blocks unwritten, so that a block
// without a header is no error.
func (c *Clone) sparse() bool {
	job := c.Job
	return job.TimeBased || job.Runtime > 0 || job.NumberIOs > 0 || job.Pattern.SkipBytes != 0 ||
		c.totalBytes < c.regionBytes || job.Pattern.Uses[fiojob.Read] && job.Pattern.Uses[fiojob.Write] ||
		job.Pattern.Random && (job.NoRandomMap || job.Distribution.Kind != fiojob.Uniform)
}

// mismatch notes a unit that is not what it must be.
func (c *Clone) mismatch(r *Request, off int64, err error) {
	v := &c.stats.verified
	v.Errors++
	err = &VerifyError{Path: r.target.path, Offset: off, Bytes: r.target.ledger.UnitBytes, Err: err}
	if v.FirstError == nil {
		v.FirstError = err
	}
	c.messages.add(err)
	if c.Job.VerifyFatal {
		c.fail(err)
	}
}

// A VerifyError says which unit of which file is wrong. errors.Is finds
// syscall.EILSEQ, the number that fio reports.
type VerifyError struct {
	Path   string
	Offset int64 // in bytes
	Bytes  int64
	Err    error // verify.ErrNotWritten or a verify.Mismatch
}

func (e *VerifyError) Error() string {
	return fmt.Sprintf("verify %s: %d bytes at %d: %v", e.Path, e.Bytes, e.Offset, e.Err)
}

func (e *VerifyError) Unwrap() []error { return []error{e.Err, syscall.EILSEQ} }
