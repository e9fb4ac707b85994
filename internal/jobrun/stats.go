// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"endio/fiojob"
)

// A tally sums up values: how many, their extremes, mean and spread.
//
// Source of the running variance: B. P. Welford, Technometrics 4(3), 1962; of
// the sum of two: T. F. Chan et al., Stanford STAN-CS-79-773, 1979.
type tally struct {
	n          int64
	min, max   int64
	mean, sqrs float64 // sqrs: sum of squared differences from the mean
}

func (t *tally) add(v int64) {
	t.n++
	if t.n == 1 || v < t.min {
		t.min = v
	}
	if v > t.max {
		t.max = v
	}
	d := float64(v) - t.mean
	t.mean += d / float64(t.n)
	t.sqrs += d * (float64(v) - t.mean)
}

func (t *tally) merge(o *tally) {
	if o.n == 0 {
		return
	}
	if t.n == 0 {
		*t = *o
		return
	}
	n := float64(t.n + o.n)
	d := o.mean - t.mean
	t.sqrs += o.sqrs + d*d*float64(t.n)*float64(o.n)/n
	t.mean += d * float64(o.n) / n
	t.n += o.n
	t.min, t.max = min(t.min, o.min), max(t.max, o.max)
}

// stddev returns the standard deviation of the sample.
func (t *tally) stddev() float64 {
	if t.n < 2 {
		return 0
	}
	return math.Sqrt(t.sqrs / float64(t.n-1))
}

// Range and precision of latency histograms: up to an hour, in steps of less
// than 1%, which is what fio's buckets have.
const (
	maxLatency   = int64(time.Hour)
	latencyFigs  = 2
	minLatencyNs = 1
)

// A latency is a tally with a histogram.
type latency struct {
	tally
	hist *hdrhistogram.Histogram
}

func newLatency() latency {
	return latency{hist: hdrhistogram.New(minLatencyNs, maxLatency, latencyFigs)}
}

func (l *latency) add(v int64) {
	l.tally.add(v)
	// The only error is a value out of range, which is cut to it.
	_ = l.hist.RecordValue(min(max(v, 0), maxLatency))
}

func (l *latency) merge(o *latency) {
	l.tally.merge(&o.tally)
	l.hist.Merge(o.hist)
}

// percentile returns the value that p percent do not exceed.
func (l *latency) percentile(p float64) int64 {
	if l.n == 0 {
		return 0
	}
	// A histogram rounds up to the end of a bucket; the maximum is exact.
	return min(l.hist.ValueAtPercentile(p), l.max)
}

// A dirStats is what is measured of one direction.
type dirStats struct {
	bytes, ios, short int64
	slat              tally
	lat               tally
	clat              latency // submit to completion
	handler           latency // completion to handler
	runtime           time.Duration
	rates             rateSamples
}

func (d *dirStats) merge(o *dirStats) {
	d.bytes += o.bytes
	d.ios += o.ios
	d.short += o.short
	d.slat.merge(&o.slat)
	d.lat.merge(&o.lat)
	d.clat.merge(&o.clat)
	d.handler.merge(&o.handler)
	d.runtime = max(d.runtime, o.runtime)
	d.rates.merge(&o.rates)
}

// A rateSamples is the rates seen in the intervals of a run, as fio samples
// them.
type rateSamples struct {
	kib  tally // KiB per second
	iops tally
}

func (r *rateSamples) merge(o *rateSamples) {
	r.kib.merge(&o.kib)
	r.iops.merge(&o.iops)
}

// depthLevels is how many levels fio's distributions of depth and of batches
// have.
const depthLevels = 7

// depthLevel returns the level of n operations in flight, at least 1: level i
// holds 2^i to 2^(i+1)-1, and the last all from 64.
func depthLevel(n int) int { return min(bits.Len(uint(n))-1, depthLevels-1) }

// batchLevel returns the level of n operations submitted or reaped together:
// level 0 holds none, 1 to 5 hold up to 4, 8, 16, 32 and 64, and the last more.
func batchLevel(n int) int {
	if n == 0 {
		return 0
	}
	return min(max(bits.Len(uint(n-1))-1, 1), depthLevels-1)
}

// A cloneStats is what is measured of one clone, or of several added up.
type cloneStats struct {
	dirs  [fiojob.Dirs]dirStats
	sync  latency
	total latency // clat of all directions, for latency_ns, _us and _ms

	depth     [depthLevels]int64 // operations in flight, at each submission
	submits   [depthLevels]int64 // operations submitted together
	completes [depthLevels]int64 // operations reaped together

	runtime    time.Duration // of issuing and verifying
	user, sys  time.Duration // CPU, while measured
	switches   int64
	majf, minf int64

	fallocates, truncates blocked
	verified              verifyStats
	conflicts             int64 // writes that waited for another on the same unit
}

// A blocked is a kind of blocking call that a clone makes over its own I/O.
type blocked struct {
	latency
	inFlight tally // operations that the clone had submitted and not handled when it called
}

// A verifyStats counts what was checked.
type verifyStats struct {
	Units        int64 `json:"units"`        // checked
	Bytes        int64 `json:"bytes"`        // of these
	Errors       int64 `json:"errors"`       // not as they must be
	Skipped      int64 `json:"skipped"`      // changed by somebody while they were read
	NotWritten   int64 `json:"not_written"`  // without a header, where that is right
	Torn         int64 `json:"torn"`         // neither old nor new, and a write was in flight at the kill
	Acknowledged int64 `json:"acknowledged"` // checked against a journal
	RuntimeMs    int64 `json:"runtime_ms"`   // of verify phases
	FirstError   error `json:"-"`
}

func newCloneStats() *cloneStats {
	s := &cloneStats{sync: newLatency(), total: newLatency()}
	for i := range s.dirs {
		s.dirs[i].clat, s.dirs[i].handler = newLatency(), newLatency()
	}
	s.fallocates.latency, s.truncates.latency = newLatency(), newLatency()
	return s
}

func (s *cloneStats) merge(o *cloneStats) {
	for i := range s.dirs {
		s.dirs[i].merge(&o.dirs[i])
	}
	s.sync.merge(&o.sync)
	s.total.merge(&o.total)
	for i := range s.depth {
		s.depth[i] += o.depth[i]
		s.submits[i] += o.submits[i]
		s.completes[i] += o.completes[i]
	}
	s.runtime += o.runtime
	s.user += o.user
	s.sys += o.sys
	s.switches += o.switches
	s.majf += o.majf
	s.minf += o.minf
	s.fallocates.merge(&o.fallocates)
	s.truncates.merge(&o.truncates)
	s.conflicts += o.conflicts
	s.verified.merge(&o.verified)
}

func (b *blocked) merge(o *blocked) {
	b.latency.merge(&o.latency)
	b.inFlight.merge(&o.inFlight)
}

func (v *verifyStats) merge(o *verifyStats) {
	v.Units += o.Units
	v.Bytes += o.Bytes
	v.Errors += o.Errors
	v.Skipped += o.Skipped
	v.NotWritten += o.NotWritten
	v.Torn += o.Torn
	v.Acknowledged += o.Acknowledged
	v.RuntimeMs = max(v.RuntimeMs, o.RuntimeMs)
	if v.FirstError == nil {
		v.FirstError = o.FirstError
	}
}

// ios returns the operations of all directions.
func (s *cloneStats) ios() int64 {
	n := int64(0)
	for i := range s.dirs {
		n += s.dirs[i].ios
	}
	return n
}

// A live is the part of a clone's counters that others read while it runs.
type live struct {
	ios, bytes [fiojob.Dirs]atomic.Int64
	inFlight   atomic.Int64
	expected   atomic.Int64 // bytes to move in all; 0 if only time ends the clone
	phase      atomic.Int32
}

// The phases of a clone, as the progress line shows them.
const (
	phaseSetUp int32 = iota
	phaseRamp
	phaseRun
	phaseVerify
	phaseDone
)
