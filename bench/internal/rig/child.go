// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"endio"
)

// warmUp is the part of a measurement, from its start, that does not count.
const warmUp = 8 // one in so many

// openFlags are fio's: it opens what it owns with O_NOATIME, which spares the look at
// the time of the last access, some 50 ns a read.
const openFlags = os.O_RDWR | syscall.O_NOATIME

// runChild makes the measurement that text describes and prints it.
func runChild(text string) error {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fmt.Errorf("%w: -child: %w", errUsage, err)
	}
	if s.Cgroup != "" {
		if err := os.WriteFile(filepath.Join(s.Cgroup, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
	}
	for range s.Busy {
		go func() {
			//lint:ignore SA5002 a busy processor is what it is for
			for {
			}
		}()
	}
	if s.Busy > 0 {
		runtime.GOMAXPROCS(s.Busy)
	}
	profiled, err := profile(s.Profile)
	if err != nil {
		return err
	}
	m, err := measureHere(s)
	if err := errors.Join(err, profiled()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// ways are what Spec.How can be, besides "fio". The engine is nil for the peers.
var ways = map[string]struct {
	measure func(Spec, *endio.Engine) (Measurement, error)
	peer    bool
}{
	"os.File":       {measureCalls, true},
	"pread":         {measurePread, true},
	"fdatasync":     {measureFdatasync, true},
	"buffered":      {measureStream, true},
	"RWF_DONTCACHE": {measureStream, true},
	"uncached":      {measureStream, false},
	"blocking":      {measureCalls, false},
	"caller":        {measureCaller, false},
	"own":           {measureCaller, false}, // with QueueOptions.OwnThread, and Together as Spec.Count says
	"dsync":         {measureCaller, false}, // with Op.DSync
	"files":         {measureCaller, false}, // on Spec.Count files in turn
	"group":         {measureGroups, false},
	"task":          {measureHandlers, false},
	"inline":        {measureHandlers, false},
	"handoff":       {measureHandlers, false},
	"inflight":      {measureInFlight, false},
	"held":          {measureHeld, false},
	// With Spec.Count operations in flight on another open file:
	"beside task":     {measureBeside, false},
	"beside blocking": {measureBeside, false},
	"beside os.File":  {measureBeside, true},
}

// profile writes a CPU profile to path until the returned function is called; no path,
// no profile.
func profile(path string) (end func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

func measureHere(s Spec) (Measurement, error) {
	way, ok := ways[s.How]
	switch {
	case !ok:
		return nil, fmt.Errorf("no such measurement: %q", s.How)
	case way.peer:
		return way.measure(s, nil)
	}
	options := endio.Options{Shards: s.Shards, TaskDelay: s.Delay}
	if s.How == "held" {
		options.Faults = &held
	}
	e, err := endio.Open(options)
	if err != nil {
		return nil, err
	}
	if b, why := e.Backend(); b != endio.IOUring {
		return nil, errors.Join(fmt.Errorf("the engine runs on %s: %s", b, why), e.Close())
	}
	m, err := way.measure(s, e)
	return m, errors.Join(err, e.Close())
}

// A meter counts what happens between the end of the warm-up and the end.
type meter struct {
	from      time.Time
	wait      func() // until the end
	measuring atomic.Bool
}

func newMeter(s Spec) *meter {
	m := &meter{from: time.Now().Add(s.Duration / warmUp), wait: func() { time.Sleep(s.Duration) }}
	if s.Turns {
		// Standard input ends when the turns do; that it can not be read is an end too.
		m.wait = func() { _, _ = io.Copy(io.Discard, os.Stdin) }
	}
	return m
}

// A period is what the process has used in the measured time.
type period struct {
	elapsed, cpu time.Duration
	switches     int64
	mallocs      uint64
}

// run lets the measured part begin after the warm-up, or later where those that are measured leave no
// processor for this goroutine, and end after its length or its turns, or later; edge is called at both.
func (m *meter) run(edge func(), stop func()) period {
	time.Sleep(time.Until(m.from))
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	mallocs := memory.Mallocs
	edge()
	before := usage()
	start := time.Now()
	m.measuring.Store(true)
	m.wait()
	m.measuring.Store(false)
	p := period{elapsed: time.Since(start)}
	edge()
	after := usage()
	stop()
	runtime.ReadMemStats(&memory)
	p.mallocs = memory.Mallocs - mallocs
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

// result returns the figures of recorders. That nothing has completed is a result too,
// without times.
func result(s Spec, p period, recorders ...*recorder) (Measurement, error) {
	all := newRecorder()
	for _, r := range recorders {
		all.ios += r.ios
		all.hist.Merge(r.hist)
	}
	if all.ios == 0 {
		return Measurement{KIOPS: 0, Commits: 0}, nil
	}
	n := float64(all.ios)
	m := Measurement{
		KIOPS: n / p.elapsed.Seconds() / 1e3, Commits: n / p.elapsed.Seconds(),
		Switches: float64(p.switches) / n, Allocs: float64(p.mallocs) / n,
		P50: float64(all.hist.ValueAtPercentile(50)) / 1e3, P99: float64(all.hist.ValueAtPercentile(99)) / 1e3,
	}
	if s.Busy == 0 && p.cpu > 0 { // else it is that of the goroutines that spin
		m[CPU], m[PerCore] = p.cpu.Seconds()/n*1e6, n/p.cpu.Seconds()/1e3
	}
	return m, nil
}

// An offsets gives the offsets of one goroutine's operations.
type offsets struct {
	s    Spec
	rng  *rand.Rand
	next int64
}

func newOffsets(s Spec, seed uint64) *offsets {
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

// flags of an os.File.
func (s Spec) flags() int {
	if s.Cached {
		return openFlags
	}
	return openFlags | syscall.O_DIRECT
}

// options of an endio file.
func (s Spec) options() []endio.FileOption {
	if s.Cached {
		return nil
	}
	return []endio.FileOption{endio.Direct}
}

// newOps returns the operations of a depth, each with a buffer.
func newOps(s Spec, e *endio.Engine, files []*endio.File, at *offsets) ([]*endio.Op, error) {
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
func openFiles(s Spec, e *endio.Engine) ([]*endio.File, error) {
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
		if files[i], err = e.OpenFile(s.Path, openFlags, 0, s.options()...); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// measureCaller runs one goroutine on one queue: each handler submits the next
// operation.
func measureCaller(s Spec, e *endio.Engine) (Measurement, error) {
	files, err := openFiles(s, e)
	if err != nil {
		return nil, err
	}
	return oneLoop(s, func(meter *meter, rec *recorder, stop *atomic.Bool) error {
		return callerLoop(s, e, files, meter, rec, stop)
	})
}

// oneLoop measures what one goroutine does in loop until it is told to stop.
func oneLoop(s Spec, loop func(*meter, *recorder, *atomic.Bool) error) (Measurement, error) {
	meter, rec := newMeter(s), newRecorder()
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() { done <- loop(meter, rec, &stop) }()
	p := meter.run(func() {}, func() { stop.Store(true) })
	if err := <-done; err != nil {
		return nil, err
	}
	return result(s, p, rec)
}

func callerLoop(s Spec, e *endio.Engine, files []*endio.File, meter *meter, rec *recorder, stop *atomic.Bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o := endio.QueueOptions{Depth: max(2, s.Depth), OwnThread: s.How == "own"}
	if o.OwnThread {
		o.Together = s.Count
	}
	q, err := e.NewQueue(o)
	if err != nil {
		return err
	}
	if q.OwnThread() != o.OwnThread {
		return errors.New("the queue has no ring of its own thread: Linux 6.1 has them")
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
