// SPDX-License-Identifier: Apache-2.0

package host

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// execute performs r in the calling thread and returns what the kernel would put
// into a completion: the result or a negated errno.
func execute(r *Request) int32 {
	for {
		n, err := executeOnce(r)
		runtime.KeepAlive(r.File)
		if err == nil {
			return int32(n)
		}
		errno, ok := err.(syscall.Errno)
		if !ok {
			errno = syscall.EIO
		}
		if errno != syscall.EINTR {
			return -int32(errno)
		}
	}
}

func executeOnce(r *Request) (int, error) {
	fd := r.File.FD
	switch r.Op {
	case OpRead:
		if r.Flags == 0 {
			return unix.Pread(fd, r.Buf, r.Off)
		}
		return unix.Preadv2(fd, [][]byte{r.Buf}, r.Off, int(r.Flags))
	case OpWrite:
		if r.Flags == 0 {
			return unix.Pwrite(fd, r.Buf, r.Off)
		}
		return unix.Pwritev2(fd, [][]byte{r.Buf}, r.Off, int(r.Flags))
	case OpReadv:
		return unix.Preadv2(fd, r.Vec, r.Off, int(r.Flags))
	case OpWritev:
		return unix.Pwritev2(fd, r.Vec, r.Off, int(r.Flags))
	case OpSync:
		return 0, unix.Fsync(fd)
	case OpSyncData:
		return 0, unix.Fdatasync(fd)
	case OpSyncRange:
		return 0, unix.SyncFileRange(fd, r.Off, int64(r.Len), syncRangeWait)
	default:
		return 0, nil
	}
}
