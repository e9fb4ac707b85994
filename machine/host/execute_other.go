// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package host

import (
	"errors"
	"io"
	"syscall"

	"endio/uring"
)

// execute performs r in the calling goroutine and returns what a completion
// carries: the result or a negated errno. Flags that only Linux has are for the
// engine not to ask for.
func execute(r *Request) int32 {
	n, err := executeOnce(r)
	if err == nil && r.Flags&uring.RWDsync != 0 {
		if err = r.File.F.Sync(); err != nil {
			n = 0
		}
	}
	if err == nil || (n > 0 && r.Op <= OpWritev) || errors.Is(err, io.EOF) {
		return int32(n)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno > 0 && errno < 4096 {
		return -int32(errno)
	}
	return -int32(syscall.EIO)
}

func executeOnce(r *Request) (int, error) {
	f := r.File.F
	switch r.Op {
	case OpRead:
		return f.ReadAt(r.Buf, r.Off)
	case OpWrite:
		return f.WriteAt(r.Buf, r.Off)
	case OpReadv:
		return vector(r, f.ReadAt)
	case OpWritev:
		return vector(r, f.WriteAt)
	case OpSync, OpSyncData, OpSyncRange:
		return 0, f.Sync()
	default:
		return 0, nil
	}
}

// vector does a vectored operation piece by piece, which is not atomic, as POSIX
// allows.
func vector(r *Request, at func([]byte, int64) (int, error)) (int, error) {
	total := 0
	for _, b := range r.Vec {
		n, err := at(b, r.Off+int64(total))
		total += n
		if err != nil || n < len(b) {
			return total, err
		}
	}
	return total, nil
}
