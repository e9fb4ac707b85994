// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"cmp"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"endio/lockdep"
	"endio/machine/host"
	"endio/uring"
)

// errNotSupported is what a file system without RWF_DONTCACHE answers.
const errNotSupported = syscall.EOPNOTSUPP

// An uncached keeps what a File with [Uncached] transfers out of the page cache.
//
// RWF_DONTCACHE does that in the kernel where it can: not on btrfs and block
// devices, and on ext4 not for overwrites, whose completion runs in interrupt
// context, where pages can't be dropped (Linux 6.18). So what was transferred is
// also dropped by hand. Only clean pages can go, and waiting for the write-back
// of each transfer would make the device's latency the caller's. So a transfer
// only starts write-back, and what lies uncachedLag behind, whose write-back is
// mostly over by then, is waited for and dropped. What is left goes at Sync, at
// Close, and when the file has been idle.
//
// Reads are plain ones, and dropped by hand alone: with RWF_DONTCACHE a stream of
// reads gets a third of the throughput at five times the CPU, because the kernel
// drops each folio as it has been read, on its own (bench/engine, Linux 6.18).
type uncached struct {
	m      *host.Machine
	fd     int
	dsync  bool        // the file was opened with O_DSYNC or O_SYNC
	refuse atomic.Bool // the file system refused RWF_DONTCACHE

	// sweepMu is held by whoever waits and drops, and by Close.
	sweepMu lockdep.Mutex
	closed  bool   // guarded by sweepMu, as the next three
	lost    error  // of write-back: see drop
	touched []span // what was dropped, rounded outwards; overlaps are rare
	merged  int    // len(touched) when it had none
	stuck   bool   // patience was in vain the last time

	noted atomic.Int64 // transfers ever

	mu      lockdep.Mutex
	spans   []span // transferred and not dropped, oldest first; guarded by mu, as all below
	begun   int    // spans whose write-back was started
	pending int64  // bytes in spans
	moved   bool   // there was a transfer since the timer was set
	timer   *time.Timer
	armed   bool  // the timer runs
	burst   int64 // bytes since the file was idle
}

// A span is part of the file.
type span struct {
	start, end int64 // whole pages
	dirty      bool  // written, and not only read
}

const (
	// uncachedLag is how much stays behind the newest transfer: enough for a disk
	// of 1 GB/s and 4 ms, and what a writer can't do without buffering anyway.
	uncachedLag = 8 << 20
	// uncachedChunk is how much is written back at a time: larger requests cost the
	// device less, and fewer system calls the caller.
	uncachedChunk = 1 << 20
	// uncachedDrop is how much is dropped at a time.
	uncachedDrop = 4 << 20
	// uncachedMost makes a transfer wait for others that drop.
	uncachedMost = 4 * uncachedLag
	// uncachedStream is how much makes a stream. Up to there each transfer is dropped
	// before its handler runs: a few of them need no lag.
	uncachedStream = 256 << 10
	// uncachedIdle is after how long without a transfer everything is dropped.
	uncachedIdle = 50 * time.Millisecond
	// readAhead bounds what the kernel reads on its own, and the size of a folio.
	readAhead = 2 << 20
	// patience is how long the last sweep waits for pages that do not go.
	patience = 500 * time.Millisecond
)

// setUncached makes f leave nothing in the page cache.
func (f *File) setUncached(flag int) {
	f.uncached = &uncached{m: f.e.m, fd: f.host.FD, dsync: flag&unix.O_DSYNC != 0}
}

// flags returns the flags of the next transfer.
func (f *File) flags(kind Kind) uring.RWFlags {
	if kind != Write || f.uncached == nil || f.uncached.refuse.Load() {
		return 0
	}
	return uring.RWDontCache
}

// plainCache notes that RWF_DONTCACHE was refused, and reports whether the
// transfer, which had these flags, is to be tried without.
func (f *File) plainCache(flags uring.RWFlags) bool {
	if flags&uring.RWDontCache == 0 {
		return false
	}
	f.uncached.refuse.Store(true)
	return true
}

// note takes in a transfer that is over, before its inode is released: what Close
// has waited for is known to it. It does not block.
func (u *uncached) note(kind Kind, off int64, n int) {
	if n == 0 || kind > Write {
		return
	}
	page := int64(os.Getpagesize())
	s := span{start: off / page * page, end: (off + int64(n) + page - 1) / page * page, dirty: kind == Write}
	u.noted.Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pending += s.end - s.start
	u.burst += s.end - s.start
	if at := len(u.spans) - 1; at >= u.begun && u.spans[at].dirty == s.dirty && u.spans[at].end == s.start && s.end-u.spans[at].start <= uncachedChunk {
		u.spans[at].end = s.end
	} else {
		u.spans = append(u.spans, s)
	}
	u.moved = true
	if !u.armed {
		u.armed = true
		if u.timer == nil {
			u.timer = time.AfterFunc(uncachedIdle, u.idle)
		} else {
			u.timer.Reset(uncachedIdle)
		}
	}
}

// told returns, once, the error of a write-back that a sweep has waited for, if an operation
// of that kind, which has succeeded, was to make data durable. It waits for the sweep that
// runs, which may have taken the error from the kernel and not told yet.
func (u *uncached) told(kind Kind, dsync bool) error {
	if kind == Read || kind == Write && !dsync && !u.dsync {
		return nil
	}
	u.sweepMu.Lock()
	defer u.sweepMu.Unlock()
	err := u.lost
	u.lost = nil
	return err
}

// settle does what a transfer or sync that was noted makes due. It may block.
func (u *uncached) settle(kind Kind) {
	if kind > Write {
		u.finish()
		return
	}
	u.mu.Lock()
	pending, whole, burst := u.pending, len(u.spans)-1-u.begun, u.burst
	u.mu.Unlock()
	switch {
	case burst <= uncachedStream:
		u.sweep(0)
	case pending > uncachedMost:
		u.sweep(uncachedLag)
	case (pending > uncachedLag+uncachedDrop || whole > 0 && u.refuse.Load()) && u.sweepMu.TryLock():
		u.beginLocked()
		if pending > uncachedLag+uncachedDrop {
			u.sweepLocked(uncachedLag)
		}
		u.sweepMu.Unlock()
	}
}

// beginLocked starts write-back of the spans that will not grow any more. With
// RWF_DONTCACHE the kernel has done it.
func (u *uncached) beginLocked() {
	if u.closed || !u.refuse.Load() {
		return
	}
	u.mu.Lock()
	whole := max(u.begun, len(u.spans)-1)
	spans := slices.Clone(u.spans[u.begun:whole])
	u.begun = whole
	u.mu.Unlock()
	for _, s := range merge(spans) {
		if s.dirty {
			u.m.TakeThread()
			// The kernel keeps an error for the next Sync: this does not wait.
			_ = unix.SyncFileRange(u.fd, s.start, s.end-s.start, unix.SYNC_FILE_RANGE_WRITE)
			u.m.GiveThread()
		}
	}
}

// sweep drops the oldest spans until at most keep bytes are left.
func (u *uncached) sweep(keep int64) {
	u.sweepMu.Lock()
	u.sweepLocked(keep)
	u.sweepMu.Unlock()
}

func (u *uncached) sweepLocked(keep int64) {
	if u.closed {
		return
	}
	u.mu.Lock()
	n, left := 0, u.pending
	for n < len(u.spans) && left > keep {
		left -= u.spans[n].end - u.spans[n].start
		n++
	}
	spans := slices.Clone(u.spans[:n])
	u.spans = slices.Delete(u.spans, 0, n)
	u.begun = max(0, u.begun-n)
	u.pending = left
	u.mu.Unlock()
	spans = merge(spans)
	for _, s := range spans {
		u.drop(s)
	}
	if u.touch(spans); keep == 0 {
		u.dropTouchedLocked()
	}
}

// dropTouchedLocked drops the neighbourhood of all that was transferred, and
// keeps in mind what did not go.
func (u *uncached) dropTouchedLocked() {
	if len(u.touched) == 0 {
		return
	}
	u.touched = slices.DeleteFunc(u.touched, func(s span) bool {
		u.drop(s)
		return u.empty(s)
	})
	if u.merged = len(u.touched); u.merged == 0 {
		u.stuck = false
	}
}

// finish drops everything, and tries again what did not go. A page can't go while
// anybody has a reference to it, and the kernel itself takes one for a moment:
// the end of a write-back, which then drops the page, and whoever looks for dirty
// pages, which holds 31 at a time. On a busy machine such a thread may be put
// aside in the middle, and there is nothing to wait for but time. What somebody
// else uses stays, and makes nobody wait a second time. Nor does one wait while
// there are new transfers, whose pages are here by right and go later.
func (u *uncached) finish() {
	noted := u.noted.Load()
	u.sweepMu.Lock()
	defer u.sweepMu.Unlock()
	u.sweepLocked(0)
	wait := time.Millisecond
	for end := time.Now().Add(patience); len(u.touched) > 0 && u.noted.Load() == noted; wait = min(2*wait, patience/20) {
		if u.stuck || time.Now().After(end) {
			u.stuck = true
			u.touched, u.merged = u.touched[:0], 0
			return
		}
		u.sweepMu.Unlock()
		time.Sleep(wait) // polls: the kernel's references to pages, of which it gives no word
		u.sweepMu.Lock()
		if u.closed {
			return
		}
		u.dropTouchedLocked()
	}
}

// drop takes s out of the page cache, as far as it can be.
//
// Whoever waits for write-back is told of its error, and nobody after him: the kernel tells
// an open file once (file_check_and_advance_wb_err, mm/filemap.c), and a Sync would
// succeed. So the error is kept for that. sweepMu is held.
func (u *uncached) drop(s span) {
	if s.dirty {
		u.m.TakeThread()
		err := unix.SyncFileRange(u.fd, s.start, s.end-s.start, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		u.m.GiveThread()
		switch err {
		case nil, unix.EINTR, unix.ENOSYS, unix.EPERM: // has not waited: a filter may forbid the call
		default:
			if u.lost == nil {
				u.lost = err
			}
		}
	}
	_ = unix.Fadvise(u.fd, s.start, s.end-s.start, unix.FADV_DONTNEED)
}

// empty reports whether nothing of s is in the page cache, as far as one can tell.
func (u *uncached) empty(s span) bool {
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(u.fd), &unix.CachestatRange{Off: uint64(s.start), Len: uint64(s.end - s.start)}, &st, 0)
	return err != nil || st.Cache == 0
}

// touch remembers the neighbourhood of spans for the last sweep: a folio that
// lies in two spans, or holds what was read ahead, is in none of them.
func (u *uncached) touch(spans []span) {
	for _, s := range spans {
		s.start = s.start / readAhead * readAhead
		s.end = (s.end/readAhead + 2) * readAhead
		if n := len(u.touched); n > 0 && u.touched[n-1].start <= s.start && s.start <= u.touched[n-1].end {
			u.touched[n-1].end = max(u.touched[n-1].end, s.end)
			u.touched[n-1].dirty = u.touched[n-1].dirty || s.dirty
			continue
		}
		u.touched = append(u.touched, s)
	}
	if len(u.touched) > 2*u.merged+64 {
		u.touched = merge(u.touched)
		u.merged = len(u.touched)
	}
}

// merge joins spans that touch; their order is lost.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	merged := spans[:0]
	for _, s := range spans {
		if n := len(merged); n > 0 && s.start <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, s.end)
			merged[n-1].dirty = merged[n-1].dirty || s.dirty
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// idle is the timer's function: it drops everything once there was no transfer
// for a whole period.
func (u *uncached) idle() {
	u.mu.Lock()
	if u.moved {
		u.moved = false
		u.timer.Reset(uncachedIdle)
		u.mu.Unlock()
		return
	}
	u.armed, u.burst = false, 0
	u.mu.Unlock()
	u.finish()
}

// close drops everything. No transfer is in flight, and none comes after it. The error is
// that of data which no Sync has reported lost.
func (u *uncached) close() error {
	u.finish()
	u.sweepMu.Lock()
	u.closed = true // the timer, if it is on its way, finds it
	lost := u.lost
	u.sweepMu.Unlock()
	u.mu.Lock()
	if u.timer != nil {
		u.timer.Stop()
	}
	u.mu.Unlock()
	return lost
}
