// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// allocate reserves size bytes for file. With keep its length stays.
func allocate(file *os.File, size int64, keep bool) error {
	mode := uint32(0)
	if keep {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	for {
		err := unix.Fallocate(int(file.Fd()), mode, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return fmt.Errorf("%w: %w", errNoFallocate, err)
		}
		return err
	}
}

// dropCache asks the kernel to forget the cached pages of the file at path, so
// that a job starts from the device. Dirty pages are written first, since only
// clean ones are dropped.
func dropCache(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	err = file.Sync()
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) {
		err = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return errors.Join(err, file.Close())
}
