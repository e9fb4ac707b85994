// SPDX-License-Identifier: Apache-2.0

package fscheck

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
	"endio/machine/host"
)

// everyWay does a transfer in all contexts and as a call, and returns the errors.
func everyWay(e *endio.Engine, f *endio.File, kind endio.Kind, buf []byte, off int64) (map[string]error, error) {
	q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
	if err != nil {
		return nil, err
	}
	errs := make(map[string]error)
	op := func() *endio.Op {
		return &endio.Op{File: f, Kind: kind, Buf: buf, Off: off, Done: func(*endio.Context, *endio.Op) {}}
	}
	byOwner := op()
	if err := errors.Join(q.Submit(byOwner), q.Close()); err != nil {
		return nil, err
	}
	errs["caller"] = byOwner.Err
	for _, in := range []endio.Where{endio.Inline, endio.Task} {
		o := op()
		o.In = in
		done := make(chan struct{})
		o.Done = func(*endio.Context, *endio.Op) { close(done) }
		if err := e.Submit(o); err != nil {
			return nil, err
		}
		<-done
		errs[in.String()] = o.Err
	}
	if kind == endio.Read {
		_, err = f.ReadAt(buf, off)
	} else {
		_, err = f.WriteAt(buf, off)
	}
	errs["call"] = err
	return errs, nil
}

// wantEverywhere checks that a transfer fails in all ways with one of the errors.
func wantEverywhere(e *endio.Engine, f *endio.File, kind endio.Kind, buf []byte, off int64, want ...error) error {
	errs, err := everyWay(e, f, kind, buf, off)
	if err != nil {
		return err
	}
	for way, got := range errs {
		ok := false
		for _, w := range want {
			ok = ok || errors.Is(got, w) || w == nil && got == nil
		}
		if !ok {
			return fmt.Errorf("%v (%s) = %v, want %v", kind, way, got, want)
		}
		if got != nil && got != io.EOF && !strings.Contains(got.Error(), f.Name()) {
			return fmt.Errorf("%v (%s): the error does not name the file: %v", kind, way, got)
		}
	}
	return nil
}

func TestNoSpace(t *testing.T) {
	eachFS(t, func(t *testing.T, m *mount, b endio.Backend) {
		if m.device == "" {
			t.Skip("would fill the file system of the working directory")
		}
		e := openEngine(t, endio.Options{Backend: b})
		path := filepath.Join(m.dir, "full")
		defer os.Remove(path)
		f, err := e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600, endio.Direct)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		buf := e.AlignedBuffer(4 << 20)
		off := int64(0)
		for ; err == nil && off < 1<<30; off += int64(len(buf)) {
			_, err = f.WriteAt(buf, off)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("after %d MiB: %v, want ENOSPC", off>>20, err)
		}
		if err := f.Fallocate(endio.FallocAllocate, 0, 1<<40); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EFBIG) {
			t.Errorf("Fallocate = %v, want ENOSPC", err)
		}
		if err := wantEverywhere(e, f, endio.Write, buf, off+1<<20, syscall.ENOSPC); err != nil {
			t.Error(err)
		}
		// What is there can still be read, and space can be had again.
		if _, err := f.ReadAt(buf[:4096], 0); err != nil {
			t.Error(err)
		}
		if err := f.Truncate(0); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		if _, err := f.WriteAt(buf, 0); err != nil {
			t.Errorf("write after the truncation: %v", err)
		}
	})
}

// TestShutDown takes the file system away beneath I/O in flight.
func TestShutDown(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		for _, b := range backendKinds {
			t.Run(kind+"/"+string(b), func(t *testing.T) {
				m := mountFS(t, kind)
				e := openEngine(t, endio.Options{Backend: b, Depth: 8})
				f, err := e.OpenFile(filepath.Join(m.dir, "file"), os.O_RDWR|os.O_CREATE, 0o600, endio.Direct)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				var wg sync.WaitGroup
				var failed atomic.Int64
				for i := range 200 {
					wg.Add(1)
					op := &endio.Op{File: f, Kind: endio.Write, In: endio.Where(i % 2), Buf: e.AlignedBuffer(4096), Off: int64(i) * 4096,
						Done: func(_ *endio.Context, op *endio.Op) {
							defer wg.Done()
							if op.Err != nil {
								failed.Add(1)
							}
						}}
					if err := e.Submit(op); err != nil {
						t.Fatal(err)
					}
					if i == 100 {
						dir, err := os.Open(m.dir)
						if err != nil {
							t.Fatal(err)
						}
						err = unix.IoctlSetPointerInt(int(dir.Fd()), 0x8004587d, 2) // FS_IOC_SHUTDOWN, without the log
						dir.Close()
						if err != nil {
							t.Skip(err)
						}
					}
				}
				wg.Wait()
				if failed.Load() == 0 {
					t.Error("no write failed on a file system that is gone")
				}
				if err := wantEverywhere(e, f, endio.Write, e.AlignedBuffer(4096), 0, syscall.EIO); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); !errors.Is(err, syscall.EIO) {
					t.Errorf("Sync = %v, want EIO", err)
				}
			})
		}
	}
}

// loopDevice makes a loop device over backing, which detach takes apart. It skips the test
// where there is none.
func loopDevice(t *testing.T, backing string) (device string, detach func()) {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", backing).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	return device, func() {
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// TestDeviceShrinks uses a loop device as a file, and truncates what is behind it.
func TestDeviceShrinks(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root, for a loop device")
			}
			backing := filepath.Join(t.TempDir(), "backing")
			if err := os.WriteFile(backing, make([]byte, 8<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			device, detach := loopDevice(t, backing)
			defer detach()
			e := openEngine(t, endio.Options{Backend: b})
			f, err := e.OpenFile(device, os.O_RDWR, 0, endio.Direct)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			buf := e.AlignedBuffer(4096)
			if size, err := f.Size(); size != 8<<20 || err != nil {
				t.Errorf("Size = %d, %v, want 8 MiB", size, err)
			}
			if err := wantEverywhere(e, f, endio.Read, buf, 6<<20, nil); err != nil {
				t.Error(err)
			}
			if err := os.Truncate(backing, 4<<20); err != nil {
				t.Fatal(err)
			}
			if err := wantEverywhere(e, f, endio.Read, buf, 6<<20, syscall.EIO, nil); err != nil {
				t.Error(err)
			}
			if err := wantEverywhere(e, f, endio.Write, buf, 9<<20, syscall.ENOSPC); err != nil {
				t.Error(err) // beyond the device
			}
			if err := wantEverywhere(e, f, endio.Read, buf, 1<<20, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDeviceFull writes to a loop device whose backing file has no blocks yet, on a file
// system that is smaller than it: what does not fit fails, in all ways, with the error of
// the device, and what did fit can be read.
func TestDeviceFull(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("needs root, for a loop device")
			}
			dir := t.TempDir()
			if err := unix.Mount("endio-test", dir, "tmpfs", 0, "size=2m"); err != nil {
				t.Skipf("no tmpfs can be mounted: %v", err)
			}
			defer func() {
				if err := unmount(dir); err != nil {
					t.Errorf("unmount: %v", err)
				}
			}()
			backing := filepath.Join(dir, "backing")
			if err := errors.Join(os.WriteFile(backing, nil, 0o600), os.Truncate(backing, 8<<20)); err != nil {
				t.Fatal(err)
			}
			device, detach := loopDevice(t, backing)
			defer detach()
			e := openEngine(t, endio.Options{Backend: b})
			f, err := e.OpenFile(device, os.O_RDWR, 0, endio.Direct)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			buf := e.AlignedBuffer(64 << 10)
			for i := range buf {
				buf[i] = 7
			}
			off := int64(0)
			for ; err == nil && off < 8<<20; off += int64(len(buf)) {
				_, err = f.WriteAt(buf, off)
			}
			if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
				t.Fatalf("after %d KiB on a device whose backing has room for 2 MiB: %v, want ENOSPC or EIO", off>>10, err)
			}
			if err := wantEverywhere(e, f, endio.Write, buf, 6<<20, syscall.ENOSPC, syscall.EIO); err != nil {
				t.Error(err)
			}
			got := e.AlignedBuffer(len(buf))
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, buf) {
				t.Errorf("what did fit: %v, or other data", err)
			}
		})
	}
}

func TestReadOnlyRemount(t *testing.T) {
	m := mountFS(t, "ext4")
	path := filepath.Join(m.dir, "file")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	e := openEngine(t, endio.Options{})
	if err := unix.Mount("", m.dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := e.OpenFile(path, os.O_RDWR, 0); !errors.Is(err, syscall.EROFS) {
		t.Errorf("OpenFile for writing = %v, want EROFS", err)
	}
	f, err := e.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := wantEverywhere(e, f, endio.Read, make([]byte, 4096), 0, nil); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyByError has ext4 find an error and make itself read-only (errors=remount-ro) while
// files are open for writing and I/O is in flight: writes fail and say why, in all
// ways, reads go on, and nothing hangs.
func TestReadOnlyByError(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			m := mountFS(t, "ext4")
			if err := unix.Mount("", m.dir, "", unix.MS_REMOUNT, "errors=remount-ro"); err != nil {
				t.Fatal(err)
			}
			e := openEngine(t, endio.Options{Backend: b, Depth: 8})
			f, err := e.OpenFile(filepath.Join(m.dir, "file"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want := bytes.Repeat([]byte("x"), 4096)
			if err := errors.Join(wantEverywhere(e, f, endio.Write, want, 0, nil), f.Sync()); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			var fine, refused atomic.Int64
			var writers sync.WaitGroup
			for w := range 4 {
				writers.Go(func() {
					for i := int64(1); ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						switch _, err := f.WriteAt(want, (i*4+int64(w))%512*4096+4096); {
						case err == nil:
							fine.Add(1)
						case errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO):
							refused.Add(1)
						default:
							t.Error(err)
							return
						}
					}
				})
			}
			for fine.Load() < 100 {
				time.Sleep(time.Millisecond) // sleep: until there is a load
			}
			trigger := filepath.Join("/sys/fs/ext4", filepath.Base(m.device), "trigger_fs_error")
			triggered := os.WriteFile(trigger, []byte("endio test"), 0)
			for triggered == nil && refused.Load() < 100 && !t.Failed() {
				time.Sleep(time.Millisecond) // sleep: until writers have noticed
			}
			close(stop)
			writers.Wait()
			if triggered != nil {
				t.Skipf("no error can be triggered here: %v", triggered)
			}
			if err := wantEverywhere(e, f, endio.Write, want, 0, syscall.EROFS, syscall.EIO); err != nil {
				t.Error(err)
			}
			if err := f.Truncate(0); !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EIO) {
				t.Errorf("Truncate = %v, want EROFS", err)
			}
			got := make([]byte, 4096)
			if err := wantEverywhere(e, f, endio.Read, got, 0, nil); err != nil || !bytes.Equal(got, want) {
				t.Errorf("reads do not go on: %v, or other data", err)
			}
			t.Logf("%d writes before, %d refused", fine.Load(), refused.Load())
		})
	}
}

func TestRemovedFile(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			e := openEngine(t, endio.Options{Backend: b})
			path := filepath.Join(t.TempDir(), "file")
			f, err := e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("x"), 4096)
			if err := wantEverywhere(e, f, endio.Write, want, 0, nil); err != nil {
				t.Error(err)
			}
			got := make([]byte, 4096)
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read from a removed file: %v", err)
			}
			if err := errors.Join(f.Sync(), f.Truncate(10), f.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForkBeside starts processes while I/O is in flight: no descriptor or memory
// of the rings may reach them or be disturbed by them.
func TestForkBeside(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			e := openEngine(t, endio.Options{Backend: b})
			f, err := e.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					want := bytes.Repeat([]byte{byte(w + 1)}, 8192)
					got := make([]byte, len(want))
					for {
						select {
						case <-stop:
							return
						default:
						}
						for _, o := range []*endio.Op{{Kind: endio.Write, Buf: want}, {Kind: endio.Read, Buf: got}} {
							done := make(chan struct{})
							o.File, o.Off, o.In = f, int64(w)*8192, endio.Task
							o.Done = func(*endio.Context, *endio.Op) { close(done) }
							if err := e.Submit(o); err != nil {
								t.Error(err)
								return
							}
							<-done
							if o.Err != nil {
								t.Error(o.Err)
								return
							}
						}
						if !bytes.Equal(got, want) {
							t.Error("read is not what was written")
							return
						}
					}
				})
			}
			for range 30 {
				out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
				if err != nil || strings.Contains(string(out), "io_uring") {
					t.Errorf("a child process: %v, its descriptors:\n%s", err, out)
					break
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}

// Limits of the process need one of its own.
func init() {
	children["fsize"] = fsizeChild
	children["nofile"] = nofileChild
	children["memlock"] = memlockChild
	children["memory"] = memoryChild
	children["nproc"] = nprocChild
	children["pids"] = pidsChild
	children["maxthreads"] = maxThreadsChild
	children["queues"] = queuesChild
}

func TestLimits(t *testing.T) {
	for _, name := range []string{"fsize", "nofile", "memlock", "memory", "nproc", "pids", "maxthreads", "queues"} {
		for _, b := range append(backendKinds, endio.Auto) {
			t.Run(name+"/"+string(b), func(t *testing.T) {
				// On a disk, where a sync takes its time; relative, so that another user gets there.
				dir, err := os.MkdirTemp(".", "testdata-tmp-")
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				runChild(t, name, "LIMIT_FILE="+filepath.Join(dir, "file"), "LIMIT_BACKEND="+string(b))
			})
		}
	}
}

// limited opens an engine and a file in a child.
func limited() (*endio.Engine, *endio.File, error) {
	threads, _ := strconv.Atoi(os.Getenv("LIMIT_THREADS"))
	e, err := endio.Open(endio.Options{Backend: endio.Backend(os.Getenv("LIMIT_BACKEND")), Shards: 2, Threads: threads})
	if err != nil {
		fmt.Println("skip:", err)
		os.Exit(0)
	}
	f, err := e.OpenFile(os.Getenv("LIMIT_FILE"), os.O_RDWR|os.O_CREATE, 0o600)
	return e, f, err
}

func fsizeChild() error {
	signal.Ignore(syscall.SIGXFSZ)
	e, f, err := limited()
	if err != nil {
		return err
	}
	const limit = 64 << 10
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	return errors.Join(
		wantEverywhere(e, f, endio.Write, make([]byte, 4096), 0, nil),
		wantEverywhere(e, f, endio.Write, make([]byte, 4096), limit, syscall.EFBIG),
		wantEverywhere(e, f, endio.Write, make([]byte, 8192), limit-4096, syscall.EFBIG), // short, then refused
		f.Close(), e.Close())
}

func nofileChild() error {
	e, f, err := limited()
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	n := uint64(null.Fd()) + 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
		return err
	}
	// Queues beyond the limit work, on threads; files say EMFILE.
	var queues []*endio.Queue
	for range 10 {
		q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
		if err != nil {
			return fmt.Errorf("queue %d: %w", len(queues), err)
		}
		queues = append(queues, q)
	}
	for _, q := range queues {
		op := &endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 4096), Done: func(*endio.Context, *endio.Op) {}}
		if err := errors.Join(q.Submit(op), q.Drain(), op.Err); err != nil {
			return err
		}
	}
	for {
		if _, err = e.OpenFile(os.Getenv("LIMIT_FILE"), os.O_RDONLY, 0); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("OpenFile without descriptors = %w, want EMFILE", err)
	}
	// An engine of its own falls back, or says why it can't.
	second, err := endio.Open(endio.Options{Shards: 1})
	if err == nil {
		err = second.Close()
	}
	if err != nil && !errors.Is(err, syscall.EMFILE) {
		return err
	}
	for _, q := range queues {
		if err := q.Close(); err != nil {
			return err
		}
	}
	return e.Close()
}

func memlockChild() error {
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 0, Max: 0}); err != nil {
		return err
	}
	if err := dropRoot(65534); err != nil {
		return err
	}
	e, f, err := limited()
	if err != nil {
		return err
	}
	if b, why := e.Backend(); os.Getenv("LIMIT_BACKEND") == string(endio.Auto) && b == endio.Threads && !strings.Contains(why, "RLIMIT_MEMLOCK, which is 0 KiB") {
		return fmt.Errorf("fell back to threads because of %q, want the limit named", why)
	}
	bufs, err := e.NewBuffers(16, 64<<10)
	if err != nil {
		return err
	}
	return errors.Join(wantEverywhere(e, f, endio.Write, bufs.Get(), 0, nil), wantEverywhere(e, f, endio.Read, bufs.Get(), 0, nil), f.Close(), e.Close())
}

// memoryChild has a memory limit below what is live: the collector runs all the time.
func memoryChild() error {
	debug.SetMemoryLimit(4 << 20)
	e, f, err := limited()
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for w := range errs {
		wg.Go(func() {
			for range 50 {
				errs[w] = errors.Join(errs[w], wantEverywhere(e, f, endio.Write, make([]byte, 64<<10), int64(w)<<20, nil))
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, f.Close(), e.Close())...)
}

// dropRoot makes the child another user's if it is root's, whom many limits do not bind.
func dropRoot(uid int) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return syscall.Setuid(uid)
}

// fewThreads is how many threads a process with a limit may have in these tests. The Go
// runtime ends a process that needs more.
const fewThreads = 64

// nprocChild bounds the threads of the user, who has no other process.
func nprocChild() error {
	if os.Geteuid() != 0 {
		fmt.Println("skip: needs root, for a user without other processes")
		return nil
	}
	if err := dropRoot(61234); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: fewThreads, Max: fewThreads}); err != nil {
		return err
	}
	return manyGoroutines()
}

// pidsChild bounds the threads of its cgroup.
func pidsChild() error {
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(root, fmt.Sprint("endio-test-", os.Getpid()))
		if err := os.Mkdir(dir, 0o700); err != nil {
			fmt.Println("skip: needs a cgroup:", err)
			return nil
		}
		// A cgroup can go when it is empty, so this process leaves it at the end.
		defer func() {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
			if err := os.Remove(dir); err != nil {
				fmt.Println(err)
			}
		}()
		if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.Itoa(fewThreads)), 0); err != nil {
			fmt.Println("skip: needs the cgroup controller pids:", err)
			return nil
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
		return manyGoroutines()
	}
	fmt.Println("skip: there are no cgroups")
	return nil
}

// maxThreadsChild bounds its threads by the Go runtime, which nobody can ask.
func maxThreadsChild() error {
	debug.SetMaxThreads(fewThreads)
	if err := os.Setenv("LIMIT_THREADS", "8"); err != nil {
		return err
	}
	return manyGoroutines()
}

// manyGoroutines has a thousand goroutines in blocking calls, a thousand handlers that
// block, ten queues, and syncs, which take a thread of the kernel.
func manyGoroutines() error {
	e, f, err := limited()
	if err != nil {
		return err
	}
	const n, queues = 1000, 10
	errs := make([]error, n+queues+1)
	var calls, handlers sync.WaitGroup
	release := make(chan struct{})
	for i := range n {
		handlers.Add(1)
		errs[n] = errors.Join(errs[n], e.Submit(&endio.Op{File: f, Kind: endio.Sync, In: endio.Task, Done: func(_ *endio.Context, op *endio.Op) {
			defer handlers.Done()
			if op.Err != nil {
				fmt.Println("sync:", op.Err)
			}
			<-release
		}}))
		calls.Go(func() {
			buf := make([]byte, 64<<10)
			for k := range 3 {
				_, err := f.WriteAt(buf, int64(i%50*3+k)<<16)
				errs[i] = errors.Join(errs[i], err)
			}
			errs[i] = errors.Join(errs[i], f.SyncData())
		})
	}
	for i := range queues {
		calls.Go(func() {
			q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
			if err != nil {
				errs[n+1+i] = err
				return
			}
			for range 20 {
				op := &endio.Op{File: f, Kind: endio.SyncData, Done: func(*endio.Context, *endio.Op) {}}
				errs[n+1+i] = errors.Join(errs[n+1+i], q.Submit(op), q.Drain(), op.Err)
			}
			errs[n+1+i] = errors.Join(errs[n+1+i], q.Close())
		})
	}
	calls.Wait()
	close(release)
	handlers.Wait()
	fmt.Println("threads at the end:", threads())
	return errors.Join(append(errs, f.Close(), e.Close())...)
}

// threads returns how many the process has.
func threads() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "Threads:")
	n, _ := strconv.Atoi(strings.Fields(after)[0])
	return n
}

// queuesChild has the owners of many queues wait at the same time, each in its own, for
// operations that get no answer until all do: LIMIT_QUEUES of them, with LIMIT_MAX threads of
// the Go runtime, which ends a process that needs more.
func queuesChild() error {
	n, limit := 600, 100
	if k, err := strconv.Atoi(os.Getenv("LIMIT_QUEUES")); err == nil {
		n, limit = k, 10000
	}
	debug.SetMaxThreads(limit)
	faults := &host.Faults{}
	e, err := endio.Open(endio.Options{Backend: endio.Backend(os.Getenv("LIMIT_BACKEND")), Shards: 2, Threads: min(limit/4, 512), Faults: faults})
	if err != nil {
		fmt.Println("skip:", err)
		os.Exit(0)
	}
	path := os.Getenv("LIMIT_FILE")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		return err
	}
	f, err := e.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	errs := make([]error, n)
	faults.Hold()
	var owners sync.WaitGroup
	for i := range errs {
		owners.Go(func() {
			q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
			if err != nil {
				errs[i] = err
				return
			}
			again := 3
			op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 512)}
			op.Done = func(c *endio.Context, op *endio.Op) {
				errs[i] = errors.Join(errs[i], op.Err)
				if again--; again > 0 {
					errs[i] = errors.Join(errs[i], c.Submit(op))
				}
			}
			err = q.Submit(op)
			for err == nil && q.InFlight() > 0 {
				_, err = q.Reap(1)
			}
			errs[i] = errors.Join(errs[i], err, q.Close())
		})
	}
	for faults.Counts()["hold"] < int64(n) {
		time.Sleep(time.Millisecond) // sleep: nobody is told of what is held
	}
	time.Sleep(50 * time.Millisecond) // sleep: for the last of them to wait
	most := threads()
	faults.Release()
	owners.Wait()
	fmt.Println(n, "owners waited;", most, "threads")
	return errors.Join(append(errs, f.Close(), e.Close())...)
}

// fullDevice returns a loop device of 8 MiB that has blocks for 2 MiB, all written.
func fullDevice(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a loop device")
	}
	dir := t.TempDir()
	if err := unix.Mount("endio-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	backing := filepath.Join(dir, "backing")
	if err := errors.Join(os.WriteFile(backing, make([]byte, 1<<20), 0o600), os.Truncate(backing, 8<<20)); err != nil {
		t.Fatal(err)
	}
	device, detach := loopDevice(t, backing)
	t.Cleanup(detach)
	f, err := os.OpenFile(device, os.O_RDWR|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e := openEngine(t, endio.Options{Shards: 1})
	for off := int64(1 << 20); err == nil; off += 4096 {
		if _, err = f.WriteAt(e.AlignedBuffer(4096), off); off == 4<<20 {
			t.Fatal("the device does not get full")
		}
	}
	return device
}

// TestUncachedWriteBackFails writes to a device that has no room for it. The engine waits
// for write-back itself, and so takes its error from the kernel: the next Sync has it, or
// the next write that is durable by itself, or Close; once.
func TestUncachedWriteBackFails(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			device := fullDevice(t)
			e := openEngine(t, endio.Options{Backend: b})
			f, err := e.OpenFile(device, os.O_RDWR, 0, endio.Uncached)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			buf := make([]byte, 16<<10)
			lose := func() {
				t.Helper()
				if _, err := f.WriteAt(buf, 6<<20); err != nil {
					t.Fatalf("a write to the page cache: %v", err)
				}
			}
			wait := func(op *endio.Op) error {
				done := make(chan error, 1)
				op.File, op.In, op.Done = f, endio.Task, func(_ *endio.Context, op *endio.Op) { done <- op.Err }
				if err := e.Submit(op); err != nil {
					t.Fatal(err)
				}
				return <-done
			}
			for name, sync := range map[string]func() error{
				"Sync": f.Sync, "SyncData": f.SyncData,
				"Op": func() error { return wait(&endio.Op{Kind: endio.Sync}) }, "Op.DSync": func() error { return wait(&endio.Op{Kind: endio.Write, Buf: buf, DSync: true}) },
			} {
				lose()
				if err := sync(); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("%s after data was lost = %v, want EIO or ENOSPC", name, err)
				}
				if err := sync(); err != nil {
					t.Errorf("another %s = %v", name, err)
				}
			}
			lose()
			if err := f.Close(); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Close after data was lost = %v, want EIO or ENOSPC", err)
			}
		})
	}
}

// hang stops what writes to the file system at dir until the function that it returns is
// called. It skips the test where that can't be done.
func hang(t *testing.T, dir string) (release func()) {
	t.Helper()
	const freeze, thaw = 0xc0045877, 0xc0045878 // FIFREEZE and FITHAW, include/uapi/linux/fs.h
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(d.Fd()), freeze, 0); err != nil {
		d.Close()
		t.Skipf("no file system can be frozen: %v", err)
	}
	once := sync.OnceFunc(func() {
		if err := errors.Join(unix.IoctlSetInt(int(d.Fd()), thaw, 0), d.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(once)
	return once
}

func init() { children["hung"] = hungChild }

// TestHungDevice has hundreds of workers wait for a device that gives no answer, in a
// process that may have few threads: for writes that have their inode to themselves, and
// for the write-back of uncached files.
func TestHungDevice(t *testing.T) {
	for _, what := range []string{"partial", "uncached"} {
		for _, b := range backendKinds {
			t.Run(what+"/"+string(b), func(t *testing.T) {
				m := mountFS(t, "ext4")
				at := m.dir
				if what == "uncached" { // a device that hangs, and not the write to the page cache
					backing := filepath.Join(m.dir, "backing")
					if err := errors.Join(os.WriteFile(backing, nil, 0o600), os.Truncate(backing, 64<<20)); err != nil {
						t.Fatal(err)
					}
					device, detach := loopDevice(t, backing)
					t.Cleanup(detach)
					at = device
				}
				c := child("hung", "HUNG_AT="+at, "LIMIT_BACKEND="+string(b))
				var out bytes.Buffer
				c.Stderr = &out
				in, err := c.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				said, err := c.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(said)
				lines.Scan() // it has opened its files
				release := hang(t, m.dir)
				timer := time.AfterFunc(20*time.Second, release) // a process that fails ends only then
				defer timer.Stop()
				fmt.Fprintln(in, "hangs")
				for lines.Scan() {
					t.Log(lines.Text()) // all wait
					release()
				}
				release()
				if err := c.Wait(); err != nil {
					t.Errorf("%v: %s", err, out.String())
				}
			})
		}
	}
}

// hungChild writes to 300 files, each by an operation of its own.
func hungChild() error {
	debug.SetMaxThreads(fewThreads)
	e, err := endio.Open(endio.Options{Backend: endio.Backend(os.Getenv("LIMIT_BACKEND")), Shards: 2, Threads: 8})
	if err != nil {
		return err
	}
	at, opt := os.Getenv("HUNG_AT"), endio.Direct
	info, err := os.Stat(at)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		opt = endio.Uncached
	}
	ops := make([]*endio.Op, 300)
	var wg sync.WaitGroup
	wg.Add(len(ops))
	for i := range ops {
		path := at
		if info.IsDir() {
			path = filepath.Join(at, fmt.Sprint("file", i))
		}
		f, err := e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600, opt)
		if err != nil {
			return err
		}
		ops[i] = &endio.Op{File: f, Kind: endio.Write, In: endio.Task, Buf: e.AlignedBuffer(512), Done: func(_ *endio.Context, op *endio.Op) {
			if op.Err != nil {
				fmt.Fprintln(os.Stderr, op.Err)
			}
			wg.Done()
		}}
		if !info.IsDir() {
			ops[i].Buf, ops[i].Off = make([]byte, 4096), int64(i)*64<<10 // whole pages: nothing is read before
		}
	}
	fmt.Println("ready")
	bufio.NewScanner(os.Stdin).Scan()
	if err := e.Submit(ops...); err != nil {
		return err
	}
	for last, n := -1, 0; n != last || n < 4; n = threads() { // until it needs no more
		last = n
		time.Sleep(500 * time.Millisecond) // sleep: nobody is told that a device hangs
	}
	fmt.Println(threads(), "threads")
	wg.Wait()
	return e.Close()
}

// TestHungCallIsReported has a blocking call, which is a system call of its goroutine, wait for
// a file system that gives no answer: it is listed, and reported once.
func TestHungCallIsReported(t *testing.T) {
	for _, b := range backendKinds {
		t.Run(string(b), func(t *testing.T) {
			m := mountFS(t, "ext4")
			log := make(logLines, 100)
			e := openEngine(t, endio.Options{Backend: b, OldAfter: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
			f, err := e.OpenFile(filepath.Join(m.dir, "file"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			release := hang(t, m.dir)
			done := make(chan error)
			go func() {
				_, err := f.WriteAt(make([]byte, 512), 4096)
				done <- err
			}()
			var line string
			select {
			case line = <-log:
			case <-time.After(20 * time.Second):
			}
			for _, want := range []string{"op=write", "offset=4096", "bytes=512", "context=call", f.Name(), `state="waited for"`} {
				if !strings.Contains(line, want) {
					t.Errorf("the report lacks %q: %s", want, line)
				}
			}
			if list := e.Flights(); len(list) != 1 || list[0].Age < 50*time.Millisecond {
				t.Errorf("listed is %+v, want the write", list)
			}
			release()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if list := e.Flights(); len(list) != 0 || len(log) != 0 {
				t.Errorf("after its end, listed is %+v, and reported was %d times more", list, len(log))
			}
		})
	}
}

// logLines are the lines of a log.
type logLines chan string

func (l logLines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
