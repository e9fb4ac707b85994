// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"endio/machine/host"
	"endio/uring"
)

const directFlag = unix.O_DIRECT

// errNotSupported is what a file system without RWF_DONTCACHE answers.
const errNotSupported = syscall.EOPNOTSUPP

// identify finds out what f is and how I/O on it must be aligned.
func (f *File) identify() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.host.FD, &st); err != nil {
		return err
	}
	f.block = max(1, int64(st.Blksize))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		f.key = inodeKey{dev: uint64(st.Dev), ino: st.Ino}
	case unix.S_IFBLK:
		f.key = inodeKey{dev: uint64(st.Rdev), isDevice: true}
	case unix.S_IFDIR:
		return syscall.EISDIR
	default:
		return &os.PathError{Op: "open", Path: f.path, Err: errNotAFile}
	}
	f.align = Align{Memory: 1, Offset: 1}
	if !f.direct {
		return nil
	}
	f.align = Align{Memory: 512, Offset: 512}
	var sx unix.Statx_t
	if err := unix.Statx(f.host.FD, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &sx); err == nil && sx.Mask&unix.STATX_DIOALIGN != 0 {
		if sx.Dio_offset_align == 0 {
			return ErrNoDirect
		}
		f.align = Align{Memory: int(sx.Dio_mem_align), Offset: int(sx.Dio_offset_align)}
	}
	return nil
}

func (f *File) size() (int64, error) {
	if !f.key.isDevice {
		info, err := f.f.Stat()
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	// The position is nobody's: all I/O here gives an offset.
	return f.f.Seek(0, io.SeekEnd)
}

func (f *File) fallocate(mode FallocMode, off, n int64) error {
	for {
		err := unix.Fallocate(f.host.FD, uint32(mode), off, n)
		if err != unix.EINTR {
			return err
		}
	}
}

// setUncached makes f leave nothing in the page cache.
//
// RWF_DONTCACHE does that in the kernel where it can: not on btrfs and block
// devices, and on ext4 not for overwrites, whose completion runs in interrupt
// context, where pages can't be dropped (Linux 6.18). So each transfer is
// followed by what finishes the job, in a context that may block.
func (f *File) setUncached() { f.finish = f.dropPages }

// flags returns the flags of the next transfer.
func (f *File) flags() uring.RWFlags {
	if f.finish == nil || f.noDontCache.Load() {
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
	f.noDontCache.Store(true)
	return true
}

// dropPages takes the pages of a transfer out of the page cache, those that it
// covers in part too. Only clean pages can go, so what was written is written
// back first.
func (f *File) dropPages(kind Kind, off int64, n int) {
	if n == 0 {
		return
	}
	page := int64(os.Getpagesize())
	start := off / page * page
	end := (off + int64(n) + page - 1) / page * page
	if kind == Write {
		r := host.Request{Op: host.OpSyncRange, File: &f.host, Off: start, Len: uint32(end - start)}
		host.Execute(&r) // an error of write-back is kept for the next Sync
	}
	_ = unix.Fadvise(f.host.FD, start, end-start, unix.FADV_DONTNEED)
}
