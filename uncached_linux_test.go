// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
)

// residentPages returns how many pages of the file are in the page cache.
func residentPages(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Cachestat_t
	switch err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0); {
	case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP):
		t.Skipf("cachestat: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	return int(st.Cache)
}

// uncachedDir is a directory whose files need not be in the page cache.
func uncachedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		t.Skip("files of tmpfs are in the page cache and nowhere else")
	}
	return dir
}

// newUncached returns an engine with an empty file whose transfers leave nothing.
func newUncached(t *testing.T) (e *endio.Engine, f *endio.File, path string) {
	t.Helper()
	path = filepath.Join(uncachedDir(t), "file")
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err = e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600, endio.Uncached)
	if err != nil {
		t.Fatal(errors.Join(err, e.Close()))
	}
	return e, f, path
}

const uncachedBytes = 12 << 20 // more than what an open file leaves behind

// TestUncachedLeavesNothing writes new blocks, overwrites them and reads them, at
// random and in order, in all contexts, and looks at the page cache afterwards.
func TestUncachedLeavesNothing(t *testing.T) {
	dir := uncachedDir(t)
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, way := range []string{"blocking", "caller", "task", "inline"} {
		for _, size := range []int{5000, 128 << 10} {
			for _, random := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/random=%t", way, size, random), func(t *testing.T) {
					path := filepath.Join(dir, "file")
					defer os.Remove(path)
					for pass := range byte(2) { // new blocks, then overwrites
						f, err := e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600, endio.Uncached)
						if err != nil {
							t.Fatal(err)
						}
						uncachedPass(t, e, f, way, endio.Write, size, random, pass)
						if err := f.Sync(); err != nil {
							t.Fatal(err)
						}
						if n := residentPages(t, path); n != 0 {
							t.Errorf("pass %d: %d pages are resident after Sync", pass, n)
						}
						uncachedPass(t, e, f, way, endio.Read, size, random, pass)
						uncachedPass(t, e, f, way, endio.Write, size, random, pass)
						if err := f.Close(); err != nil {
							t.Fatal(err)
						}
						if n := residentPages(t, path); n != 0 {
							t.Errorf("pass %d: %d pages are resident after Close", pass, n)
						}
					}
				})
			}
		}
	}
}

// TestUncachedIdle looks for a file that stays open to leave the page cache.
func TestUncachedIdle(t *testing.T) {
	e, f, path := newUncached(t)
	defer e.Close()
	uncachedPass(t, e, f, "blocking", endio.Write, 128<<10, false, 1)
	for start := time.Now(); residentPages(t, path) != 0; time.Sleep(10 * time.Millisecond) { // sleep: looks at the kernel at intervals
		if time.Since(start) > time.Minute {
			t.Fatalf("%d pages are resident after a minute", residentPages(t, path))
		}
	}
	uncachedPass(t, e, f, "blocking", endio.Read, 128<<10, false, 1)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := residentPages(t, path); n != 0 {
		t.Errorf("%d pages are resident after Close", n)
	}
}

// TestUncachedForeign maps a page of the file, which then can't go: Sync gives up on
// it, and the next one after it was unmapped takes it with the rest.
func TestUncachedForeign(t *testing.T) {
	e, f, path := newUncached(t)
	defer e.Close()
	defer f.Close()
	write := func() {
		t.Helper()
		if _, err := f.WriteAt(make([]byte, 64<<10), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	write()
	foreign, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	mapped, err := unix.Mmap(int(foreign.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if mapped[0] != 0 {
		t.Error("wrong data")
	}
	for range 2 { // it waits the first time only
		write()
		if n := residentPages(t, path); n == 0 {
			t.Error("no page is resident, and one is mapped")
		}
	}
	if err := unix.Munmap(mapped); err != nil {
		t.Fatal(err)
	}
	write()
	if n := residentPages(t, path); n != 0 {
		t.Errorf("%d pages are resident after they were unmapped", n)
	}
}

// pattern fills b with what belongs at off.
func pattern(b []byte, off int64, pass byte) {
	for i := range b {
		at := off + int64(i)
		b[i] = byte(at) ^ byte(at>>12) ^ byte(at>>20) + pass
	}
}

// uncachedPass transfers the whole file from four goroutines; reads are compared.
func uncachedPass(t *testing.T, e *endio.Engine, f *endio.File, way string, kind endio.Kind, size int, random bool, pass byte) {
	t.Helper()
	n := uncachedBytes / size
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	if random {
		order = rand.New(rand.NewPCG(1, 2)).Perm(n)
	}
	const workers = 4
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			buf, want := make([]byte, size), make([]byte, size)
			transfer := transferIn(t, e, way)
			defer transfer(nil)
			for i := w; i < n; i += workers {
				off := int64(order[i]) * int64(size)
				pattern(want, off, pass)
				if kind == endio.Write {
					copy(buf, want)
				}
				op := &endio.Op{File: f, Kind: kind, Buf: buf, Off: off}
				transfer(op)
				if op.Err != nil || op.N != size {
					t.Errorf("%v at %d: %d bytes, %v", kind, off, op.N, op.Err)
					return
				}
				if kind == endio.Read && !bytes.Equal(buf, want) {
					t.Errorf("read at %d: wrong data", off)
					return
				}
			}
		})
	}
	wg.Wait()
}

// transferIn returns what does one operation in a context and waits for it; nil
// ends it.
func transferIn(t *testing.T, e *endio.Engine, way string) func(*endio.Op) {
	switch way {
	case "blocking":
		return func(op *endio.Op) {
			switch {
			case op == nil:
			case op.Kind == endio.Write:
				op.N, op.Err = op.File.WriteAt(op.Buf, op.Off)
			default:
				op.N, op.Err = op.File.ReadAt(op.Buf, op.Off)
			}
		}
	case "caller":
		q, err := e.NewQueue(endio.QueueOptions{})
		if err != nil {
			t.Error(err)
			return func(*endio.Op) {}
		}
		return func(op *endio.Op) {
			if op == nil {
				if err := q.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			op.Done = func(*endio.Context, *endio.Op) {}
			if err := q.Submit(op); err != nil {
				t.Error(err)
			}
			if err := q.Drain(); err != nil {
				t.Error(err)
			}
		}
	default:
		done := make(chan struct{}, 1)
		return func(op *endio.Op) {
			if op == nil {
				return
			}
			op.In = endio.Inline
			if way == "task" {
				op.In = endio.Task
			}
			op.Done = func(*endio.Context, *endio.Op) { done <- struct{}{} }
			if err := e.Submit(op); err != nil {
				t.Error(err)
				return
			}
			<-done
		}
	}
}

// TestUncachedReshape changes the size and the allocation of an uncached file at offsets
// within blocks, of which the system makes a part zeros in the page cache.
func TestUncachedReshape(t *testing.T) {
	for _, kind := range []string{"here", "ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := uncachedDir(t)
			if kind != "here" {
				dir = mounted(t, kind, 400<<20)
			}
			backends(t, func(t *testing.T, e *endio.Engine) {
				b, _ := e.Backend()
				path := filepath.Join(dir, string(b))
				if err := os.WriteFile(path, make([]byte, 64*block), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := e.OpenFile(path, os.O_RDWR, 0, endio.Uncached)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.WriteAt(bytes.Repeat([]byte("x"), 64*block), 0); err != nil {
					t.Fatal(err)
				}
				const odd = 10*block + 100
				for _, step := range []struct {
					name string
					do   func() error
				}{
					{"write", func() error { return nil }},
					{"punch a hole", func() error { return f.PunchHole(odd, 3*block) }},
					{"zero a range", func() error { return f.Fallocate(endio.FallocZeroRange, 20*block+100, 3*block) }},
					{"truncate", func() error { return f.Truncate(32*block + 100) }},
					{"grow", func() error { return f.Truncate(40*block + 100) }},
					{"allocate", func() error { return f.Fallocate(endio.FallocAllocate, 50*block+100, block) }},
				} {
					if err := step.do(); errors.Is(err, unix.EOPNOTSUPP) {
						t.Logf("%s: %v", step.name, err)
						continue
					} else if err != nil {
						t.Fatal(err)
					}
					if err := f.Sync(); err != nil {
						t.Fatal(err)
					}
					if n := residentPages(t, path); n != 0 {
						t.Errorf("%s: %d pages are resident, want 0", step.name, n)
					}
				}
			})
		})
	}
}
