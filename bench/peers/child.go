// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
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
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	for range s.Busy {
		go func() {
			for {
			}
		}()
	}
	if s.Busy > 0 {
		runtime.GOMAXPROCS(s.Busy)
	}
	m, err := measureHere(s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

func measureHere(s spec) (measurement, error) {
	if s.Peer == peerOS {
		return measureCalls(s, nil)
	}
	engine, err := endio.Open(endio.Options{})
	if err != nil {
		return measurement{}, err
	}
	backend, why := engine.Backend()
	if backend != endio.IOUring {
		return measurement{}, fmt.Errorf("the engine runs on %s: %s", backend, why)
	}
	var m measurement
	switch {
	case s.InFlight > 0:
		m, err = measureMemory(s, engine)
	case s.Peer == peerBlocking:
		m, err = measureCalls(s, engine)
	case s.Peer == peerCaller:
		m, err = measureCaller(s, engine)
	default:
		m, err = measureHandlers(s, engine)
	}
	return m, errors.Join(err, engine.Close())
}

// A meter counts what happens between the end of the warm-up and the end.
type meter struct {
	start, from, to time.Time
	measuring       atomic.Bool
	usage           time.Duration // CPU at from
	mallocs         uint64
}

func newMeter(s spec) *meter {
	m := &meter{start: time.Now()}
	m.from = m.start.Add(s.Duration / warmUp)
	m.to = m.from.Add(s.Duration)
	return m
}

// run lets the measured part begin and end at its times, and returns the CPU
// time and the allocations in it.
func (m *meter) run(stop func()) (cpu, elapsed time.Duration, mallocs uint64) {
	time.Sleep(time.Until(m.from))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, used := time.Now(), cpuTime()
	m.measuring.Store(true)
	time.Sleep(time.Until(m.to))
	m.measuring.Store(false)
	elapsed, cpu = time.Since(start), cpuTime()-used
	stop()
	runtime.ReadMemStats(&after)
	return cpu, elapsed, after.Mallocs - before.Mallocs
}

// cpuTime returns the CPU time of the process.
func cpuTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err) // it has no way to fail
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

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
func result(s spec, cpu, elapsed time.Duration, mallocs uint64, recorders []*recorder) (measurement, error) {
	all := newRecorder()
	for _, r := range recorders {
		all.ios += r.ios
		all.hist.Merge(r.hist)
	}
	if all.ios == 0 {
		return measurement{}, errors.New("no I/O has completed")
	}
	n := float64(all.ios)
	m := measurement{IOPS: n / elapsed.Seconds(), CPU: cpu.Seconds() / n * 1e6, Allocs: float64(mallocs) / n,
		P50: float64(all.hist.ValueAtPercentile(50)) / 1e3, P99: float64(all.hist.ValueAtPercentile(99)) / 1e3}
	if s.Busy > 0 {
		m.CPU = 0 // the spinning goroutines'
	}
	return m, nil
}

func (s spec) offset(rng *rand.Rand) int64 { return rng.Int64N(s.Bytes/blockBytes) * blockBytes }

// A readerWriterAt is an os.File or an endio.File.
type readerWriterAt interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Close() error
}

// measureCalls makes blocking calls, a goroutine for each of the depth; on
// os.File if engine is nil.
func measureCalls(s spec, engine *endio.Engine) (measurement, error) {
	file, err := openPeer(s, engine)
	if err != nil {
		return measurement{}, err
	}
	meter := newMeter(s)
	var stop atomic.Bool
	var wg sync.WaitGroup
	recorders, errs := make([]*recorder, s.Depth), make([]error, s.Depth)
	for i := range s.Depth {
		recorders[i] = newRecorder()
		wg.Go(func() { errs[i] = callLoop(s, file, meter, recorders[i], &stop, uint64(i)) })
	}
	cpu, elapsed, mallocs := meter.run(func() { stop.Store(true) })
	wg.Wait()
	if err := errors.Join(errors.Join(errs...), file.Close()); err != nil {
		return measurement{}, err
	}
	return result(s, cpu, elapsed, mallocs, recorders)
}

func openPeer(s spec, engine *endio.Engine) (readerWriterAt, error) {
	if engine == nil {
		return os.OpenFile(s.Path, openFlags|syscall.O_DIRECT, 0)
	}
	return engine.OpenFile(s.Path, openFlags, 0, endio.Direct)
}

func callLoop(s spec, file readerWriterAt, meter *meter, r *recorder, stop *atomic.Bool, seed uint64) error {
	buf, err := unix.Mmap(-1, 0, blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	for !stop.Load() {
		off, start := s.offset(rng), time.Now()
		if s.Write {
			_, err = file.WriteAt(buf, off)
		} else {
			_, err = file.ReadAt(buf, off)
		}
		if err != nil {
			return err
		}
		if meter.measuring.Load() {
			r.add(time.Since(start))
		}
	}
	return nil
}

// newOps returns the operations of a depth, each with a buffer.
func newOps(s spec, engine *endio.Engine, file *endio.File, starts []time.Time) ([]*endio.Op, error) {
	buffers, err := engine.NewBuffers(s.Depth, blockBytes)
	if err != nil {
		return nil, err
	}
	ops := make([]*endio.Op, s.Depth)
	for i := range ops {
		ops[i] = &endio.Op{File: file, Kind: endio.Read, Buf: buffers.Get(), User: &starts[i]}
		if s.Write {
			ops[i].Kind = endio.Write
		}
	}
	return ops, nil
}

// measureCaller runs one goroutine on one queue: each handler submits the next
// operation.
func measureCaller(s spec, engine *endio.Engine) (measurement, error) {
	file, err := engine.OpenFile(s.Path, openFlags, 0, endio.Direct)
	if err != nil {
		return measurement{}, err
	}
	meter, rec := newMeter(s), newRecorder()
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() { done <- callerLoop(s, engine, file, meter, rec, &stop) }()
	cpu, elapsed, mallocs := meter.run(func() { stop.Store(true) })
	if err := errors.Join(<-done, file.Close()); err != nil {
		return measurement{}, err
	}
	return result(s, cpu, elapsed, mallocs, []*recorder{rec})
}

func callerLoop(s spec, engine *endio.Engine, file *endio.File, meter *meter, rec *recorder, stop *atomic.Bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := engine.NewQueue(endio.QueueOptions{Depth: max(2, s.Depth)})
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 3))
	ops, err := newOps(s, engine, file, make([]time.Time, s.Depth))
	if err != nil {
		return err
	}
	var failed error
	for _, op := range ops {
		op.Done = func(c *endio.Context, op *endio.Op) {
			now := time.Now()
			if meter.measuring.Load() {
				rec.add(now.Sub(*op.User.(*time.Time)))
			}
			if op.Err != nil {
				failed = op.Err
			}
			if stop.Load() || failed != nil {
				return
			}
			*op.User.(*time.Time) = now
			op.Off = s.offset(rng)
			failed = q.Submit(op)
		}
		op.Off = s.offset(rng)
		*op.User.(*time.Time) = time.Now()
	}
	if err := q.Submit(ops...); err != nil {
		return err
	}
	return errors.Join(q.Drain(), failed, q.Close())
}

// measureHandlers keeps the depth in flight from handlers on workers or on the
// reaper.
func measureHandlers(s spec, engine *endio.Engine) (measurement, error) {
	file, err := engine.OpenFile(s.Path, openFlags, 0, endio.Direct)
	if err != nil {
		return measurement{}, err
	}
	meter, rec := newMeter(s), newRecorder()
	rng := rand.New(rand.NewPCG(1, 3))
	var mu sync.Mutex // guards rec, rng and failed
	var failed error
	var stop atomic.Bool
	var wg sync.WaitGroup
	ops, err := newOps(s, engine, file, make([]time.Time, s.Depth))
	if err != nil {
		return measurement{}, err
	}
	wg.Add(len(ops))
	for _, op := range ops {
		op.In = endio.Task
		if s.Peer == peerInline {
			op.In = endio.Inline
		}
		op.Done = func(c *endio.Context, op *endio.Op) {
			now := time.Now()
			mu.Lock()
			if meter.measuring.Load() {
				rec.add(now.Sub(*op.User.(*time.Time)))
			}
			if op.Err != nil {
				failed = op.Err
			}
			again := !stop.Load() && failed == nil
			op.Off = s.offset(rng)
			mu.Unlock()
			*op.User.(*time.Time) = now
			if !again || c.Submit(op) != nil {
				wg.Done()
			}
		}
		op.Off = s.offset(rng)
		*op.User.(*time.Time) = time.Now()
	}
	if err := engine.Submit(ops...); err != nil {
		return measurement{}, err
	}
	cpu, elapsed, mallocs := meter.run(func() { stop.Store(true) })
	wg.Wait()
	if err := errors.Join(failed, file.Close()); err != nil {
		return measurement{}, err
	}
	return result(s, cpu, elapsed, mallocs, []*recorder{rec})
}

// measureMemory submits as many operations as the spec says, each with an Op of
// its own and all with the same few buffers, and returns the resident memory
// while they are in flight. The note says how many still were when it was read.
func measureMemory(s spec, engine *endio.Engine) (measurement, error) {
	file, err := engine.OpenFile(s.Path, openFlags, 0, endio.Direct)
	if err != nil {
		return measurement{}, err
	}
	rng := rand.New(rand.NewPCG(1, 3))
	buf := engine.AlignedBuffer(blockBytes)
	before, err := residentMiB()
	if err != nil {
		return measurement{}, err
	}
	var wg sync.WaitGroup
	var completed atomic.Int64
	ops := make([]endio.Op, s.InFlight)
	wg.Add(len(ops))
	for i := range ops {
		ops[i] = endio.Op{File: file, Kind: endio.Read, In: endio.Task, Buf: buf, Off: s.offset(rng), Done: func(*endio.Context, *endio.Op) {
			completed.Add(1)
			wg.Done()
		}}
	}
	for i := range ops {
		if err := engine.Submit(&ops[i]); err != nil {
			return measurement{}, err
		}
	}
	after, err := residentMiB()
	inFlight := int64(len(ops)) - completed.Load()
	wg.Wait()
	if err := errors.Join(err, file.Close()); err != nil {
		return measurement{}, err
	}
	if inFlight < int64(len(ops))/2 {
		return measurement{}, fmt.Errorf("the device is too fast: only %d of %d were in flight at the reading", inFlight, len(ops))
	}
	return measurement{MiB: after - before, Allocs: -1, Note: fmt.Sprintf("%d were still in flight", inFlight)}, nil
}

// residentMiB returns the resident memory of the process.
func residentMiB() (float64, error) {
	var size, resident int64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("read /proc/self/statm: %w", err)
	}
	return float64(resident) * float64(os.Getpagesize()) / (1 << 20), nil
}
