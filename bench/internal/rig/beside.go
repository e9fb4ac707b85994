// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"endio"
)

// measureBeside has one small reader of a file, while Spec.Count operations are kept in
// flight on another open file. The figures are the reader's, but for those of the
// flood. Spec.How says what the reader is; on os.File, if e is nil, both make
// blocking calls, a goroutine for each operation.
func measureBeside(s Spec, e *endio.Engine) (Measurement, error) {
	meter, rec := newMeter(s), newRecorder()
	var stop atomic.Bool
	var flooded atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, s.Count+1) // one for each goroutine that may fail
	fail := func(err error) {
		stop.Store(true)
		errs <- err
	}

	flood, err := openCalls(s, e)
	if err != nil {
		return nil, err
	}
	if e == nil {
		for i := range s.Count {
			wg.Go(func() {
				buf, at := mapped(s.Block), newOffsets(s, uint64(i)+2)
				for !stop.Load() {
					if _, err := flood.ReadAt(buf, at.get()); err != nil {
						fail(err)
						return
					}
					flooded.Add(1)
				}
			})
		}
	} else if err := floodEngine(s, e, flood.(*endio.File), &stop, &flooded, &wg, fail); err != nil {
		return nil, err
	}

	file, err := openCalls(s, e)
	if err != nil {
		return nil, err
	}
	read := file.ReadAt
	if s.How == "beside task" {
		read = readTask(e, file.(*endio.File))
	}
	wg.Go(func() {
		buf, at := mapped(s.Block), newOffsets(s, 1)
		for !stop.Load() {
			start := time.Now()
			if _, err := read(buf, at.get()); err != nil {
				fail(err)
				return
			}
			if meter.measuring.Load() {
				rec.add(time.Since(start))
			}
		}
	})
	var counts []int64
	p := meter.run(func() { counts = append(counts, flooded.Load()) }, func() { stop.Store(true) })
	wg.Wait()
	close(errs)
	for failed := range errs {
		err = errors.Join(err, failed)
	}
	if err := errors.Join(err, file.Close(), flood.Close()); err != nil {
		return nil, err
	}
	m, err := result(s, p, rec)
	if err == nil {
		m[FloodKIOPS] = float64(counts[1]-counts[0]) / p.elapsed.Seconds() / 1e3
		delete(m, CPU) // it is mostly that of the flood
	}
	return m, err
}

// floodEngine keeps operations in flight whose handlers run on workers. Their buffers
// are few: nobody looks at what was read.
func floodEngine(s Spec, e *endio.Engine, file *endio.File, stop *atomic.Bool, flooded *atomic.Int64, wg *sync.WaitGroup, fail func(error)) error {
	var mu sync.Mutex // guards at
	at, buf := newOffsets(s, 2), e.AlignedBuffer(s.Block)
	wg.Add(s.Count)
	for i := range s.Count {
		op := &endio.Op{File: file, Kind: endio.Read, In: endio.Task, Buf: buf, Off: at.get()}
		op.Done = func(c *endio.Context, op *endio.Op) {
			flooded.Add(1)
			err := op.Err
			if err == nil && !stop.Load() {
				mu.Lock()
				op.Off = at.get()
				mu.Unlock()
				if err = c.Submit(op); err == nil {
					return
				}
			}
			if err != nil {
				fail(err)
			}
			wg.Done()
		}
		mu.Lock() // handlers run already
		err := e.Submit(op)
		mu.Unlock()
		if err != nil {
			stop.Store(true)
			wg.Add(i - s.Count)
			wg.Wait()
			return err
		}
	}
	return nil
}

// readTask returns a read whose handler runs on a worker.
func readTask(e *endio.Engine, file *endio.File) func([]byte, int64) (int, error) {
	done := make(chan struct{}, 1)
	op := &endio.Op{File: file, Kind: endio.Read, In: endio.Task, Done: func(*endio.Context, *endio.Op) { done <- struct{}{} }}
	return func(buf []byte, off int64) (int, error) {
		op.Buf, op.Off = buf, off
		if err := e.Submit(op); err != nil {
			return 0, err
		}
		<-done
		return op.N, op.Err
	}
}
