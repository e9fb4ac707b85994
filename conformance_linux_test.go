// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
	"endio/internal/noring"
	"endio/internal/race"
	"endio/lockdep"
)

// child runs the calling test again in a process of its own, with the environment
// variable ENDIO_TEST_CHILD set to how, and returns what it printed.
func child(t *testing.T, how string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "ENDIO_TEST_CHILD="+how)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a process of its own (%s): %v\n%s", how, err, out)
	}
	return string(out)
}

// TestForbidden opens engines in a process that may not have io_uring: Auto falls
// back to threads and says why, and asking for io_uring fails and says why.
func TestForbidden(t *testing.T) {
	if os.Getenv("ENDIO_TEST_CHILD") == "" {
		out := child(t, "forbid")
		if !strings.Contains(out, "fell back:") && !strings.Contains(out, "--- SKIP") {
			t.Errorf("the child did not get to its end:\n%s", out)
		}
		return
	}
	if err := noring.Forbid(); errors.Is(err, noring.ErrUnsupported) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if e, err := endio.Open(endio.Options{Backend: endio.IOUring}); err == nil {
		t.Error("an engine on io_uring was opened", e.Close())
	} else if !strings.Contains(err.Error(), "seccomp") {
		t.Errorf("Open with io_uring = %v, want the reason", err)
	}
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, why := e.Backend()
	if b != endio.Threads || !strings.Contains(why, "seccomp") || !strings.Contains(why, syscall.EPERM.Error()) {
		t.Errorf("Backend = %s, %q, want threads and the reason", b, why)
	}
	worksWithout(t, e, why, endio.Direct)
}

// worksWithout reads in each context on an engine that fell back, closes it, and
// prints why it did, for the parent of this process.
func worksWithout(t *testing.T, e *endio.Engine, why string, opts ...endio.FileOption) {
	f, data := open(t, e, block, opts...)
	for _, in := range contexts {
		op := &endio.Op{File: f, Kind: endio.Read, Buf: e.AlignedBuffer(block)}
		run(t, e, in, op)
		if op.Err != nil || !bytes.Equal(op.Buf, data) {
			t.Errorf("%v: %v, or wrong data", in, op.Err)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	fmt.Println("fell back:", why)
}

// inFlightMiB bounds the memory of a whole process with inFlight operations in
// flight, whose buffers are 512 bytes each.
const (
	inFlight    = 100_000
	inFlightMiB = 200
)

// TestInFlight has 100,000 operations in flight and looks at the memory that the
// process has used at most (VmHWM).
func TestInFlight(t *testing.T) {
	how := os.Getenv("ENDIO_TEST_CHILD")
	if how == "" {
		if race.Enabled || lockdep.Enabled {
			t.Skip("the race detector and the validator take memory of their own")
		}
		for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
			out := child(t, string(b))
			if strings.Contains(out, "--- SKIP") {
				t.Logf("%s: skipped:\n%s", b, out)
				continue
			}
			_, after, found := strings.Cut(out, "used ")
			kib, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(after, " ", 2)[0]))
			if !found || err != nil {
				t.Fatalf("%s: no figure in:\n%s", b, out)
			}
			t.Logf("%s: %d operations in flight: the process used %d MiB", b, inFlight, kib>>10)
			if kib >= inFlightMiB<<10 {
				t.Errorf("%s: %d operations in flight take %d MiB, want less than %d", b, inFlight, kib>>10, inFlightMiB)
			}
		}
		return
	}
	e, err := endio.Open(endio.Options{Backend: endio.Backend(how)})
	if err != nil {
		t.Skip(err)
	}
	f, _ := open(t, e, 64*block)
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	done := func(_ *endio.Context, op *endio.Op) {
		ran++
		if op.Err != nil || op.N != 512 {
			t.Errorf("read = %d, %v", op.N, op.Err)
		}
	}
	for i := range inFlight {
		if err := q.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 512), Off: int64(i % 500 * 512), Done: done}); err != nil {
			t.Fatal(err)
		}
	}
	if n := q.InFlight(); n != inFlight {
		t.Errorf("InFlight = %d, want %d", n, inFlight)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	if err := q.Close(); err != nil || ran != inFlight {
		t.Errorf("Close = %v after %d handlers, want nil after %d", err, ran, inFlight)
	}
	if err := errors.Join(f.Close(), e.Close()); err != nil {
		t.Error(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Println("used", strings.Fields(after)[0], "KiB")
}

// TestSignals sends the process signals as fast as it can take them, so that
// system calls are interrupted; no operation may notice.
func TestSignals(t *testing.T) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR2)
	defer signal.Stop(got)
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, data := open(t, e, 256*block)
		ctx, stop := context.WithCancel(context.Background())
		sent := make(chan int)
		go func() {
			n := 0
			for ; ctx.Err() == nil; n++ {
				_ = syscall.Kill(os.Getpid(), syscall.SIGUSR2)
				runtime.Gosched()
			}
			sent <- n
		}()
		for i := range 300 {
			at := int64(i%16) * 16 * block
			op := &endio.Op{File: f, Kind: endio.Kind(i % 2), Buf: bytes.Clone(data[at : at+16*block]), Off: at}
			run(t, e, contexts[i%3], op)
			if op.Err != nil || !bytes.Equal(op.Buf, data[at:at+16*block]) {
				t.Fatalf("%v %d = %d, %v, or wrong data", op.Kind, i, op.N, op.Err)
			}
			if i%10 == 0 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		stop()
		t.Logf("%d signals were sent", <-sent)
	})
}

// mounted makes a file system of size bytes on a loop device, or in memory for
// "tmpfs", and returns where it is mounted. It skips the test, with the reason,
// where that can't be done, and cleans up.
func mounted(t *testing.T, kind string, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	dir := t.TempDir()
	at := filepath.Join(dir, "mnt")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if kind == "tmpfs" {
		if err := unix.Mount("endio-test", at, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Skipf("no tmpfs can be mounted: %v", err)
		}
	} else {
		image := filepath.Join(dir, "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, size); err != nil {
			t.Fatal(err)
		}
		force := "-f"
		if kind == "ext4" {
			force = "-F"
		}
		for _, args := range [][]string{{"mkfs." + kind, "-q", force, image}, {"mount", "-o", "loop", image, at}} {
			if out, err := command(args...); err != nil {
				t.Skipf("no %s can be made: %v: %v\n%s", kind, args, err, out)
			}
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Errorf("unmount %s: %v", at, errors.Join(err, unix.Unmount(at, unix.MNT_DETACH)))
		}
	})
	return at
}

// command runs a command that may be in a directory for root only.
func command(args ...string) (string, error) {
	path := args[0]
	if _, err := exec.LookPath(path); err != nil {
		path = "/usr/sbin/" + path
	}
	out, err := exec.Command(path, args[1:]...).CombinedOutput()
	return string(out), err
}

// resident returns how many pages of the file are in the page cache (mincore).
func resident(t *testing.T, name string) int {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() == 0 {
		return 0
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Munmap(mem); err != nil {
			t.Error(err)
		}
	}()
	page := os.Getpagesize()
	vec := make([]byte, (len(mem)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, reflect.ValueOf(mem).Pointer(), uintptr(len(mem)), reflect.ValueOf(vec).Pointer())
	runtime.KeepAlive(vec)
	if errno != 0 {
		t.Fatalf("mincore: %v", errno)
	}
	n := 0
	for _, b := range vec {
		n += int(b & 1)
	}
	return n
}

// TestUncached writes, overwrites and reads a file with Uncached, in each context and
// by blocking calls, on three file systems and this one. After a Sync nothing of it is
// in the page cache, and the data is right.
func TestUncached(t *testing.T) {
	for _, kind := range []string{"here", "ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := "."
			if kind != "here" {
				dir = mounted(t, kind, 400<<20)
			}
			var fs unix.Statfs_t
			if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
				t.Skip("files of tmpfs are in the page cache and nowhere else")
			}
			tmp, err := os.MkdirTemp(dir, "testdata-tmp-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(tmp) })
			backends(t, func(t *testing.T, e *endio.Engine) {
				b, _ := e.Backend()
				uncachedOn(t, e, filepath.Join(tmp, string(b)))
			})
		})
	}
}

func uncachedOn(t *testing.T, e *endio.Engine, name string) {
	const size = 37*block + 100
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 13 >> 2)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if resident(t, name) == 0 {
		t.Skip("an ordinary write leaves nothing in the page cache here, so nothing can be shown")
	}
	f, err := e.OpenFile(name, os.O_RDWR, 0, endio.Uncached)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		// Some may stay behind the newest transfer; a Sync takes it all.
		if err := f.Sync(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n := resident(t, name); n != 0 {
			t.Errorf("%s: %d pages are in the page cache, want 0", what, n)
		}
	}
	buf := make([]byte, size)
	transfers := []struct {
		name string
		do   func(kind endio.Kind) (int, error)
	}{
		{"blocking", func(kind endio.Kind) (int, error) {
			if kind == endio.Write {
				return f.WriteAt(buf, 0)
			}
			return f.ReadAt(buf, 0)
		}},
	}
	for _, in := range contexts {
		transfers = append(transfers, struct {
			name string
			do   func(kind endio.Kind) (int, error)
		}{in.String(), func(kind endio.Kind) (int, error) {
			op := &endio.Op{File: f, Kind: kind, Buf: buf}
			runUncached(t, e, in, op)
			return op.N, op.Err
		}})
	}
	for i, tr := range transfers {
		for round, kind := range []endio.Kind{endio.Write, endio.Write, endio.Read} {
			if kind == endio.Write {
				for j := range buf {
					buf[j] = byte(i*50 + round*20 + j)
				}
			}
			want := bytes.Clone(buf)
			if kind == endio.Read {
				clear(buf)
			}
			if n, err := tr.do(kind); n != size || err != nil {
				t.Fatalf("%s %v = %d, %v", tr.name, kind, n, err)
			}
			check(fmt.Sprintf("%s %v, round %d", tr.name, kind, round))
			if !bytes.Equal(buf, want) {
				t.Fatalf("%s %v: wrong data", tr.name, kind)
			}
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// runUncached is run for operations whose end needs to block: those that asked
// for Inline complete as a Task.
func runUncached(t *testing.T, e *endio.Engine, in endio.Where, op *endio.Op) {
	t.Helper()
	if in != endio.Inline {
		run(t, e, in, op)
		return
	}
	done := make(chan endio.Where, 1)
	op.In, op.Done = in, func(c *endio.Context, _ *endio.Op) { done <- c.Where() }
	if err := e.Submit(op); err != nil {
		t.Fatal(err)
	}
	if where := <-done; where != endio.Task {
		t.Errorf("an Inline handler of an uncached transfer ran in the %v context, want Task: its end blocks", where)
	}
}

// TestLetsGo unmounts a file system as soon as the files on it are closed, in
// which a queue that is closed, one that is open, shards and blocking calls have had
// I/O: none of their rings keeps a file open.
func TestLetsGo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	backends(t, func(t *testing.T, e *endio.Engine) {
		open, err := e.NewQueue(endio.QueueOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			dir := t.TempDir()
			if err := unix.Mount("endio-test", dir, "tmpfs", 0, "size=1m"); err != nil {
				t.Skipf("no tmpfs can be mounted: %v", err)
			}
			f, err := e.OpenFile(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range contexts {
				run(t, e, in, &endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 100)})
			}
			if err := open.Submit(&endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 100), Done: func(*endio.Context, *endio.Op) {}}); err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 100), 0); err != nil {
				t.Error(err)
			}
			if err := errors.Join(open.Drain(), f.Close()); err != nil {
				t.Error(err)
			}
			// The kernel drops the last reference of a request on a work queue of its own,
			// so soon, but not before Close returns.
			err = unix.Unmount(dir, 0)
			for start := time.Now(); err == unix.EBUSY && time.Since(start) < 10*time.Second; err = unix.Unmount(dir, 0) {
				time.Sleep(time.Millisecond) // sleep: the kernel tells nobody
			}
			if err != nil {
				t.Errorf("unmount: %v", errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH)))
			}
		}
		if err := open.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestDiskFull fills a small file system, in each context. What does not fit fails
// with ENOSPC and says how far it got; what did fit is there.
func TestDiskFull(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			size := map[string]int64{"tmpfs": 4 << 20, "ext4": 16 << 20, "xfs": 320 << 20, "btrfs": 120 << 20}[kind]
			dir := mounted(t, kind, size)
			backends(t, func(t *testing.T, e *endio.Engine) {
				for _, in := range contexts {
					if kind == "xfs" && in != endio.Task {
						continue // XFS can not be smaller than 300 MiB, which takes long to fill
					}
					fill(t, e, in, filepath.Join(dir, "file"), size)
				}
			})
		})
	}
}

// fill writes more than size bytes to a new file and removes it.
func fill(t *testing.T, e *endio.Engine, in endio.Where, name string, size int64) {
	t.Helper()
	f, err := e.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	piece := int(size/16) + 12345 // so that the last one fits in part
	p := make([]byte, piece)
	full := false
	for i := range 20 {
		for j := range p {
			p[j] = byte(i + 1)
		}
		off := int64(i) * int64(piece)
		op := &endio.Op{File: f, Kind: endio.Write, Buf: p, Off: off}
		run(t, e, in, op)
		if op.Err == nil && op.N == piece {
			continue
		}
		full = true
		var oe *endio.OpError
		if !errors.Is(op.Err, syscall.ENOSPC) || !errors.As(op.Err, &oe) || oe.Done != int64(op.N) || oe.Path != name || oe.Off != off {
			t.Errorf("%v: write on a full disk = %d, %v", in, op.N, op.Err)
		}
		t.Logf("%v: %d of %d bytes of the last piece fit", in, op.N, piece)
		got := make([]byte, op.N)
		if _, err := f.ReadAt(got, off); op.N > 0 && (err != nil || !bytes.Equal(got, p[:op.N])) {
			t.Errorf("%v: of the write that failed, %d bytes were to be there: %v", in, op.N, err)
		}
		break
	}
	if !full {
		t.Errorf("%v: 20 pieces of %d bytes fit on a disk of %d", in, piece, size)
	}
	if err := errors.Join(f.Close(), os.Remove(name)); err != nil {
		t.Error(err)
	}
	unix.Sync() // the next one needs the blocks of this one
}

// TestBlockDevice does I/O on a loop device: two opens by two names are one inode,
// the size is known, and data goes where it should.
func TestBlockDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a loop device needs root")
	}
	dir, err := os.MkdirTemp(".", "testdata-tmp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image := filepath.Join(dir, "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 4<<20)); err != nil {
		t.Fatal(err)
	}
	out, err := command("losetup", "--find", "--show", image)
	if err != nil {
		t.Skipf("no loop device: %v\n%s", err, out)
	}
	dev := strings.TrimSpace(out)
	t.Cleanup(func() {
		if out, err := command("losetup", "--detach", dev); err != nil {
			t.Errorf("detach %s: %v\n%s", dev, err, out)
		}
	})
	// A second name: another node in another file system with the same number.
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		t.Skipf("no device node: %v", err)
	}
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, err := e.OpenFile(dev, os.O_RDWR, 0, endio.Direct)
		if err != nil {
			t.Fatal(err)
		}
		g, err := e.OpenFile(node, os.O_RDWR, 0)
		if errors.Is(err, syscall.EACCES) {
			t.Skipf("device nodes are not for use here: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Size(); n != 4<<20 || err != nil {
			t.Errorf("Size = %d, %v, want %d", n, err, 4<<20)
		}
		for i, in := range contexts {
			op := &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: int64(i+1) * block}
			for j := range op.Buf {
				op.Buf[j] = byte(i + 7)
			}
			run(t, e, in, op)
			got := make([]byte, block)
			n, err := g.ReadAt(got, op.Off)
			if op.Err != nil || err != nil || n != block || !bytes.Equal(got, op.Buf) {
				t.Errorf("%v: write = %v, read = %d, %v, or other data", in, op.Err, n, err)
			}
		}
		op := &endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: 4 << 20}
		run(t, e, endio.Task, op)
		if !errors.Is(op.Err, syscall.ENOSPC) {
			t.Errorf("write behind the end of the device = %d, %v, want ENOSPC", op.N, op.Err)
		}
		if err := f.Truncate(block); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "the size of a block device") {
			t.Errorf("truncate of a device: %v, want EINVAL and why", err)
		}
		testDrainDevice(t, e, f, g)
		if err := errors.Join(f.Close(), g.Close()); err != nil {
			t.Error(err)
		}
	})
}

// testDrainDevice drains the device through g while writes are in flight on f.
func testDrainDevice(t *testing.T, e *endio.Engine, f, g *endio.File) {
	t.Helper()
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for range 20 {
		for i := range 32 {
			err := q.Submit(&endio.Op{File: f, Kind: endio.Write, Buf: e.AlignedBuffer(block), Off: int64(i) * block, Done: func(_ *endio.Context, op *endio.Op) {
				ran++
				if op.Err != nil {
					t.Error(op.Err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := g.Drain(); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil || ran != 20*32 {
		t.Errorf("Close = %v after %d handlers, want nil after %d", err, ran, 20*32)
	}
}
