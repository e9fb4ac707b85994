// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"endio"
)

func TestDemo(t *testing.T) {
	if err := demo(t.TempDir(), 16, 50); err != nil {
		t.Error(err)
	}
}

// logFile returns an engine and a file with three commits, one record each.
func logFile(t *testing.T) (*endio.Engine, *endio.File, *Log) {
	t.Helper()
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	f, err := e.OpenFile(t.TempDir()+"/log", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	l := New(e, f, 0)
	for i := range 3 {
		if err := l.Append(e, fmt.Appendf(nil, "record %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	return e, f, l
}

// TestTorn damages the last commit in each way that a crash can, and expects the
// two before it.
func TestTorn(t *testing.T) {
	for name, damage := range map[string]func(f *endio.File) error{
		"cut in the record": func(f *endio.File) error { return f.Truncate(2*unit + header + 5) },
		"cut in the header": func(f *endio.File) error { return f.Truncate(2*unit + 3) },
		"another byte":      func(f *endio.File) error { _, err := f.WriteAt([]byte{'x'}, 2*unit+header+6); return err },
		"a length too long": func(f *endio.File) error { _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0x7f}, 2*unit); return err },
		"zeros":             func(f *endio.File) error { _, err := f.WriteAt(make([]byte, unit), 2*unit); return err },
	} {
		t.Run(name, func(t *testing.T) {
			e, f, _ := logFile(t)
			if err := damage(f); err != nil {
				t.Fatal(err)
			}
			n := 0
			size, err := Replay(e, f, func([]byte) error { n++; return nil })
			if n != 2 || size != 2*unit || err != nil {
				t.Errorf("Replay = %d, %v with %d records, want %d, nil with 2", size, err, n, 2*unit)
			}
		})
	}
}

// TestFails checks that a log whose write failed takes no more.
func TestFails(t *testing.T) {
	e, f, l := logFile(t)
	if err := l.Append(e, make([]byte, MaxCommit)); err == nil {
		t.Error("a record larger than a commit was taken")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Append(e, []byte("late")); !errors.Is(err, endio.ErrClosed) {
			t.Errorf("Append to a closed file = %v, want ErrClosed", err)
		}
	}
}
