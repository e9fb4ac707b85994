// SPDX-License-Identifier: Apache-2.0

package fiojob

// check looks at what several options of one job say together. It also brings
// counts that contradict each other into line where fio does so silently.
func (p *parser) check(d *draft) {
	j := &d.job
	p.checkTiming(d)
	p.checkVerify(d)
	p.checkDirectives(d)
	for dir := range Dir(Dirs) {
		if j.Rate[dir] > 0 && j.RateIOPS[dir] > 0 {
			p.errorf(d.pos("rate_iops"), "rate and rate_iops both limit %ss: keep one", dir)
			break
		}
	}
	for dir := range Dir(Dirs) {
		if size := j.Size.Bytes; j.Pattern.Uses[dir] && size > 0 && size < j.BlockSizes[dir].MinBytes {
			p.errorf(d.pos("size"), "size %d is smaller than one block of %d bytes", size, j.BlockSizes[dir].MinBytes)
			break
		}
	}
	if j.Engine == Blocking && j.Depth > 1 {
		p.warnf(d.pos("iodepth"), "ioengine=%s waits for each operation: iodepth is taken as 1", j.EngineName)
		j.Depth = 1
	}
	if j.BatchSubmit == 0 {
		j.BatchSubmit = j.Depth
	}
	j.BatchSubmit = min(j.BatchSubmit, j.Depth)
	j.BatchCompleteMin = min(j.BatchCompleteMin, j.Depth)
	if j.BatchCompleteMax > 0 {
		j.BatchCompleteMax = max(j.BatchCompleteMax, j.BatchCompleteMin)
	}
}

// pos returns where option name was set, or the job's own place if it was not.
func (d *draft) pos(name string) Pos {
	if pos, ok := d.at[name]; ok {
		return pos
	}
	return d.job.Pos
}

func (p *parser) checkTiming(d *draft) {
	j := &d.job
	if j.TimeBased && j.Runtime == 0 {
		p.errorf(d.pos("time_based"), "time_based needs runtime=")
	}
	if j.ThinktimeSpin > j.Thinktime {
		p.errorf(d.pos("thinktime_spin"), "thinktime_spin %v is longer than thinktime %v, of which it is a part", j.ThinktimeSpin, j.Thinktime)
	}
}

func (p *parser) checkVerify(d *draft) {
	j := &d.job
	if j.Verify == NoChecksum {
		if j.VerifyOnly {
			p.errorf(d.pos("verify_only"), "verify_only needs verify=crc32c, xxhash or sha256")
		}
		return
	}
	if !j.Pattern.Uses[Read] && !j.Pattern.Uses[Write] {
		p.errorf(d.pos("verify"), "verify needs reads or writes, and rw=%v has neither", j.Pattern)
	}
	if j.ZeroBuffers {
		p.errorf(d.pos("zero_buffers"), "zero_buffers contradicts verify, which writes checksums into the blocks")
	}
	if j.VerifyUnit() < MinVerifyBytes {
		p.errorf(d.pos("verify"), "verify needs blocks that are multiples of a unit of at least %d bytes to hold a header; these are multiples of %d",
			MinVerifyBytes, j.VerifyUnit())
	}
}

func (p *parser) checkDirectives(d *draft) {
	j := &d.job
	if _, given := d.at["complete"]; given {
		j.CompletionGiven = true
		if j.Engine == Blocking {
			p.errorf(d.pos("complete"), "complete=%v needs operations in flight, and ioengine=%s waits for each: use ioengine=io_uring", j.Completion, j.EngineName)
		}
	}
	if j.Uncached && j.Direct {
		p.errorf(d.pos("uncached"), "uncached=1 is for buffered I/O, and direct=1 has no page cache to stay out of: keep one")
	}
	for _, every := range []struct {
		name string
		n    int64
	}{{"fallocate_every", j.FallocateEvery}, {"truncate_every", j.TruncateEvery}} {
		if every.n > 0 && !j.Pattern.Uses[Write] {
			p.errorf(d.pos(every.name), "%s changes the file, and rw=%v only reads it", every.name, j.Pattern)
		}
	}
	if j.Journal == "" {
		return
	}
	switch {
	case j.Verify == NoChecksum:
		p.errorf(d.pos("journal"), "journal= records which blocks were acknowledged and needs verify= to find them again")
	case !j.VerifyOnly && j.Pattern.Uses[Write] && j.Sync == NoSync && j.Fsync == 0 && j.Fdatasync == 0 && !j.EndFsync:
		p.errorf(d.pos("journal"), "journal= records durable writes, and nothing makes them durable: set sync=, fsync= or fdatasync=")
	}
}

// MinVerifyBytes is the smallest unit that [Job.VerifyUnit] may return: the
// header, and as much data again.
const MinVerifyBytes = 256

// VerifyUnit returns the size in bytes of the pieces in which data is verified:
// the largest that divides every block size and every random offset of the
// job's reads and writes, so that no operation covers a part of a piece.
func (j *Job) VerifyUnit() int64 {
	unit := int64(0)
	for _, dir := range []Dir{Read, Write, Trim} {
		if !j.Pattern.Uses[dir] {
			continue
		}
		b := j.BlockSizes[dir]
		unit = gcd(unit, b.MinBytes)
		for _, part := range b.Split {
			unit = gcd(unit, part.Bytes)
		}
		if j.Unaligned && b.MaxBytes != b.MinBytes {
			unit = 1
		}
		unit = gcd(unit, j.BlockAlign[dir])
		unit = gcd(unit, max(j.Pattern.SkipBytes, -j.Pattern.SkipBytes))
	}
	return unit
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
