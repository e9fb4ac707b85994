// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio"
)

// BenchmarkRead measures 4 KiB random direct reads of one file in each context and
// depth: kIOPS, and CPU seconds for a million. ENDIO_BENCH_FILE names a file or
// block device to read; without it a file of 256 MiB is made here.
// `make bench-peers` compares with fio and os.File.
func BenchmarkRead(b *testing.B) {
	path := os.Getenv("ENDIO_BENCH_FILE")
	if path == "" {
		path = benchFile(b, 256<<20)
	}
	e, err := endio.Open(endio.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	f, err := e.OpenFile(path, os.O_RDONLY, 0, endio.Direct)
	if err != nil {
		b.Skip(err)
	}
	size, err := f.Size()
	if err != nil {
		b.Fatal(err)
	}
	blocks := size / block
	for _, depth := range []int{1, 16, 64} {
		bufs, err := e.NewBuffers(depth, block)
		if err != nil {
			b.Fatal(err)
		}
		for _, way := range []string{"caller", "task", "inline", "blocking", "os"} {
			b.Run(fmt.Sprintf("%s/depth=%d", way, depth), func(b *testing.B) {
				b.ReportAllocs()
				cpu, start := cpuTime(), time.Now()
				switch way {
				case "caller":
					benchCaller(b, e, f, bufs, depth, blocks)
				case "task":
					benchAsync(b, e, f, bufs, endio.Task, depth, blocks)
				case "inline":
					benchAsync(b, e, f, bufs, endio.Inline, depth, blocks)
				case "blocking":
					benchBlocking(b, f.ReadAt, bufs, depth, blocks)
				case "os":
					of, err := os.OpenFile(path, os.O_RDONLY|directFlag, 0)
					if err != nil {
						b.Skip(err)
					}
					defer of.Close()
					benchBlocking(b, of.ReadAt, bufs, depth, blocks)
				}
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds()/1000, "kIOPS")
				b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-s/M")
			})
		}
	}
}

// benchFile makes a file of size bytes in the working directory.
func benchFile(b *testing.B, size int64) string {
	f, err := os.CreateTemp(".", "testdata-tmp-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.Remove(f.Name()) })
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	for at := int64(0); at < size; at += int64(len(chunk)) {
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	return f.Name()
}

func benchCaller(b *testing.B, e *endio.Engine, f *endio.File, bufs *endio.Buffers, depth int, blocks int64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	left := b.N
	done := func(c *endio.Context, op *endio.Op) {
		if op.Err != nil {
			b.Error(op.Err)
		}
		if left--; left < 0 {
			return
		}
		op.Off = rng.Int64N(blocks) * block
		if err := c.Submit(op); err != nil {
			b.Error(err)
		}
	}
	for range min(depth, b.N) {
		left--
		buf := bufs.Get()
		defer bufs.Put(buf)
		op := &endio.Op{File: f, Buf: buf, Off: rng.Int64N(blocks) * block, Done: done}
		if err := q.Submit(op); err != nil {
			b.Fatal(err)
		}
	}
	if err := q.Drain(); err != nil {
		b.Fatal(err)
	}
}

func benchAsync(b *testing.B, e *endio.Engine, f *endio.File, bufs *endio.Buffers, in endio.Where, depth int, blocks int64) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var ended sync.WaitGroup
	for range min(depth, b.N) {
		left.Add(-1)
		ended.Add(1)
		buf := bufs.Get()
		defer bufs.Put(buf)
		rng := rand.New(rand.NewPCG(1, uint64(depth)))
		op := &endio.Op{File: f, In: in, Buf: buf, Off: rng.Int64N(blocks) * block}
		op.Done = func(c *endio.Context, op *endio.Op) {
			if op.Err != nil {
				b.Error(op.Err)
			}
			if left.Add(-1) < 0 {
				ended.Done()
				return
			}
			op.Off = rng.Int64N(blocks) * block
			if err := c.Submit(op); err != nil {
				b.Error(err)
				ended.Done()
			}
		}
		if err := e.Submit(op); err != nil {
			b.Fatal(err)
		}
	}
	ended.Wait()
}

func benchBlocking(b *testing.B, readAt func([]byte, int64) (int, error), bufs *endio.Buffers, depth int, blocks int64) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for g := range depth {
		buf := bufs.Get()
		defer bufs.Put(buf)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for left.Add(-1) >= 0 {
				if _, err := readAt(buf, rng.Int64N(blocks)*block); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
