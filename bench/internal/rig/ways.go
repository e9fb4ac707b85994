// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"endio"
	"endio/machine/host"
)

// measureHandlers keeps the depth in flight from handlers on workers or on the
// reaper. Where there is a hand-off, the handler on the reaper gives the operation to
// a worker goroutine and does nothing else, as the kernel's dio workqueue has it, and
// most Go programs with a reaper.
func measureHandlers(s Spec, e *endio.Engine) (Measurement, error) {
	files, err := openFiles(s, e)
	if err != nil {
		return nil, err
	}
	meter, rec, at := newMeter(s), newRecorder(), newOffsets(s, 1)
	var mu sync.Mutex // guards rec, at and failed
	var failed error
	var stop atomic.Bool
	var wg sync.WaitGroup
	ops, err := newOps(s, e, files, at)
	if err != nil {
		return nil, err
	}
	wg.Add(len(ops))
	// handle counts op and says whether it is to start again; else its turn is over.
	handle := func(op *endio.Op) bool {
		now := time.Now()
		mu.Lock()
		if meter.measuring.Load() {
			rec.add(now.Sub(*op.User.(*time.Time)))
		}
		failed = errors.Join(failed, op.Err)
		again := !stop.Load() && failed == nil
		op.Off = at.get()
		mu.Unlock()
		*op.User.(*time.Time) = now
		if !again {
			wg.Done()
		}
		return again
	}
	done := func(c *endio.Context, op *endio.Op) {
		if handle(op) && c.Submit(op) != nil { // the direct call: through a func value its arguments are allocated
			wg.Done() // it was not started; Open and Close alone can bring that about
		}
	}
	if s.How == "handoff" {
		work, worked := make(chan *endio.Op, len(ops)), make(chan struct{})
		done = func(_ *endio.Context, op *endio.Op) { work <- op }
		go func() {
			var again []*endio.Op
			for op := range work {
				again = again[:0]
				for more := true; more; {
					if handle(op) {
						again = append(again, op)
					}
					select {
					case op, more = <-work:
					default:
						more = false
					}
				}
				if e.Submit(again...) != nil { // none was started
					wg.Add(-len(again))
				}
			}
			close(worked)
		}()
		defer func() { close(work); <-worked }()
	}
	for _, op := range ops {
		op.In = endio.Task
		if s.How != "task" {
			op.In = endio.Inline
		}
		op.Done = done
		*op.User.(*time.Time) = time.Now()
	}
	if err := e.Submit(ops...); err != nil {
		return nil, err
	}
	var stats []endio.Stats
	p := meter.run(func() { stats = append(stats, e.Stats()) }, func() { stop.Store(true) })
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	m, err := result(s, p, rec)
	if runs := stats[1].TaskRuns - stats[0].TaskRuns; err == nil && runs > 0 {
		m[PerRun] = float64(stats[1].Task-stats[0].Task) / float64(runs)
	}
	return m, err
}

// A readerWriterAt is an os.File or an endio.File.
type readerWriterAt interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
	Close() error
}

// measureCalls makes blocking calls, a goroutine for each of the depth; on
// os.File if e is nil.
func measureCalls(s Spec, e *endio.Engine) (Measurement, error) {
	file, err := openCalls(s, e)
	if err != nil {
		return nil, err
	}
	m, err := loops(s, func(seed int, once func(func() error) bool) {
		buf, at := mapped(s.Block), newOffsets(s, uint64(seed))
		// One closure for all calls: it counts among the allocations.
		do := func() error {
			if s.Write {
				_, err := file.WriteAt(buf, at.get())
				return err
			}
			_, err := file.ReadAt(buf, at.get())
			return err
		}
		for once(do) {
		}
	})
	return m, errors.Join(err, file.Close())
}

// measurePread makes the system call and nothing else, on one thread which the Go
// scheduler does not hear of: what reading costs whoever asks the kernel to do it.
func measurePread(s Spec, _ *endio.Engine) (Measurement, error) {
	file, err := os.OpenFile(s.Path, s.flags(), 0)
	if err != nil {
		return nil, err
	}
	m, err := oneLoop(s, func(meter *meter, rec *recorder, stop *atomic.Bool) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		buf, at, fd := mapped(s.Block), newOffsets(s, 1), file.Fd()
		begun := time.Now()
		for !stop.Load() {
			n, _, errno := syscall.RawSyscall6(syscall.SYS_PREAD64, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), uintptr(at.get()), 0, 0)
			if errno != 0 || int(n) != len(buf) {
				return fmt.Errorf("pread: %d bytes of %d: %w", int(n), len(buf), errno)
			}
			now := time.Now()
			if meter.measuring.Load() {
				rec.add(now.Sub(begun))
			}
			begun = now
		}
		return nil
	})
	return m, errors.Join(err, file.Close())
}

// openCalls opens the file for blocking calls; as an os.File if e is nil.
func openCalls(s Spec, e *endio.Engine) (readerWriterAt, error) {
	if e == nil {
		return os.OpenFile(s.Path, s.flags(), 0)
	}
	return e.OpenFile(s.Path, openFlags, 0, s.options()...)
}

// measureFdatasync is the log on os.File: each goroutine writes a record into
// the page cache and makes it durable.
func measureFdatasync(s Spec, _ *endio.Engine) (Measurement, error) {
	file, err := os.OpenFile(s.Path, openFlags, 0)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	group := int64(max(1, s.Count)) // records that are written together
	m, err := loops(s, func(_ int, once func(func() error) bool) {
		buf := mapped(s.Block * int(group))
		do := func() error {
			off := (next.Add(1) - 1) % (s.Bytes / int64(len(buf))) * int64(len(buf))
			if _, err := file.WriteAt(buf, off); err != nil {
				return err
			}
			return unix.Fdatasync(int(file.Fd()))
		}
		for once(do) {
		}
	})
	for _, f := range []struct {
		figure string
		times  float64
	}{{Commits, float64(group)}, {CPU, 1 / float64(group)}} {
		if v, ok := m[f.figure]; ok {
			m[f.figure] = v * f.times
		}
	}
	return m, errors.Join(err, file.Close())
}

// measureGroups is the log of as many committers as the depth, each of which has
// one record at a time: the records that wait when others have become durable
// are written together, direct, as one operation that is durable when it ends.
func measureGroups(s Spec, e *endio.Engine) (Measurement, error) {
	file, err := e.OpenFile(s.Path, openFlags, 0, endio.Direct)
	if err != nil {
		return nil, err
	}
	return oneLoop(s, func(meter *meter, rec *recorder, stop *atomic.Bool) error {
		return groupLoop(s, e, file, meter, rec, stop)
	})
}

func groupLoop(s Spec, e *endio.Engine, file *endio.File, meter *meter, rec *recorder, stop *atomic.Bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := e.NewQueue(endio.QueueOptions{Depth: max(2, s.Depth)})
	if err != nil {
		return err
	}
	buffers, err := e.NewBuffers(s.Depth, s.Block)
	if err != nil {
		return err
	}
	var waiting [][]byte // records of committers that are not being written
	for range s.Depth {
		waiting = append(waiting, buffers.Get())
	}
	var failed error
	next := int64(0)
	for failed == nil && (q.InFlight() > 0 || !stop.Load()) {
		if len(waiting) > 0 && !stop.Load() {
			if next+int64(len(waiting)*s.Block) > s.Bytes {
				next = 0
			}
			records, start := waiting, time.Now()
			waiting = nil
			op := &endio.Op{File: file, Kind: endio.Write, DSync: true, Bufs: records, Off: next, Done: func(_ *endio.Context, op *endio.Op) {
				failed = errors.Join(failed, op.Err)
				for range records {
					if meter.measuring.Load() {
						rec.add(time.Since(start))
					}
				}
				waiting = append(waiting, records...)
			}}
			next += int64(len(records) * s.Block)
			if err := q.Submit(op); err != nil {
				return err
			}
		}
		if _, err := q.Reap(1); err != nil {
			return err
		}
	}
	return errors.Join(failed, q.Close())
}

// loops runs body in a goroutine for each of the depth. body does its operations
// through once, which times them and says whether to go on. What counts is when an
// operation begins: one that waits beyond the end counts with all its time.
func loops(s Spec, body func(seed int, once func(func() error) bool)) (Measurement, error) {
	meter := newMeter(s)
	var stop atomic.Bool
	var wg sync.WaitGroup
	recorders, errs := make([]*recorder, s.Depth), make([]error, s.Depth)
	for i := range s.Depth {
		recorders[i] = newRecorder()
		wg.Go(func() {
			body(i, func(do func() error) bool {
				start, measured := time.Now(), meter.measuring.Load()
				if errs[i] = do(); errs[i] != nil {
					stop.Store(true)
				}
				if measured {
					recorders[i].add(time.Since(start))
				}
				return !stop.Load()
			})
		})
	}
	p := meter.run(func() {}, func() { stop.Store(true) })
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	m, err := result(s, p, recorders...)
	if ios := m[KIOPS] * 1e3 * p.elapsed.Seconds(); err == nil && ios > 0 {
		m[P99Turn] = float64(fair(time.Duration(float64(s.Depth)*float64(p.elapsed)/ios), recorders).ValueAtPercentile(99)) / 1e3
	}
	return m, err
}

// fair returns the times of operations as those see them who want one every turn, the
// mean time from one operation of a goroutine to its next: one that takes longer
// counts as all those that it keeps from starting as well. A few goroutines that do most
// of the operations, while others wait for a processor, would else hide those who wait.
// It is the correction for coordinated omission of HdrHistogram.
func fair(turn time.Duration, recorders []*recorder) *hdrhistogram.Histogram {
	fair := newRecorder().hist
	for _, r := range recorders {
		for _, bar := range r.hist.Distribution() {
			for v := bar.To; v > 0; v -= max(1, int64(turn)) {
				_ = fair.RecordValues(v, bar.Count)
			}
		}
	}
	return fair
}

// mapped returns n bytes that are aligned for direct I/O.
func mapped(n int) []byte {
	buf, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err) // no memory at all
	}
	return buf
}

// A dontCache reads and writes with RWF_DONTCACHE and does nothing else.
type dontCache struct{ *os.File }

func (f dontCache) ReadAt(p []byte, off int64) (int, error) {
	return unix.Preadv2(int(f.Fd()), [][]byte{p}, off, unix.RWF_DONTCACHE)
}

func (f dontCache) WriteAt(p []byte, off int64) (int, error) {
	return unix.Pwritev2(int(f.Fd()), [][]byte{p}, off, unix.RWF_DONTCACHE)
}

// measureStream transfers the whole file once, in order, from one goroutine;
// a write ends with a sync. It tells what stays in the page cache.
func measureStream(s Spec, e *endio.Engine) (Measurement, error) {
	plain, err := os.OpenFile(s.Path, openFlags, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(plain.Sync(), unix.Fadvise(int(plain.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		return nil, err
	}
	var file readerWriterAt
	switch s.How {
	case "buffered":
		file, err = os.OpenFile(s.Path, openFlags, 0)
	case "RWF_DONTCACHE":
		var f *os.File
		f, err = os.OpenFile(s.Path, openFlags, 0)
		file = dontCache{f}
	default:
		file, err = e.OpenFile(s.Path, openFlags, 0, endio.Uncached)
	}
	if err != nil {
		return nil, err
	}
	buf, start, before := mapped(s.Block), time.Now(), usage()
	for off := int64(0); off < s.Bytes; off += int64(len(buf)) {
		var n int
		if s.Write {
			n, err = file.WriteAt(buf, off)
		} else {
			n, err = file.ReadAt(buf, off)
		}
		if err != nil || n != len(buf) {
			return nil, fmt.Errorf("%d of %d bytes at %d: %w", n, len(buf), off, err)
		}
	}
	if s.Write {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	elapsed, cpu := time.Since(start), cpuOf(usage())-cpuOf(before)
	var st unix.Cachestat_t
	if err := unix.Cachestat(uint(plain.Fd()), &unix.CachestatRange{}, &st, 0); err != nil {
		return nil, fmt.Errorf("cachestat: %w", err)
	}
	mib := float64(s.Bytes) / (1 << 20)
	return Measurement{MiBs: mib / elapsed.Seconds(), CPUGiB: cpu.Seconds() / mib * 1024,
		Left: float64(st.Cache) * float64(os.Getpagesize()) / (1 << 20)}, plain.Close()
}

// inFlightCall is how many operations measureInFlight submits with one call: who has many to
// submit has no reason to make a call for each, which costs a system call where few are in flight, and none
// where the device is full.
const inFlightCall = 100

// measureInFlight submits as many operations as the spec says at once, each with
// an Op of its own, and waits for all. Submitting is faster than any device, so
// that most are in flight together; how many is one of the figures.
func measureInFlight(s Spec, e *endio.Engine) (Measurement, error) {
	files, err := openFiles(Spec{How: s.How, Path: s.Path, Cached: s.Cached}, e)
	if err != nil {
		return nil, err
	}
	at, buf := newOffsets(s, 1), e.AlignedBuffer(s.Block)
	ops, all := make([]endio.Op, s.Count), make([]*endio.Op, s.Count)
	var wg sync.WaitGroup
	wg.Add(len(ops))
	var failed atomic.Int64
	for i := range ops {
		all[i] = &ops[i]
		ops[i] = endio.Op{File: files[0], Kind: endio.Read, In: endio.Task, Buf: buf, Off: at.get(), Done: func(_ *endio.Context, op *endio.Op) {
			if op.Err != nil {
				failed.Add(1)
			}
			wg.Done()
		}}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	used := usage()
	// Few operations are submitted again and again, so that the start of the
	// process does not count.
	peak, passes := int64(0), max(1, 200_000/len(ops))
	for pass := range passes {
		if pass > 0 {
			wg.Add(len(ops))
		}
		for some := range slices.Chunk(all, inFlightCall) {
			if err := e.Submit(some...); err != nil {
				return nil, err
			}
		}
		peak = max(peak, e.Stats().InFlight)
		wg.Wait()
	}
	cpu := cpuOf(usage()) - cpuOf(used)
	runtime.ReadMemStats(&after)
	if n := failed.Load(); n > 0 {
		return nil, fmt.Errorf("%d of %d operations failed", n, len(ops))
	}
	n := float64(len(ops) * passes)
	return Measurement{CPU: cpu.Seconds() / n * 1e6, AtOnce: float64(peak), BytesOp: float64(after.TotalAlloc-before.TotalAlloc) / n}, nil
}

// held are the faults of measureHeld: a device that gives no answer for a while.
var held host.Faults

// measureHeld submits as many operations as the spec says, each with an Op of its own
// and all with the same buffer, to a device that holds back what it has done, and
// returns the resident memory that they cost while all of them are in flight. Then
// all complete.
func measureHeld(s Spec, e *endio.Engine) (Measurement, error) {
	file, err := e.OpenFile(s.Path, openFlags, 0, s.options()...)
	if err != nil {
		return nil, err
	}
	at, buf := newOffsets(s, 1), e.AlignedBuffer(s.Block)
	held.Hold()
	defer held.Release() // or the engine could not be closed
	before, err := residentMiB()
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	var completed, failed atomic.Int64
	ops := make([]endio.Op, s.Count)
	for i := range ops {
		ops[i] = endio.Op{File: file, Kind: endio.Read, In: endio.Task, Buf: buf, Off: at.get(), Done: func(_ *endio.Context, op *endio.Op) {
			if completed.Add(1); op.Err != nil {
				failed.Add(1)
			}
			wg.Done()
		}}
		wg.Add(1)
		if err := e.Submit(&ops[i]); err != nil {
			return nil, err
		}
	}
	after, err := residentMiB()
	inFlight := min(e.Stats().InFlight, int64(len(ops))-completed.Load())
	held.Release()
	wg.Wait()
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	switch {
	case failed.Load() > 0:
		return nil, fmt.Errorf("%d of %d operations failed", failed.Load(), len(ops))
	case inFlight != int64(len(ops)):
		return nil, fmt.Errorf("only %d of %d operations were in flight when memory was read", inFlight, len(ops))
	}
	return Measurement{Resident: after - before, Held: float64(inFlight)}, nil
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
