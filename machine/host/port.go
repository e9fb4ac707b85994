// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"endio/lockdep"
	"endio/machine"
	"endio/uring"
)

// wakeData marks a completion that only ends a wait.
const wakeData = ^uint64(0)

// reapBatch is how many completions are taken from a ring at a time: enough
// to spread the cost of a lock, few enough that those who wait for the first are
// not kept by the last.
const reapBatch = 32

// How many requests that need not be flushed at once are gathered for one system
// call: half of those that are in flight up to 8, and a quarter of many, within these bounds. Fewer cost CPU,
// on a virtual disk above all, where each such call is an exit to the host; more leave the device with less
// to do while they gather (docs/benchmarks.md, the levers).
const (
	gatherMin  = 4
	gatherHalf = 8 // at most, where it is half of them
	gatherMax  = 32
	gatherOwn  = 16 // at most where each such call brings completions too
)

// registeredFiles is the size of a port's table of files. A file that finds it
// full is used by descriptor, which costs some 50 ns more for each request.
const registeredFiles = 256

// A device starts requests and brings back results: a ring, or threads.
//
// start, flush and publish belong to the submit lock, reap to the reap lock; wait
// to the leader; wake to anybody.
type device interface {
	// start takes r, whose completion is to carry ud, or reports that there is no
	// room until the next flush.
	start(r *Request, ud uint64) bool
	// flush gives what was started to the kernel; what that does not take stays.
	flush() error
	// unflushed returns how many were started and not taken.
	unflushed() int
	// publish makes what was started visible for wait and returns how much there is.
	publish() uint32
	// wait gives up to submit started requests to the kernel, and returns when a
	// completion can be reaped, sometimes earlier. Only the leader calls it.
	wait(submit uint32) error
	// ready reports whether reap has something at once.
	ready() bool
	reap(dst []uring.CQE) int
	wake()
	// cancel asks that r, which carries ud, be stopped if it can. Submit lock.
	cancel(r *Request, ud uint64)
	close() error
}

// A Port takes requests and calls their Complete. Any goroutine may use it.
type Port struct {
	id   uint64 // in the order of opening
	m    *Machine
	rc   *Context // the atomic context of whoever reaps; guarded by reapMu
	dev  device
	ring *ring // the device if it is one, maybe within dev

	served bool         // a shard's: somebody waits for requests to come
	closed bool         // guarded by submitMu
	enough atomic.Int32 // requests to gather for one system call
	limit  int          // requests that the device takes at a time
	ownership
	inFlight atomic.Int64 // submitted and not reaped, backlog included
	busy     atomic.Bool  // a member of Machine.busy
	busyAt   int          // and where: its

	submitMu lockdep.Mutex
	slots    []*Request      // guarded by submitMu to take one, by reapMu to read
	gens     []uint32        // how often a slot was used: a late completion is told apart
	free     []uint32        // guarded by submitMu
	lines    backlog         // accepted, not started; guarded by submitMu
	cut      *Request        // cancelled in line, linked by next: for whoever reaps; guarded by submitMu
	cuts     atomic.Int32    // how many those are; changes under submitMu
	files    map[*File]int32 // registered; guarded by submitMu
	lastFile *File
	lastSlot int32
	fileFree []int32
	// gatherers is how many goroutines let others run before they enter the kernel: what those
	// submit goes with it. Guarded by submitMu, as are how many requests came in all, and when and after which pause the
	// next one does so.
	gatherers   int
	taken       uint64
	gatherAgain time.Time
	gatherPause time.Duration // 0: it was worth while

	// left is odd while something was started that waits for the next flush. Written under
	// submitMu; the monitor reads it, and flushes what stays.
	left   atomic.Uint64
	away   atomic.Bool // the leader is in the kernel, or on its way back; set under submitMu
	looked looked      // the monitor's

	_      [cacheLine]byte
	reapMu lockdep.Mutex
	cqes   [reapBatch]uring.CQE // guarded by reapMu
	done   [reapBatch]uint32    // slots to free; guarded by reapMu
	res    [reapBatch]int32     // and what came of their requests; guarded by reapMu
	rest   batchRest            // with Inline handlers; guarded by reapMu
	known  bool                 // in Machine.inlines; guarded by reapMu
	thread uint64               // that reaps, once an Inline handler ran; guarded by reapMu
	inline atomic.Uint64        // thread that runs an Inline handler; 0: none
	runs   atomic.Uint64        // Inline handlers begun and ended: odd while one runs
	what   atomic.Uintptr       // the handler that runs, or ran last
	where  atomic.Pointer[File] // and the file of its request

	_         [cacheLine]byte
	leadMu    lockdep.Mutex     // held by the leader
	followers waiterList        // who waits for this port alone
	quiescing atomic.Int32      // of those, who wait until nothing is in flight
	wakers    atomic.Int32      // who wake the leader just now
	led       lockdep.IOMap     // what followers wait for
	waking    lockdep.IOMap     // wakers, as what ClosePort waits for
	kicks     lockdep.WaitGroup // goroutines of retryLocked
}

// newPort returns a port of cpu on dev.
func newPort(m *Machine, cpu machine.CPU, dev device, limit int) *Port {
	p := &Port{m: m, dev: dev, limit: limit}
	nameLock(&p.submitMu, "port.submit")
	nameLock(&p.reapMu, "port.reap")
	nameLock(&p.leadMu, leadWait)
	p.led.SetClass(className(leadWait))
	p.followers.name("port.followers")
	p.waking.SetClass(className(wakersWait))
	lockdep.SetClass(&p.kicks, className(kicksWait))
	p.id = m.opened.Add(1)
	p.want, p.together = 1, 1
	p.Expect(0)
	if m.cfg.Faults != nil {
		p.dev = newFaulty(dev, m.cfg.Faults)
	}
	p.rc = &Context{m: m, cpu: cpu, atomic: true, port: p}
	p.rc.Private = m.cfg.NewPrivate(p.rc)
	p.slots = make([]*Request, limit)
	p.gens = make([]uint32, limit)
	p.free = make([]uint32, limit)
	for i := range p.free {
		p.free[i] = uint32(limit - 1 - i)
	}
	p.files = make(map[*File]int32)
	return p
}

// Shard returns the number of the shard to which p belongs.
func (p *Port) Shard() int { return int(p.rc.cpu) }

// InFlight returns how many requests were submitted and not reaped.
func (p *Port) InFlight() int64 { return p.inFlight.Load() }

// Submit accepts r, which gets its Complete. With flush it is started at once if
// the device has room, unless the leader is about to do so; without, when somebody
// waits in the port, as soon as the monitor sees that nobody does, or at once if
// the leader is in the kernel and would not learn of it. Any context may call it; it
// does not wait for I/O.
func (p *Port) Submit(flush bool, r *Request) {
	p.accept(1)
	p.submitMu.Lock()
	p.takeLocked(r)
	p.submittedLocked(flush)
	p.submitMu.Unlock()
}

// takeLocked starts r, or puts it in line.
func (p *Port) takeLocked(r *Request) {
	p.taken++
	if !p.lines.empty() || !p.startOneLocked(r) {
		p.lines.push(r)
		p.startLocked()
	}
}

// submittedLocked flushes what was started, if it is time for that.
func (p *Port) submittedLocked(flush bool) {
	if n := p.dev.unflushed(); n >= int(p.enough.Load()) || (flush || p.away.Load()) && p.gatherers == 0 {
		p.flushLocked()
	} else if n > 0 && p.gatherers == 0 { // who gathers flushes: the monitor, awake, would cost a quarter of the CPU
		p.leftLocked(true)
	}
}

// submitCall is [Port.Submit] for a goroutine that waits for r next. Where many do so, those that run next on this processor
// are likely to submit as well, and what they submit costs one system call together.
func (p *Port) submitCall(r *Request) {
	p.accept(1)
	p.submitMu.Lock()
	p.takeLocked(r)
	if n := p.dev.unflushed(); p.gatherers == 0 && n > 0 && n < int(p.enough.Load()) && p.inFlight.Load() >= gatherCalls {
		p.gatherLocked()
	}
	p.submittedLocked(true)
	p.submitMu.Unlock()
}

const (
	// gatherCalls is the fewest blocking calls in flight of which one lets others run before it enters the kernel.
	gatherCalls = 8

	// Letting others run that takes longer than gatherSlow and gatherEach for each request that came of it means that processors
	// are busy with other work, which would hold up what was submitted: nobody does so again for a while, the longer
	// the more often that is found.
	gatherSlow     = time.Millisecond
	gatherEach     = 100 * time.Microsecond
	gatherPauseMin = 5 * time.Millisecond
	gatherPauseMax = time.Second
)

// gatherLocked lets other goroutines run. Whoever calls it flushes next: it lets go of the lock meanwhile.
func (p *Port) gatherLocked() {
	start, before := time.Now(), p.taken
	if start.Before(p.gatherAgain) {
		return
	}
	p.gatherers++
	p.submitMu.Unlock()
	runtime.Gosched()
	took := time.Since(start)
	p.submitMu.Lock()
	p.gatherers--
	if took <= gatherSlow+time.Duration(p.taken-before)*gatherEach {
		p.gatherPause = 0
		return
	}
	p.gatherPause = min(max(2*p.gatherPause, gatherPauseMin), gatherPauseMax)
	p.gatherAgain = start.Add(took + p.gatherPause)
}

// leftLocked notes whether something waits for the next flush.
func (p *Port) leftLocked(yes bool) {
	if p.owner != 0 || p.left.Load()&1 == 1 == yes {
		return // the monitor could not flush what is a thread's own
	}
	p.left.Add(1)
	if yes {
		p.m.watch()
	}
}

// flushLeft flushes what was left when left was seen, if that is still so. Whoever has
// left it may be busy: the owner of a queue in a handler.
func (p *Port) flushLeft(left uint64) {
	p.submitMu.Lock()
	if !p.closed && p.left.Load() == left {
		p.startLocked()
		p.flushLocked()
	}
	p.submitMu.Unlock()
}

// Expect tells p that about n requests are in flight in it, or on their way back to
// it through handlers. How many are gathered for one system call depends on it.
func (p *Port) Expect(n int) {
	enough := int32(min(max(n/4, min(n/2, gatherHalf), gatherMin), gatherMax))
	if p.owner != 0 {
		enough = min(enough, gatherOwn)
	}
	if p.enough.Load() != enough {
		p.enough.Store(enough)
	}
}

// accept counts n requests, and brings back whoever serves p if it slept because
// there was nothing to wait for.
func (p *Port) accept(n int64) {
	first := p.inFlight.Add(n) == n
	if !p.busy.Load() {
		p.m.busy.add(p)
	}
	if first && p.served {
		p.followers.wakeOne()
	}
}

// Flush starts what Submit has left.
func (p *Port) Flush() {
	p.submitMu.Lock()
	p.startLocked()
	p.flushLocked()
	p.submitMu.Unlock()
}

// startLocked starts the backlog as far as there is room.
func (p *Port) startLocked() {
	for !p.lines.empty() {
		r := p.lines.peek()
		next := r.next // whoever has r then links it as he likes
		if !p.startOneLocked(r) {
			return
		}
		p.lines.pop(next)
	}
}

// startOneLocked starts r unless there is no slot or no room.
func (p *Port) startOneLocked(r *Request) bool {
	if len(p.free) == 0 {
		return false
	}
	slot := p.free[len(p.free)-1]
	r.slot, r.gen = slot, p.gens[slot]
	ud := uint64(r.gen)<<32 | uint64(slot)
	p.slots[slot] = r
	if !p.dev.start(r, ud) {
		p.flushLocked()
		if !p.dev.start(r, ud) {
			p.slots[slot] = nil
			p.retryLocked()
			return false
		}
	}
	p.free = p.free[:len(p.free)-1]
	return true
}

// retryLocked brings back a leader who waits in the kernel already, perhaps for
// nothing but what could not be given to it.
func (p *Port) retryLocked() {
	if p.inFlight.Load() > 0 {
		p.kicks.Go(p.kick) // a goroutine: on old kernels kick takes the submit lock
	}
}

// flushLocked hands what was started to the kernel. If that is short of memory
// (EAGAIN) or wants completions reaped first (EBUSY), the rest stays queued,
// and the next wait, or the monitor, tries again.
func (p *Port) flushLocked() {
	if p.dev.unflushed() == 0 {
		p.leftLocked(false)
		return
	}
	switch err := p.dev.flush(); err {
	case nil:
		p.leftLocked(false)
	case syscall.EAGAIN, syscall.EBUSY:
		p.leftLocked(true)
		p.retryLocked()
	case errNotOwner:
		if p.away.Load() {
			p.retryLocked() // brings the owner back, who submits with his next wait
		}
	default:
		p.m.bug(fmt.Errorf("submit to port: %w", err))
	}
}

// Reap calls Complete for what is ready and returns how many there were. It
// does not wait. A task context may call it, holding nothing.
func (p *Port) Reap() int {
	total, sawWake := p.reap()
	if !sawWake && (total == 0 || p.inFlight.Load() != 0) {
		return total
	}
	// A leader that is about to wait in the kernel would not be called back from
	// there: what was meant to wake it is reaped, or nothing is left to complete.
	if p.leadMu.TryLock() {
		p.leave() // there was none
	} else {
		p.dev.wake()
	}
	return total
}

// reap is Reap for the leader, which has no need to be woken.
func (p *Port) reap() (total int, sawWake bool) { return p.reapAs(false) }

// reapAs is reap; expendable says that the caller is a member of a shard, whom an
// Inline handler may end.
//
// It takes what the device had when it came, and no more: what is started meanwhile from
// the line may complete meanwhile too, and whoever reaped for as long as there is
// something would go through the whole line before any handler ran.
func (p *Port) reapAs(expendable bool) (total int, sawWake bool) {
	for total < p.limit {
		n, wake := p.reapBatch(expendable)
		total += n
		sawWake = sawWake || wake
		if n < reapBatch {
			break
		}
	}
	return total, sawWake
}

func (p *Port) reapBatch(expendable bool) (n int, sawWake bool) {
	p.reapMu.Lock()
	defer p.reapMu.Unlock()
	return p.reapLocked(expendable)
}

// reapLocked takes one batch.
func (p *Port) reapLocked(expendable bool) (n int, sawWake bool) {
	n = p.dev.reap(p.cqes[:reapBatch-min(int(p.cuts.Load()), reapBatch/2)])
	if n == 0 && p.cuts.Load() == 0 {
		return 0, false
	}
	freed := 0
	for _, cqe := range p.cqes[:n] {
		sawWake = sawWake || cqe.UserData == wakeData
		slot := uint32(cqe.UserData)
		if cqe.UserData == wakeData || int(slot) >= len(p.slots) || p.gens[slot] != uint32(cqe.UserData>>32) {
			continue
		}
		p.done[freed], p.res[freed] = slot, cqe.Res
		freed++
	}
	if freed == 0 && p.cuts.Load() == 0 {
		return n, sawWake
	}
	// The slots are free before the requests complete: Complete may submit.
	var batch [reapBatch]*Request
	inline := false
	p.submitMu.Lock()
	for i, slot := range p.done[:freed] {
		batch[i] = p.slots[slot]
		inline = inline || batch[i].Inline
		p.slots[slot] = nil
		p.gens[slot]++
		p.free = append(p.free, slot)
	}
	for ; p.cut != nil && freed < reapBatch; freed, n = freed+1, n+1 {
		r := p.cut
		p.cut, r.next = r.next, nil
		p.cuts.Add(-1)
		batch[freed], p.res[freed] = r, 0
		inline = inline || r.Inline
	}
	if !p.lines.empty() {
		p.startLocked()
		// At once: the leader may wait in the kernel for nothing else, and whoever reaps
		// may run handlers for long before he comes back.
		p.flushLocked()
	}
	p.submitMu.Unlock()
	if inline {
		p.rest = batchRest{requests: batch, n: freed}
		p.completeInline(expendable)
		return n, sawWake
	}
	for i, r := range batch[:freed] {
		p.complete(r, p.res[i])
	}
	p.inFlight.Add(-int64(freed))
	return n, sawWake
}

func (p *Port) complete(r *Request, res int32) {
	if r.Op == OpCancelled {
		res = -int32(syscall.ECANCELED)
	}
	r.Complete(p.rc, r, res)
}

// EnterInline and ExitInline bracket a handler of the user, with entry pc, that
// runs in the atomic context c for a request on f: so that a call that would
// block can be refused there, and a handler that blocks all the same is reported.
func (c *Context) EnterInline(pc uintptr, f *File) {
	p := c.port
	if p.thread == 0 {
		// Locked to the thread, the goroutine can be told by it.
		runtime.LockOSThread()
		p.thread = threadID()
		if !p.known {
			p.known = true
			p.m.with(&p.m.inlines, p)
		}
		p.m.inline.Add(1)
	}
	p.m.watch()
	p.what.Store(pc)
	p.where.Store(f)
	p.runs.Add(1)
	p.inline.Store(p.thread)
}

// ExitInline ends what EnterInline began.
func (c *Context) ExitInline() {
	c.port.inline.Store(0)
	c.port.runs.Add(1)
}

// wait submits what is queued and waits in the kernel until something can be
// reaped. Only the leader calls it.
func (p *Port) wait() {
	p.submitMu.Lock()
	p.startLocked()
	if p.owner != 0 {
		p.ownWaitLocked()
	}
	submit := p.dev.publish()
	if p.dev.ready() || p.cuts.Load() > 0 {
		p.flushLocked()
		p.submitMu.Unlock()
		return
	}
	p.leftLocked(false)
	p.away.Store(true)
	p.submitMu.Unlock()
	err := p.dev.wait(submit)
	p.away.Store(false)
	switch err {
	case nil, syscall.EINTR:
	case syscall.EAGAIN, syscall.EBUSY:
		runtime.Gosched() // the kernel is short of memory: reap, then try again
	default:
		p.m.bug(fmt.Errorf("wait in port: %w", err))
	}
}

// serveOnce leads p until it has reaped something, or sleeps while there is
// nothing in flight or somebody else leads. A wake ends it early.
func (p *Port) serveOnce(w *waiter) {
	p.followers.add(&w.queue)
	defer p.followers.remove(&w.queue)
	if w.woken.Swap(false) {
		w.drainNote()
		return
	}
	if p.inFlight.Load() == 0 || !p.leadMu.TryLock() {
		p.Flush() // what work items have submitted: the leader is in the kernel already
		w.note.Recv()
		w.woken.Store(false)
		return
	}
	w.in.Store(p)
	if !w.woken.Load() {
		p.wait()
	}
	w.in.Store(nil)
	p.Expect(int(p.inFlight.Load()))
	p.reapAndUnlock()
	if p.followers.n.Load() > 1 || p.m.willing.n.Load() > 0 {
		p.passOn()
	}
}

// reapAndUnlock reaps for a member of a shard, and ends its leadership, also when a
// handler ends it.
func (p *Port) reapAndUnlock() {
	defer p.leadMu.Unlock()
	p.reapAs(true)
}

// Lead waits in p until something was reaped, unless c owes something already. It
// reports false, at once, if another goroutine leads. c is the context of the one
// goroutine for which all requests of p are.
//
// n is how many completions it may wait for together, if the port was opened for that.
func (p *Port) Lead(c *Context, n int) bool {
	if !p.leadMu.TryLock() {
		return false
	}
	if !c.owes() { // what an earlier leader has reaped brings no completion
		p.want = uint32(max(1, min(n, p.together)))
		p.wait()
		p.want = 1
		p.reap()
	}
	p.leave()
	return true
}

// leave ends the leadership and gives it to someone who needs it.
func (p *Port) leave() {
	p.leadMu.Unlock()
	p.passOn()
}

// Offer finds a leader for p if it needs one. Whoever submits for another
// goroutine, which may be asleep, calls it afterwards.
func (p *Port) Offer() { p.passOn() }

// passOn finds a leader for p if it needs one. Whoever may have been woken to
// lead, and does not, calls it.
func (p *Port) passOn() {
	if p.quiescing.Load() > 0 {
		p.followers.wakeAll()
	}
	if p.inFlight.Load() != 0 && !p.followers.wakeOne() && p.owner == 0 {
		p.m.willing.wakeOne()
	}
}

// waitFor returns when done is set, which Complete of a request of p does before
// it wakes w. The caller leads p if nobody does.
func (p *Port) waitFor(w *waiter, done *atomic.Bool) {
	for !done.Load() {
		if p.leadMu.TryLock() {
			p.leadFor(done)
			continue
		}
		p.followers.add(&w.queue)
		// A leader that left before w was added has not seen it.
		if p.leadMu.TryLock() {
			p.followers.remove(&w.queue)
			p.leadFor(done)
			continue
		}
		if !done.Load() {
			p.led.Wait(nil)
			w.note.Recv()
		}
		w.woken.Store(false)
		p.followers.remove(&w.queue)
	}
	if p.followers.n.Load() != 0 && p.leadMu.TryLock() {
		p.leave()
	}
}

// leadFor leads p, whose leadMu the caller has locked, until done.
func (p *Port) leadFor(done *atomic.Bool) {
	for !done.Load() {
		p.wait()
		p.Expect(int(p.inFlight.Load()))
		if n, _ := p.reap(); n > 1 && !done.Load() {
			// What those submit who were woken goes with the next wait.
			p.submitMu.Lock()
			p.gatherLocked()
			p.submitMu.Unlock()
		}
	}
	p.leave()
}

// Cancel asks that r be stopped. Whether it is or not, its Complete is called as
// ever: with -ECANCELED if it was. The caller knows that r is in flight in p.
//
// A request in line does not wait for its turn: those before it may get no answer for
// long. It is due at once, for whoever reaps.
func (p *Port) Cancel(r *Request) {
	p.submitMu.Lock()
	cut := p.lines.remove(r)
	switch {
	case cut:
		r.Op = OpCancelled
		r.next, p.cut = p.cut, r
		p.cuts.Add(1)
	case int(r.slot) < len(p.slots) && p.slots[r.slot] == r:
		p.dev.cancel(r, uint64(r.gen)<<32|uint64(r.slot))
	}
	call := cut && p.away.Load() && p.cuts.Load() == 1 // else the leader looks, or was called already
	if call {
		p.wakers.Add(1) // holds up ClosePort: r may be over before the next line but one
	}
	p.submitMu.Unlock()
	if call {
		p.waking.Owe(nil)
		p.kick()
		p.waking.Paid(nil)
		p.wakers.Add(-1)
	}
}

func (p *Port) isClosed() bool {
	p.submitMu.Lock()
	defer p.submitMu.Unlock()
	return p.closed
}

// kick makes the leader of p look up, if one waits in the kernel.
func (p *Port) kick() { p.dev.wake() }

// ReapContext returns the atomic context of whoever reaps p. It is for tests that
// complete I/O without a device: nobody may reap p meanwhile.
func (p *Port) ReapContext() *Context { return p.rc }
