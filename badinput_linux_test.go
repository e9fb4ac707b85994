// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

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
