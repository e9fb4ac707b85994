// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestFileTable(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		if err := r.RegisterFiles(4); err != nil {
			t.Fatal(err)
		}
		path := tempPath(t, []byte(ten))
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.UpdateFiles(2, []int32{int32(f.Fd())}); err != nil {
			t.Fatal(err)
		}
		// The table has a reference of its own.
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		read := func(slot int) CQE {
			return one(t, r, func(s *SQE) {
				s.PrepRead(slot, opBuf[:10], 0, 0)
				s.SetFlags(SQEFixedFile)
			})
		}
		wantRes(t, "read of slot 2", read(2), 10)
		wantRes(t, "read of an empty slot", read(1), -int(syscall.EBADF))
		wantRes(t, "read beyond the table", read(4), -int(syscall.EBADF))
		if err := r.UpdateFiles(1, []int32{-1, FileSkip, -1}); err != nil {
			t.Fatal(err)
		}
		wantRes(t, "read of a slot left alone", read(2), 10)
		if err := r.UpdateFiles(2, []int32{-1}); err != nil {
			t.Fatal(err)
		}
		wantRes(t, "read of a cleared slot", read(2), -int(syscall.EBADF))

		checkRegister(t, []registerCase{
			{"a second table", func() error { return r.RegisterFiles(4) }, syscall.EBUSY, "such a table already"},
			{"no slots", func() error { return r.RegisterFiles(0) }, syscall.EINVAL, "between 1 and 1048576"},
			{"too many slots", func() error { return r.RegisterFiles(MaxFiles + 1) }, syscall.EINVAL, "between 1 and 1048576"},
			{"update over the end", func() error { return r.UpdateFiles(3, []int32{-1, -1}) }, syscall.EINVAL, "update files (2)"},
			{"update before the start", func() error { return r.UpdateFiles(-1, []int32{-1}) }, syscall.EINVAL, "update files (1)"},
			{"bad descriptor", func() error { return r.UpdateFiles(0, []int32{-1, 1 << 20}) }, syscall.EBADF, "stopped after 1"},
			{"nothing to update", func() error { return r.UpdateFiles(0, nil) }, 0, ""},
			{"unregister", r.UnregisterFiles, 0, ""},
			{"unregister again", r.UnregisterFiles, syscall.ENXIO, "no such table"},
		})
	})
}

// A registerCase is a call that fails with want, or succeeds if that is 0.
type registerCase struct {
	name string
	call func() error
	want syscall.Errno
	says string
}

func checkRegister(t *testing.T, cases []registerCase) {
	t.Helper()
	for _, tt := range cases {
		err := tt.call()
		if tt.want == 0 {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		var re *RegisterError
		if !errors.As(err, &re) || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s = %v, want a RegisterError with %v that says %q", tt.name, err, tt.want, tt.says)
		}
	}
}

func TestBufferTable(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		if err := r.RegisterBufferTable(3); errors.Is(err, ErrUnsupported) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		fd := int(tempFile(t, []byte(ten)).Fd())
		buf := make([]byte, 4096)
		read := func(b []byte, slot uint16) CQE {
			return one(t, r, func(s *SQE) { s.PrepReadFixed(fd, b, 0, slot, 0) })
		}
		wantRes(t, "read into an empty slot", read(buf, 1), -int(syscall.EFAULT))
		if err := r.UpdateBuffers(1, [][]byte{buf}); err != nil {
			t.Fatal(err)
		}
		wantRes(t, "read into a part", read(buf[100:105], 1), 5)
		if got := string(buf[100:105]); got != ten[:5] {
			t.Errorf("read %q, want %q", got, ten[:5])
		}
		wantRes(t, "read beside the buffer", read(make([]byte, 16), 1), -int(syscall.EFAULT))
		copy(buf, "xyz")
		wantRes(t, "fixed write", one(t, r, func(s *SQE) { s.PrepWriteFixed(fd, buf[:3], 1, 1, 0) }), 3)
		wantRes(t, "read back", read(buf[:10], 1), 10)
		if got := string(buf[:10]); got != "0xyz456789" {
			t.Errorf("the file holds %q, want %q", got, "0xyz456789")
		}
		checkRegister(t, []registerCase{
			{"update over the end", func() error { return r.UpdateBuffers(2, [][]byte{buf, buf}) }, syscall.EINVAL, "slots 2 to 3 of a table of 3"},
			{"update before the start", func() error { return r.UpdateBuffers(-1, [][]byte{buf}) }, syscall.EINVAL, "of a table of 3"},
			{"nothing to update", func() error { return r.UpdateBuffers(0, nil) }, 0, ""},
			{"clear", func() error { return r.UpdateBuffers(1, [][]byte{nil}) }, 0, ""},
			{"a second table", func() error { return r.RegisterBuffers([][]byte{buf}) }, syscall.EBUSY, "such a table already"},
			{"too many", func() error { return r.RegisterBufferTable(MaxBuffers + 1) }, syscall.EINVAL, "between 1 and 16384"},
		})
		wantRes(t, "read into a cleared slot", read(buf, 1), -int(syscall.EFAULT))
		checkRegister(t, []registerCase{
			{"unregister", r.UnregisterBuffers, 0, ""},
			{"unregister again", r.UnregisterBuffers, syscall.ENXIO, "no such table"},
			{"register", func() error { return r.RegisterBuffers([][]byte{buf, buf[:64]}) }, 0, ""},
		})
		wantRes(t, "read into the second", read(buf[:64], 1), 10)
	})
}

func TestVectoredFixed(t *testing.T) {
	need(t, OpReadvFixed, OpWritevFixed)
	onEach(t, func(t *testing.T, r *Ring) {
		fd := int(tempFile(t, []byte(ten)).Fd())
		buf := make([]byte, 4096)
		if err := r.RegisterBuffers([][]byte{buf}); err != nil {
			t.Fatal(err)
		}
		vecs := make([]Iovec, 2)
		vecs[0].Set(buf[1000:1003])
		vecs[1].Set(buf[10:17])
		wantRes(t, "readv", one(t, r, func(s *SQE) { s.PrepReadvFixed(fd, vecs, 0, 0, 0) }), 10)
		if got := string(buf[1000:1003]) + string(buf[10:17]); got != ten {
			t.Errorf("read %q, want %q", got, ten)
		}
		copy(buf[1000:], "abc")
		wantRes(t, "writev", one(t, r, func(s *SQE) { s.PrepWritevFixed(fd, vecs[:1], 7, 0, 0) }), 3)
		wantRes(t, "readv", one(t, r, func(s *SQE) { s.PrepReadvFixed(fd, vecs, 0, 0, 0) }), 10)
		if got := string(buf[1000:1003]) + string(buf[10:17]); got != "0123456abc" {
			t.Errorf("the file holds %q, want %q", got, "0123456abc")
		}
	})
}

func TestCloneBuffers(t *testing.T) {
	src := openRing(t, Config{})
	buf := make([]byte, 4096)
	if err := src.RegisterBuffers([][]byte{buf}); err != nil {
		t.Fatal(err)
	}
	onEach(t, func(t *testing.T, r *Ring) {
		if err := r.CloneBuffers(src); errors.Is(err, ErrUnsupported) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		fd := int(tempFile(t, []byte(ten)).Fd())
		wantRes(t, "read into the clone", one(t, r, func(s *SQE) { s.PrepReadFixed(fd, buf[:10], 0, 0, 0) }), 10)
		if got := string(buf[:10]); got != ten {
			t.Errorf("read %q, want %q", got, ten)
		}
		clear(buf)
	})
}

// TestRegisteredBuffersStay: a registered buffer that the caller drops is not
// reused for something else as long as the ring has it.
func TestRegisteredBuffersStay(t *testing.T) {
	for _, tt := range []struct {
		name string
		give func(r *Ring, buf []byte) error
		drop func(r *Ring) error
	}{
		{"registered", func(r *Ring, buf []byte) error { return r.RegisterBuffers([][]byte{buf}) }, (*Ring).UnregisterBuffers},
		{"put into a table", func(r *Ring, buf []byte) error {
			return errors.Join(r.RegisterBufferTable(2), r.UpdateBuffers(1, [][]byte{buf}))
		}, func(r *Ring) error { return r.UpdateBuffers(1, [][]byte{nil}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := openRing(t, Config{})
			collected := make(chan struct{})
			func() {
				buf := make([]byte, 1<<16)
				runtime.AddCleanup(&buf[0], func(c chan struct{}) { close(c) }, collected)
				if err := tt.give(r, buf); err != nil {
					t.Fatal(err)
				}
			}()
			for range 3 {
				runtime.GC()
			}
			runtime.Gosched()
			select {
			case <-collected:
				t.Fatal("a registered buffer was collected")
			default:
			}
			if err := tt.drop(r); err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			<-collected
			runtime.KeepAlive(r)
		})
	}
}

func TestEventFD(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		efd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		defer func() { _ = syscall.Close(int(efd)) }()
		if err := r.RegisterEventFD(int(efd), false); err != nil {
			t.Fatal(err)
		}
		one(t, r, func(s *SQE) { s.PrepNop(0) })
		var count [8]byte
		if _, err := syscall.Read(int(efd), count[:]); err != nil || binary.NativeEndian.Uint64(count[:]) == 0 {
			t.Errorf("eventfd after a completion: count %d, %v, want at least 1", binary.NativeEndian.Uint64(count[:]), err)
		}
		checkRegister(t, []registerCase{
			{"another", func() error { return r.RegisterEventFD(int(efd), true) }, syscall.EBUSY, ""},
			{"unregister", r.UnregisterEventFD, 0, ""},
			{"asynchronous only", func() error { return r.RegisterEventFD(int(efd), true) }, 0, ""},
		})
	})
}

func TestMaxIOWorkers(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		if _, _, err := r.MaxIOWorkers(3, 5); err != nil {
			t.Fatal(err)
		}
		b, u, err := r.MaxIOWorkers(0, 0)
		if b != 3 || u != 5 || err != nil {
			t.Errorf("MaxIOWorkers(0, 0) = %d, %d, %v, want 3, 5, nil", b, u, err)
		}
	})
}

func TestRegisterRingFD(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, cfg := range []Config{{}, {Require: SetupSingleIssuer | SetupDeferTaskrun}} {
		r := openRing(t, cfg)
		if err := r.RegisterRingFD(); err != nil {
			t.Fatal(err)
		}
		wantRes(t, "NOP", one(t, r, func(s *SQE) { s.PrepNop(0) }), 0)
		errs := make(chan error)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs <- r.Flush()
		}()
		if err := <-errs; !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.EBADF) {
			t.Errorf("Flush from another thread = %v, want EINVAL or EBADF", err)
		}
		if err := errors.Join(r.UnregisterRingFD(), r.UnregisterRingFD()); err != nil {
			t.Error(err)
		}
		wantRes(t, "NOP", one(t, r, func(s *SQE) { s.PrepNop(0) }), 0)
	}
}

// TestAttachWQ: a ring that shares another's workers works like any other.
func TestAttachWQ(t *testing.T) {
	first := openRing(t, Config{})
	r := openRing(t, Config{AttachWQ: first})
	f := tempFile(t, bytes.Repeat([]byte("x"), 100))
	c := one(t, r, func(s *SQE) {
		s.PrepRead(int(f.Fd()), make([]byte, 100), 0, 0)
		s.SetFlags(SQEAsync)
	})
	wantRes(t, "read by a worker", c, 100)
}
