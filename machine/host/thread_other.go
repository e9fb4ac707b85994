// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package host

import (
	"bytes"
	"runtime"
	"strconv"
)

// threadID returns the number of the calling goroutine, which serves as well as
// the thread's: slow (some µs), but it is asked only while an Inline handler runs.
func threadID() uint64 {
	var buf [64]byte
	s := buf[:runtime.Stack(buf[:], false)]
	s = bytes.TrimPrefix(s, []byte("goroutine "))
	s, _, _ = bytes.Cut(s, []byte(" "))
	id, err := strconv.ParseUint(string(s), 10, 64)
	if err != nil {
		panic("host: unexpected stack header: " + string(buf[:]))
	}
	return id
}

// threadEnded is for ports that only Linux has.
func threadEnded(uint64) bool { return false }
