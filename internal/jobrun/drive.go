// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"math"
	"time"

	"endio/fiojob"
)

// This file has the loop that keeps a clone's operations in flight.

// drive issues the operations of one loop of the job and waits for all of them.
func (c *Clone) drive(ctx context.Context) {
	c.issued, c.writes, c.wrote = loopCount{}, 0, false
	c.turn, c.touched = len(c.files)-1, make([]int64, len(c.files))
	c.began = c.clock()
	c.live.expected.Store(c.expectedBytes())
	c.measuring = c.Job.RampTime == 0
	c.live.phase.Store(phaseRun)
	if !c.measuring {
		c.live.phase.Store(phaseRamp)
	}
	stopped := context.AfterFunc(ctx, func() { c.stop.Store(true) })
	defer stopped()

	usage := startUsage()
	for {
		wait := c.fill(ctx, &usage)
		if c.inFlight == 0 {
			if c.finished(c.clock()) && c.held == nil {
				break
			}
			sleep(ctx, wait)
			continue
		}
		if !c.reap(c.reapCount()) {
			break
		}
	}
	c.stats.addUsage(usage)
	elapsed := time.Duration(c.clock()-c.began) - c.rampElapsed()
	for dir := range c.stats.dirs {
		if d := &c.stats.dirs[dir]; d.ios > 0 && c.Job.Pattern.Uses[dir] {
			d.runtime += elapsed
		}
	}
}

// rampElapsed returns how much of the time since began was not measured.
func (c *Clone) rampElapsed() time.Duration {
	if c.Job.RampTime == 0 {
		return 0
	}
	return min(c.Job.RampTime, time.Duration(c.clock()-c.began))
}

// expectedBytes returns how much a loop moves, or 0 if only time ends it.
func (c *Clone) expectedBytes() int64 {
	switch {
	case c.Job.TimeBased:
		return 0
	case c.Job.NumberIOs > 0:
		return min(c.totalBytes, c.Job.NumberIOs*c.minBlock())
	}
	return c.totalBytes
}

// finished reports whether nothing more is to be chosen.
func (c *Clone) finished(now int64) bool {
	job := c.Job
	switch {
	case c.err != nil, c.stop.Load():
		return true
	case c.trimmed != nil: // its write belongs to it
		return false
	case c.left(now) == 0:
		return true
	case job.NumberIOs > 0 && c.issued.ios >= job.NumberIOs:
		return true
	case job.TimeBased:
		return false
	}
	return c.issued.bytes+c.minBlock() > c.totalBytes
}

// left returns how much of the runtime is left, the ramp included.
func (c *Clone) left(now int64) time.Duration {
	if c.Job.Runtime == 0 {
		return math.MaxInt64
	}
	// Both may be as long as there are numbers.
	ramp, over := c.Job.RampTime, time.Duration(now-c.began)
	if over < ramp {
		return ramp - over + min(c.Job.Runtime, math.MaxInt64-(ramp-over))
	}
	return max(0, c.Job.Runtime-(over-ramp))
}

// idleWait is how long a clone with nothing in flight waits for another clone's
// write on the same unit.
const idleWait = 20 * time.Microsecond

// fill chooses and submits operations until the queue is full, the job is over,
// or what comes next has to wait. It returns how long to wait if nothing is in
// flight.
func (c *Clone) fill(ctx context.Context, usage *usage) (wait time.Duration) {
	for len(c.free) > 0 || c.held != nil || c.trimmed != nil {
		now := c.clock()
		c.endRamp(now, usage)
		r := c.held
		if r == nil {
			if c.finished(now) {
				break
			}
			if r, wait = c.choose(now); r == nil {
				if wait == 0 {
					continue // a trim, which is over already
				}
				wait = min(wait, c.left(now)) // and not beyond the end of the job
				break
			}
		} else if c.err != nil || c.stop.Load() {
			c.held = nil
			c.release(r)
			break
		}
		if c.held = nil; !c.prepare(r) {
			c.held, wait = r, idleWait
			break
		}
		c.batch = append(c.batch, r)
		c.count(r)
		if len(c.batch) >= c.Job.BatchSubmit {
			c.submit()
		}
		c.afterChoice(ctx, r)
	}
	c.submit()
	return wait
}

// endRamp starts the measurement when the ramp is over.
func (c *Clone) endRamp(now int64, usage *usage) {
	if c.measuring || now-c.began < int64(c.Job.RampTime) {
		return
	}
	c.measuring = true
	c.issued = loopCount{}
	c.live.phase.Store(phaseRun)
	*usage = startUsage()
}

// count notes that r was chosen.
func (c *Clone) count(r *Request) {
	dir := fiojob.Read
	switch r.Kind {
	case OpWrite:
		dir = fiojob.Write
		c.writes++
		c.wrote = true
	case OpSync, OpSyncData:
		return
	}
	c.issued.add(dir, int64(r.Len))
}

func (l *loopCount) add(dir fiojob.Dir, bytes int64) {
	l.ios++
	l.bytes += bytes
	l.dirs[dir].ios++
	l.dirs[dir].bytes += bytes
}

// submit hands the batch to the queue.
func (c *Clone) submit() {
	if len(c.batch) == 0 {
		return
	}
	if err := c.queue.Submit(c.batch); err != nil {
		c.fail(err)
		for _, r := range c.batch {
			c.abandon(r)
		}
		c.batch = c.batch[:0]
		return
	}
	c.inFlight += len(c.batch)
	c.live.inFlight.Store(int64(c.inFlight))
	if c.measuring {
		c.stats.submits[batchLevel(len(c.batch))]++
		c.stats.depth[depthLevel(c.inFlight)] += int64(len(c.batch))
	}
	c.batch = c.batch[:0]
}

// abandon takes back a request that was prepared and not accepted.
func (c *Clone) abandon(r *Request) {
	if r.trace.began {
		r.target.ledger.End(r.Off, int64(r.Len), false)
	}
	c.release(r)
}

// release returns r to the free list.
func (c *Clone) release(r *Request) {
	if r.trace.covers != nil {
		c.acks = append(c.acks, r.trace.covers[:0])
	}
	r.trace = trace{expect: r.trace.expect[:0], entries: r.trace.entries[:0]}
	c.free = append(c.free, r)
}

// reapCount returns how many completions to wait for.
func (c *Clone) reapCount() int {
	if len(c.free) > 0 {
		return 1 // not full: the job ends, or something holds it back
	}
	return min(max(1, c.Job.BatchCompleteMin), c.inFlight)
}

// reap waits for completions and handles them. It returns false if the queue is
// broken.
func (c *Clone) reap(atLeast int) bool {
	if len(c.reaped) == 0 {
		done, err := c.queue.Reap(atLeast)
		if err != nil {
			c.fail(err)
			return false
		}
		c.reaped = done
	}
	n := len(c.reaped)
	if most := c.Job.BatchCompleteMax; most > 0 {
		n = min(n, most)
	}
	if c.measuring && n > 0 {
		c.stats.completes[batchLevel(n)]++
	}
	for _, r := range c.reaped[:n] {
		c.complete(r)
	}
	c.reaped = c.reaped[n:]
	return true
}

// drain waits for all that is in flight.
func (c *Clone) drain() {
	c.submit()
	for c.inFlight > 0 && c.reap(1) {
	}
}

// afterChoice does what the job asks for after every so many operations.
func (c *Clone) afterChoice(ctx context.Context, r *Request) {
	job, n := c.Job, c.issued.ios
	if r.Kind == OpSync || r.Kind == OpSyncData {
		return
	}
	if job.FallocateEvery > 0 && n%job.FallocateEvery == 0 {
		c.over(&c.stats.fallocates, func() error { return r.target.grow(r.File) })
	}
	if job.TruncateEvery > 0 && n%job.TruncateEvery == 0 {
		c.over(&c.stats.truncates, func() error { return r.target.shrink(r.File) })
	}
	if job.Thinktime > 0 && n%int64(job.ThinktimeBlocks) == 0 {
		c.think(ctx)
	}
}

// think is the pause that thinktime= asks for. It ends early where the job does.
func (c *Clone) think(ctx context.Context) {
	c.drain()
	sleep(ctx, min(c.Job.Thinktime-c.Job.ThinktimeSpin, c.left(c.clock())))
	start := c.clock()
	for spin := min(c.Job.ThinktimeSpin, c.left(start)); time.Duration(c.clock()-start) < spin && !c.stop.Load(); {
	}
}

// over makes a blocking call while the clone's own operations are in flight.
// Nobody but this goroutine can run their completions: this is the call that
// hangs where a drain waits for its caller.
func (c *Clone) over(b *blocked, call func() error) {
	c.submit()
	inFlight, start := c.inFlight, c.clock()
	if err := call(); err != nil {
		c.fail(err)
		return
	}
	if c.measuring {
		b.add(c.clock() - start)
		b.inFlight.add(int64(inFlight))
	}
}
