// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"

	"endio/lockdep"
	"endio/uring"
)

// Faults make every port of a machine misbehave within what a kernel may do, for
// tests of what stands above: errors by rule, transfers that end short,
// completions that come late and out of order, waits that end early, wakes that
// come late or twice, queues that are full, and a device that gives no answer until it
// is told to. The fields are not changed once a
// machine uses them. Probabilities lie between 0 and 1.
type Faults struct {
	// Seed makes the choices of each port repeatable. How requests of several
	// goroutines interleave is not, so a run is not repeated exactly.
	Seed uint64

	// Rules are tried in their order for each request; the first that strikes decides.
	Rules []FaultRule

	Short     float64 // of a transfer longer than ShortUnit: less is transferred
	ShortUnit int     // short transfers are multiples of it; 0 means 4096 bytes

	Delay    float64       // of a completion: it is kept back
	MaxDelay time.Duration // for up to so long; 0 means 1 ms

	Reorder   float64 // of a batch of completions: it is shuffled
	Interrupt float64 // of a wait: it ends at once, as if by a signal (EINTR)
	LateWake  float64 // of a wake: it comes up to MaxDelay later
	TwinWake  float64 // of a wake: it comes twice
	Full      float64 // of a start: there is no room (and of a flush: EAGAIN or EBUSY)

	Abort   float64 // of a CPU that goes offline: it comes back before it is dead
	AbortUp float64 // of a CPU that comes online: it goes again, having been online or not

	ports   atomic.Uint64
	changes atomic.Uint64 // of CPUs
	counts  [len(faultNames)]atomic.Int64

	holding atomic.Bool
	mu      lockdep.Mutex // guards devices
	devices map[*faulty]struct{}
}

// A FaultRule lets requests fail, or get no answer.
type FaultRule struct {
	Ops   []Op                // which; nil: all
	Match func(*Request) bool // and of those which; nil: all. Any goroutine, not blocking
	P     float64             // and of those how many
	Limit int64               // at most so many; 0: no limit
	Errno syscall.Errno       // what they get; 0: no error
	Done  bool                // the request is performed all the same: only the answer is lost
	Hold  bool                // their completions are kept back until the next Faults.Release

	struck atomic.Int64
}

type fault int

const (
	faultError fault = iota
	faultShort
	faultDelay
	faultReorder
	faultInterrupt
	faultLateWake
	faultTwinWake
	faultFull
	faultAbort
	faultHold
	faultAbortUp
)

var faultNames = [...]string{"error", "short", "delay", "reorder", "interrupt", "late wake", "twin wake", "full", "abort", "hold", "abort up"}

// Counts returns how often each kind of fault has struck, by name.
func (f *Faults) Counts() map[string]int64 {
	m := make(map[string]int64)
	for i := range f.counts {
		m[faultNames[i]] = f.counts[i].Load()
	}
	return m
}

// Hold keeps back all completions from now on, as a device that gives no answer does,
// until [Faults.Release]. What is in flight stays so, and closing the engine waits for
// it. Hold and Release may be called at any time by any goroutine.
func (f *Faults) Hold() { f.holding.Store(true) }

// Release lets all completions that Hold, or a rule, has kept back arrive, in the order in
// which they came.
func (f *Faults) Release() {
	f.holding.Store(false)
	f.mu.Lock()
	devices := make([]*faulty, 0, len(f.devices))
	for w := range f.devices {
		w.timers.Add(1) // until then it is not closed
		devices = append(devices, w)
	}
	f.mu.Unlock()
	for _, w := range devices {
		w.release()
	}
}

// abortsHotplug draws whether a CPU's way down, or up, is aborted, and after how many of
// n steps; f may be nil.
func (f *Faults) abortsHotplug(up bool, n int) (at int, aborts bool) {
	if f == nil {
		return 0, false
	}
	kind, p := faultAbort, f.Abort
	if up {
		kind, p = faultAbortUp, f.AbortUp
	}
	if p == 0 {
		return 0, false
	}
	rng := rand.New(rand.NewPCG(f.Seed, f.changes.Add(1)))
	if rng.Float64() >= p {
		return 0, false
	}
	f.counts[kind].Add(1)
	return rng.IntN(n), true
}

func (f *Faults) check() error {
	for i, p := range []float64{f.Short, f.Delay, f.Reorder, f.Interrupt, f.LateWake, f.TwinWake, f.Full, f.Abort, f.AbortUp} {
		if !(p >= 0 && p < 1) {
			return fmt.Errorf("host: faults: probability %d is %v: want at least 0 and less than 1", i, p)
		}
	}
	if f.ShortUnit < 0 || f.MaxDelay < 0 {
		return fmt.Errorf("host: faults: ShortUnit %d, MaxDelay %v: want at least 0", f.ShortUnit, f.MaxDelay)
	}
	return nil
}

// faulty is the device of a port with Faults, around the real one.
type faulty struct {
	device
	f    *Faults
	unit int
	max  time.Duration

	mu      lockdep.Mutex
	rng     *rand.Rand          // guarded by mu, as all below
	stand   map[uint64]*standIn // in the real device, by the data of their completion
	late    []uring.CQE         // kept back, and now due
	held    []uring.CQE         // kept back until Faults.Release
	refused bool                // a start or flush since the last wait

	timers lockdep.WaitGroup // that will call the device
}

// A standIn is what the real device gets in place of a request.
type standIn struct {
	Request
	errno syscall.Errno // in place of the result, if not 0
	hold  bool          // its completion
}

func newFaulty(d device, f *Faults) *faulty {
	w := &faulty{device: d, f: f, unit: f.ShortUnit, max: f.MaxDelay, stand: make(map[uint64]*standIn)}
	nameLock(&w.mu, "fault")
	lockdep.SetClass(&w.timers, className(timersWait))
	if w.unit == 0 {
		w.unit = 4096
	}
	if w.max == 0 {
		w.max = time.Millisecond
	}
	w.rng = rand.New(rand.NewPCG(f.Seed, f.ports.Add(1)))
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.devices == nil {
		f.devices = make(map[*faulty]struct{})
	}
	f.devices[w] = struct{}{}
	return w
}

// strikesLocked draws whether a fault of probability p happens, and counts it.
func (w *faulty) strikesLocked(kind fault, p float64) bool {
	if p == 0 || w.rng.Float64() >= p {
		return false
	}
	w.f.counts[kind].Add(1)
	return true
}

func (w *faulty) start(r *Request, ud uint64) bool {
	w.mu.Lock()
	if w.strikesLocked(faultFull, w.f.Full) {
		w.refused = true
		w.mu.Unlock()
		return false
	}
	s := &standIn{Request: Request{Op: r.Op, File: r.File, Buf: r.Buf, Iovs: r.Iovs, Vec: r.Vec,
		Off: r.Off, Len: r.Len, Flags: r.Flags, Async: r.Async}}
	var done bool
	if rule := w.ruleLocked(r); rule != nil {
		s.errno, done, s.hold = rule.Errno, rule.Done, rule.Hold
	}
	if s.errno != 0 && !done {
		s.Op = OpNop
	} else if s.errno == 0 {
		w.shortenLocked(&s.Request)
	}
	w.stand[ud] = s
	w.mu.Unlock()
	if !w.device.start(&s.Request, ud) {
		w.mu.Lock()
		delete(w.stand, ud)
		w.mu.Unlock()
		return false
	}
	return true
}

// ruleLocked returns the rule that strikes r, or nil.
func (w *faulty) ruleLocked(r *Request) *FaultRule {
	if r.Op == OpNop || r.Op == OpCancelled {
		return nil
	}
	for i := range w.f.Rules {
		rule := &w.f.Rules[i]
		applies := rule.Ops == nil
		for _, op := range rule.Ops {
			applies = applies || op == r.Op
		}
		if !applies || rule.Match != nil && !rule.Match(r) || w.rng.Float64() >= rule.P {
			continue
		}
		if n := rule.struck.Add(1); rule.Limit != 0 && n > rule.Limit {
			continue
		}
		if rule.Errno != 0 {
			w.f.counts[faultError].Add(1)
		}
		return rule
	}
	return nil
}

// shortenLocked may cut the transfer of r.
func (w *faulty) shortenLocked(r *Request) {
	switch r.Op {
	case OpRead, OpWrite:
		if units := (len(r.Buf) - 1) / w.unit; units > 0 && w.strikesLocked(faultShort, w.f.Short) {
			r.Buf = r.Buf[:(1+w.rng.IntN(units))*w.unit]
		}
	case OpReadv, OpWritev:
		if n := len(r.Vec); n > 1 && w.strikesLocked(faultShort, w.f.Short) {
			n = 1 + w.rng.IntN(n-1)
			r.Vec, r.Iovs = r.Vec[:n], r.Iovs[:n]
		}
	}
}

// inside returns how many requests are in the real device.
func (w *faulty) inside() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stand)
}

func (w *faulty) flush() error {
	w.mu.Lock()
	if w.strikesLocked(faultFull, w.f.Full) {
		w.refused = true
		errno := syscall.EAGAIN
		if w.rng.IntN(2) == 0 {
			errno = syscall.EBUSY
		}
		w.mu.Unlock()
		return errno
	}
	w.mu.Unlock()
	return w.device.flush()
}

func (w *faulty) wait(submit uint32) error {
	w.mu.Lock()
	refused, due := w.refused, len(w.late) > 0
	w.refused = false
	interrupted := w.strikesLocked(faultInterrupt, w.f.Interrupt)
	w.mu.Unlock()
	switch {
	case refused:
		return syscall.EAGAIN
	case interrupted:
		return syscall.EINTR
	case due:
		return nil // what is not submitted yet stays, for the next wait
	}
	return w.device.wait(submit)
}

func (w *faulty) ready() bool {
	w.mu.Lock()
	due := len(w.late) > 0
	w.mu.Unlock()
	return due || w.device.ready()
}

func (w *faulty) reap(dst []uring.CQE) int {
	w.mu.Lock()
	n := copy(dst, w.late)
	w.late = append(w.late[:0], w.late[n:]...)
	w.mu.Unlock()
	if n < len(dst) {
		fresh := dst[n:]
		kept := 0
		got := w.device.reap(fresh)
		w.mu.Lock()
		for _, cqe := range fresh[:got] {
			if w.takeLocked(&cqe) {
				fresh[kept] = cqe
				kept++
			}
		}
		w.mu.Unlock()
		n += kept
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n > 1 && w.strikesLocked(faultReorder, w.f.Reorder) {
		w.rng.Shuffle(n, func(i, j int) { dst[i], dst[j] = dst[j], dst[i] })
	}
	return n
}

// takeLocked gives a completion its result, and reports whether it is due.
func (w *faulty) takeLocked(cqe *uring.CQE) bool {
	s := w.stand[cqe.UserData]
	if s == nil {
		return true // a wake
	}
	delete(w.stand, cqe.UserData)
	switch {
	case s.Op == OpCancelled:
		cqe.Res = -int32(syscall.ECANCELED)
	case s.errno != 0:
		cqe.Res = -int32(s.errno)
	}
	if s.hold || w.f.holding.Load() {
		w.f.counts[faultHold].Add(1)
		w.held = append(w.held, *cqe)
		return false
	}
	if !w.strikesLocked(faultDelay, w.f.Delay) {
		return true
	}
	late := *cqe
	w.timers.Add(1)
	time.AfterFunc(time.Duration(w.rng.Int64N(int64(w.max))), func() {
		lockdep.Owe(&w.timers)
		defer w.timers.Done()
		w.mu.Lock()
		w.late = append(w.late, late)
		w.mu.Unlock()
		w.device.wake()
	})
	return false
}

// release makes due what is held; it ends one of the timers.
func (w *faulty) release() {
	lockdep.Owe(&w.timers)
	defer w.timers.Done()
	w.mu.Lock()
	w.late = append(w.late, w.held...)
	w.held = nil
	for _, s := range w.stand {
		s.hold = false // is with the device, and its completion not taken yet
	}
	w.mu.Unlock()
	w.device.wake()
}

func (w *faulty) wake() {
	w.mu.Lock()
	late, twin := w.strikesLocked(faultLateWake, w.f.LateWake), w.strikesLocked(faultTwinWake, w.f.TwinWake)
	after := time.Duration(w.rng.Int64N(int64(w.max)))
	w.mu.Unlock()
	if twin {
		w.device.wake()
	}
	if late {
		w.timers.Add(1)
		time.AfterFunc(after, func() {
			lockdep.Owe(&w.timers)
			defer w.timers.Done()
			w.device.wake()
		})
		return
	}
	w.device.wake()
}

func (w *faulty) cancel(_ *Request, ud uint64) {
	w.mu.Lock()
	s := w.stand[ud]
	w.mu.Unlock()
	if s != nil {
		w.device.cancel(&s.Request, ud)
	}
}

// close waits for timers first: what they call is gone afterwards.
func (w *faulty) close() error {
	w.f.mu.Lock()
	delete(w.f.devices, w)
	w.f.mu.Unlock()
	w.timers.Wait()
	return w.device.close()
}
