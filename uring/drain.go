// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// drainPoll bounds each wait of [Ring.Drain], so that a request which became
// cancellable only after the last attempt is cancelled at the next.
const drainPoll = 50 * time.Millisecond

// CancelAll asks the kernel to cancel every request of the ring, without an
// SQE and without waiting for them. Each still completes in a CQE of its own:
// with ECANCELED, EINTR or, where it had reached the device, its true result.
// Nothing to cancel is no error. Since Linux 6.0. Rules: as [Ring.Enter].
func (r *Ring) CancelAll() error {
	switch errno := r.cancelSync(CancelAll | CancelAny); errno {
	case 0, syscall.ENOENT, syscall.EALREADY, errnoTime, syscall.EINTR:
		return nil
	case syscall.EINVAL:
		return fmt.Errorf("cancel all: %w", &FeatureError{"IORING_REGISTER_SYNC_CANCEL", "6.0"})
	default:
		return fmt.Errorf("cancel all: %w", errno)
	}
}

// Drain submits what is queued, cancels what can be cancelled and reaps until
// inFlight requests are complete; call it before [Ring.Close]. inFlight counts
// the requests handed out by [Ring.Next] whose last completion was not reaped.
//
// Each completion goes to fn, which reports whether it was the last one of one
// of those requests: true for an ordinary CQE, false for a [Ring.Wake] or one
// with [CQE.More]. A request on a device that hangs makes Drain hang: nothing
// can take its buffer from the kernel. Sides: S and C, and nobody else waits.
func (r *Ring) Drain(inFlight int, fn func(CQE) bool) error {
	var dst [64]CQE
	for inFlight > 0 {
		_, err := r.SubmitAndWait(0, 0)
		if err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("drain ring with %d in flight: %w", inFlight, err)
		}
		if err := r.CancelAll(); err != nil && !errors.Is(err, ErrUnsupported) {
			return fmt.Errorf("drain ring with %d in flight: %w", inFlight, err)
		}
		if err := r.Wait(1, drainPoll); err != nil && !errors.Is(err, errnoTime) {
			return fmt.Errorf("drain ring with %d in flight: %w", inFlight, err)
		}
		for n := r.Reap(dst[:]); n > 0; n = r.Reap(dst[:]) {
			for _, c := range dst[:n] {
				if fn(c) {
					inFlight--
				}
			}
		}
	}
	return nil
}
