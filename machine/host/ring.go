// SPDX-License-Identifier: Apache-2.0

package host

import (
	"time"

	"endio/lockdep"
	"endio/uring"
)

// ring is the device on io_uring.
type ring struct {
	r    *uring.Ring
	port *Port
	bufs *buffers
	own  bool // of one thread: see own.go

	polled bool                   // its leader waits as a goroutine when threads are scarce
	note   lockdep.Chan[struct{}] // of the poller, for the leader; has room for one

	// How long waits last, for the choice in wait. The leader's.
	waits   uint32
	average time.Duration
}

// openRing opens a ring that any goroutine may use; see package uring on why that
// excludes DEFER_TASKRUN. With own it has that, and belongs to the calling thread; see
// [Machine.OpenOwnPort].
//
// Where threads are scarce workers bounds those of the kernel, which does what can not
// be done without blocking with up to four a processor and a submitting thread, of
// which the Go runtime has many, and takes no account of what is left for others.
func openRing(sqEntries, cqEntries int, workers uint32, own bool) (*ring, error) {
	cfg := uring.Config{SQEntries: uint32(sqEntries), CQEntries: uint32(cqEntries)}
	if own {
		// Without TASKRUN_FLAG, with which each Reap that finds less than it has room for would
		// enter the kernel: that costs all that the rest gains.
		cfg.Require = uring.SetupSingleIssuer | uring.SetupDeferTaskrun
	}
	r, err := uring.Open(cfg)
	if err != nil {
		return nil, err
	}
	if workers > 0 {
		_, _, _ = r.MaxIOWorkers(workers, workers) // since 5.15; before, there is no bound
	}
	// Without a table of files all requests go by descriptor: slower, no loss.
	_ = r.RegisterFiles(registeredFiles)
	return &ring{r: r, own: own}, nil
}

func (d *ring) start(r *Request, ud uint64) bool {
	sqe := d.r.Next()
	if sqe == nil {
		return false
	}
	if r.Op >= OpNop {
		// Without a look at the file, which may be closed: then its descriptor may be
		// another file's by now.
		sqe.PrepNop(ud)
		return true
	}
	fd, fixed := d.port.fileLocked(r.File)
	switch r.Op {
	case OpRead:
		if i, ok := d.bufs.index(r.Buf); ok {
			sqe.PrepReadFixed(fd, r.Buf, r.Off, i, ud)
		} else {
			sqe.PrepRead(fd, r.Buf, r.Off, ud)
		}
		sqe.SetRWFlags(r.Flags)
	case OpWrite:
		if i, ok := d.bufs.index(r.Buf); ok {
			sqe.PrepWriteFixed(fd, r.Buf, r.Off, i, ud)
		} else {
			sqe.PrepWrite(fd, r.Buf, r.Off, ud)
		}
		sqe.SetRWFlags(r.Flags)
	case OpReadv:
		sqe.PrepReadv(fd, r.Iovs, r.Off, ud)
		sqe.SetRWFlags(r.Flags)
	case OpWritev:
		sqe.PrepWritev(fd, r.Iovs, r.Off, ud)
		sqe.SetRWFlags(r.Flags)
	case OpSync:
		sqe.PrepFsync(fd, 0, ud)
	case OpSyncData:
		sqe.PrepFsync(fd, uring.FsyncDataSync, ud)
	case OpSyncRange:
		sqe.PrepSyncFileRange(fd, r.Off, r.Len, syncRangeWait, ud)
	}
	if fixed {
		sqe.SetFlags(uring.SQEFixedFile)
	}
	if r.Async {
		sqe.SetFlags(uring.SQEAsync)
	}
	return true
}

// syncRangeWait is SYNC_FILE_RANGE_WAIT_BEFORE|WRITE|WAIT_AFTER,
// include/uapi/linux/fs.h.
const syncRangeWait = 1 | 2 | 4

func (d *ring) flush() error {
	if d.own {
		return d.flushOwn()
	}
	_, err := d.r.Submit()
	return err
}

func (d *ring) unflushed() int           { return d.r.Unsubmitted() }
func (d *ring) publish() uint32          { return d.r.Publish() }
func (d *ring) ready() bool              { return d.r.Ready() > 0 }
func (d *ring) reap(dst []uring.CQE) int { return d.r.Reap(dst) }

// close lets go of the registered files first: the kernel takes a closed ring apart
// some 10 ms later (io_ring_exit_work), and until then they would stay open, and
// their file system could not be unmounted.
func (d *ring) close() error {
	if d.polled {
		d.port.m.poller.remove(d)
	}
	_ = d.r.UnregisterFiles() // without a table there is nothing to let go
	return d.r.Close()
}

// cancelData marks the completion of a cancel, which tells nothing: the request
// that it was for completes too.
const cancelData = wakeData - 1

func (d *ring) cancel(_ *Request, ud uint64) {
	sqe := d.r.Next()
	if sqe == nil {
		d.port.flushLocked()
		if sqe = d.r.Next(); sqe == nil {
			return // a cancel is a wish; without room for it the request just runs
		}
	}
	sqe.PrepCancel(ud, 0, cancelData)
	d.port.flushLocked()
}

// A wait that keeps the Go scheduler's P costs a quarter less CPU and returns
// without having to get a P first, which takes up to 20 ms where all are busy;
// but meanwhile the P runs nothing else. So waits keep it that last for less than
// holdBelow on average, up to half of all Ps at a time. Those of a thread that waits for several completions
// last longer, and keep it all the same, since the runtime's monitor, which takes the P away from one that waits
// for long, then looks every 20 us for a while.
const (
	holdBelow    = 100 * time.Microsecond
	holdTogether = 250 * time.Microsecond
	sampleWaits  = 16 // one wait of so many is timed
)

func (d *ring) wait(submit uint32) error {
	m := d.port.m
	if d.polled {
		if !m.poller.seats.tryEnter() {
			if submit > 0 {
				if _, err := d.r.Enter(submit, 0, 0); err != nil {
					return err
				}
			}
			return m.poller.wait(d)
		}
		defer m.poller.seats.leave()
	}
	below := holdBelow
	if d.port.together > 1 {
		below = holdTogether
	}
	hold := d.average < below && m.takeHold()
	if hold {
		d.r.SetHold(uring.HoldUntilPreempted)
	} else {
		d.r.SetHold(0)
	}
	var start time.Time
	if d.waits%sampleWaits == 0 {
		start = time.Now()
	}
	_, err := d.r.Enter(submit, d.port.want, -1)
	if d.waits%sampleWaits == 0 {
		d.average += (time.Since(start) - d.average) / 4
	}
	d.waits++
	if hold {
		m.holds.Add(-1)
	}
	return err
}

// takeHold allows one more wait to keep its P, or not.
func (m *Machine) takeHold() bool {
	if m.holds.Add(1) <= m.maxHolds {
		return true
	}
	m.holds.Add(-1)
	return false
}

func (d *ring) wake() {
	err := d.r.Wake(wakeData)
	for n := 1; n < d.port.together && err == nil; n++ {
		err = d.r.Wake(wakeData) // the leader may wait for so many
	}
	if err == nil {
		return
	}
	// Kernels before 5.18: a request that does nothing wakes as well.
	p := d.port
	p.submitMu.Lock()
	defer p.submitMu.Unlock()
	sqe := d.r.Next()
	if sqe == nil {
		p.flushLocked()
		if sqe = d.r.Next(); sqe == nil {
			return // the queue is full, so completions will wake the leader
		}
	}
	sqe.PrepNop(wakeData)
	p.flushLocked()
}

// fileLocked returns what names f in a request, and whether that is a slot of the
// ring's table. The submit lock is held.
func (p *Port) fileLocked(f *File) (fd int, fixed bool) {
	if f == p.lastFile {
		if p.lastSlot < 0 {
			return f.FD, false
		}
		return int(p.lastSlot), true
	}
	slot, ok := p.files[f]
	if !ok {
		slot = p.registerLocked(f)
	}
	p.lastFile, p.lastSlot = f, slot
	if slot < 0 {
		return f.FD, false
	}
	return int(slot), true
}

// registerLocked puts f into the ring's table; -1 if that has no room.
func (p *Port) registerLocked(f *File) int32 {
	d := p.ring
	if d == nil || len(p.fileFree) == 0 {
		return -1
	}
	slot := p.fileFree[len(p.fileFree)-1]
	if err := d.r.UpdateFiles(int(slot), []int32{int32(f.FD)}); err != nil {
		p.fileFree = nil // no table here
		return -1
	}
	p.fileFree = p.fileFree[:len(p.fileFree)-1]
	p.files[f] = slot
	f.mu.Lock()
	if f.slots == nil {
		f.slots = make(map[*Port]int32)
	}
	f.slots[p] = slot
	f.mu.Unlock()
	return slot
}

// forget empties the slot of f.
func (p *Port) forget(f *File, slot int32) {
	p.submitMu.Lock()
	defer p.submitMu.Unlock()
	if p.lastFile == f {
		p.lastFile = nil
	}
	if p.files[f] != slot {
		return
	}
	delete(p.files, f)
	if p.ring != nil && !p.closed {
		if p.owner != 0 && p.owner != threadID() {
			p.orphans = append(p.orphans, slot)
			return
		}
		if err := p.ring.r.UpdateFiles(int(slot), []int32{-1}); err != nil {
			p.m.bug(err)
			return
		}
		p.fileFree = append(p.fileFree, slot)
	}
}
