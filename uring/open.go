// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// Limits of a ring.
//
// Source: IORING_MAX_ENTRIES and IORING_MAX_CQ_ENTRIES, io_uring/io_uring.h,
// Linux v6.18.
const (
	MaxSQEntries = 32768
	MaxCQEntries = 2 * MaxSQEntries
)

// DefaultSQEntries is the submission queue of a [Config] that does not say:
// one batch of the depth at which a fast device is saturated.
const DefaultSQEntries = 128

// minRetryEntries is the size below which [Open] does not retry after ENOMEM:
// a smaller ring saves no further page.
const minRetryEntries = 8

// HoldUntilPreempted is a [Config.Hold] without limit, which saves a timer per
// wait: a P is kept until the runtime preempts its goroutine, after 10 ms if
// others want to run. For fast devices. With GODEBUG=asyncpreemptoff=1 in the
// environment the limit is 1 ms, since no signal would end such a wait.
const HoldUntilPreempted time.Duration = -1

// A Config says what ring to open. The zero Config is a ring of
// [DefaultSQEntries] that any goroutine may use, as the package comment says.
type Config struct {
	// SQEntries is the number of requests that can wait for one submission,
	// rounded up to a power of two. 0 means DefaultSQEntries.
	SQEntries uint32

	// CQEntries is the number of completions that fit before the kernel has
	// to allocate memory for more (none is lost either way), rounded up to a
	// power of two and at least SQEntries. 0 means twice SQEntries.
	CQEntries uint32

	// Require lists flags without which opening fails with a FeatureError.
	Require SetupFlags

	// Prefer lists flags that are used if the kernel has them. With
	// NoDefaults false, SUBMIT_ALL, COOP_TASKRUN and NO_SQARRAY are added,
	// which change no rule of use.
	Prefer SetupFlags

	// NoDefaults leaves out the flags that Prefer would be given.
	NoDefaults bool

	// Hold is how long a wait keeps the Go scheduler's P before it lets go of
	// it. 0: never keep it. Negative ([HoldUntilPreempted]): until the runtime
	// wants it.
	//
	// A wait that the scheduler knows of costs a hand-over of the P at each
	// end, and sysmon's attention in between; where completions come within
	// some 100 us, keeping the P spares about a quarter of the CPU time
	// (BenchmarkRead; a limit costs a timer for each wait, which on a virtual
	// machine eats most of that). Meanwhile no other goroutine runs on that P,
	// though idle Ps take over what is queued there: keep it only while
	// completions come fast, which [Ring.SetHold] lets the caller decide as it
	// goes. Stopping the world is not held up: the runtime's preemption signal
	// ends the wait.
	Hold time.Duration

	// AttachWQ is a ring whose io-wq workers the new one shares; nil: its own.
	AttachWQ *Ring
}

// defaultPrefer is safe on a ring that many goroutines share. It has neither
// SINGLE_ISSUER nor DEFER_TASKRUN: with those only one thread could reap.
const defaultPrefer = SetupSubmitAll | SetupCoopTaskrun | SetupNoSQArray

// Open opens a ring. If memory for it is short it retries with half the
// entries, so ask [Ring.SQEntries]. The error is a [*SetupError].
//
// With [SetupSingleIssuer] the calling thread becomes the owner, so the
// goroutine must have called runtime.LockOSThread.
func Open(cfg Config) (*Ring, error) {
	p, sqEntries, err := cfg.params()
	if err != nil {
		return nil, err
	}
	if !supported {
		return nil, &SetupError{SQEntries: sqEntries, Step: "setup", Err: ErrUnsupported, Hint: "io_uring is Linux only"}
	}
	fd, err := setupRetrying(&p, sqEntries, setup)
	if err != nil {
		return nil, err
	}
	r, err := newRing(fd, &p)
	if err != nil {
		_ = closeFD(fd) // the first error is the news
		return nil, err
	}
	r.SetHold(cfg.Hold)
	return r, nil
}

// params checks cfg and turns it into the kernel's form.
func (cfg Config) params() (setupParams, uint32, error) {
	sq := cfg.SQEntries
	if sq == 0 {
		sq = DefaultSQEntries
	}
	invalid := func(hint string) error {
		return &SetupError{SQEntries: sq, CQEntries: cfg.CQEntries, Flags: cfg.Require | cfg.Prefer,
			Step: "configuration", Err: syscall.EINVAL, Hint: hint}
	}
	if sq > MaxSQEntries || cfg.CQEntries > MaxCQEntries {
		return setupParams{}, 0, invalid(fmt.Sprintf("at most %d submission and %d completion entries", MaxSQEntries, MaxCQEntries))
	}
	if cfg.CQEntries != 0 && cfg.CQEntries < sq {
		return setupParams{}, 0, invalid("fewer completion than submission entries")
	}
	prefer := cfg.Prefer
	if !cfg.NoDefaults {
		prefer |= defaultPrefer
	}
	if unknown := (cfg.Require | prefer) &^ knownSetup; unknown != 0 {
		return setupParams{}, 0, invalid(fmt.Sprintf("flags %s are not driven by this package", unknown))
	}
	have := knownSetup
	if supported {
		have = supportedSetup()
	}
	if missing := cfg.Require &^ have; missing != 0 && have != 0 {
		return setupParams{}, 0, &SetupError{SQEntries: sq, CQEntries: cfg.CQEntries, Flags: cfg.Require,
			Step: "setup", Err: missingSetup(missing)}
	}
	p := setupParams{flags: uint32(cfg.Require | prefer&have), cqEntries: cfg.CQEntries}
	if cfg.CQEntries != 0 {
		p.flags |= uint32(SetupCQSize)
	} else {
		p.flags &^= uint32(SetupCQSize)
	}
	if cfg.AttachWQ != nil {
		p.flags |= uint32(SetupAttachWQ)
		p.wqFD = uint32(cfg.AttachWQ.fd)
	}
	return p, sq, nil
}

// setupRetrying opens a ring, with fewer entries while the kernel says ENOMEM.
func setupRetrying(p *setupParams, sqEntries uint32, setup func(uint32, *setupParams) (int, syscall.Errno)) (int, error) {
	request := *p
	for {
		*p = request
		fd, errno := setup(sqEntries, p)
		switch {
		case errno == 0:
			return fd, nil
		case errno == syscall.EINTR:
			continue
		case errno == syscall.ENOMEM && sqEntries > minRetryEntries:
			sqEntries /= 2
			request.cqEntries /= 2
			continue
		}
		return -1, &SetupError{SQEntries: sqEntries, CQEntries: request.cqEntries, Flags: SetupFlags(request.flags),
			Step: "setup", Err: errno, Hint: setupHint(errno, readSetupFacts())}
	}
}

// newRing maps the ring that the kernel opened as fd. On error fd is still the
// caller's.
func newRing(fd int, p *setupParams) (*Ring, error) {
	fail := func(step string, err error) error {
		return &SetupError{SQEntries: p.sqEntries, CQEntries: p.cqEntries, Flags: SetupFlags(p.flags), Step: step, Err: err}
	}
	features := FeatureFlags(p.features)
	if missing := requiredFeatures &^ features; missing != 0 {
		return nil, fail("features", &FeatureError{Feature: "IORING_FEAT_" + missing.String(), Since: newestSince(uint32(missing), featNames)})
	}
	noArray := SetupFlags(p.flags)&SetupNoSQArray != 0
	// Both rings lie in one mapping (IORING_FEAT_SINGLE_MMAP), as long as the
	// farther end of the two. Source: rings_size, io_uring/io_uring.c.
	size := int(p.cqOff.cqes) + int(p.cqEntries)*cqeBytes
	if end := int(p.sqOff.array) + int(p.sqEntries)*4; !noArray && end > size {
		size = end
	}
	rings, err := mapRing(fd, offSQRing, size)
	if err != nil {
		return nil, fail("map rings", err)
	}
	sqes, err := mapRing(fd, offSQEs, int(p.sqEntries)*sqeBytes)
	if err != nil {
		_ = unmapRing(rings) // the first error is the news
		return nil, fail("map submission entries", err)
	}
	r := ringOver(rings, sqes, p)
	r.fd, r.enterFD = fd, uint32(fd)
	return r, nil
}

// ringOver returns a Ring over the given shared memory, laid out as p says. It
// makes no system call, so that tests can put a kernel of their own behind it.
func ringOver(rings, sqes []byte, p *setupParams) *Ring {
	r := &Ring{
		rings:     rings,
		sqeMem:    sqes,
		setup:     SetupFlags(p.flags),
		features:  FeatureFlags(p.features),
		sqes:      sqesIn(sqes, p.sqEntries),
		cqes:      cqesAt(rings, p.cqOff.cqes, p.cqEntries),
		sqEntries: p.sqEntries,
		sqMask:    p.sqEntries - 1,
		cqMask:    p.cqEntries - 1,
		sqHead:    counterAt(rings, p.sqOff.head),
		sqTail:    counterAt(rings, p.sqOff.tail),
		sqFlags:   counterAt(rings, p.sqOff.flags),
		sqDropped: counterAt(rings, p.sqOff.dropped),
		cqHead:    counterAt(rings, p.cqOff.head),
		cqTail:    counterAt(rings, p.cqOff.tail),
		cqLost:    counterAt(rings, p.cqOff.overflow),
	}
	r.flushOn = sqCQOverflow
	if r.setup&SetupTaskrunFlag != 0 {
		r.flushOn |= sqTaskrun
	}
	r.next = r.sqTail.Load()
	r.headSeen = r.sqHead.Load()
	r.reaped = r.cqHead.Load()
	if r.setup&SetupNoSQArray == 0 {
		// Slot n of the ring is always SQE n, so the array is filled once.
		array := uint32sAt(rings, p.sqOff.array, p.sqEntries)
		for i := range array {
			array[i] = uint32(i)
		}
	}
	for i := range r.waits {
		r.waits[i].link()
	}
	r.waitsFree.Store(1<<waitSlots - 1)
	return r
}

// setupHave caches what set-up flags the kernel has, with setupHaveKnown set
// once the answer is there.
var setupHave atomic.Uint32

const setupHaveKnown = 1 << 31

// supportedSetup returns the set-up flags that the kernel takes, or 0 if it
// opens no ring at all. It finds out by opening small rings, once.
func supportedSetup() SetupFlags {
	if v := setupHave.Load(); v != 0 {
		return SetupFlags(v &^ setupHaveKnown)
	}
	have, ok := probeSetup()
	if ok {
		setupHave.Store(uint32(have) | setupHaveKnown)
	}
	return have
}

// probeSetup opens one ring for each flag. ok is false if the kernel refused
// for a reason that may pass, such as a full descriptor table.
func probeSetup() (have SetupFlags, ok bool) {
	if !tryOpen(0) {
		return 0, false
	}
	have = SetupCQSize | SetupAttachWQ // what these need can't be tried alone; older than FeatExtArg
	for _, n := range setupNames {
		f := SetupFlags(n.bit)
		with := f
		switch f {
		case SetupCQSize, SetupAttachWQ:
			continue
		case SetupTaskrunFlag:
			with |= SetupCoopTaskrun
		case SetupDeferTaskrun:
			with |= SetupSingleIssuer
		}
		if tryOpen(with) {
			have |= f
		}
	}
	return have, true
}

// tryOpen reports whether the kernel opens a ring with the flags.
func tryOpen(flags SetupFlags) bool {
	p := setupParams{flags: uint32(flags)}
	fd, errno := setup(1, &p)
	if errno != 0 {
		return false
	}
	_ = closeFD(fd) // nothing was written to it
	return true
}

func missingSetup(missing SetupFlags) error {
	return &FeatureError{Feature: "IORING_SETUP_" + missing.String(), Since: newestSince(uint32(missing), setupNames)}
}

// newestSince returns the release that has all of bits; names go from old to
// new.
func newestSince(set uint32, names []bitName) string {
	since := "?"
	for _, n := range names {
		if set&n.bit != 0 {
			since = n.since
		}
	}
	return since
}
