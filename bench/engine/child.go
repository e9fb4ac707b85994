// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"endio"
)

// warmUp is the part of a measurement, from its start, that does not count.
const warmUp = 8 // one in so many

// runChild makes the measurement that text describes and prints it.
func runChild(text string) error {
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	if s.Cgroup != "" {
		if err := os.WriteFile(filepath.Join(s.Cgroup, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
	}
	m, err := measureHere(s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

func measureHere(s spec) (measurement, error) {
	switch s.How {
	case "os.File":
		return measureCalls(s, nil)
	case "fdatasync":
		return measureFdatasync(s)
	case "buffered", "RWF_DONTCACHE":
		return measureStream(s, nil)
	}
	e, err := endio.Open(endio.Options{Shards: s.Shards, TaskDelay: s.Delay})
	if err != nil {
		return nil, err
	}
	if b, why := e.Backend(); b != endio.IOUring {
		return nil, fmt.Errorf("the engine runs on %s: %s", b, why)
	}
	var m measurement
	switch s.How {
	case "blocking":
		m, err = measureCalls(s, e)
	case "uncached":
		m, err = measureStream(s, e)
	case "caller", "dsync", "files":
		m, err = measureCaller(s, e)
	case "group":
		m, err = measureGroups(s, e)
	case "task", "inline":
		m, err = measureHandlers(s, e)
	case "inflight":
		m, err = measureInFlight(s, e)
	default:
		err = fmt.Errorf("no such measurement: %q", s.How)
	}
	return m, errors.Join(err, e.Close())
}

// A meter counts what happens between the end of the warm-up and the end.
type meter struct {
	from, to  time.Time
	measuring atomic.Bool
}

func newMeter(s spec) *meter {
	from := time.Now().Add(s.Duration / warmUp)
	return &meter{from: from, to: from.Add(s.Duration)}
}

// A period is what the process has used in the measured time.
type period struct {
	elapsed, cpu time.Duration
	switches     int64
}

// run lets the measured part begin and end at its times; edge is called at both.
func (m *meter) run(edge func(), stop func()) period {
	time.Sleep(time.Until(m.from))
	edge()
	before := usage()
	start := time.Now()
	m.measuring.Store(true)
	time.Sleep(time.Until(m.to))
	m.measuring.Store(false)
	p := period{elapsed: time.Since(start)}
	after := usage()
	edge()
	stop()
	p.cpu, p.switches = cpuOf(after)-cpuOf(before), after.Nvcsw+after.Nivcsw-before.Nvcsw-before.Nivcsw
	return p
}

func usage() (r unix.Rusage) {
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err) // it has no way to fail
	}
	return r
}

func cpuOf(r unix.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }

// A recorder is one goroutine's part of the figures.
type recorder struct {
	ios  int64
	hist *hdrhistogram.Histogram
}

func newRecorder() *recorder {
	return &recorder{hist: hdrhistogram.New(1, int64(time.Minute), 2)}
}

func (r *recorder) add(d time.Duration) {
	r.ios++
	_ = r.hist.RecordValue(int64(d)) // longer than a minute: out of the picture
}

// result returns the figures of recorders.
func result(p period, recorders ...*recorder) (measurement, error) {
	all := newRecorder()
	for _, r := range recorders {
		all.ios += r.ios
		all.hist.Merge(r.hist)
	}
	if all.ios == 0 {
		return measurement{kiops: 0, commits: 0}, nil // it stands still, which is a result
	}
	n := float64(all.ios)
	return measurement{
		kiops: n / p.elapsed.Seconds() / 1e3, commits: n / p.elapsed.Seconds(), cpuIO: p.cpu.Seconds() / n * 1e6,
		perCore: n / p.cpu.Seconds() / 1e3, switches: float64(p.switches) / n,
		p50: float64(all.hist.ValueAtPercentile(50)) / 1e3, p99: float64(all.hist.ValueAtPercentile(99)) / 1e3,
	}, nil
}

// An offsets gives the offsets of one goroutine's operations.
type offsets struct {
	s    spec
	rng  *rand.Rand
	next int64
}

func newOffsets(s spec, seed uint64) *offsets {
	return &offsets{s: s, rng: rand.New(rand.NewPCG(seed, 3))}
}

func (o *offsets) get() int64 {
	blocks := o.s.Bytes / int64(o.s.Block)
	if o.s.Ordered {
		o.next++
		return (o.next - 1) % blocks * int64(o.s.Block)
	}
	return o.rng.Int64N(blocks) * int64(o.s.Block)
}

// options of an endio file.
func (s spec) options() []endio.FileOption {
	if s.Cached {
		return nil
	}
	return []endio.FileOption{endio.Direct}
}

// newOps returns the operations of a depth, each with a buffer.
func newOps(s spec, e *endio.Engine, files []*endio.File, at *offsets) ([]*endio.Op, error) {
	buffers, err := e.NewBuffers(s.Depth, s.Block)
	if err != nil {
		return nil, err
	}
	ops := make([]*endio.Op, s.Depth)
	for i := range ops {
		ops[i] = &endio.Op{File: files[i%len(files)], Kind: endio.Read, Buf: buffers.Get(), Off: at.get(), User: new(time.Time)}
		if s.Write {
			ops[i].Kind, ops[i].DSync = endio.Write, s.How == "dsync"
		}
	}
	return ops, nil
}

// openFiles opens the file as often as the spec says.
func openFiles(s spec, e *endio.Engine) ([]*endio.File, error) {
	if s.How == "files" {
		limit := unix.Rlimit{Cur: uint64(s.Count) + 1000, Max: uint64(s.Count) + 1000}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("allow %d open files: %w", s.Count, err)
		}
	}
	n := 1
	if s.How == "files" {
		n = s.Count
	}
	files := make([]*endio.File, n)
	for i := range files {
		var err error
		if files[i], err = e.OpenFile(s.Path, os.O_RDWR, 0, s.options()...); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// measureCaller runs one goroutine on one queue: each handler submits the next
// operation.
func measureCaller(s spec, e *endio.Engine) (measurement, error) {
	files, err := openFiles(s, e)
	if err != nil {
		return nil, err
	}
	meter, rec := newMeter(s), newRecorder()
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() { done <- callerLoop(s, e, files, meter, rec, &stop) }()
	p := meter.run(func() {}, func() { stop.Store(true) })
	if err := <-done; err != nil {
		return nil, err
	}
	return result(p, rec)
}

func callerLoop(s spec, e *endio.Engine, files []*endio.File, meter *meter, rec *recorder, stop *atomic.Bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := e.NewQueue(endio.QueueOptions{Depth: max(2, s.Depth)})
	if err != nil {
		return err
	}
	at := newOffsets(s, 1)
	ops, err := newOps(s, e, files, at)
	if err != nil {
		return err
	}
	var failed error
	turn := len(ops)
	for _, op := range ops {
		op.Done = func(c *endio.Context, op *endio.Op) {
			now := time.Now()
			if meter.measuring.Load() {
				rec.add(now.Sub(*op.User.(*time.Time)))
			}
			if op.Err != nil || stop.Load() || failed != nil {
				failed = errors.Join(failed, op.Err)
				return
			}
			*op.User.(*time.Time) = now
			op.Off, op.File = at.get(), files[turn%len(files)]
			turn++
			failed = q.Submit(op)
		}
		*op.User.(*time.Time) = time.Now()
	}
	if err := q.Submit(ops...); err != nil {
		return err
	}
	return errors.Join(q.Drain(), failed, q.Close())
}
