// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"endio/lockdep"
)

// Wake posts a completion with the given UserData and result 0 to r, and so
// ends a wait in it. Any goroutine may call it, with no lock, for a ring of any
// kind, while others submit, wait and reap; only [Ring.Close] must not run.
//
// On Linux 6.13 and later it is one system call that needs no ring of its own
// (IORING_REGISTER_SEND_MSG_RING). From 5.18 on the message goes through one
// ring of the process, under a lock. Before that the error matches
// [ErrUnsupported]: then submit a [SQE.PrepNop] on the submission side, which
// wakes just as well.
func (r *Ring) Wake(userData uint64) error {
	if r.fd < 0 {
		return ErrClosed
	}
	if !noBlindMessage.Load() {
		errno := blindMessage(r.fd, 0, userData)
		if errno != syscall.EINVAL && errno != syscall.EBADF {
			return wakeError(errno)
		}
		// Older kernels say EINVAL or EBADF, since there is no ring -1.
		noBlindMessage.Store(true)
	}
	return messenger.send(r.fd, userData)
}

// blindMessage is sendMessage, but for tests of older kernels.
var blindMessage = sendMessage

// noBlindMessage is set once the kernel has refused a message from no ring.
var noBlindMessage atomic.Bool

// messenger sends messages on kernels that need a ring to send from.
var messenger courier

// A courier owns a ring that only sends messages.
type courier struct {
	mu   lockdep.Mutex
	ring *Ring // opened at first use, for the life of the process
}

func (c *courier) send(target int, userData uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ring == nil {
		ring, err := Open(Config{SQEntries: 1})
		if err != nil {
			return fmt.Errorf("wake ring: %w", err)
		}
		c.ring = ring
	}
	c.ring.Next().PrepMsgRing(target, 0, userData, 0)
	if _, err := c.ring.SubmitAndWait(1, -1); err != nil {
		return fmt.Errorf("wake ring: %w", err)
	}
	var cqe [1]CQE
	c.ring.Reap(cqe[:])
	if errno := syscall.Errno(-cqe[0].Res); cqe[0].Res < 0 {
		if errno == syscall.EINVAL {
			return &FeatureError{"IORING_OP_MSG_RING", opInfos[OpMsgRing].since}
		}
		return wakeError(errno)
	}
	return nil
}

func wakeError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("wake ring: %w", errno)
}
