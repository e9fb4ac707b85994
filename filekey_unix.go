// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package endio

import (
	"io/fs"
	"syscall"
)

// fileKey identifies the inode of info.
func fileKey(info fs.FileInfo) inodeKey {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return inodeKey{dev: uint64(st.Dev), ino: uint64(st.Ino)}
	}
	return inodeKey{ino: anonymous.Add(1)}
}
