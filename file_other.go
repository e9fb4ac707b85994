// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package endio

import (
	"sync/atomic"
	"syscall"

	"endio/uring"
)

const directFlag = 0

// errNotSupported never comes from a transfer here.
const errNotSupported = syscall.Errno(0xfff)

// anonymous numbers the inodes of systems whose identity of files is not asked
// for here: each File is an inode of its own, so two opens of one file do not
// drain each other.
var anonymous atomic.Uint64

// identify finds out what f is.
func (f *File) identify() error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return syscall.EISDIR
	case !info.Mode().IsRegular():
		return errNotAFile
	case f.direct:
		return ErrNoDirect
	}
	f.align, f.block = Align{Memory: 1, Offset: 1}, 1
	f.key = fileKey(info)
	return nil
}

func (f *File) size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *File) fallocate(mode FallocMode, off, n int64) error {
	if mode != FallocAllocate {
		return syscall.ENOSYS
	}
	info, err := f.f.Stat()
	if err != nil || info.Size() >= off+n {
		return err
	}
	return f.f.Truncate(off + n)
}

// An uncached keeps a File out of the page cache, where there is a way to.
type uncached struct{}

func (*uncached) note(Kind, int64, int) {}
func (*uncached) settle(Kind)           {}
func (*uncached) told(Kind, bool) error { return nil }
func (*uncached) close() error          { return nil }

// setUncached does nothing: there is no portable way around the page cache.
func (f *File) setUncached(int) {}

func (f *File) flags(Kind) uring.RWFlags      { return 0 }
func (f *File) plainCache(uring.RWFlags) bool { return false }
