// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"runtime"
	"syscall"
	"unsafe"
)

// register calls io_uring_register on the ring. A closed one has descriptor
// -1, with which that call means something else.
func (r *Ring) register(op uint32, arg unsafe.Pointer, n uint32) (int, syscall.Errno) {
	if r.fd < 0 {
		return 0, syscall.EBADF
	}
	return register(r.fd, op, arg, n)
}

// registerSparse makes an empty table of n slots.
func (r *Ring) registerSparse(op uint32, n int) syscall.Errno {
	arg := rsrcRegister{nr: uint32(n), flags: rsrcRegisterSparse}
	_, errno := r.register(op, unsafe.Pointer(&arg), uint32(unsafe.Sizeof(arg)))
	return errno
}

// registerInt32s passes an array of words that the kernel reads, and for some
// operations writes.
func (r *Ring) registerInt32s(op uint32, v []int32) (int, syscall.Errno) {
	return r.register(op, unsafe.Pointer(unsafe.SliceData(v)), uint32(len(v)))
}

func (r *Ring) registerNone(op uint32) syscall.Errno {
	_, errno := r.register(op, nil, 0)
	return errno
}

func (r *Ring) updateFiles(first uint32, fds []int32) (int, syscall.Errno) {
	arg := rsrcUpdate{offset: first, data: int32sAddr(fds)}
	n, errno := r.register(registerFilesUpdate, unsafe.Pointer(&arg), uint32(len(fds)))
	runtime.KeepAlive(fds)
	return n, errno
}

func (r *Ring) registerBuffers(bufs [][]byte) syscall.Errno {
	iovs := iovecsOf(bufs)
	_, errno := r.register(registerBuffers, unsafe.Pointer(unsafe.SliceData(iovs)), uint32(len(iovs)))
	return errno
}

// updateBuffers returns how many slots were replaced.
func (r *Ring) updateBuffers(first uint32, bufs [][]byte) (int, syscall.Errno) {
	iovs := iovecsOf(bufs)
	arg := rsrcUpdate2{offset: first, data: iovecsAddr(iovs), nr: uint32(len(iovs))}
	n, errno := r.register(registerBuffersUpdate, unsafe.Pointer(&arg), uint32(unsafe.Sizeof(arg)))
	runtime.KeepAlive(iovs)
	if errno != 0 {
		return 0, errno
	}
	return n, 0
}

// iovecsOf returns bufs as the kernel wants them. An empty one has no address,
// which is how the kernel is told to clear a slot.
func iovecsOf(bufs [][]byte) []Iovec {
	iovs := make([]Iovec, len(bufs))
	for i, b := range bufs {
		if len(b) > 0 {
			iovs[i].Set(b)
		}
	}
	return iovs
}

func (r *Ring) cloneBuffersFrom(src *Ring) syscall.Errno {
	arg := cloneBuffers{srcFD: uint32(src.fd)}
	_, errno := r.register(registerCloneBuffers, unsafe.Pointer(&arg), 1)
	return errno
}

// registerRingFD returns the index that stands for the ring on this thread.
func (r *Ring) registerRingFD() (uint32, syscall.Errno) {
	// offset ^0 asks for any free index, which comes back in it.
	// Source: io_ringfd_register, io_uring/tctx.c.
	arg := rsrcUpdate{offset: ^uint32(0), data: uint64(r.fd)}
	_, errno := r.register(registerRingFDs, unsafe.Pointer(&arg), 1)
	return arg.offset, errno
}

func (r *Ring) unregisterRingFD(index uint32) syscall.Errno {
	arg := rsrcUpdate{offset: index}
	_, errno := r.register(unregisterRingFDs, unsafe.Pointer(&arg), 1)
	return errno
}

// cancelSync cancels whatever matches, without an SQE.
func (r *Ring) cancelSync(flags CancelFlags) syscall.Errno {
	arg := syncCancel{fd: -1, flags: uint32(flags)}
	_, errno := r.register(registerSyncCancel, unsafe.Pointer(&arg), 1)
	return errno
}

// sendMessage posts a CQE to the ring with descriptor target, from no ring.
func sendMessage(target int, res uint32, userData uint64) syscall.Errno {
	var s SQE
	s.PrepMsgRing(target, res, userData, 0)
	_, errno := registerRaw(-1, registerSendMsgRing, unsafe.Pointer(&s), 1)
	return errno
}

// probeOps fills table with the operations that the kernel has.
func (r *Ring) probeOps(table *probeTable) syscall.Errno {
	_, errno := r.register(registerProbe, unsafe.Pointer(table), maxProbeOps)
	return errno
}
