// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"sync/atomic"
	"unsafe"
)

// An Iovec is one buffer of a vectored request.
//
// It holds a real pointer, so a reachable []Iovec keeps its buffers reachable.
//
// Source: struct iovec, include/uapi/linux/uio.h.
type Iovec struct {
	base *byte
	size uintptr
}

// Set makes the Iovec stand for b.
func (v *Iovec) Set(b []byte) {
	v.base = unsafe.SliceData(b)
	v.size = uintptr(len(b))
}

// Len returns the length of the buffer in bytes.
func (v *Iovec) Len() int { return int(v.size) }

// pinned is never set. A store that the compiler can't rule out makes it
// allocate on the heap whatever is passed to [onHeap].
var (
	pinned bool
	//lint:ignore U1000 it is there to be written
	pinnedByte unsafe.Pointer
)

// onHeap returns p and makes the compiler keep what p points at off any stack.
// The kernel holds the address across stack growth, and stacks move; the heap
// does not (package runtime: the collector is non-moving).
func onHeap(p unsafe.Pointer) uint64 {
	if pinned {
		pinnedByte = p
	}
	return uint64(uintptr(p))
}

func bytesAddr(b []byte) uint64       { return onHeap(unsafe.Pointer(unsafe.SliceData(b))) }
func iovecsAddr(v []Iovec) uint64     { return onHeap(unsafe.Pointer(unsafe.SliceData(v))) }
func int32sAddr(v []int32) uint64     { return onHeap(unsafe.Pointer(unsafe.SliceData(v))) }
func timespecAddr(t *Timespec) uint64 { return onHeap(unsafe.Pointer(t)) }

// bigEndian tells whether this machine stores the high byte first.
var bigEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 0
}()

// pollEvents returns events as poll32_events holds them: its two halves are
// swapped on big-endian machines, where poll_events is the first half.
//
// Source: io_poll_parse_events, io_uring/poll.c.
func pollEvents(events uint32) uint32 {
	if bigEndian {
		return events<<16 | events>>16
	}
	return events
}

// counterAt returns the shared counter at byte offset off of mem.
func counterAt(mem []byte, off uint32) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&mem[off : off+4][0]))
}

// uint32sAt returns n words at byte offset off of mem.
func uint32sAt(mem []byte, off, n uint32) []uint32 {
	part := mem[off : uint64(off)+4*uint64(n)]
	return unsafe.Slice((*uint32)(unsafe.Pointer(&part[0])), n)
}

// cqesAt returns the n entries of the completion queue at offset off of mem.
func cqesAt(mem []byte, off, n uint32) []CQE {
	part := mem[off : uint64(off)+uint64(n)*uint64(unsafe.Sizeof(CQE{}))]
	return unsafe.Slice((*CQE)(unsafe.Pointer(&part[0])), n)
}

// sqesIn returns the n entries of the submission queue that fill mem.
func sqesIn(mem []byte, n uint32) []SQE {
	part := mem[:uint64(n)*uint64(unsafe.Sizeof(SQE{}))]
	return unsafe.Slice((*SQE)(unsafe.Pointer(&part[0])), n)
}

// link points the argument of a timed wait at its own timespec. The argument
// must be on the heap for as long as it is in use.
func (w *waitArg) link() { w.ts = onHeap(unsafe.Pointer(&w.timespec)) }

const (
	sqeBytes = int(unsafe.Sizeof(SQE{}))
	cqeBytes = int(unsafe.Sizeof(CQE{}))
)
