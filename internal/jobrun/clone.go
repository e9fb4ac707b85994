// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"endio"
	"endio/fiojob"
	"endio/internal/iogen"
)

// A Clone is one copy of a job: one goroutine, one queue.
type Clone struct {
	Job    *fiojob.Job
	Number int // which copy

	id          uint32 // unique in the run
	run         uint64
	rng         *rand.Rand
	shares      []share
	regionBytes int64 // of all shares, in whole blocks
	totalBytes  int64 // of one loop

	// Set by openFiles.
	files []File

	// Set by open.
	regions []*iogen.Region
	sizes   [fiojob.Dirs]iogen.Sizes
	queue   Queue
	free    []*Request
	batch   []*Request
	clock   func() int64
	started time.Time // when clock was 0
	began   int64     // when the issuing of this loop started

	// State of the loop that is running.
	inFlight  int
	issued    loopCount
	turn      int         // index of the file of the last operation
	touched   []int64     // bytes of each file in this pass over all
	held      *Request    // chosen, and not submitted since a unit of it is being written
	trimmed   *Request    // with TrimFirst: trimmed, to be written next
	writes    int         // since the loop began
	wrote     bool        // the last operation was a write, so that a sync may be due
	durable   []ack       // completed, waiting for a sync
	distinct  int         // acks in durable when it had the last one of each unit only
	acks      [][]ack     // spare slices for Request.trace.covers
	measuring bool        // false during the ramp
	err       error       // the first one; ends the clone
	reaped    []*Request  // returned by the queue, not yet handled
	stop      atomic.Bool // set when the run is to end
	stats     *cloneStats

	checkRun    uint64   // whose data the verify phase expects; 0: anybody's
	generations []uint32 // scratch
	live        live
	messages    *messages
	stopAll     func()
}

// A loopCount counts what was issued since a loop began.
type loopCount struct {
	ios   int64
	bytes int64
	dirs  [fiojob.Dirs]loopDir
}

type loopDir struct{ ios, bytes int64 }

// Err returns what ended the clone early, or nil.
func (c *Clone) Err() error { return c.err }

// fail notes the first error, which ends the clone.
func (c *Clone) fail(err error) {
	if c.err == nil && err != nil {
		c.err = err
		if c.Job.ExitAllOnError {
			c.stopAll()
		}
	}
}

// work runs the clone from start to end. It is called once, on a goroutine of
// its own.
func (c *Clone) work(ctx context.Context, engine Engine) {
	// CPU time and context switches are those of this thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.live.phase.Store(phaseDone)
	if err := c.open(ctx, engine); err != nil {
		c.fail(err)
		c.fail(c.close())
		return
	}
	if !sleep(ctx, c.Job.StartDelay) {
		c.fail(c.close())
		return
	}
	for range c.Job.Loops {
		if ctx.Err() != nil || c.err != nil {
			break
		}
		c.loop(ctx)
	}
	c.fail(c.close())
}

// loop runs the job once: issue, make durable, verify.
func (c *Clone) loop(ctx context.Context) {
	start := c.clock()
	for _, s := range c.shares {
		s.target.used.Store(true)
	}
	if !c.Job.VerifyOnly {
		c.drive(ctx)
		c.endSync()
	}
	if c.mustVerify() && ctx.Err() == nil && c.err == nil {
		c.verifyPhase(ctx)
	}
	if v := &c.stats.verified; v.Errors > 0 && c.err == nil {
		c.fail(fmt.Errorf("%d of %d units are wrong; the first: %w", v.Errors, v.Units, v.FirstError))
	}
	c.stats.runtime += time.Duration(c.clock() - start)
}

func (c *Clone) mustVerify() bool {
	return c.Job.Verify != fiojob.NoChecksum && (c.Job.VerifyOnly || c.Job.DoVerify && c.Job.Pattern.Uses[fiojob.Write])
}

// openFiles opens the files and checks that the job's operations on them are
// possible.
func (c *Clone) openFiles(engine Engine) error {
	flags := os.O_RDONLY
	if (c.Job.Pattern.Uses[fiojob.Write] || c.Job.Pattern.Uses[fiojob.Trim]) && !c.Job.VerifyOnly {
		flags = os.O_RDWR | os.O_CREATE
		switch c.Job.Sync {
		case fiojob.OSync:
			flags |= os.O_SYNC
		case fiojob.ODSync:
			flags |= dsyncFlag
		}
	}
	for _, s := range c.shares {
		file, err := openWith(flags, func(flags int) (File, error) {
			return engine.Open(s.target.path, flags, 0o666, Mode{Direct: c.Job.Direct, Uncached: c.Job.Uncached})
		})
		if errors.Is(err, endio.ErrNoDirect) {
			return fmt.Errorf("%w (direct=0 in the job file)", err)
		}
		if err != nil {
			return err
		}
		c.files = append(c.files, file)
		if c.Job.Direct {
			if err := c.checkAlign(s, int64(file.Align().Offset)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkAlign refuses a job whose direct I/O on a share would not be aligned, and
// names the option that is to blame. The engine would refuse each operation, but
// it knows no options.
func (c *Clone) checkAlign(s share, align int64) error {
	job := c.Job
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%s: %w: offsets and lengths must be multiples of %d bytes, and %s does not give such: change it, or use direct=0",
			s.target.path, endio.ErrAlignment, align, fmt.Sprintf(format, args...))
	}
	if s.start%align != 0 {
		return refuse("a start at byte %d (offset, offset_increment)", s.start)
	}
	for dir := range fiojob.Trim { // a trim is a fallocate, which needs no alignment
		if !job.Pattern.Uses[dir] {
			continue
		}
		b := job.BlockSizes[dir]
		for _, part := range b.Split {
			if part.Bytes%align != 0 {
				return refuse("a block of %d bytes (bssplit)", part.Bytes)
			}
		}
		switch {
		case b.Split == nil && b.MinBytes%align != 0:
			return refuse("a block of %d bytes (bs)", b.MinBytes)
		case b.Split == nil && b.MinBytes != b.MaxBytes && job.Unaligned && align > 1:
			return refuse("a range of %d to %d bytes with bs_unaligned", b.MinBytes, b.MaxBytes)
		case job.Pattern.Random && job.BlockAlign[dir]%align != 0:
			return refuse("blockalign=%d", job.BlockAlign[dir])
		case job.Pattern.SkipBytes%align != 0:
			return refuse("a step of %d bytes (rw=%v)", job.Pattern.SkipBytes, job.Pattern)
		}
	}
	return nil
}

// open builds the regions and makes the queue, once the files are open.
func (c *Clone) open(ctx context.Context, engine Engine) error {
	for _, s := range c.shares {
		region, err := iogen.NewRegion(c.layout(s), c.rng)
		if err != nil {
			return fmt.Errorf("%s: %w", s.target.path, err)
		}
		c.regions = append(c.regions, region)
	}
	for dir := range fiojob.Dir(fiojob.Dirs) {
		c.sizes[dir] = sizesOf(c.Job.BlockSizes[dir], c.Job.Unaligned)
	}
	queue, err := engine.NewQueue(QueueOptions{
		Depth: c.Job.Depth, Blocking: c.Job.Engine == fiojob.Blocking, Completion: c.Job.Completion,
		BufferBytes: int(c.maxBlock()), Clock: c.clock, Started: c.started,
	})
	if err != nil {
		return err
	}
	c.queue = queue
	c.free = append(c.free, queue.Requests()...)
	c.batch = make([]*Request, 0, len(c.free))
	for _, r := range c.free {
		if !c.Job.ZeroBuffers && ctx.Err() == nil {
			fillRandom(r.Buf, c.rng)
		}
	}
	return nil
}

func sizesOf(b fiojob.BlockSize, unaligned bool) iogen.Sizes {
	if b.Split == nil {
		if b.MinBytes == b.MaxBytes {
			return iogen.FixedSize(b.MinBytes)
		}
		return iogen.SizeRange(b.MinBytes, b.MaxBytes, unaligned)
	}
	bytes, percents := make([]int64, len(b.Split)), make([]float64, len(b.Split))
	for i, part := range b.Split {
		bytes[i], percents[i] = part.Bytes, part.Percent
	}
	return iogen.SplitSizes(bytes, percents)
}

// layout returns how the offsets of a share run.
func (c *Clone) layout(s share) iogen.Layout {
	job := c.Job
	l := iogen.Layout{
		Start: s.start, Bytes: s.bytes, MinBytes: c.minBlock(), Random: job.Pattern.Random, Run: job.Pattern.Run,
		Identical: job.Sequencer == fiojob.Identical, SkipBytes: job.Pattern.SkipBytes,
		Once: !job.NoRandomMap && job.Distribution.Kind == fiojob.Uniform,
	}
	l.UnitBytes = l.MinBytes
	for dir := range fiojob.Dir(fiojob.Dirs) {
		if align := job.BlockAlign[dir]; align > 0 && job.Pattern.Uses[dir] {
			l.UnitBytes = align
		}
	}
	switch {
	case !job.Pattern.Random && job.Unaligned:
		l.UnitBytes = 1
	case l.UnitBytes < l.MinBytes:
		// Blocks that start within each other's bytes can not be told apart by a map
		// of units.
		l.Once = false
	}
	if job.Verify != fiojob.NoChecksum {
		l.Bytes = l.Bytes / job.VerifyUnit() * job.VerifyUnit()
	}
	units := max(1, l.Bytes/l.UnitBytes)
	switch job.Distribution.Kind {
	case fiojob.Zipf:
		l.Dist = iogen.NewZipf(units, job.Distribution.Theta)
	case fiojob.Pareto:
		l.Dist = iogen.NewPareto(units, job.Distribution.Theta)
	}
	return l
}

// endSync makes what was written durable, as end_fsync and fsync_on_close say.
func (c *Clone) endSync() {
	if !c.Job.EndFsync && !c.Job.FsyncOnClose || !c.Job.Pattern.Uses[fiojob.Write] || c.err != nil {
		return
	}
	for _, file := range c.files {
		start := c.clock()
		if err := file.Sync(); err != nil {
			c.fail(err)
			return
		}
		c.stats.sync.add(c.clock() - start)
	}
	c.acknowledge(c.durable)
	c.durable = c.durable[:0]
}

// close releases what open took.
func (c *Clone) close() error {
	var errs []error
	if c.queue != nil {
		errs = append(errs, c.queue.Close())
	}
	for _, file := range c.files {
		errs = append(errs, file.Close())
	}
	c.queue, c.files = nil, nil
	return errors.Join(errs...)
}

// sleep waits for d, and returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errShort is a read or write that moved less than it was asked to.
var errShort = fmt.Errorf("moved less than was asked: %w", io.ErrUnexpectedEOF)
