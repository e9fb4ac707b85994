// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

// Flags of system calls that package syscall does not name.
//
// Source: include/uapi/linux/falloc.h, fs.h, fadvise.h; asm-generic/poll.h.
const (
	fallocKeepSize  = 0x01
	fallocPunchHole = 0x02
	fallocZeroRange = 0x10
	syncRangeAll    = 0x1 | 0x2 | 0x4 // WAIT_BEFORE, WRITE, WAIT_AFTER
	fadvDontNeed    = 4
	pollIn          = 1
)

// An opTest is one operation on a file that holds "0123456789".
type opTest struct {
	name string
	need Op
	prep func(s *SQE, fd int)
	res  int    // wanted result
	file string // wanted content afterwards
}

var (
	opBuf  = make([]byte, 32)
	opVecs = func() []Iovec {
		v := make([]Iovec, 3)
		v[0].Set([]byte("ab"))
		v[2].Set([]byte("cde")) // the middle one is empty
		return v
	}()
)

const ten = "0123456789"

var opTests = []opTest{
	{"write inside", OpWrite, func(s *SQE, fd int) { s.PrepWrite(fd, []byte("abc"), 2, 0) }, 3, "01abc56789"},
	{"write past the end leaves a hole", OpWrite, func(s *SQE, fd int) { s.PrepWrite(fd, []byte("x"), 12, 0) }, 1, ten + "\x00\x00x"},
	{"write nothing", OpWrite, func(s *SQE, fd int) { s.PrepWrite(fd, nil, 2, 0) }, 0, ten},
	{"write at a negative offset", OpWrite, func(s *SQE, fd int) { s.PrepWrite(fd, []byte("x"), -2, 0) }, -int(syscall.EINVAL), ten},
	{"append by flag", OpWrite, func(s *SQE, fd int) {
		s.PrepWrite(fd, []byte("x"), 0, 0)
		s.SetRWFlags(RWAppend)
	}, 1, ten + "x"},
	{"write with DSYNC", OpWrite, func(s *SQE, fd int) {
		s.PrepWrite(fd, []byte("x"), 0, 0)
		s.SetRWFlags(RWDsync)
	}, 1, "x123456789"},
	{"unknown flags", OpWrite, func(s *SQE, fd int) {
		s.PrepWrite(fd, []byte("x"), 0, 0)
		s.SetRWFlags(1 << 30)
	}, -int(syscall.EOPNOTSUPP), ten},
	{"writev", OpWritev, func(s *SQE, fd int) { s.PrepWritev(fd, opVecs, 1, 0) }, 5, "0abcde6789"},
	{"read", OpRead, func(s *SQE, fd int) { s.PrepRead(fd, opBuf[:4], 3, 0) }, 4, ten},
	{"short read", OpRead, func(s *SQE, fd int) { s.PrepRead(fd, opBuf, 8, 0) }, 2, ten},
	{"read at the end", OpRead, func(s *SQE, fd int) { s.PrepRead(fd, opBuf, 10, 0) }, 0, ten},
	{"read far past the end", OpRead, func(s *SQE, fd int) { s.PrepRead(fd, opBuf, 1<<40, 0) }, 0, ten},
	{"read of a closed descriptor", OpRead, func(s *SQE, _ int) { s.PrepRead(-1, opBuf, 0, 0) }, -int(syscall.EBADF), ten},
	{"fsync", OpFsync, func(s *SQE, fd int) { s.PrepFsync(fd, 0, 0) }, 0, ten},
	{"fdatasync", OpFsync, func(s *SQE, fd int) { s.PrepFsync(fd, FsyncDataSync, 0) }, 0, ten},
	{"sync_file_range", OpSyncFileRange, func(s *SQE, fd int) { s.PrepSyncFileRange(fd, 0, 0, syncRangeAll, 0) }, 0, ten},
	{"fallocate grows", OpFallocate, func(s *SQE, fd int) { s.PrepFallocate(fd, 0, 0, 12, 0) }, 0, ten + "\x00\x00"},
	{"fallocate keeps the size", OpFallocate, func(s *SQE, fd int) { s.PrepFallocate(fd, fallocKeepSize, 0, 4096, 0) }, 0, ten},
	{"punch a hole", OpFallocate, func(s *SQE, fd int) { s.PrepFallocate(fd, fallocPunchHole|fallocKeepSize, 2, 3, 0) }, 0, "01\x00\x00\x0056789"},
	{"zero a range", OpFallocate, func(s *SQE, fd int) { s.PrepFallocate(fd, fallocZeroRange, 8, 4, 0) }, 0, "01234567\x00\x00\x00\x00"},
	{"fallocate of nothing", OpFallocate, func(s *SQE, fd int) { s.PrepFallocate(fd, 0, 0, 0, 0) }, -int(syscall.EINVAL), ten},
	{"truncate down", OpFtruncate, func(s *SQE, fd int) { s.PrepFtruncate(fd, 4, 0) }, 0, "0123"},
	{"truncate up", OpFtruncate, func(s *SQE, fd int) { s.PrepFtruncate(fd, 11, 0) }, 0, ten + "\x00"},
	{"truncate below zero", OpFtruncate, func(s *SQE, fd int) { s.PrepFtruncate(fd, -1, 0) }, -int(syscall.EINVAL), ten},
	{"fadvise", OpFadvise, func(s *SQE, fd int) { s.PrepFadvise(fd, 0, 0, fadvDontNeed, 0) }, 0, ten},
	{"fadvise of nonsense", OpFadvise, func(s *SQE, fd int) { s.PrepFadvise(fd, 0, 0, 99, 0) }, -int(syscall.EINVAL), ten},
	{"unknown operation", OpNop, func(s *SQE, fd int) { s.prep(250, fd, 0, 0, 0, 0) }, -int(syscall.EINVAL), ten},
	{"asynchronous from the start", OpRead, func(s *SQE, fd int) {
		s.PrepRead(fd, opBuf[:4], 3, 0)
		s.SetFlags(SQEAsync)
	}, 4, ten},
}

// TestOps runs each operation and compares the file with what it must hold.
func TestOps(t *testing.T) {
	for _, tt := range opTests {
		t.Run(tt.name, func(t *testing.T) {
			need(t, tt.need)
			onEach(t, func(t *testing.T, r *Ring) { checkOp(t, r, tt, tempFile(t, []byte(ten))) })
		})
	}
}

func checkOp(t *testing.T, r *Ring, tt opTest, f *os.File) {
	t.Helper()
	clear(opBuf)
	c := one(t, r, func(s *SQE) { tt.prep(s, int(f.Fd())) })
	wantRes(t, tt.name, c, tt.res)
	if tt.need == OpRead && c.Res > 0 {
		off := map[int]int{4: 3, 2: 8}[int(c.Res)]
		if got, want := string(opBuf[:c.Res]), ten[off:off+int(c.Res)]; got != want {
			t.Errorf("%s read %q, want %q", tt.name, got, want)
		}
	}
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != tt.file {
		t.Errorf("%s: the file holds %q, want %q", tt.name, got, tt.file)
	}
}

func TestNop(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		wantRes(t, "NOP", one(t, r, func(s *SQE) { s.PrepNop(0) }), 0)
	})
}

func TestReadv(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		f := tempFile(t, []byte(ten))
		a, b := make([]byte, 3), make([]byte, 20)
		vecs := make([]Iovec, 2)
		vecs[0].Set(a)
		vecs[1].Set(b)
		wantRes(t, "readv", one(t, r, func(s *SQE) { s.PrepReadv(int(f.Fd()), vecs, 1, 0) }), 9)
		if got := string(a) + string(b[:6]); got != ten[1:] {
			t.Errorf("readv read %q, want %q", got, ten[1:])
		}
		if vecs[1].Len() != 20 {
			t.Errorf("Len() = %d, want 20", vecs[1].Len())
		}
		many := make([]Iovec, MaxIovecs+1)
		wantRes(t, "readv of too many", one(t, r, func(s *SQE) { s.PrepReadv(int(f.Fd()), many, 0, 0) }), -int(syscall.EINVAL))
	})
}

// TestReadErrors: what can't be read says so in its CQE.
func TestReadErrors(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	ro, err := os.Open(tempPath(t, []byte(ten)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ro.Close() })
	onEach(t, func(t *testing.T, r *Ring) {
		c := one(t, r, func(s *SQE) { s.PrepRead(int(dir.Fd()), opBuf, 0, 0) })
		wantRes(t, "read of a directory", c, -int(syscall.EISDIR))
		if !errors.Is(c.Err(), syscall.EISDIR) {
			t.Errorf("Err() = %v, want EISDIR", c.Err())
		}
		c = one(t, r, func(s *SQE) { s.PrepWrite(int(ro.Fd()), opBuf, 0, 0) })
		wantRes(t, "write to a read-only descriptor", c, -int(syscall.EBADF))
	})
}

// TestDirect: alignment and the end of the file under O_DIRECT.
func TestDirect(t *testing.T) {
	data := bytes.Repeat([]byte("direct i/o block"), 1024) // 16 KiB
	onEach(t, func(t *testing.T, r *Ring) {
		path := tempPath(t, append(bytes.Clone(data), "tail"...))
		f := reopen(t, path, syscall.O_DIRECT)
		fd := int(f.Fd())
		buf := alignedBytes(t, 16384)
		wantRes(t, "read", one(t, r, func(s *SQE) { s.PrepRead(fd, buf, 0, 0) }), len(buf))
		if !bytes.Equal(buf, data) {
			t.Error("direct read returned other data")
		}
		wantRes(t, "read over the end", one(t, r, func(s *SQE) { s.PrepRead(fd, buf, 12288, 0) }), 4096+4)
		wantRes(t, "read at the end", one(t, r, func(s *SQE) { s.PrepRead(fd, buf, 20480, 0) }), 0)
		wantRes(t, "unaligned offset", one(t, r, func(s *SQE) { s.PrepRead(fd, buf, 100, 0) }), -int(syscall.EINVAL))
		wantRes(t, "unaligned length", one(t, r, func(s *SQE) { s.PrepRead(fd, buf[:100], 0, 0) }), -int(syscall.EINVAL))
		copy(buf, bytes.Repeat([]byte{0xa5}, 4096))
		wantRes(t, "write", one(t, r, func(s *SQE) { s.PrepWrite(fd, buf[:4096], 4096, 0) }), 4096)
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[4096:8192], buf[:4096]) || !bytes.Equal(got[:4096], data[:4096]) {
			t.Error("direct write changed other bytes than its own")
		}
	})
}

// TestDontCache: RWF_DONTCACHE writes, or says that the file system can't.
func TestDontCache(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		f := tempFile(t, []byte(ten))
		c := one(t, r, func(s *SQE) {
			s.PrepWrite(int(f.Fd()), []byte("abc"), 0, 0)
			s.SetRWFlags(RWDontCache)
		})
		switch {
		case errors.Is(c.Err(), syscall.EOPNOTSUPP) || errors.Is(c.Err(), syscall.EINVAL):
			t.Skip("not on this kernel and file system")
		default:
			wantRes(t, "uncached write", c, 3)
		}
	})
}

// TestNowait: RWF_NOWAIT answers, with data or EAGAIN, and never blocks.
func TestNowait(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		f := tempFile(t, []byte(ten))
		c := one(t, r, func(s *SQE) {
			s.PrepRead(int(f.Fd()), opBuf[:10], 0, 0)
			s.SetRWFlags(RWNowait)
		})
		if c.Res != 10 && !errors.Is(c.Err(), syscall.EAGAIN) {
			t.Errorf("read with NOWAIT = %d (%v), want 10 or EAGAIN", c.Res, c.Err())
		}
	})
}

// TestLinks: a link runs in order, and a failure cancels what follows it,
// unless the link is hard. A short read breaks a link too.
func TestLinks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first func(s *SQE, fd int)
		hard  bool
		want  [3]int
	}{
		{"success", func(s *SQE, fd int) { s.PrepWrite(fd, []byte("ab"), 0, 1) }, false, [3]int{2, 10, 0}},
		{"failure", func(s *SQE, _ int) { s.PrepWrite(-1, []byte("ab"), 0, 1) }, false,
			[3]int{-int(syscall.EBADF), -int(syscall.ECANCELED), -int(syscall.ECANCELED)}},
		{"short read", func(s *SQE, fd int) { s.PrepRead(fd, opBuf, 0, 1) }, false,
			[3]int{10, -int(syscall.ECANCELED), -int(syscall.ECANCELED)}},
		{"failure under a hard link", func(s *SQE, _ int) { s.PrepRead(-1, opBuf, 0, 1) }, true,
			[3]int{-int(syscall.EBADF), 10, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, r *Ring) {
				fd := int(tempFile(t, []byte(ten)).Fd())
				link := SQELink
				if tt.hard {
					link = SQEHardLink
				}
				buf := make([]byte, 10)
				s := r.Next()
				tt.first(s, fd)
				s.SetFlags(link)
				s = r.Next()
				s.PrepRead(fd, buf, 0, 2)
				s.SetFlags(link)
				r.Next().PrepFsync(fd, 0, 3)
				got := reapN(t, r, 3)
				for i, want := range tt.want {
					wantRes(t, []string{"first", "second", "third"}[i], got[uint64(i+1)], want)
				}
			})
		})
	}
}

// TestSkip: a request that asks for it posts a CQE only when it fails.
func TestSkip(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		if r.Features()&FeatCQESkip == 0 {
			t.Skip("needs Linux 5.17")
		}
		s := r.Next()
		s.PrepNop(1)
		s.SetFlags(SQECQESkip)
		s = r.Next()
		s.PrepRead(-1, opBuf, 0, 2)
		s.SetFlags(SQECQESkip)
		r.Next().PrepNop(3)
		got := reapN(t, r, 2)
		wantRes(t, "failing read", got[2], -int(syscall.EBADF))
		wantRes(t, "NOP", got[3], 0)
	})
}

// TestDrainFlag: a request with the drain flag starts after all before it.
func TestDrainFlag(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		pr, pw := pipe(t)
		buf := make([]byte, 1)
		r.Next().PrepRead(pr, buf, -1, 1)
		s := r.Next()
		s.PrepNop(2)
		s.SetFlags(SQEDrain)
		if _, err := r.Submit(); err != nil {
			t.Fatal(err)
		}
		var dst [4]CQE
		if n := r.Reap(dst[:]); n != 0 {
			t.Fatalf("reaped %d (%+v) though the pipe is empty", n, dst[0])
		}
		if _, err := syscall.Write(pw, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.SubmitAndWait(2, testLimit); err != nil {
			t.Fatal(err)
		}
		if n := r.Reap(dst[:]); n != 2 || dst[0].UserData != 1 || dst[1].UserData != 2 {
			t.Errorf("reaped %d in order %d, %d; want 2 in order 1, 2", n, dst[0].UserData, dst[1].UserData)
		}
	})
}

func TestPoll(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		pr, pw := pipe(t)
		r.Next().PrepPollAdd(pr, pollIn, PollMulti, 1)
		for i := range 3 {
			if _, err := syscall.Write(pw, []byte("x")); err != nil {
				t.Fatal(err)
			}
			c := reapN(t, r, 1)[1]
			if c.Res&pollIn == 0 || !c.More() {
				t.Fatalf("event %d: %+v, want POLLIN and more to come", i, c)
			}
		}
		r.Next().PrepPollRemove(1, 2)
		got := reapN(t, r, 2)
		wantRes(t, "removal", got[2], 0)
		wantRes(t, "removed poll", got[1], -int(syscall.ECANCELED))
		if got[1].More() {
			t.Error("a removed poll says that more will come")
		}
	})
}

func TestTimeouts(t *testing.T) {
	onEach(t, func(t *testing.T, r *Ring) {
		soon := &Timespec{Nsec: int64(time.Millisecond)}
		late := &Timespec{Sec: 3600}
		pr, _ := pipe(t)
		wantRes(t, "timeout", one(t, r, func(s *SQE) { s.PrepTimeout(soon, 0, 0, 0) }), -int(syscall.ETIME))

		r.Next().PrepTimeout(late, 1, 0, 1)
		r.Next().PrepNop(2)
		wantRes(t, "timeout that counts", reapN(t, r, 2)[1], 0)

		r.Next().PrepTimeout(late, 0, 0, 1)
		r.Next().PrepTimeoutRemove(1, 2)
		got := reapN(t, r, 2)
		wantRes(t, "removed timeout", got[1], -int(syscall.ECANCELED))
		wantRes(t, "removal", got[2], 0)

		s := r.Next()
		s.PrepRead(pr, opBuf, -1, 1)
		s.SetFlags(SQELink)
		r.Next().PrepLinkTimeout(soon, 0, 2)
		got = reapN(t, r, 2)
		wantRes(t, "read with a limit", got[1], -int(syscall.ECANCELED))
		wantRes(t, "its limit", got[2], -int(syscall.ETIME))
	})
}

func TestMsgRing(t *testing.T) {
	need(t, OpMsgRing)
	onEach(t, func(t *testing.T, r *Ring) {
		other := openRing(t, Config{SQEntries: 4})
		wantRes(t, "message", one(t, r, func(s *SQE) { s.PrepMsgRing(other.FD(), 5, 1<<63|9, 0) }), 0)
		wantRes(t, "its arrival", reapN(t, other, 1)[1<<63|9], 5)
		wantRes(t, "message to a pipe", one(t, r, func(s *SQE) {
			pr, _ := pipe(t)
			s.PrepMsgRing(pr, 5, 1, 0)
		}), -int(syscall.EBADFD))
	})
}

// TestCancel: each way to name what is to be cancelled, on reads of an empty
// pipe with UserData 1 and 2 and of another with 3.
func TestCancel(t *testing.T) {
	const gone, open = -int(syscall.ECANCELED), 1000
	for _, tt := range []struct {
		name   string
		cancel func(s *SQE, fd int)
		res    int
		reads  [3]int
	}{
		{"by UserData", func(s *SQE, _ int) { s.PrepCancel(2, 0, 9) }, 0, [3]int{open, gone, open}},
		{"by UserData, none", func(s *SQE, _ int) { s.PrepCancel(4, 0, 9) }, -int(syscall.ENOENT), [3]int{open, open, open}},
		{"by descriptor, one", func(s *SQE, fd int) { s.PrepCancelFD(fd, 0, 9) }, 0, [3]int{gone, open, open}},
		{"by descriptor, all", func(s *SQE, fd int) { s.PrepCancelFD(fd, CancelAll, 9) }, 2, [3]int{gone, gone, open}},
		{"everything", func(s *SQE, _ int) { s.PrepCancelAll(9) }, 3, [3]int{gone, gone, gone}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, r *Ring) {
				p1, _ := pipe(t)
				p2, _ := pipe(t)
				for i, fd := range []int{p1, p1, p2} {
					r.Next().PrepRead(fd, make([]byte, 8), -1, uint64(i+1))
				}
				if _, err := r.Submit(); err != nil {
					t.Fatal(err)
				}
				tt.cancel(r.Next(), p1)
				if _, err := r.SubmitAndWait(1, testLimit); err != nil {
					t.Fatal(err)
				}
				res := map[uint64]int{1: open, 2: open, 3: open}
				collect := func(c CQE) bool {
					res[c.UserData] = int(c.Res)
					return c.UserData != 9
				}
				want := 0
				for _, read := range tt.reads {
					if read == gone {
						want++
					}
				}
				// What was cancelled arrives by itself; then end the rest.
				for r.Ready() < want+1 {
					if _, err := r.SubmitAndWait(want+1, testLimit); err != nil {
						t.Fatal(err)
					}
				}
				dst := make([]CQE, 8)
				for _, c := range dst[:r.Reap(dst)] {
					collect(c)
				}
				if res[9] != tt.res {
					t.Errorf("cancel = %d, want %d", res[9], tt.res)
				}
				if got := [3]int{res[1], res[2], res[3]}; got != tt.reads {
					t.Errorf("reads = %v, want %v", got, tt.reads)
				}
				if err := r.Drain(3-want, collect); err != nil {
					t.Fatal(err)
				}
				for i := uint64(1); i <= 3; i++ {
					if res[i] != gone {
						t.Errorf("read %d after Drain = %d, want ECANCELED", i, res[i])
					}
				}
			})
		})
	}
}

// TestStalePrep: a slot that held a request with everything set is clean for
// the next one.
func TestStalePrep(t *testing.T) {
	r := openRing(t, Config{SQEntries: 1})
	s := r.Next()
	*s = SQE{Flags: 0xff, IOPrio: 1, FD: 1, Off: 1, Addr: 1, Len: 1, OpFlags: 1, BufIndex: 1, Personality: 1, FileIndex: 1, Addr3: 1}
	s.PrepNop(5)
	if want := (SQE{Opcode: OpNop, FD: -1, UserData: 5}); *s != want {
		t.Errorf("PrepNop left %+v, want %+v", *s, want)
	}
}
