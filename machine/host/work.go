// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"runtime"
	"strconv"
	"time"

	"endio/lockdep"
	"endio/machine"
)

// work is a [machine.Work].
type work struct {
	s       *shard
	fn      func(machine.Context)
	stalled func(machine.Context)

	// All guarded by s.mu.
	next     *work // in the shard's queue
	pending  bool
	queued   bool // pending, and in the shard's queue
	timed    bool // pending, and in the timer
	running  bool
	onItsOwn bool // the running instance has stalled
	retired  bool
	depth    int // of Disable
	timer    *time.Timer
}

// Queue implements [machine.Work].
func (w *work) Queue(machine.Context) bool {
	s := w.s
	s.idle.Owe(nil)
	s.mu.Lock()
	ok := w.queueLocked()
	s.mu.Unlock()
	s.idle.Paid(nil)
	return ok
}

func (w *work) queueLocked() bool {
	if w.pending || w.depth > 0 || w.retired {
		return false
	}
	w.pending = true
	if !w.running {
		w.s.pushLocked(w)
	}
	return true
}

// QueueAfter implements [machine.Work].
func (w *work) QueueAfter(c machine.Context, d machine.Duration) bool {
	if d <= 0 {
		return w.Queue(c)
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.pending || w.depth > 0 || w.retired {
		return false
	}
	w.pending, w.timed = true, true
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Duration(d), w.expired)
	} else {
		w.timer.Reset(time.Duration(d))
	}
	return true
}

// expired is the timer's function.
func (w *work) expired() {
	w.s.mu.Lock()
	if w.timed {
		w.timed = false
		if !w.running {
			w.s.pushLocked(w)
		}
	}
	w.s.mu.Unlock()
}

// withdrawLocked takes back a pending run.
func (w *work) withdrawLocked() {
	if !w.pending {
		return
	}
	w.pending = false
	if w.timed {
		w.timed = false // an expired that is on its way finds nothing to do
		w.timer.Stop()
	}
	if w.queued {
		w.s.unlinkLocked(w)
	}
}

// Disable implements [machine.Work].
func (w *work) Disable(machine.Context) {
	w.s.mu.Lock()
	w.depth++
	w.withdrawLocked()
	for w.running && !w.onItsOwn {
		w.s.ended.Wait()
	}
	w.s.mu.Unlock()
}

// Enable implements [machine.Work].
func (w *work) Enable(machine.Context) bool {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.depth == 0 {
		panic("host: Enable of a work item that is not disabled")
	}
	w.depth--
	return w.depth == 0 && !w.retired
}

// Retire implements [machine.Work].
func (w *work) Retire(machine.Context) {
	w.s.mu.Lock()
	w.retired = true
	w.withdrawLocked()
	w.s.mu.Unlock()
}

// A shard is a CPU of the host: its port, its work items, and the goroutines that
// serve both. One of these, the active one, does all; the others are spare.
type shard struct {
	m    *Machine
	cpu  machine.CPU
	port *Port

	mu      lockdep.Mutex
	ended   *lockdep.Cond // a work instance has ended or stalled
	head    *work         // queue of pending work; guarded by mu, as all below
	tail    *work
	active  *member
	spares  []*member
	members map[uint64]struct{} // goroutines
	runs    uint64              // instances begun and ended: odd while the active member runs one
	closed  bool
	idle    lockdep.IOMap // what idle members wait for; owed by who is about to tell one
	wg      lockdep.WaitGroup
}

// maxSpares is how many idle goroutines a shard keeps: one to take over at
// once, one for the case that this stalls too.
const maxSpares = 2

// A member is one goroutine of a shard.
type member struct {
	c    *Context
	w    *waiter
	role lockdep.Chan[struct{}] // told to look whether it is active, or the shard closed; has room for one
	work *work                  // guarded by shard.mu, as stalling
	// stalling is set while the monitor tells the item of work that this instance stalls:
	// the instance, which may get to its end meanwhile, does not end before that.
	stalling bool

	// For breathe; of the member's goroutine alone.
	passes int
	since  time.Time     // when others could run last
	turn   time.Duration // how long mb runs before they can again
}

// A member that always finds something to do would keep its P until the scheduler
// preempts it, after 10 ms, and whom its handlers have woken waits for that. So it
// lets others run after a millisecond; or after as long as that took the last time, if they
// are such as keep the P themselves, so that it has its half among them.
const (
	minTurn      = time.Millisecond
	maxTurn      = 10 * time.Millisecond
	breathPasses = 8 // passes between two looks at the clock
)

// mayBreathe counts a pass, and reports whether it is time to look at the clock.
func (mb *member) mayBreathe() bool {
	mb.passes = (mb.passes + 1) % breathPasses
	return mb.passes == 0
}

// breathe lets others run if it is time to. It is called between two passes, holding
// nothing.
func (mb *member) breathe() {
	now := time.Now()
	if now.Sub(mb.since) < mb.turn {
		return
	}
	runtime.Gosched()
	mb.since = time.Now()
	mb.turn = min(max(mb.since.Sub(now), minTurn), maxTurn)
}

// tell lets mb look at its shard. It is a spare that was just taken off the list, and
// gets one message for each time that it is on it: there is room.
func (mb *member) tell() {
	select {
	case mb.role.C() <- struct{}{}:
	default:
		panic("host: a spare member is told twice")
	}
}

func newShard(m *Machine, cpu machine.CPU) *shard {
	s := &shard{m: m, cpu: cpu, closed: true, members: make(map[uint64]struct{})}
	nameLock(&s.mu, "shard")
	s.ended = lockdep.NewCond(&s.mu)
	s.idle.SetClass(className(idleWait))
	lockdep.SetClass(&s.wg, className("shard.members"))
	return s
}

func (s *shard) pushLocked(w *work) {
	w.next, w.queued = nil, true
	if s.tail == nil {
		s.head = w
	} else {
		s.tail.next = w
	}
	s.tail = w
	if s.active == nil {
		s.activateLocked()
	} else if s.runs&1 == 0 {
		s.active.w.wake()
	}
	s.m.watch()
}

func (s *shard) unlinkLocked(w *work) {
	w.queued = false
	var before *work
	for x := s.head; x != nil; before, x = x, x.next {
		if x != w {
			continue
		}
		if before == nil {
			s.head = w.next
		} else {
			before.next = w.next
		}
		if s.tail == w {
			s.tail = before
		}
		w.next = nil
		return
	}
}

// activateLocked makes a spare member, or a new one, the active one.
func (s *shard) activateLocked() {
	if n := len(s.spares); n > 0 {
		s.active = s.spares[n-1]
		s.spares = s.spares[:n-1]
		s.active.tell()
		return
	}
	mb := &member{w: newWaiter(), role: lockdep.NewChan[struct{}](1)}
	mb.w.note.SetClass(className(idleWait))
	mb.role.SetClass(className(idleWait))
	mb.c = &Context{m: s.m, cpu: s.cpu, port: s.port}
	mb.c.Private = s.m.cfg.NewPrivate(mb.c)
	s.active = mb
	s.wg.Add(1)
	go s.serve(mb)
}

// serve is the life of a member.
func (s *shard) serve(mb *member) {
	lockdep.Owe(&s.wg)
	self := goroutineID()
	s.mu.Lock()
	s.members[self] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.replace(mb)
		s.mu.Lock()
		delete(s.members, self)
		s.mu.Unlock()
		s.m.retire(mb.c)
		s.wg.Done()
	}()
	for {
		if !s.runWork(mb) {
			return
		}
		s.port.serveOnce(mb.w)
	}
}

// replace makes good what a member leaves that a handler has ended (runtime.Goexit):
// the rest of its batch, and its place. One that ends by itself leaves nothing.
func (s *shard) replace(mb *member) {
	s.mu.Lock()
	for mb.stalling {
		s.ended.Wait()
	}
	w, active := mb.work, s.active == mb
	if active {
		s.active = nil
	}
	if active && w != nil {
		w.onItsOwn = true
		s.runs++
		s.mu.Unlock()
		if w.stalled != nil { // to the batch it is as if the handler blocked for ever
			w.stalled(&Context{m: s.m, cpu: s.cpu, atomic: true})
		}
		s.mu.Lock()
	}
	if w != nil {
		mb.work = nil
		s.endedLocked(w)
	}
	if active && s.active == nil && !s.closed {
		s.activateLocked()
	}
	s.mu.Unlock()
}

// endedLocked notes that the running instance of w has ended.
func (s *shard) endedLocked(w *work) {
	w.running, w.onItsOwn = false, false
	if w.pending && !w.queued && !w.timed {
		s.pushLocked(w)
	}
	s.ended.Broadcast()
}

// goroutineID returns the number of the running goroutine, from the first line of
// its stack trace: "goroutine 18 [running]:".
func goroutineID() uint64 {
	var buf [40]byte
	head := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	n, _, _ := bytes.Cut(head, []byte(" "))
	id, err := strconv.ParseUint(string(n), 10, 64)
	if err != nil {
		panic("host: a stack trace starts with " + string(buf[:]))
	}
	return id
}

// runWork runs pending work while mb is the active member; as a spare it waits.
// It returns false when mb is to end.
func (s *shard) runWork(mb *member) bool {
	s.mu.Lock()
	for {
		if s.closed {
			s.mu.Unlock()
			return false
		}
		if s.active != mb {
			if len(s.spares) >= maxSpares {
				s.mu.Unlock()
				return false
			}
			s.spares = append(s.spares, mb)
			s.mu.Unlock()
			mb.role.Recv()
			s.mu.Lock()
			continue
		}
		w := s.head
		if w == nil {
			s.mu.Unlock()
			return true
		}
		s.head = w.next
		if s.head == nil {
			s.tail = nil
		}
		w.next = nil
		w.queued, w.pending, w.running = false, false, true
		mb.work = w
		s.runs++
		s.mu.Unlock()

		w.fn(mb.c)

		s.mu.Lock()
		for mb.stalling {
			s.ended.Wait()
		}
		mb.work = nil
		if s.active == mb {
			s.runs++
		}
		s.endedLocked(w)
		if mb.mayBreathe() {
			s.mu.Unlock()
			mb.breathe() // with its work ended: else it would look stalled meanwhile
			s.mu.Lock()
		}
	}
}

// stall gives the part of the active member to another one if it still runs what
// it ran when runs was seen, and reports whether it did. The monitor calls it.
func (s *shard) stall(c *Context, runs uint64) bool {
	s.mu.Lock()
	if s.active == nil || s.runs != runs || s.active.work == nil {
		s.mu.Unlock()
		return false
	}
	mb := s.active
	w := mb.work
	w.onItsOwn, mb.stalling = true, true
	s.runs++
	s.active = nil
	s.ended.Broadcast()
	s.mu.Unlock()
	if w.stalled != nil {
		w.stalled(c) // queues what is left, and so activates a member
	}
	s.mu.Lock()
	mb.stalling = false
	s.ended.Broadcast()
	if s.active == nil && !s.closed {
		s.activateLocked() // the port needs one in any case
	}
	s.mu.Unlock()
	return true
}

// start gives the shard its first member.
func (s *shard) start() {
	s.mu.Lock()
	s.closed = false
	if s.active == nil {
		s.activateLocked()
	}
	s.mu.Unlock()
}

// stop ends the members; those that run a handler end after it.
func (s *shard) stop() {
	s.mu.Lock()
	s.closed = true
	active := s.active
	s.active = nil
	for _, mb := range s.spares {
		mb.tell()
	}
	s.spares = nil
	if active != nil && s.runs&1 == 0 {
		active.w.wake()
	}
	s.mu.Unlock()
}

// WorkRuns returns how often work items were run, on all shards together.
func (m *Machine) WorkRuns() int64 {
	var n uint64
	for _, s := range m.shards {
		s.mu.Lock()
		n += s.runs / 2 // begun and ended
		s.mu.Unlock()
	}
	return int64(n)
}
