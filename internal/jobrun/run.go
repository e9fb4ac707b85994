// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"endio/fiojob"
	"endio/lockdep"
)

// Options say how to run a plan.
type Options struct {
	// Progress is called about every ProgressEvery while clones run, on a
	// goroutine of its own; nil for none.
	Progress      func(Snapshot)
	ProgressEvery time.Duration
}

// A Result is what a run has measured.
type Result struct {
	Plan        *Plan
	Started     time.Time
	Elapsed     time.Duration // of all waves, without laying out
	Backend     string
	Interrupted bool

	// Process is the CPU time of the whole process while waves ran, which
	// includes the engine's own goroutines.
	User, Sys time.Duration

	// Messages are verify errors, and MoreMessages how many there were beyond
	// them.
	Messages     []error
	MoreMessages int
}

// Failed returns the errors of all clones, or nil.
func (r *Result) Failed() error {
	var errs []error
	for _, wave := range r.Plan.Waves {
		for _, c := range wave.Clones {
			if c.err != nil {
				errs = append(errs, fmt.Errorf("%s: job %s.%d: %w", c.Job.Pos, c.Job.Name, c.Number, c.err))
			}
		}
	}
	return errors.Join(errs...)
}

// Run runs the waves of a plan, once. When ctx is cancelled it stops early, and
// the result says so. A job that can not be started does not keep the others
// from running. The result is never nil. The error is nil if the run itself
// worked; whether the jobs did is in [Result.Failed].
func Run(ctx context.Context, plan *Plan, engine Engine, options Options) (*Result, error) {
	started := time.Now()
	r := &Result{Plan: plan, Started: started, Backend: engine.Backend()}
	clock := func() int64 { return int64(time.Since(started)) }
	notes := &messages{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var err error
	for i := range plan.Waves {
		wave := &plan.Waves[i]
		for _, c := range wave.Clones {
			c.clock, c.started, c.messages = clock, started, notes
			c.stopAll = func() { cancel(errExitAll) }
			c.stats = newCloneStats()
		}
		if ctx.Err() != nil {
			continue // not run, but reported as such
		}
		err = errors.Join(err, plan.prepare(ctx, wave, engine))
		if ctx.Err() != nil {
			continue
		}
		before, start := processUsage(), time.Now()
		runWave(ctx, wave, engine, clock, options)
		used := processUsage().sub(before)
		r.User += used.user
		r.Sys += used.sys
		r.Elapsed += time.Since(start)
	}
	for _, t := range plan.targets {
		err = errors.Join(err, t.close())
	}
	r.Interrupted = ctx.Err() != nil && !errors.Is(context.Cause(ctx), errExitAll)
	r.Messages, r.MoreMessages = notes.list, notes.more
	return r, err
}

// errExitAll ends a run because of exitall_on_error.
var errExitAll = errors.New("a job with exitall_on_error failed")

// prepare lays out and opens the files of a wave, opens journals and drops caches.
// What fails is the error of the clones that it concerns, and the others go on.
// The error is of closing what a clone that does not run had opened.
func (p *Plan) prepare(ctx context.Context, wave *Wave, engine Engine) error {
	for _, c := range wave.Clones {
		c.fail(p.prepareFiles(ctx, c, engine))
	}
	// After all files are laid out, since laying out one may push out another.
	for _, c := range wave.Clones {
		if !c.Job.Invalidate || c.err != nil {
			continue
		}
		for _, s := range c.shares {
			if s.target.created && !s.target.reads {
				continue // nothing is cached of it
			}
			if err := dropCache(s.target.path); err != nil && !c.Job.VerifyOnly {
				c.fail(fmt.Errorf("drop the page cache (invalidate=1): %w", err))
				break
			}
		}
	}
	var errs []error
	for _, c := range wave.Clones {
		if ctx.Err() != nil || c.err != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}

// prepareFiles makes the files of c ready. The journals come last: an old one is
// worth more than a new one of a job that can not run.
func (p *Plan) prepareFiles(ctx context.Context, c *Clone, engine Engine) error {
	for _, s := range c.shares {
		if err := s.target.layOut(ctx, c.Job, p.run); errors.Is(err, context.Canceled) {
			return nil // interrupted, which is nobody's error
		} else if err != nil {
			return err
		}
	}
	if err := c.openFiles(engine); err != nil || ctx.Err() != nil || c.Job.VerifyOnly {
		return err
	}
	for _, s := range c.shares {
		if err := s.target.openJournal(p.run); err != nil {
			return err
		}
	}
	return nil
}

// runWave runs the clones of a wave and waits for them.
func runWave(ctx context.Context, wave *Wave, engine Engine, clock func() int64, options Options) {
	sampling, stop := context.WithCancel(context.Background())
	sampler := newSampler(wave, clock)
	var watch, work lockdep.WaitGroup
	watch.Go(func() { sampler.run(sampling, options) })
	for _, c := range wave.Clones {
		if c.err != nil {
			c.live.phase.Store(phaseDone)
			continue
		}
		work.Go(func() { c.work(ctx, engine) })
	}
	work.Wait()
	stop()
	watch.Wait()
	sampler.store()
}

// A Snapshot is the state of a wave at one moment, for a progress line.
type Snapshot struct {
	Elapsed  time.Duration // since the wave started
	Running  int           // clones not yet done
	Verify   int           // of these, clones in their verify phase
	InFlight int64
	Contexts map[string]int64 // operations in flight by completion context

	// Rates since the last snapshot.
	IOPS  [fiojob.Dirs]float64
	Bytes [fiojob.Dirs]float64

	// Done is the part of the work that is done, 0 to 1, and ETA the time left.
	Done float64
	ETA  time.Duration
}
