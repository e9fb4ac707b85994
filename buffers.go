// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"fmt"

	"endio/dio"
	"endio/lockdep"
	"endio/uring"
)

// bufferAlign is the alignment of buffers: a page, which no device exceeds.
const bufferAlign = 4096

// AlignedBuffer returns n bytes at an address that is a multiple of 4096, which is
// aligned for direct I/O on any file. They are the caller's, and the garbage
// collector frees them.
func (e *Engine) AlignedBuffer(n int) []byte { return alignedBytes(n) }

func alignedBytes(n int) []byte {
	b := make([]byte, n+bufferAlign)
	skip := (bufferAlign - uring.Misaligned(b, bufferAlign)) % bufferAlign
	return b[skip : skip+n : skip+n]
}

// Buffers is a pool of aligned buffers that the kernel knows: I/O with them costs
// less, because their pages are not looked up each time. Any goroutine may use it.
// The memory is freed when the engine is closed and nobody refers to it.
type Buffers struct {
	size int

	mu   lockdep.Mutex
	free [][]byte // guarded by mu
}

// NewBuffers returns a pool of count buffers of size bytes each, which is rounded
// up to a multiple of 4096; a pool has at most 1 GiB, and an error is [ErrInvalid]. An
// engine registers up to 16 pools; buffers of further ones, and those that
// RLIMIT_MEMLOCK does not allow, work unregistered.
func (e *Engine) NewBuffers(count, size int) (*Buffers, error) {
	const most = uring.MaxBufferBytes
	if count < 1 || size < 1 || size > most {
		return nil, fmt.Errorf("new buffers: %d of %d bytes: %w: want at least one of 1 to %d bytes", count, size, ErrInvalid, most)
	}
	size = (size + bufferAlign - 1) / bufferAlign * bufferAlign
	if count > most/size {
		return nil, fmt.Errorf("new buffers: %d of %d bytes: %w: a pool has at most %d bytes; make several", count, size, ErrInvalid, most)
	}
	arena := alignedBytes(count * size)
	b := &Buffers{size: size, free: make([][]byte, count)}
	for i := range b.free {
		b.free[i] = arena[i*size : (i+1)*size : (i+1)*size]
	}
	e.m.AddArena(arena)
	return b, nil
}

// Get returns a buffer of the pool's size, or nil if all are taken. It is the
// caller's until Put. What it holds is what it last held.
func (b *Buffers) Get() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.free)
	if n == 0 {
		return nil
	}
	p := b.free[n-1]
	b.free = b.free[:n-1]
	return p
}

// Put gives back a buffer that Get of the same pool returned, once; its operation has
// completed. It may be cut short (p[:n]) but not at its front.
func (b *Buffers) Put(p []byte) {
	p = p[:b.size] // panics if it is no such buffer, so before the lock
	b.mu.Lock()
	b.free = append(b.free, p)
	b.mu.Unlock()
}

func (e *Engine) newInode() *inodeRef { return &inodeRef{Inode: dio.NewInode(e.m)} }
