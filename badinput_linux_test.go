// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
)

// TestNoDirect opens a file for direct I/O on a file system that has none.
func TestNoDirect(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		_, err := e.OpenFile("/proc/self/status", os.O_RDONLY, 0, endio.Direct)
		if !errors.Is(err, endio.ErrNoDirect) || !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "open it without Direct") {
			t.Errorf("open of a file in /proc for direct I/O: %v, want ErrNoDirect and what to do", err)
		}
	})
}

// TestNotAFile opens what is neither a regular file nor a block device: it is refused at
// once, also a FIFO with nobody at its other end.
func TestNotAFile(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{fifo, "/dev/null"} {
			for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE} {
				refused := make(chan error, 1)
				go func() {
					_, err := e.OpenFile(path, flag, 0o600)
					refused <- err
				}()
				select {
				case err := <-refused:
					if want := "open " + path + ": not a regular file or block device"; err == nil || err.Error() != want {
						t.Errorf("flag %#x: %v, want %s", flag, err, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("flag %#x: the open of %s hangs", flag, path)
				}
			}
		}
	})
}

// TestDirectByFlag opens a file with O_DIRECT among the flags of the system, which is
// what the option Direct says: alignment is known and looked after.
func TestDirectByFlag(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		asked, _ := open(t, e, 4*block, endio.Direct)
		path := asked.Name()
		f, err := e.OpenFile(path, os.O_RDWR|syscall.O_DIRECT, 0)
		if err != nil {
			t.Fatal(err)
		}
		if f.Align() != asked.Align() {
			t.Errorf("alignment %+v, want %+v", f.Align(), asked.Align())
		}
		if _, err := f.WriteAt(make([]byte, 100), 0); !errors.Is(err, endio.ErrAlignment) {
			t.Errorf("a write of 100 bytes: %v, want ErrAlignment", err)
		}
		if _, err := e.OpenFile(path, os.O_RDWR|syscall.O_DIRECT, 0, endio.Uncached); !errors.Is(err, endio.ErrInvalid) {
			t.Errorf("O_DIRECT and Uncached: %v, want ErrInvalid", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestHintOfFallocate has the file system refuse a range that would do for direct I/O:
// the error does not speak of that.
func TestHintOfFallocate(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 4*block, endio.Direct)
		unit := int64(f.Align().Offset)
		err := f.Fallocate(endio.FallocCollapseRange, unit, unit)
		if err == nil {
			t.Skipf("the file system takes out %d bytes", unit)
		}
		if strings.Contains(err.Error(), "direct I/O") {
			t.Errorf("%v: it is no matter of direct I/O", err)
		}
	})
}

// TestTooManyShards asks for more shards than any system has processors: it is refused, and
// does not take all descriptors of the process first.
func TestTooManyShards(t *testing.T) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		for _, o := range []endio.Options{{Shards: 1 << 30}, {Shards: 1, MaxShards: 1 << 30}} {
			o.Backend = b
			e, err := endio.Open(o)
			if err == nil {
				t.Error(e.Close())
			}
			if err == nil || !strings.Contains(err.Error(), "8192") {
				t.Errorf("%s: %d shards of at most %d: %v, want an error with the limit", b, o.Shards, o.MaxShards, err)
			}
		}
	}
}

// TestClosedEngine calls an engine that is closed.
func TestClosedEngine(t *testing.T) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		e, err := endio.Open(endio.Options{Backend: b})
		if err != nil {
			continue
		}
		path := newFile(t, block)
		f, err := e.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		_, openErr := e.OpenFile(path, os.O_RDWR, 0)
		_, queueErr := e.NewQueue(endio.QueueOptions{})
		_, readErr := f.ReadAt(make([]byte, 1), 0)
		for name, err := range map[string]error{
			"OpenFile": openErr, "NewQueue": queueErr, "ReadAt": readErr, "Close": e.Close(), "File.Close": f.Close(), "Drain": f.Drain(), "SetShards": e.SetShards(1),
			"Submit": e.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 1), Done: func(*endio.Context, *endio.Op) { t.Error("ran") }}),
		} {
			if !errors.Is(err, endio.ErrClosed) {
				t.Errorf("%s: %s of a closed engine = %v, want ErrClosed", b, name, err)
			}
		}
	}
}

// TestPartialWriteThatFails runs into a limit in the middle of a direct write of part of a
// block: the error says how far it came, as that of any other write does.
func TestPartialWriteThatFails(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 0, endio.Direct)
		if f.Align().Offset > 512 {
			t.Skip("direct I/O wants whole blocks here")
		}
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 2 * block, Max: limit.Max}); err != nil {
			t.Skip(err)
		}
		defer func() {
			if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
				t.Error(err)
			}
		}()
		n, err := f.WriteAt(e.AlignedBuffer(2*block+512), 0)
		var oe *endio.OpError
		if n != 2*block || !errors.Is(err, syscall.EFBIG) || !errors.As(err, &oe) || oe.Done != 2*block || oe.Len != 2*block+512 || oe.Hint == "" {
			t.Errorf("WriteAt = %d, %v, want %d and EFBIG after as many bytes", n, err, 2*block)
		}
	})
}
