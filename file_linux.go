// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

const directFlag = unix.O_DIRECT

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
		return errNotAFile
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
