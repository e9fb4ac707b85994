// SPDX-License-Identifier: Apache-2.0

package uring

// An SQE is one request, 64 bytes, laid out as the kernel reads it.
//
// An SQE comes from [Ring.Next] and lies in memory shared with the kernel. A
// Prep method writes all of it; setters and fields may then change it, until
// the next [Ring.Publish] or [Ring.Submit]. After that it belongs to the
// kernel and must not be touched.
//
// Source: struct io_uring_sqe.
type SQE struct {
	Opcode      Op
	Flags       SQEFlags
	IOPrio      uint16
	FD          int32
	Off         uint64 // also addr2
	Addr        uint64
	Len         uint32
	OpFlags     uint32 // rw_flags, fsync_flags, cancel_flags, ...
	UserData    uint64 // returned in the CQE, unchanged
	BufIndex    uint16
	Personality uint16
	FileIndex   uint32 // also splice_fd_in
	Addr3       uint64
	_           uint64
}

// prep writes every field, since the slot still holds an earlier request.
func (s *SQE) prep(op Op, fd int, off, addr uint64, n uint32, userData uint64) {
	s.Opcode = op
	s.Flags = 0
	s.IOPrio = 0
	s.FD = int32(fd)
	s.Off = off
	s.Addr = addr
	s.Len = n
	s.OpFlags = 0
	s.UserData = userData
	s.BufIndex = 0
	s.Personality = 0
	s.FileIndex = 0
	s.Addr3 = 0
}

// SetFlags adds flags to those that the SQE has.
func (s *SQE) SetFlags(f SQEFlags) { s.Flags |= f }

// SetRWFlags adds flags to a read or write of any form.
func (s *SQE) SetRWFlags(f RWFlags) { s.OpFlags |= uint32(f) }

// PrepNop prepares a request that does nothing and completes with 0.
func (s *SQE) PrepNop(userData uint64) { s.prep(OpNop, -1, 0, 0, 0, userData) }

// PrepRead prepares a read of len(buf) bytes at offset off; off -1 means the
// file's own position. The result is bytes read, possibly fewer; 0 is the end
// of the file.
//
// The caller keeps buf reachable until the completion was reaped: the kernel
// holds its address, which the garbage collector does not see. buf may come
// from anywhere but a stack; see the package comment. len(buf) is at most
// [MaxIOBytes], and what exceeds it is not read.
func (s *SQE) PrepRead(fd int, buf []byte, off int64, userData uint64) {
	s.prep(OpRead, fd, uint64(off), bytesAddr(buf), ioLen(buf), userData)
}

// PrepWrite prepares a write of buf at offset off; see [SQE.PrepRead]. The
// result is bytes written, possibly fewer.
func (s *SQE) PrepWrite(fd int, buf []byte, off int64, userData uint64) {
	s.prep(OpWrite, fd, uint64(off), bytesAddr(buf), ioLen(buf), userData)
}

// PrepReadv prepares a read into several buffers, at most [MaxIovecs]. iovs
// and its buffers stay reachable and unchanged until the completion.
func (s *SQE) PrepReadv(fd int, iovs []Iovec, off int64, userData uint64) {
	s.prep(OpReadv, fd, uint64(off), iovecsAddr(iovs), uint32(len(iovs)), userData)
}

// PrepWritev prepares a write from several buffers; see [SQE.PrepReadv].
func (s *SQE) PrepWritev(fd int, iovs []Iovec, off int64, userData uint64) {
	s.prep(OpWritev, fd, uint64(off), iovecsAddr(iovs), uint32(len(iovs)), userData)
}

// PrepReadFixed prepares a read into buf, which lies within the registered
// buffer index.
func (s *SQE) PrepReadFixed(fd int, buf []byte, off int64, index uint16, userData uint64) {
	s.prep(OpReadFixed, fd, uint64(off), bytesAddr(buf), ioLen(buf), userData)
	s.BufIndex = index
}

// PrepWriteFixed prepares a write of buf, which lies within the registered
// buffer index.
func (s *SQE) PrepWriteFixed(fd int, buf []byte, off int64, index uint16, userData uint64) {
	s.prep(OpWriteFixed, fd, uint64(off), bytesAddr(buf), ioLen(buf), userData)
	s.BufIndex = index
}

// PrepReadvFixed prepares a read into several parts of the registered buffer
// index. Since Linux 6.15.
func (s *SQE) PrepReadvFixed(fd int, iovs []Iovec, off int64, index uint16, userData uint64) {
	s.prep(OpReadvFixed, fd, uint64(off), iovecsAddr(iovs), uint32(len(iovs)), userData)
	s.BufIndex = index
}

// PrepWritevFixed prepares a write from several parts of the registered
// buffer index. Since Linux 6.15.
func (s *SQE) PrepWritevFixed(fd int, iovs []Iovec, off int64, index uint16, userData uint64) {
	s.prep(OpWritevFixed, fd, uint64(off), iovecsAddr(iovs), uint32(len(iovs)), userData)
	s.BufIndex = index
}

// PrepFsync prepares an fsync of the whole file, or an fdatasync with
// [FsyncDataSync].
//
// It covers writes that were complete when it was started: one that is merely
// before it in the queue is not ordered with it unless linked.
func (s *SQE) PrepFsync(fd int, f FsyncFlags, userData uint64) {
	s.prep(OpFsync, fd, 0, 0, 0, userData)
	s.OpFlags = uint32(f)
}

// PrepSyncFileRange prepares a sync_file_range(2) of n bytes at off; n 0 means
// to the end. flags are SYNC_FILE_RANGE_*.
func (s *SQE) PrepSyncFileRange(fd int, off int64, n, flags uint32, userData uint64) {
	s.prep(OpSyncFileRange, fd, uint64(off), 0, n, userData)
	s.OpFlags = flags
}

// PrepFallocate prepares a fallocate(2) of n bytes at off. mode is FALLOC_FL_*.
func (s *SQE) PrepFallocate(fd int, mode uint32, off, n int64, userData uint64) {
	// The length travels in addr and the mode in len: io_fallocate_prep,
	// io_uring/sync.c.
	s.prep(OpFallocate, fd, uint64(off), uint64(n), mode, userData)
}

// PrepFtruncate prepares an ftruncate(2) to size bytes. Since Linux 6.9.
func (s *SQE) PrepFtruncate(fd int, size int64, userData uint64) {
	s.prep(OpFtruncate, fd, uint64(size), 0, 0, userData)
}

// PrepFadvise prepares a posix_fadvise(2) of n bytes at off. advice is
// POSIX_FADV_*.
func (s *SQE) PrepFadvise(fd int, off int64, n uint32, advice uint32, userData uint64) {
	s.prep(OpFadvise, fd, uint64(off), 0, n, userData)
	s.OpFlags = advice
}

// PrepPollAdd prepares a wait for poll(2) events on fd; the result is the
// events that came. With [PollMulti] it stays armed until it posts a CQE
// without [CQEMore].
func (s *SQE) PrepPollAdd(fd int, events uint32, f PollFlags, userData uint64) {
	s.prep(OpPollAdd, fd, 0, 0, uint32(f), userData)
	s.OpFlags = pollEvents(events)
}

// PrepPollRemove prepares the removal of the poll whose UserData is target.
func (s *SQE) PrepPollRemove(target, userData uint64) {
	s.prep(OpPollRemove, -1, 0, target, 0, userData)
}

// PrepTimeout prepares a timeout that completes with -ETIME when ts has
// passed, or with 0 once count further completions were posted (count 0: time
// only). The kernel reads ts when the SQE is submitted, and it must stay until
// then.
func (s *SQE) PrepTimeout(ts *Timespec, count uint32, f TimeoutFlags, userData uint64) {
	s.prep(OpTimeout, -1, uint64(count), timespecAddr(ts), 1, userData)
	s.OpFlags = uint32(f)
}

// PrepTimeoutRemove prepares the removal of the timeout whose UserData is
// target.
func (s *SQE) PrepTimeoutRemove(target, userData uint64) {
	s.prep(OpTimeoutRemove, -1, 0, target, 0, userData)
}

// PrepLinkTimeout prepares a limit to the request before it, which carries
// [SQELink]: when ts has passed, that request is cancelled.
func (s *SQE) PrepLinkTimeout(ts *Timespec, f TimeoutFlags, userData uint64) {
	s.prep(OpLinkTimeout, -1, 0, timespecAddr(ts), 1, userData)
	s.OpFlags = uint32(f)
}

// PrepCancel prepares the cancel of the request whose UserData is target.
//
// The cancel completes with 0 (found and cancelled), -ENOENT (none) or
// -EALREADY (under way, and it may still run to its end). Whichever it is, the
// target completes in a CQE of its own, and its buffer is the kernel's until
// then. Direct I/O that has reached the device is never cancelled. With
// [CancelAll] the result is the number of requests found.
func (s *SQE) PrepCancel(target uint64, f CancelFlags, userData uint64) {
	s.prep(OpAsyncCancel, -1, 0, target, 0, userData)
	s.OpFlags = uint32(f)
}

// PrepCancelFD prepares the cancel of requests on fd: the first, or with
// [CancelAll] every one. Since Linux 5.19.
func (s *SQE) PrepCancelFD(fd int, f CancelFlags, userData uint64) {
	s.prep(OpAsyncCancel, fd, 0, 0, 0, userData)
	s.OpFlags = uint32(f | CancelFD)
}

// PrepCancelAll prepares the cancel of every request of the ring. Since Linux
// 5.19.
func (s *SQE) PrepCancelAll(userData uint64) {
	s.prep(OpAsyncCancel, -1, 0, 0, 0, userData)
	s.OpFlags = uint32(CancelAll | CancelAny)
}

// PrepMsgRing prepares a message to the ring with descriptor ringFD, which
// gets a CQE with UserData target and result res. Since Linux 5.18.
func (s *SQE) PrepMsgRing(ringFD int, res uint32, target, userData uint64) {
	// target travels in off, res in len, the command in addr:
	// io_msg_ring_prep, io_uring/msg_ring.c.
	s.prep(OpMsgRing, ringFD, target, msgRingData, res, userData)
}

// ioLen returns the length of buf that one request moves.
func ioLen(buf []byte) uint32 {
	if len(buf) > MaxIOBytes {
		return MaxIOBytes
	}
	return uint32(len(buf))
}

// MaxIOBytes is the most that one read or write moves; the kernel cuts longer
// ones down to it.
//
// Source: MAX_RW_COUNT, include/linux/fs.h, with pages of 4 KiB.
const MaxIOBytes = 0x7ffff000

// MaxIovecs is the most buffers in one vectored request; more is EINVAL.
//
// Source: UIO_MAXIOV, include/uapi/linux/uio.h.
const MaxIovecs = 1024
