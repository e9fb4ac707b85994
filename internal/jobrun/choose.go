// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"encoding/binary"
	"math"
	"time"

	"endio/fiojob"
	"endio/internal/verify"
)

// This file decides what the next operation is, and prepares it.

// choose returns the next operation, not yet prepared. With nil, wait says how
// long until a rate allows one; 0 if a trim was done instead, or has failed.
func (c *Clone) choose(now int64) (r *Request, wait time.Duration) {
	if r = c.trimmed; r != nil {
		c.trimmed = nil
		r.trace.issued = now
		return r, 0
	}
	if kind, due := c.syncDue(); due {
		r = c.take()
		r.Kind, r.Len, r.Off = kind, 0, 0
		r.File, r.target = c.files[c.turn], c.shares[c.turn].target
		r.trace.issued = now
		c.cover(r)
		return r, 0
	}
	dir, wait := c.direction(now)
	if wait > 0 {
		return nil, wait
	}
	r = c.take()
	c.turn = c.nextFile()
	off, size := c.regions[c.turn].Next(int(dir), c.sizes[dir].Draw(c.rng))
	c.touched[c.turn] += size
	r.File, r.target, r.Off, r.Len = c.files[c.turn], c.shares[c.turn].target, off, int(size)
	r.trace.issued = now
	if dir == fiojob.Trim {
		return nil, c.trim(r)
	}
	r.Kind = OpRead
	if dir == fiojob.Write {
		r.Kind = OpWrite
	}
	return r, 0
}

// cover lets the sync r acknowledge the writes on its file that are complete.
func (c *Clone) cover(r *Request) {
	if len(c.durable) == 0 {
		return
	}
	r.trace.covers = c.spareAcks()
	others := c.durable[:0]
	for _, a := range c.durable {
		if a.target == r.target {
			r.trace.covers = append(r.trace.covers, a)
		} else {
			others = append(others, a)
		}
	}
	c.durable = others
}

// take removes a request from the free list.
func (c *Clone) take() *Request {
	r := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	return r
}

func (c *Clone) spareAcks() []ack {
	if n := len(c.acks); n > 0 {
		spare := c.acks[n-1]
		c.acks = c.acks[:n-1]
		return spare
	}
	return make([]ack, 0, 64)
}

// nextFile returns the file of the next operation. Files take turns, and one that
// was gone through waits for the others.
func (c *Clone) nextFile() int {
	n, block := len(c.files), c.minBlock()
	for i := range n {
		turn := (c.turn + 1 + i) % n
		if c.touched[turn]+block <= c.shares[turn].bytes {
			return turn
		}
	}
	clear(c.touched)
	return (c.turn + 1) % n
}

// syncDue reports whether fsync= or fdatasync= wants a sync now: right after every
// so many writes of the loop, and one where both do.
func (c *Clone) syncDue() (Kind, bool) {
	if !c.wrote {
		return 0, false
	}
	c.wrote = false
	switch {
	case c.Job.Fsync > 0 && c.writes%c.Job.Fsync == 0:
		return OpSync, true
	case c.Job.Fdatasync > 0 && c.writes%c.Job.Fdatasync == 0:
		return OpSyncData, true
	}
	return 0, false
}

// direction draws the direction of the next operation. If rates hold all
// directions back it returns how long.
func (c *Clone) direction(now int64) (fiojob.Dir, time.Duration) {
	uses := c.Job.Pattern.Uses
	var dir fiojob.Dir
	switch {
	case c.Job.Pattern.TrimFirst, uses[fiojob.Trim]:
		dir = fiojob.Trim
	case uses[fiojob.Read] && uses[fiojob.Write]:
		dir = fiojob.Write
		if c.rng.IntN(100) < c.Job.MixReadPercent {
			dir = fiojob.Read
		}
	case uses[fiojob.Write]:
		dir = fiojob.Write
	}
	wait := c.untilRate(dir, now)
	if wait == 0 {
		return dir, 0
	}
	for other := range fiojob.Dir(fiojob.Dirs) {
		if other == dir || !uses[other] || c.Job.Pattern.TrimFirst {
			continue
		}
		otherWait := c.untilRate(other, now)
		if otherWait == 0 {
			return other, 0
		}
		wait = min(wait, otherWait)
	}
	return dir, wait
}

// untilRate returns how long the rates of dir hold back the next operation.
func (c *Clone) untilRate(dir fiojob.Dir, now int64) time.Duration {
	start := c.began
	if c.measuring {
		start += int64(c.Job.RampTime)
	}
	due := int64(0)
	if rate := c.Job.Rate[dir]; rate > 0 {
		due = int64(float64(c.issued.dirs[dir].bytes) / float64(rate) * math.Pow10(9))
	}
	if rate := c.Job.RateIOPS[dir]; rate > 0 {
		due = max(due, int64(float64(c.issued.dirs[dir].ios)/float64(rate)*math.Pow10(9)))
	}
	return max(0, time.Duration(start+due-now))
}

// trim punches the block of r, which blocks until it is done. With trimwrite, r
// is written next.
func (c *Clone) trim(r *Request) time.Duration {
	c.submit()
	size := int64(r.Len)
	if l := r.target.ledger; l != nil {
		// Data in flight on the block would be verified after it is gone.
		for !l.Begin(r.Off, size) {
			if c.inFlight == 0 {
				time.Sleep(idleWait) // polls: other clones' data in flight on the block, which completes whatever this one does
			} else if !c.reap(1) {
				return 0
			}
		}
	}
	start := c.clock()
	err := r.File.PunchHole(r.Off, size)
	end := c.clock()
	if l := r.target.ledger; l != nil {
		l.End(r.Off, size, false)
	}
	c.fail(err)
	c.issued.add(fiojob.Trim, size)
	c.live.ios[fiojob.Trim].Add(1)
	c.live.bytes[fiojob.Trim].Add(size)
	if d := &c.stats.dirs[fiojob.Trim]; c.measuring && err == nil {
		d.ios++
		d.bytes += size
		d.clat.add(end - start)
		d.lat.add(end - r.trace.issued)
		d.slat.add(0)
		c.stats.total.add(end - start)
	}
	if c.Job.Pattern.TrimFirst && err == nil {
		r.Kind = OpWrite
		c.trimmed = r
	} else {
		c.release(r)
	}
	return 0
}

// prepare makes r ready to be submitted. It returns false if a write to one of
// its units is in flight.
func (c *Clone) prepare(r *Request) bool {
	ledger := r.target.ledger
	switch {
	case c.Job.Verify == fiojob.NoChecksum || ledger == nil:
		if r.Kind == OpWrite {
			c.freshData(r)
		}
	case r.Kind == OpWrite:
		if !ledger.Begin(r.Off, int64(r.Len)) {
			c.stats.conflicts++
			return false
		}
		r.trace.began = true
		c.writeUnits(r)
		if r.target.log != nil {
			if err := r.target.log.Begin(r.Off, c.generations...); err != nil {
				c.fail(err)
			}
		}
	case r.Kind == OpRead:
		c.expectUnits(r)
	}
	return true
}

// freshData changes the buffer of a write, so that no two writes are the same.
func (c *Clone) freshData(r *Request) {
	switch {
	case c.Job.ZeroBuffers:
	case c.Job.RefillBuffers:
		fillRandom(r.Buf[:r.Len], c.rng)
	default:
		for at := 0; at+8 <= r.Len; at += scrambleBytes {
			binary.LittleEndian.PutUint64(r.Buf[at:], uint64(r.trace.issued)^uint64(r.Off+int64(at)))
		}
	}
}

// scrambleBytes is the distance of the words that freshData changes: the block
// size at which storage finds duplicates.
const scrambleBytes = 4096

// writeUnits fills the buffer of a write that was begun, and leaves the
// generations of its units in c.generations.
func (c *Clone) writeUnits(r *Request) {
	unit := r.target.ledger.UnitBytes
	c.generations = c.generations[:0]
	for at := int64(0); at < int64(r.Len); at += unit {
		generation, _ := r.target.ledger.Generation(r.Off + at)
		c.generations = append(c.generations, generation)
		verify.Write(r.Buf[at:at+unit], &verify.Header{
			Checksum: r.target.sum, Bytes: uint32(unit), Offset: r.Off + at, Run: c.run, Clone: c.id, Generation: generation,
		})
	}
}

// expectUnits notes what a read must find: the generation of each unit, or 0
// where it is not known.
func (c *Clone) expectUnits(r *Request) {
	unit := r.target.ledger.UnitBytes
	r.trace.verifies = true
	r.trace.expect = r.trace.expect[:0]
	for at := int64(0); at < int64(r.Len); at += unit {
		generation, writing := r.target.ledger.Generation(r.Off + at)
		if writing {
			generation = 0
		}
		r.trace.expect = append(r.trace.expect, generation)
	}
}
