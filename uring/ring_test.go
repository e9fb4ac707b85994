// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// openRing opens a ring for a test, which is skipped where there is none.
func openRing(t testing.TB, cfg Config) *Ring {
	t.Helper()
	r, err := Open(cfg)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// tempFile returns a file that holds data.
func tempFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// one submits what prep prepares and returns its completion.
func one(t testing.TB, r *Ring, prep func(*SQE)) CQE {
	t.Helper()
	s := r.Next()
	if s == nil {
		t.Fatal("Next() = nil on an idle ring")
	}
	prep(s)
	if n, err := r.SubmitAndWait(1, 10*time.Second); n != 1 || err != nil {
		t.Fatalf("SubmitAndWait(1) = %d, %v, want 1, nil", n, err)
	}
	var dst [2]CQE
	if n := r.Reap(dst[:]); n != 1 {
		t.Fatalf("Reap = %d, want 1", n)
	}
	return dst[0]
}

func TestNop(t *testing.T) {
	r := openRing(t, Config{})
	if c := one(t, r, func(s *SQE) { s.PrepNop(7) }); c.UserData != 7 || c.Res != 0 {
		t.Errorf("NOP completed as %+v, want UserData 7, Res 0", c)
	}
}

func TestReadWrite(t *testing.T) {
	r := openRing(t, Config{})
	f := tempFile(t, []byte("0123456789"))
	c := one(t, r, func(s *SQE) { s.PrepWrite(int(f.Fd()), []byte("abc"), 2, 1) })
	if c.Res != 3 {
		t.Fatalf("write = %d, want 3", c.Res)
	}
	buf := make([]byte, 32)
	c = one(t, r, func(s *SQE) { s.PrepRead(int(f.Fd()), buf, 0, 1) })
	if got := string(buf[:max(c.Res, 0)]); got != "01abc56789" {
		t.Errorf("read %q, want %q", got, "01abc56789")
	}
}

// TestOverflow posts ten times what the completion queue holds.
func TestOverflow(t *testing.T) {
	const total = 640
	r := openRing(t, Config{SQEntries: 64, CQEntries: 64})
	for i := range total {
		s := r.Next()
		if s == nil {
			t.Fatalf("Next() = nil for request %d, though all before were submitted", i)
		}
		s.PrepNop(uint64(i))
		if i%64 == 63 {
			if n, err := r.Submit(); n != 64 || err != nil {
				t.Fatalf("Submit() = %d, %v, want 64, nil", n, err)
			}
		}
	}
	if !r.Overflowed() {
		t.Errorf("Overflowed() = false with %d completions in a queue of 64", total)
	}
	var dst [100]CQE
	want := uint64(0)
	for n := r.Reap(dst[:]); n > 0; n = r.Reap(dst[:]) {
		for _, c := range dst[:n] {
			if c.UserData != want {
				t.Fatalf("completion of %d, want %d", c.UserData, want)
			}
			want++
		}
	}
	if want != total || r.Lost() != 0 || r.Overflowed() {
		t.Errorf("reaped %d, lost %d, overflowed %v; want %d, 0, false", want, r.Lost(), r.Overflowed(), total)
	}
}

func TestWake(t *testing.T) {
	for _, tt := range []struct {
		name  string
		blind bool
	}{{"from no ring", false}, {"from the messenger", true}} {
		t.Run(tt.name, func(t *testing.T) {
			old := noBlindMessage.Load()
			noBlindMessage.Store(tt.blind || old)
			defer noBlindMessage.Store(old)
			r := openRing(t, Config{})
			errs := make(chan error, 1)
			go func() { errs <- r.Wake(99) }()
			for r.Ready() == 0 {
				if err := r.Wait(1, 10*time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
			var dst [2]CQE
			if n := r.Reap(dst[:]); n != 1 || dst[0].UserData != 99 || dst[0].Res != 0 {
				t.Errorf("reaped %d, first %+v; want 1 with UserData 99, Res 0", n, dst[0])
			}
		})
	}
}

func TestProbe(t *testing.T) {
	openRing(t, Config{}) // skips where there is none
	s, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("setup %s, features %s", s.Setup, s.Features)
	if err := s.Need(OpNop, OpRead, OpWrite, OpFsync); err != nil {
		t.Error(err)
	}
	var fe *FeatureError
	if err := s.Need(Op(250)); !errors.As(err, &fe) || !errors.Is(err, ErrUnsupported) {
		t.Errorf("Need(250) = %v, want a FeatureError that is ErrUnsupported", err)
	}
}
