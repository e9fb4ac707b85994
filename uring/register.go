// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"syscall"
)

// Limits of registration.
//
// Source: IORING_MAX_FIXED_FILES and IORING_MAX_REG_BUFFERS, io_uring/rsrc.c,
// and io_buffer_validate there, Linux v6.18.
const (
	MaxFiles             = 1 << 20
	MaxBuffers           = 1 << 14
	MaxBufferBytes       = 1 << 30
	FileSkip       int32 = -2 // IORING_REGISTER_FILES_SKIP: leave this slot as it is
)

// A RegisterError says what could not be registered, and why.
type RegisterError struct {
	Op   string // "register buffers", ...
	N    int    // how many were asked for
	Err  error  // a syscall.Errno or a *FeatureError
	Hint string // what to do; may be empty
}

func (e *RegisterError) Error() string {
	s := fmt.Sprintf("%s (%d): %v", e.Op, e.N, e.Err)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

func (e *RegisterError) Unwrap() error { return e.Err }

// Registration is not part of either side: one goroutine at a time registers
// (for a SINGLE_ISSUER ring: its owner), while others submit and reap. Slots
// that are replaced live on until the requests that use them are complete.

// RegisterFiles makes a file table of n empty slots. An SQE with
// [SQEFixedFile] names a slot instead of a descriptor, which spares the kernel
// the reference count of the file: it matters most in a process of many threads.
func (r *Ring) RegisterFiles(n int) error {
	const op = "register files"
	if n <= 0 || n > MaxFiles {
		return &RegisterError{op, n, syscall.EINVAL, fmt.Sprintf("between 1 and %d", MaxFiles)}
	}
	errno := r.registerSparse(registerFiles2, n)
	if errno == syscall.EINVAL { // before 5.19: no sparse flag
		fds := make([]int32, n)
		for i := range fds {
			fds[i] = filesTableEmpty
		}
		_, errno = r.registerInt32s(registerFiles, fds)
	}
	return registerError(op, n, errno)
}

// UpdateFiles puts descriptors into the table from slot first on: -1 empties a
// slot, [FileSkip] leaves it. The table holds a reference of its own, so the
// descriptor may be closed afterwards, and the file stays open until its slot
// is emptied.
func (r *Ring) UpdateFiles(first int, fds []int32) error {
	const op = "update files"
	if len(fds) == 0 {
		return nil
	}
	if first < 0 || first >= MaxFiles {
		return &RegisterError{op, len(fds), syscall.EINVAL, fmt.Sprintf("slot %d", first)}
	}
	n, errno := r.updateFiles(uint32(first), fds)
	if errno == 0 && n != len(fds) {
		return &RegisterError{op, len(fds), syscall.EBADF, fmt.Sprintf("stopped after %d", n)}
	}
	return registerError(op, len(fds), errno)
}

// UnregisterFiles drops the file table.
func (r *Ring) UnregisterFiles() error {
	return registerError("unregister files", 1, r.registerNone(unregisterFiles))
}

// RegisterBufferTable makes a buffer table of n empty slots. Since Linux 5.19.
func (r *Ring) RegisterBufferTable(n int) error {
	const op = "register buffer table"
	if n <= 0 || n > MaxBuffers {
		return &RegisterError{op, n, syscall.EINVAL, fmt.Sprintf("between 1 and %d", MaxBuffers)}
	}
	errno := r.registerSparse(registerBuffers2, n)
	if errno == syscall.EINVAL {
		return &RegisterError{op, n, &FeatureError{"IORING_RSRC_REGISTER_SPARSE", "5.19"}, ""}
	}
	if errno == 0 {
		r.registered = make([][]byte, n)
	}
	return registerError(op, n, errno)
}

// RegisterBuffers makes a buffer table of bufs. Their pages are pinned in
// memory, so that fixed reads and writes need not look them up each time. The
// ring keeps bufs reachable until they are replaced or it is closed.
func (r *Ring) RegisterBuffers(bufs [][]byte) error {
	const op = "register buffers"
	if len(bufs) == 0 || len(bufs) > MaxBuffers {
		return &RegisterError{op, len(bufs), syscall.EINVAL, fmt.Sprintf("between 1 and %d", MaxBuffers)}
	}
	errno := r.registerBuffers(bufs)
	if errno == 0 {
		r.registered = append([][]byte(nil), bufs...)
	}
	return registerError(op, len(bufs), errno)
}

// UpdateBuffers replaces the buffers from slot first on; an empty one clears
// its slot. Since Linux 5.13.
func (r *Ring) UpdateBuffers(first int, bufs [][]byte) error {
	const op = "update buffers"
	if first < 0 || first+len(bufs) > len(r.registered) {
		return &RegisterError{op, len(bufs), syscall.EINVAL,
			fmt.Sprintf("slots %d to %d of a table of %d", first, first+len(bufs)-1, len(r.registered))}
	}
	if len(bufs) == 0 {
		return nil
	}
	n, errno := r.updateBuffers(uint32(first), bufs)
	copy(r.registered[first:first+n], bufs)
	if errno == 0 && n != len(bufs) {
		return &RegisterError{op, len(bufs), syscall.EFAULT, fmt.Sprintf("stopped after %d", n)}
	}
	return registerError(op, len(bufs), errno)
}

// UnregisterBuffers drops the buffer table. A request in flight keeps its
// buffer pinned; keep it reachable until that is complete.
func (r *Ring) UnregisterBuffers() error {
	errno := r.registerNone(unregisterBuffers)
	if errno == 0 {
		r.registered = nil
	}
	return registerError("unregister buffers", 1, errno)
}

// CloneBuffers gives r the buffer table of src without pinning or accounting
// its pages again; r must have no table. Since Linux 6.12.
func (r *Ring) CloneBuffers(src *Ring) error {
	const op = "clone buffers"
	errno := r.cloneBuffersFrom(src)
	if errno == syscall.EINVAL && len(src.registered) > 0 {
		return &RegisterError{op, len(src.registered), &FeatureError{"IORING_REGISTER_CLONE_BUFFERS", "6.12"}, ""}
	}
	if errno == 0 {
		r.registered = append([][]byte(nil), src.registered...)
	}
	return registerError(op, len(src.registered), errno)
}

// RegisterEventFD makes the kernel signal the eventfd for each completion; with
// onlyAsync only for those that were not posted during their own submission.
func (r *Ring) RegisterEventFD(fd int, onlyAsync bool) error {
	op := uint32(registerEventFD)
	if onlyAsync {
		op = registerEventFDAsync
	}
	_, errno := r.registerInt32s(op, []int32{int32(fd)})
	return registerError("register eventfd", 1, errno)
}

// UnregisterEventFD undoes [Ring.RegisterEventFD].
func (r *Ring) UnregisterEventFD() error {
	return registerError("unregister eventfd", 1, r.registerNone(unregisterEventFD))
}

// MaxIOWorkers limits the io-wq threads that each submitting thread gets:
// bounded ones (regular files) and unbounded ones (all else). 0 leaves a limit
// as it is. It returns the limits before. Since Linux 5.15.
func (r *Ring) MaxIOWorkers(bounded, unbounded uint32) (oldBounded, oldUnbounded uint32, err error) {
	limits := []int32{int32(bounded), int32(unbounded)}
	_, errno := r.registerInt32s(registerIOWQMaxWorkers, limits)
	return uint32(limits[0]), uint32(limits[1]), registerError("limit io-wq workers", 2, errno)
}

// RegisterRingFD spares each enter the look-up of the ring's descriptor. The
// registration belongs to the calling thread alone: only for a ring that one
// locked thread uses (runtime.LockOSThread), which must also call
// UnregisterRingFD before [Ring.Close], since the thread holds a reference to
// the ring. A goroutine that can move to another thread gets EINVAL from there.
// Since Linux 5.18.
func (r *Ring) RegisterRingFD() error {
	index, errno := r.registerRingFD()
	if errno == 0 {
		r.enterFD, r.enterFlags = index, enterRegisteredRing
	}
	return registerError("register ring descriptor", 1, errno)
}

// UnregisterRingFD undoes [Ring.RegisterRingFD], on the same thread.
func (r *Ring) UnregisterRingFD() error {
	if r.enterFlags&enterRegisteredRing == 0 {
		return nil
	}
	errno := r.unregisterRingFD(r.enterFD)
	if errno == 0 {
		r.enterFD, r.enterFlags = uint32(r.fd), 0
	}
	return registerError("unregister ring descriptor", 1, errno)
}

// registerError explains errno.
func registerError(op string, n int, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	e := &RegisterError{Op: op, N: n, Err: errno}
	switch errno {
	case syscall.ENOMEM:
		if kb := readSetupFacts().memlockKB; kb != unlimitedKB {
			e.Hint = fmt.Sprintf("pinned pages count against RLIMIT_MEMLOCK, which is %d KiB (ulimit -l)", kb)
		}
	case syscall.EMFILE:
		e.Hint = "the file table is limited by RLIMIT_NOFILE (ulimit -n)"
	case syscall.EBUSY:
		e.Hint = "the ring has such a table already"
	case syscall.EEXIST:
		e.Hint = "only the thread that opened a SINGLE_ISSUER ring may do this"
	case syscall.EOPNOTSUPP:
		e.Hint = "buffers must be anonymous memory or huge pages, not a mapped file"
	case syscall.ENXIO:
		e.Hint = "the ring has no such table"
	}
	return e
}
