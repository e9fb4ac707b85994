// SPDX-License-Identifier: Apache-2.0

package host

import (
	"syscall"

	"endio/lockdep"
	"endio/uring"
)

// maxThreads bounds the goroutines, and so the threads, that block in system
// calls for one port: fewer leave a device idle at depth, more cost memory (some
// 10 KiB of kernel stack each) and gain nothing on one device.
const maxThreads = 64

// threads is the device where there is no io_uring: goroutines that call pread
// and pwrite. They are started as they are needed and end when idle for good.
type threads struct {
	m       *Machine
	mu      lockdep.Mutex
	todo    lockdep.Cond // signalled when queue grows; L is &mu
	done    lockdep.Cond // signalled when results grow or woken is set
	head    *Request     // started; guarded by mu, as all below
	tail    *Request
	queued  int
	results []uring.CQE // a queue: first is at index read
	read    int
	woken   bool
	running int // goroutines
	idle    int // of those, waiting
	closed  bool
	ended   lockdep.WaitGroup
}

func newThreads(m *Machine) *threads {
	d := &threads{m: m}
	nameLock(&d.mu, "threads")
	d.todo.L, d.done.L = &d.mu, &d.mu
	return d
}

func (d *threads) start(r *Request, ud uint64) bool {
	r.ud, r.next = ud, nil
	d.mu.Lock()
	if d.tail == nil {
		d.head = r
	} else {
		d.tail.next = r
	}
	d.tail = r
	d.queued++
	switch {
	case d.queued <= d.idle: // those that were signalled and do not run yet count as both
		d.todo.Signal()
	case d.running < maxThreads:
		d.running++
		d.ended.Add(1)
		go d.loop()
	}
	d.mu.Unlock()
	return true
}

func (d *threads) publish() uint32 { return 0 }
func (d *threads) flush() error    { return nil }
func (d *threads) unflushed() int  { return 0 }

func (d *threads) wait(uint32) error {
	d.mu.Lock()
	for d.read == len(d.results) && !d.woken {
		d.done.Wait()
	}
	d.woken = false
	d.mu.Unlock()
	return nil
}

func (d *threads) ready() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.read < len(d.results)
}

func (d *threads) reap(dst []uring.CQE) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := copy(dst, d.results[d.read:])
	d.read += n
	if d.read == len(d.results) {
		d.results, d.read = d.results[:0], 0
	}
	return n
}

func (d *threads) wake() {
	d.mu.Lock()
	d.woken = true
	d.done.Signal()
	d.mu.Unlock()
}

// cancel ends r if no goroutine has it yet. It does not wait for those that have others:
// all may get no answer for long.
func (d *threads) cancel(r *Request, ud uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, link := (*Request)(nil), &d.head
	for *link != nil && *link != r {
		before, link = *link, &(*link).next
	}
	if *link == nil {
		return
	}
	if *link = r.next; d.tail == r {
		d.tail = before
	}
	d.queued--
	r.Op, r.next = OpCancelled, nil
	d.results = append(d.results, uring.CQE{UserData: ud, Res: -int32(syscall.ECANCELED)})
	d.done.Signal()
}

// close ends the goroutines. Nothing is in flight.
func (d *threads) close() error {
	d.mu.Lock()
	d.closed = true
	d.todo.Broadcast()
	d.mu.Unlock()
	d.ended.Wait()
	return nil
}

// loop executes requests until the device is closed.
func (d *threads) loop() {
	lockdep.Owe(&d.ended)
	defer d.ended.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for d.head == nil && !d.closed {
			d.idle++
			d.todo.Wait()
			d.idle--
		}
		if d.head == nil {
			return
		}
		r := d.head
		d.head = r.next
		if d.head == nil {
			d.tail = nil
		}
		d.queued--
		d.mu.Unlock()
		ud := r.ud
		res := d.m.ExecuteInTurn(r)
		d.mu.Lock()
		d.results = append(d.results, uring.CQE{UserData: ud, Res: res})
		d.done.Signal()
	}
}
