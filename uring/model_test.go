// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
)

// A fakeKernel is the other side of a ring in ordinary memory: slow, obvious,
// and as awkward as the real one may be. It takes fewer requests than offered,
// fails with EAGAIN, EBUSY and EINTR, completes in any order, and holds back
// completions for which the queue has no room.
type fakeKernel struct {
	rng      *rand.Rand
	r        *Ring
	sqHead   uint32
	cqTail   uint32
	noArray  bool
	array    []uint32
	taken    []uint64 // UserData in the order taken
	pending  []uint64 // taken, not completed
	overflow []CQE    // completed, not posted
}

// newFakeRing returns a ring of the given sizes with a fakeKernel behind it.
// All counters begin at start, which may be next to their wrap.
func newFakeRing(rng *rand.Rand, sqEntries, cqEntries, start uint32, noArray bool) *fakeKernel {
	const fixed = 64 // bytes before the array
	p := &setupParams{sqEntries: sqEntries, cqEntries: cqEntries, features: uint32(requiredFeatures)}
	p.sqOff = sqOffsets{head: 0, tail: 4, flags: 8, dropped: 12, array: fixed}
	p.cqOff = cqOffsets{head: 16, tail: 20, overflow: 24, cqes: fixed + (4*sqEntries+15)&^15}
	if noArray {
		p.flags = uint32(SetupNoSQArray)
	}
	rings := make([]byte, p.cqOff.cqes+16*cqEntries)
	for _, off := range []uint32{p.sqOff.head, p.sqOff.tail, p.cqOff.head, p.cqOff.tail} {
		counterAt(rings, off).Store(start)
	}
	k := &fakeKernel{rng: rng, sqHead: start, cqTail: start, noArray: noArray}
	k.r = ringOver(rings, make([]byte, int(sqEntries)*sqeBytes), p)
	k.array = uint32sAt(rings, p.sqOff.array, sqEntries)
	k.r.fault = k.enter
	return k
}

// enter is io_uring_enter.
func (k *fakeKernel) enter(submit, wait, flags uint32) (uint32, syscall.Errno, bool) {
	if k.rng.IntN(4) == 0 {
		return 0, []syscall.Errno{syscall.EINTR, syscall.EAGAIN, syscall.EBUSY}[k.rng.IntN(3)], true
	}
	submit = min(submit, k.r.sqTail.Load()-k.sqHead)
	if submit > 0 && k.rng.IntN(3) == 0 {
		submit = uint32(k.rng.IntN(int(submit) + 1))
	}
	for range submit {
		slot := k.sqHead & k.r.sqMask
		if !k.noArray {
			slot = k.array[slot]
		}
		sqe := k.r.sqes[slot]
		if sqe.Opcode != OpNop || sqe.FD != -1 {
			panic(fmt.Sprintf("the kernel sees a request that was not prepared: %+v", sqe))
		}
		k.r.sqes[slot] = SQE{Opcode: 255} // the caller may use it again
		k.taken = append(k.taken, sqe.UserData)
		k.pending = append(k.pending, sqe.UserData)
		k.sqHead++
	}
	k.r.sqHead.Store(k.sqHead)
	done := k.rng.IntN(len(k.pending) + 1)
	if wait > 0 {
		done = len(k.pending)
	}
	for range done {
		k.completeOne()
	}
	if flags&enterGetEvents != 0 {
		k.flush()
	}
	return submit, 0, true
}

// completeOne completes some pending request.
func (k *fakeKernel) completeOne() {
	i := k.rng.IntN(len(k.pending))
	c := CQE{UserData: k.pending[i], Res: int32(k.pending[i] % 1000)}
	k.pending[i] = k.pending[len(k.pending)-1]
	k.pending = k.pending[:len(k.pending)-1]
	if len(k.overflow) > 0 || !k.post(c) {
		k.overflow = append(k.overflow, c)
		k.r.sqFlags.Or(sqCQOverflow)
	}
}

func (k *fakeKernel) post(c CQE) bool {
	if k.cqTail-k.r.cqHead.Load() >= uint32(len(k.r.cqes)) {
		return false
	}
	k.r.cqes[k.cqTail&k.r.cqMask] = c
	k.cqTail++
	k.r.cqTail.Store(k.cqTail)
	return true
}

func (k *fakeKernel) flush() {
	for len(k.overflow) > 0 && k.post(k.overflow[0]) {
		k.overflow = k.overflow[1:]
	}
	if len(k.overflow) == 0 {
		k.r.sqFlags.And(^uint32(sqCQOverflow))
	}
}

// TestModel drives rings against the fakeKernel by chance: requests arrive in
// order, each completes once, and none is left at the end.
func TestModel(t *testing.T) {
	seeds := uint64(3000)
	if testing.Short() {
		seeds = 300
	}
	var seen modelCoverage
	for seed := range seeds {
		if err := runModel(seed, &seen); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if seen.overflows == 0 || seen.full == 0 || seen.refused == 0 || seen.wraps == 0 {
		t.Errorf("the runs did not come by what they are for: %+v", seen)
	}
}

// modelCoverage counts what makes a run worth its while.
type modelCoverage struct{ overflows, full, refused, wraps int }

func runModel(seed uint64, seen *modelCoverage) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	sq := uint32(1) << rng.IntN(4)
	start := []uint32{0, ^uint32(0), ^uint32(5), 1 << 31}[rng.IntN(4)]
	k := newFakeRing(rng, sq, sq<<rng.IntN(2), start, seed%2 == 0)
	handed, reaped := uint64(0), map[uint64]bool{}
	dst := make([]CQE, 1+rng.IntN(8))
	reap := func() error {
		n := k.r.Reap(dst)
		for _, c := range dst[:n] {
			if c.UserData >= handed || reaped[c.UserData] || c.Res != int32(c.UserData%1000) {
				return fmt.Errorf("completion %+v is not due (%d handed out, seen before: %v)", c, handed, reaped[c.UserData])
			}
			reaped[c.UserData] = true
		}
		return nil
	}
	for range 60 {
		switch rng.IntN(4) {
		case 0, 1:
			free := k.r.Free()
			s := k.r.Next()
			if (s == nil) != (free == 0) {
				return fmt.Errorf("Free() = %d, Next() = %v", free, s)
			}
			if s != nil {
				s.PrepNop(handed)
				handed++
			} else {
				seen.full++
			}
		case 2:
			before := len(k.taken)
			n, err := k.r.Submit()
			if err != nil {
				seen.refused++
			}
			if k.r.Overflowed() {
				seen.overflows++
			}
			if n != len(k.taken)-before || (err == nil) != (k.r.Unsubmitted() == 0) {
				return fmt.Errorf("Submit() = %d, %v; the kernel took %d, %d are left", n, err, len(k.taken)-before, k.r.Unsubmitted())
			}
		case 3:
			if err := reap(); err != nil {
				return err
			}
		}
	}
	// Errors pass; so in the end all is submitted and reaped.
	for round := 0; uint64(len(reaped)) < handed; round++ {
		if round > 10000 {
			return fmt.Errorf("%d of %d requests never completed", handed-uint64(len(reaped)), handed)
		}
		_, _ = k.r.SubmitAndWait(1, 0)
		_, _ = k.r.Enter(0, 1, -1)
		if err := reap(); err != nil {
			return err
		}
		runtime.Gosched()
	}
	if k.sqHead < start {
		seen.wraps++
	}
	for i, ud := range k.taken {
		if ud != uint64(i) {
			return fmt.Errorf("request %d was taken in place %d", ud, i)
		}
	}
	return nil
}
