// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"time"

	"endio/fiojob"
)

// sampleEvery is the length of the intervals over which rates are taken, fio's
// bwavgtime and iopsavgtime.
const sampleEvery = 500 * time.Millisecond

// A sampler reads the counters of running clones: for bw_min and its kin, and
// for the progress line. One goroutine runs it.
type sampler struct {
	wave  *Wave
	clock func() int64
	start int64
	last  []sample // of each clone, at the last sample
	rates [][fiojob.Dirs]rateSamples

	shown     int64 // when the last snapshot was taken
	shownLast [fiojob.Dirs]struct{ ios, bytes int64 }
}

type sample struct {
	at   int64
	dirs [fiojob.Dirs]struct{ ios, bytes int64 }
}

func newSampler(wave *Wave, clock func() int64) *sampler {
	s := &sampler{wave: wave, clock: clock, start: clock()}
	s.last = make([]sample, len(wave.Clones))
	s.rates = make([][fiojob.Dirs]rateSamples, len(wave.Clones))
	s.shown = s.start
	return s
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context, options Options) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	var show <-chan time.Time
	if options.Progress != nil {
		progress := time.NewTicker(max(options.ProgressEvery, 10*time.Millisecond))
		defer progress.Stop()
		show = progress.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for i, c := range s.wave.Clones {
				s.sample(i, c)
			}
		case <-show:
			options.Progress(s.snapshot())
		}
	}
}

// sample takes the rates of clone i since its last sample. An interval in which
// the clone was not in its measured phase from end to end does not count.
func (s *sampler) sample(i int, c *Clone) {
	now := sample{at: s.clock()}
	for dir := range now.dirs {
		now.dirs[dir].ios = c.live.ios[dir].Load()
		now.dirs[dir].bytes = c.live.bytes[dir].Load()
	}
	last := s.last[i]
	s.last[i] = now
	if phase := c.live.phase.Load(); phase != phaseRun && phase != phaseVerify {
		s.last[i].at = 0
		return
	}
	if last.at == 0 {
		return
	}
	seconds := time.Duration(now.at - last.at).Seconds()
	for dir := range now.dirs {
		if !c.Job.Pattern.Uses[dir] {
			continue
		}
		rates := &s.rates[i][dir]
		rates.kib.add(int64(float64(now.dirs[dir].bytes-last.dirs[dir].bytes) / 1024 / seconds))
		rates.iops.add(int64(float64(now.dirs[dir].ios-last.dirs[dir].ios) / seconds))
	}
}

// store hands the rates to the clones' statistics, after the clones have ended.
func (s *sampler) store() {
	for i, c := range s.wave.Clones {
		for dir := range s.rates[i] {
			c.stats.dirs[dir].rates = s.rates[i][dir]
		}
	}
}

// snapshot returns the state of the wave now.
func (s *sampler) snapshot() Snapshot {
	now := s.clock()
	shot := Snapshot{Elapsed: time.Duration(now - s.start), Contexts: map[string]int64{}}
	var sum [fiojob.Dirs]struct{ ios, bytes int64 }
	shot.Done = 1
	for _, c := range s.wave.Clones {
		phase := c.live.phase.Load()
		if phase != phaseDone {
			shot.Running++
			shot.Done = min(shot.Done, c.done(shot.Elapsed))
		}
		if phase == phaseVerify {
			shot.Verify++
		}
		n := c.live.inFlight.Load()
		shot.InFlight += n
		shot.Contexts[c.contextName()] += n
		for dir := range sum {
			sum[dir].ios += c.live.ios[dir].Load()
			sum[dir].bytes += c.live.bytes[dir].Load()
		}
	}
	if seconds := time.Duration(now - s.shown).Seconds(); seconds > 0 {
		for dir := range sum {
			shot.IOPS[dir] = float64(sum[dir].ios-s.shownLast[dir].ios) / seconds
			shot.Bytes[dir] = float64(sum[dir].bytes-s.shownLast[dir].bytes) / seconds
		}
	}
	s.shown, s.shownLast = now, sum
	if shot.Done > 0 {
		shot.ETA = time.Duration(float64(shot.Elapsed)/shot.Done) - shot.Elapsed
	}
	return shot
}

// done estimates which part of the clone's work is done, from its time or its
// bytes, whichever ends first.
func (c *Clone) done(elapsed time.Duration) float64 {
	part := 0.0
	if limit := c.Job.Runtime; limit > 0 {
		part = float64(elapsed) / (float64(limit) + float64(c.Job.RampTime) + float64(c.Job.StartDelay))
	}
	if expected := c.live.expected.Load() * int64(c.Job.Loops); expected > 0 {
		moved := int64(0)
		for dir := range c.live.bytes {
			moved += c.live.bytes[dir].Load()
		}
		if c.mustVerify() && !c.Job.VerifyOnly {
			expected *= 2 // what is written is read again
		}
		part = max(part, float64(moved)/float64(expected))
	}
	return min(part, 1)
}

// contextName returns where the completions of the clone run.
func (c *Clone) contextName() string {
	if c.Job.Engine == fiojob.Blocking {
		return "blocking"
	}
	return c.Job.Completion.String()
}
