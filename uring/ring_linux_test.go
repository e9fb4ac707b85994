// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestOverflow posts ten times what the completion queue holds; all arrive, in
// order.
func TestOverflow(t *testing.T) {
	const total = 640
	for _, k := range ringKinds {
		t.Run(k.name, func(t *testing.T) {
			if k.locked {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			cfg := k.cfg
			cfg.SQEntries, cfg.CQEntries = 64, 64
			r := openRing(t, cfg)
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
		})
	}
}

// TestFull: a full submission queue hands out nothing, loses nothing, and is
// free again after a submit.
func TestFull(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		for round := range 3 {
			n := 0
			for s := r.Next(); s != nil; s = r.Next() {
				s.PrepNop(uint64(n))
				n++
			}
			if n != r.SQEntries() || r.Free() != 0 || r.Unsubmitted() != n {
				t.Fatalf("round %d: %d handed out, Free %d, Unsubmitted %d; want %d, 0, %d", round, n, r.Free(), r.Unsubmitted(), r.SQEntries(), n)
			}
			if got := len(reapN(t, r, n)); got != n {
				t.Fatalf("round %d: %d completions, want %d", round, got, n)
			}
			if r.Free() != r.SQEntries() || r.Unsubmitted() != 0 {
				t.Fatalf("round %d: Free %d, Unsubmitted %d after submit; want %d, 0", round, r.Free(), r.Unsubmitted(), r.SQEntries())
			}
		}
	})
}

// TestInvalidAmongValid: a request that the kernel refuses at once does not
// keep those behind it from being submitted, with or without SUBMIT_ALL.
func TestInvalidAmongValid(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		for i := range 9 {
			s := r.Next()
			s.PrepNop(uint64(i))
			if i%3 == 1 {
				s.Opcode = 250
			}
		}
		if n, err := r.Submit(); n != 9 || err != nil {
			t.Fatalf("Submit() = %d, %v, want 9, nil", n, err)
		}
		for i, c := range reapN(t, r, 9) {
			want := 0
			if i%3 == 1 {
				want = -int(syscall.EINVAL)
			}
			wantRes(t, "request", c, want)
		}
	})
}

// TestFaults puts errors before the kernel: whatever it answers, each request
// is submitted once and completes once.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []syscall.Errno // answers of the first calls; 0: half of what was asked
		want   error           // of the first Submit
	}{
		{"EINTR", []syscall.Errno{syscall.EINTR, syscall.EINTR, syscall.EINTR}, nil},
		{"EAGAIN", []syscall.Errno{syscall.EAGAIN}, syscall.EAGAIN},
		{"EBUSY", []syscall.Errno{syscall.EBUSY}, syscall.EBUSY},
		{"half, then EAGAIN", []syscall.Errno{0, syscall.EAGAIN}, syscall.EAGAIN},
		{"half, EINTR, half", []syscall.Errno{0, syscall.EINTR, 0}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, r *Ring) {
				calls := 0
				r.fault = func(submit, _, _ uint32) (uint32, syscall.Errno, bool) {
					calls++
					if calls > len(tt.faults) {
						return 0, 0, false
					}
					if errno := tt.faults[calls-1]; errno != 0 {
						return 0, errno, true
					}
					n, errno := enterRaw(r.enterFD, submit/2, 0, 0, nil)
					return n, errno, true
				}
				const total = 8
				for i := range total {
					r.Next().PrepNop(uint64(i))
				}
				n, err := r.Submit()
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
					t.Fatalf("Submit() = %d, %v, want error %v", n, err, tt.want)
				}
				if n+r.Unsubmitted() != total {
					t.Errorf("%d taken and %d unsubmitted, want %d together", n, r.Unsubmitted(), total)
				}
				if got := len(reapN(t, r, total)); got != total {
					t.Errorf("%d completions, want %d", got, total)
				}
			})
		})
	}
}

// TestWaitFaults: the same for calls that wait.
func TestWaitFaults(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		interrupted := 0
		r.fault = func(_, wait, _ uint32) (uint32, syscall.Errno, bool) {
			if wait > 0 && interrupted < 5 {
				interrupted++
				return 0, syscall.EINTR, true
			}
			return 0, 0, false
		}
		r.Next().PrepNop(1)
		r.Next().PrepNop(2)
		if n, err := r.SubmitAndWait(2, testLimit); n != 2 || err != nil {
			t.Fatalf("SubmitAndWait(2) = %d, %v, want 2, nil", n, err)
		}
		if interrupted != 5 {
			t.Errorf("%d waits interrupted, want 5", interrupted)
		}
		reapN(t, r, 2)
	})
}

func TestTimedWait(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		if _, err := r.SubmitAndWait(1, time.Millisecond); !errors.Is(err, syscall.ETIME) {
			t.Errorf("SubmitAndWait on an idle ring = %v, want ETIME", err)
		}
		if _, err := r.SubmitAndWait(1, 0); !errors.Is(err, syscall.ETIME) {
			t.Errorf("SubmitAndWait(1, 0) on an idle ring = %v, want ETIME", err)
		}
		bits := 32 // more than 32 bits hold, where an int has more
		if _, err := r.SubmitAndWait(max(1, 1<<bits), time.Millisecond); !errors.Is(err, syscall.ETIME) {
			t.Errorf("SubmitAndWait(1<<32) on an idle ring = %v, want ETIME", err)
		}
		if err := r.Wait(1, time.Millisecond); err != nil && !errors.Is(err, syscall.ETIME) {
			t.Errorf("Wait on an idle ring = %v, want ETIME or nil", err)
		}
		// A wait for more than comes still submits, and says that time passed.
		r.Next().PrepNop(1)
		if n, err := r.SubmitAndWait(2, time.Millisecond); n != 1 || !errors.Is(err, syscall.ETIME) {
			t.Errorf("SubmitAndWait(2) with one request = %d, %v, want 1, ETIME", n, err)
		}
		// The P is kept for a part of the wait and not again and again.
		calls := 0
		r.fault = func(_, _, _ uint32) (uint32, syscall.Errno, bool) {
			calls++
			return 0, 0, false
		}
		r.SetHold(20 * time.Microsecond)
		if n, err := r.SubmitAndWait(2, 20*time.Millisecond); n != 0 || !errors.Is(err, syscall.ETIME) {
			t.Errorf("SubmitAndWait(2) after that = %d, %v, want 0, ETIME", n, err)
		}
		if calls < 2 || calls > 20 {
			t.Errorf("a wait of two parts took %d calls", calls)
		}
		// A limit shorter than that part ends the wait all the same.
		r.SetHold(time.Hour)
		if n, err := r.SubmitAndWait(2, time.Millisecond); n != 0 || !errors.Is(err, syscall.ETIME) {
			t.Errorf("SubmitAndWait(2) with a long hold = %d, %v, want 0, ETIME", n, err)
		}
		r.SetHold(0)
		reapN(t, r, 1)
		r.SetHold(time.Hour)
		if err := r.Wait(1, time.Millisecond); err != nil && !errors.Is(err, syscall.ETIME) {
			t.Errorf("Wait with a long hold = %v, want ETIME or nil", err)
		}
		if free := r.waitsFree.Load(); free != 1<<waitSlots-1 {
			t.Errorf("waitsFree = %#x after all waits, want all", free)
		}
	})
}

// TestSignals waits under a storm of signals.
func TestSignals(t *testing.T) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	defer signal.Stop(ch)
	onEach(t, func(t *testing.T, r *Ring) {
		stop := make(chan struct{})
		var storm sync.WaitGroup
		tid := syscall.Gettid()
		storm.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					// The thread may be gone, if this goroutine's moved.
					_ = syscall.Tgkill(os.Getpid(), tid, syscall.SIGUSR1)
				}
			}
		})
		pr, pw := pipe(t)
		for i := range 40 {
			buf := make([]byte, 1)
			r.Next().PrepRead(pr, buf, -1, uint64(i))
			if _, err := r.Submit(); err != nil {
				t.Fatal(err)
			}
			storm.Go(func() { _, _ = syscall.Write(pw, []byte{byte(i)}) })
			if c := reapN(t, r, 1)[uint64(i)]; c.Res != 1 || buf[0] != byte(i) {
				t.Fatalf("read %d = %d (%v), byte %d", i, c.Res, c.Err(), buf[0])
			}
		}
		close(stop)
		storm.Wait()
	})
}

// TestHeldWaitLetsTheWorldStop: a wait that keeps its P ends when the runtime
// wants to stop the world, and goes on afterwards.
func TestHeldWaitLetsTheWorldStop(t *testing.T) {
	r := openRing(t, Config{Hold: HoldUntilPreempted})
	pr, pw := pipe(t)
	buf := make([]byte, 1)
	waiting, done := make(chan struct{}), make(chan error, 1)
	go func() {
		r.Next().PrepRead(pr, buf, -1, 1)
		close(waiting)
		_, err := r.SubmitAndWait(1, -1)
		done <- err
	}()
	<-waiting
	for range 20 {
		runtime.GC() // would hang if the wait did not end
	}
	if _, err := syscall.Write(pw, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || r.Ready() != 1 {
		t.Errorf("SubmitAndWait = %v with %d ready, want nil with 1", err, r.Ready())
	}
}

func TestWake(t *testing.T) {
	for _, tt := range []struct {
		name string
		old  syscall.Errno // what a kernel says that can't send from no ring
	}{{"from no ring", 0}, {"before 6.13", syscall.EINVAL}, {"before 6.0", syscall.EBADF}} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.old != 0 {
				was := noBlindMessage.Swap(false)
				blindMessage = func(int, uint32, uint64) syscall.Errno { return tt.old }
				defer func() {
					blindMessage = sendMessage
					noBlindMessage.Store(was)
				}()
			}
			onEach(t, func(t *testing.T, r *Ring) {
				errs := make(chan error, 1)
				go func() { errs <- r.Wake(99) }()
				wantRes(t, "wake", reapN(t, r, 1)[99], 0)
				if err := <-errs; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestManyWakes: no wake is lost, whatever the queue holds.
func TestManyWakes(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		const wakers, each = 4, 500
		var wg sync.WaitGroup
		for w := range wakers {
			wg.Go(func() {
				for i := range each {
					if err := r.Wake(uint64(w*each + i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		seen := make([]int, wakers*each)
		var dst [16]CQE
		for got := 0; got < wakers*each; {
			if _, err := r.SubmitAndWait(1, testLimit); err != nil {
				t.Fatalf("after %d wakes: %v", got, err)
			}
			n := r.Reap(dst[:])
			for _, c := range dst[:n] {
				seen[c.UserData]++
			}
			got += n
		}
		wg.Wait()
		for i, n := range seen {
			if n != 1 {
				t.Errorf("wake %d arrived %d times, want once", i, n)
			}
		}
	})
}

func TestWakeClosed(t *testing.T) {
	r := openRing(t, Config{})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Wake(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Wake of a closed ring = %v, want ErrClosed", err)
	}
}

// TestClosed: a closed ring refuses everything and touches no memory.
func TestClosed(t *testing.T) {
	r := openRing(t, Config{})
	r.Next().PrepNop(1)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close() = %v, want ErrClosed", err)
	}
	var dst [2]CQE
	if s, n, k := r.Next(), r.Reap(dst[:]), r.Ready(); s != nil || n != 0 || k != 0 {
		t.Errorf("Next, Reap, Ready = %v, %d, %d; want nil, 0, 0", s, n, k)
	}
	if n, err := r.Submit(); n != 0 || err != nil {
		t.Errorf("Submit() of nothing = %d, %v, want 0, nil", n, err)
	}
	for name, err := range map[string]error{
		"Wait":          r.Wait(1, time.Second),
		"Flush":         r.Flush(),
		"CancelAll":     r.CancelAll(),
		"RegisterFiles": r.RegisterFiles(1),
	} {
		if !errors.Is(err, syscall.EBADF) {
			t.Errorf("%s on a closed ring = %v, want EBADF", name, err)
		}
	}
}

// TestOwner: on a ring with one issuer every other thread gets EEXIST, and
// loses nothing by it.
func TestOwner(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := openRing(t, Config{Require: SetupSingleIssuer | SetupDeferTaskrun})
	r.Next().PrepNop(1)
	errs := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, err := r.Submit()
		errs <- err
	}()
	if err := <-errs; !errors.Is(err, syscall.EEXIST) {
		t.Errorf("Submit off the owning thread = %v, want EEXIST", err)
	}
	wantRes(t, "NOP", reapN(t, r, 1)[1], 0)
}

// TestThreadExit: direct I/O completes though its submitter has gone, but for
// what a worker of the kernel had not begun, which is cancelled. A read of a pipe
// stays armed, and ends with ECANCELED when data comes, which it leaves there.
func TestThreadExit(t *testing.T) {
	const reads = 16
	r := openRing(t, Config{})
	pr, pw := pipe(t)
	f := reopen(t, tempPath(t, make([]byte, reads*4096)), syscall.O_DIRECT)
	pipeBuf, fileBuf := make([]byte, 1), alignedBytes(t, reads*4096)
	onDyingThread(func() {
		r.Next().PrepRead(pr, pipeBuf, -1, reads)
		for i := range reads {
			r.Next().PrepRead(int(f.Fd()), fileBuf[i*4096:(i+1)*4096], int64(i)*4096, uint64(i))
		}
		if _, err := r.Submit(); err != nil {
			t.Error(err)
		}
	})
	for i, c := range reapN(t, r, reads) {
		if i == reads {
			t.Fatalf("the read of an empty pipe completed with %d (%v)", c.Res, c.Err())
		}
		if c.Res != 4096 && !errors.Is(c.Err(), syscall.ECANCELED) {
			t.Errorf("direct read = %d (%v), want 4096 or ECANCELED", c.Res, c.Err())
		}
	}
	if _, err := syscall.Write(pw, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if c := reapN(t, r, 1)[reads]; !errors.Is(c.Err(), syscall.ECANCELED) {
		t.Fatalf("read of the pipe = %d (%v), want ECANCELED", c.Res, c.Err())
	}
	if n, err := syscall.Read(pr, pipeBuf); n != 1 || err != nil {
		t.Errorf("read of the pipe afterwards = %d, %v, want 1, nil", n, err)
	}
}

// onDyingThread calls f on a thread that ends afterwards, which the runtime
// does to any but the first one when its locked goroutine ends. It returns when
// the thread is gone.
func onDyingThread(f func()) {
	thread := make(chan int, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if syscall.Gettid() == os.Getpid() {
			onDyingThread(f) // while this one occupies the first thread
			runtime.UnlockOSThread()
			thread <- 0
			return
		}
		f()
		thread <- syscall.Gettid()
	}()
	id := <-thread
	for id != 0 && syscall.Tgkill(os.Getpid(), id, 0) == nil {
		time.Sleep(time.Millisecond) // sleep: the end of a thread wakes nobody
	}
}

// TestDescriptorClosed: a descriptor closed after submission does not matter.
func TestDescriptorClosed(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		pr, pw := pipe(t)
		buf := make([]byte, 1)
		dup, err := syscall.Dup(pr)
		if err != nil {
			t.Fatal(err)
		}
		r.Next().PrepRead(dup, buf, -1, 1)
		if _, err := r.Submit(); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Close(dup); err != nil {
			t.Fatal(err)
		}
		r.Next().PrepRead(dup, buf, -1, 2)
		wantRes(t, "read submitted after close", reapN(t, r, 1)[2], -int(syscall.EBADF))
		if _, err := syscall.Write(pw, []byte("x")); err != nil {
			t.Fatal(err)
		}
		wantRes(t, "read submitted before close", reapN(t, r, 1)[1], 1)
	})
}

// TestBufferMapsFile: a direct read into a mapping of the very file faults its
// own pages in and ends, one way or the other.
func TestBufferMapsFile(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		f := reopen(t, tempPath(t, make([]byte, 8192)), syscall.O_DIRECT)
		mem, err := syscall.Mmap(int(f.Fd()), 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Munmap(mem) }()
		c := one(t, r, func(s *SQE) { s.PrepRead(int(f.Fd()), mem[:4096], 4096, 0) })
		if c.Res != 4096 && c.Err() == nil {
			t.Errorf("read = %d, want 4096 or an error", c.Res)
		}
		c = one(t, r, func(s *SQE) { s.PrepWrite(int(f.Fd()), mem[4096:], 0, 0) })
		if c.Res != 4096 && c.Err() == nil {
			t.Errorf("write = %d, want 4096 or an error", c.Res)
		}
	})
}

// TestCancelRace: a cancel that races with the completion yields one CQE for
// each of the two, and the data is read exactly once.
func TestCancelRace(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		pr, pw := pipe(t)
		bytesRead, cancelled := 0, 0
		for i := range 300 {
			buf := make([]byte, 1)
			r.Next().PrepRead(pr, buf, -1, 1)
			if _, err := r.Submit(); err != nil {
				t.Fatal(err)
			}
			wrote := make(chan struct{})
			go func() {
				_, _ = syscall.Write(pw, []byte("x"))
				close(wrote)
			}()
			if i%2 == 0 {
				runtime.Gosched()
			}
			r.Next().PrepCancel(1, 0, 2)
			got := reapN(t, r, 2)
			<-wrote
			if got[1].Res == 1 {
				bytesRead++
				continue
			}
			cancelled++
			if e := got[1].Err(); !errors.Is(e, syscall.ECANCELED) && !errors.Is(e, syscall.EINTR) {
				t.Fatalf("cancelled read = %d (%v)", got[1].Res, e)
			}
			if n, err := syscall.Read(pr, buf); n != 1 || err != nil {
				t.Fatalf("the byte of a cancelled read is gone: %d, %v", n, err)
			}
		}
		t.Logf("%d completed, %d cancelled", bytesRead, cancelled)
	})
}

// TestDrain: queued, unsubmitted and armed requests all complete before Close.
func TestDrain(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		pr, _ := pipe(t)
		f := reopen(t, tempPath(t, make([]byte, 64<<10)), syscall.O_DIRECT)
		buf := alignedBytes(t, 64<<10)
		for i := range 4 {
			r.Next().PrepRead(pr, make([]byte, 1), -1, uint64(i))
		}
		if _, err := r.Submit(); err != nil {
			t.Fatal(err)
		}
		for i := 4; i < 12; i++ {
			r.Next().PrepRead(int(f.Fd()), buf[i*4096:(i+1)*4096], int64(i)*4096, uint64(i))
		}
		if err := r.Wake(1000); err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]int32{}
		err := r.Drain(12, func(c CQE) bool {
			seen[c.UserData] = c.Res
			return c.UserData != 1000
		})
		if err != nil || len(seen) != 13 {
			t.Fatalf("Drain = %v after %d completions, want nil after 13", err, len(seen))
		}
		for i := range uint64(12) {
			if i < 4 && seen[i] != -int32(syscall.ECANCELED) {
				t.Errorf("read %d of the pipe = %d, want ECANCELED", i, seen[i])
			}
			if i >= 4 && seen[i] != 4096 && seen[i] != -int32(syscall.ECANCELED) {
				t.Errorf("read %d of the file = %d, want 4096 or ECANCELED", i, seen[i])
			}
		}
	})
}

// TestStackBuffer: a buffer that the source puts on the stack is on the heap,
// so growing the stack under a request does not lead it astray.
func TestStackBuffer(t *testing.T) {
	r := openRing(t, Config{})
	pr, pw := pipe(t)
	done := make(chan struct{})
	go func() { // a new goroutine has a small stack
		defer close(done)
		var buf [64]byte
		r.Next().PrepRead(pr, buf[:], -1, 1)
		if _, err := r.Submit(); err != nil {
			t.Error(err)
			return
		}
		growStack(1 << 10)
		if _, err := syscall.Write(pw, []byte("still here")); err != nil {
			t.Error(err)
			return
		}
		if err := r.Wait(1, testLimit); err != nil {
			t.Error(err)
		}
		if got := string(buf[:10]); got != "still here" {
			t.Errorf("read %q, want %q", got, "still here")
		}
	}()
	<-done
}

//go:noinline
func growStack(n int) byte {
	var frame [256]byte
	frame[n%256] = byte(n)
	if n == 0 {
		return frame[0]
	}
	return growStack(n-1) + frame[n%256]
}

// TestAllocs: the calls of the hot path allocate nothing.
func TestAllocs(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		f := tempFile(t, make([]byte, 4096))
		fd := int(f.Fd())
		buf := make([]byte, 4096)
		vecs := make([]Iovec, 1)
		vecs[0].Set(buf)
		dst := make([]CQE, 8)
		for name, round := range map[string]func(){
			"read and wait": func() {
				r.Next().PrepRead(fd, buf, 0, 1)
				r.Next().PrepReadv(fd, vecs, 0, 2)
				_, _ = r.SubmitAndWait(2, -1)
				r.Reap(dst)
			},
			"timed wait": func() {
				r.Next().PrepNop(1)
				_, _ = r.SubmitAndWait(1, time.Second)
				r.Reap(dst)
			},
			"wait that times out": func() { _, _ = r.SubmitAndWait(1, time.Microsecond) },
			"submit, wait, reap": func() {
				r.Next().PrepFsync(fd, FsyncDataSync, 1)
				_, _ = r.Submit()
				_ = r.Wait(1, -1)
				r.Reap(dst)
			},
			"wake": func() {
				_ = r.Wake(1)
				_ = r.Wait(1, -1)
				r.Reap(dst)
			},
			"errors": func() {
				r.Next().PrepRead(-1, buf, 0, 1)
				_, _ = r.SubmitAndWait(1, -1)
				r.Reap(dst)
				_ = dst[0].Err()
			},
		} {
			if got := testing.AllocsPerRun(100, round); got != 0 {
				t.Errorf("%s: %v allocations, want 0", name, got)
			}
			for r.Reap(dst) > 0 { // leave nothing to the next
				continue
			}
		}
	})
}

// TestShared: goroutines on many threads submit to one ring and wait for their
// own request; whoever wakes reaps for all. This is the use that the package
// comment describes, with a lock for each side and none around the wait.
func TestShared(t *testing.T) {
	const goroutines, each = 8, 200
	data := make([]byte, goroutines*512)
	for i := range data {
		data[i] = byte(i / 512)
	}
	f := tempFile(t, data)
	s := &sharedRing{r: openRing(t, Config{SQEntries: 4, CQEntries: 4})}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			buf := make([]byte, 512)
			for range each {
				clear(buf)
				res, err := s.read(g, int(f.Fd()), buf, int64(g)*512)
				if err != nil || res != 512 || buf[0] != byte(g) || buf[511] != byte(g) {
					t.Errorf("goroutine %d: read = %d, %v, bytes %d %d; want 512, nil, %d", g, res, err, buf[0], buf[511], g)
					return
				}
			}
		})
	}
	wg.Wait()
}

// wakeData marks a completion that only wakes.
const wakeData = 1 << 40

// A sharedRing is the least that several goroutines need to share a ring.
type sharedRing struct {
	r        *Ring
	submitMu sync.Mutex // submission side
	reapMu   sync.Mutex // completion side, and what follows
	done     [64]bool
	res      [64]int32
	waiters  int // goroutines that said they will wait in the kernel
}

func (s *sharedRing) read(id, fd int, buf []byte, off int64) (int32, error) {
	s.submitMu.Lock()
	sqe := s.r.Next()
	for sqe == nil {
		if _, err := s.r.Submit(); err != nil {
			s.submitMu.Unlock()
			return 0, err
		}
		sqe = s.r.Next()
	}
	sqe.PrepRead(fd, buf, off, uint64(id))
	_, err := s.r.Submit()
	s.submitMu.Unlock()
	if err != nil {
		return 0, err
	}
	for {
		s.reapMu.Lock()
		wake := s.reapLocked(id)
		if s.done[id] {
			s.done[id] = false
			res := s.res[id]
			s.reapMu.Unlock()
			if wake {
				return res, s.r.Wake(wakeData)
			}
			return res, nil
		}
		s.waiters++
		s.reapMu.Unlock()
		err := s.r.Wait(1, testLimit)
		s.reapMu.Lock()
		s.waiters--
		s.reapMu.Unlock()
		if err != nil {
			return 0, err
		}
	}
}

// reapLocked takes what is ready and reports whether another goroutine that
// may be in the kernel, or about to enter it, has to look.
func (s *sharedRing) reapLocked(id int) (wake bool) {
	var dst [8]CQE
	for n := s.r.Reap(dst[:]); n > 0; n = s.r.Reap(dst[:]) {
		for _, c := range dst[:n] {
			if c.UserData != wakeData {
				s.done[c.UserData], s.res[c.UserData] = true, c.Res
			}
		}
	}
	// Any waiter might be the one whose completion was just taken, or might
	// have slept through a wake that this goroutine took.
	return s.waiters > 0
}

// TestSetupHint: each refusal is explained.
func TestSetupHint(t *testing.T) {
	for _, tt := range []struct {
		errno    syscall.Errno
		disabled string
		memlock  uint64
		want     string
	}{
		{syscall.ENOSYS, "", unlimitedKB, "the kernel has no io_uring"},
		{syscall.EPERM, "0\n", unlimitedKB, "seccomp"},
		{syscall.EPERM, "1\n", unlimitedKB, "io_uring_group"},
		{syscall.EPERM, "2\n", unlimitedKB, "nobody may open rings"},
		{syscall.EACCES, "", unlimitedKB, "security module"},
		{syscall.ENOMEM, "", 64, "RLIMIT_MEMLOCK, which is 64 KiB"},
		{syscall.EMFILE, "", unlimitedKB, "RLIMIT_NOFILE"},
		{syscall.ENFILE, "", unlimitedKB, "fs.file-max"},
	} {
		err := &SetupError{SQEntries: 8, Step: "setup", Err: tt.errno, Hint: setupHint(tt.errno, setupFacts{tt.disabled, tt.memlock})}
		if !strings.Contains(err.Error(), tt.want) || !errors.Is(err, tt.errno) {
			t.Errorf("error for %v with io_uring_disabled %q = %q, want it to say %q", tt.errno, tt.disabled, err, tt.want)
		}
	}
	if hint := setupHint(syscall.ENOMEM, setupFacts{memlockKB: unlimitedKB}); strings.Contains(hint, "MEMLOCK") {
		t.Errorf("hint for ENOMEM without a limit = %q, which blames the limit", hint)
	}
}

func TestOpenErrors(t *testing.T) {
	openRing(t, Config{}) // skips where there is none
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"too many entries", Config{SQEntries: MaxSQEntries + 1}, "at most 32768 submission"},
		{"too many completions", Config{CQEntries: MaxCQEntries + 1}, "65536 completion"},
		{"fewer completions than requests", Config{SQEntries: 64, CQEntries: 32}, "fewer completion"},
		{"IOPOLL", Config{Require: 1}, "not driven by this package"},
		{"SQE128", Config{Prefer: 1 << 10}, "not driven by this package"},
		{"DEFER_TASKRUN alone", Config{Require: SetupDeferTaskrun}, "invalid argument"},
	} {
		r, err := Open(tt.cfg)
		if err == nil {
			t.Errorf("%s: opened", tt.name)
			_ = r.Close()
			continue
		}
		var se *SetupError
		if !errors.As(err, &se) || !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %q, want a SetupError with EINVAL that says %q", tt.name, err, tt.want)
		}
	}
}

// TestOpenRetries: short of memory, Open settles for a smaller ring.
func TestOpenRetries(t *testing.T) {
	for _, tt := range []struct {
		fit  uint32 // what the machine has room for
		want uint32 // what is opened; 0: ENOMEM
	}{{64, 64}, {1000, 128}, {8, 8}, {4, 0}} {
		var asked []uint32
		p := setupParams{cqEntries: 512}
		_, err := setupRetrying(&p, 128, func(n uint32, p *setupParams) (int, syscall.Errno) {
			asked = append(asked, n)
			if p.cqEntries != 4*n {
				t.Errorf("asked for %d completions beside %d requests, want %d", p.cqEntries, n, 4*n)
			}
			if n > tt.fit {
				return -1, syscall.ENOMEM
			}
			return 3, 0
		})
		last := asked[len(asked)-1]
		if tt.want != 0 && (err != nil || last != tt.want) {
			t.Errorf("room for %d: opened %d, %v; want %d", tt.fit, last, err, tt.want)
		}
		if tt.want == 0 && !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("room for %d: %v, want ENOMEM", tt.fit, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		cfg    Config
		sq, cq int
	}{
		{Config{}, 128, 256},
		{Config{SQEntries: 1}, 1, 2},
		{Config{SQEntries: 100}, 128, 256},
		{Config{SQEntries: 8, CQEntries: 1000}, 8, 1024},
		{Config{SQEntries: 8, CQEntries: 8}, 8, 8},
	} {
		r := openRing(t, tt.cfg)
		if r.SQEntries() != tt.sq || r.CQEntries() != tt.cq {
			t.Errorf("Open(%+v) has %d, %d entries, want %d, %d", tt.cfg, r.SQEntries(), r.CQEntries(), tt.sq, tt.cq)
		}
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
	if err := s.Need(OpRead, Op(250)); !errors.As(err, &fe) || !errors.Is(err, ErrUnsupported) || fe.Feature != "IORING_OP_OP_250" {
		t.Errorf("Need(250) = %v, want a FeatureError that is ErrUnsupported", err)
	}
}

// TestSince: a kernel that lacks an operation is older than the release that
// the package says has it, and the other way round.
func TestSince(t *testing.T) {
	openRing(t, Config{}) // skips where there is none
	s, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	running := kernelRelease(t)
	for op, info := range opInfos {
		if want := !olderThan(running, info.since); s.Has(op) != want {
			t.Errorf("Has(%s) = %v on Linux %d.%d, and it is said to be there since %s", op, s.Has(op), running[0], running[1], info.since)
		}
	}
	for _, n := range setupNames {
		if want := !olderThan(running, n.since); (uint32(s.Setup)&n.bit != 0) != want {
			t.Errorf("IORING_SETUP_%s supported %v, and it is said to be there since %s", n.name, !want, n.since)
		}
	}
	for _, n := range featNames {
		if want := !olderThan(running, n.since); (uint32(s.Features)&n.bit != 0) != want {
			t.Errorf("IORING_FEAT_%s supported %v, and it is said to be there since %s", n.name, !want, n.since)
		}
	}
}
