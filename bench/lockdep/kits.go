// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"sync/atomic"
	"time"

	"endio/lockdep"

	linkdata "github.com/linkdata/deadlock"
	sasha "github.com/sasha-s/go-deadlock"
)

// A mutex is what the detectors' mutexes have in common with sync.Mutex.
type mutex interface {
	sync.Locker
	TryLock() bool
}

// A rwMutex is the same for sync.RWMutex.
type rwMutex interface {
	mutex
	RLock()
	RUnlock()
}

// A waitGroup is what the cases need of a WaitGroup.
type waitGroup interface {
	Go(func())
	Wait()
}

// A channel carries values; produce says that the calling goroutine is the one that sends
// until it calls the function returned, where the detector has words for it.
type channel interface {
	produce() (done func())
	send(int)
	recv() int
}

// An ioCount counts the I/O in flight on one file. The goroutine that calls begin is the one that
// runs the completion.
type ioCount interface {
	begin()
	end()
	wait()
}

// A kit is a detector: its locks, and how to hear its reports.
type kit struct {
	name    string
	mutex   func(class string) mutex
	rw      func(class string) rwMutex
	wg      func(class string) waitGroup
	channel func(class string) channel
	io      func(class string) ioCount
	nested  func(m mutex, subclass int) // locks m as one of a subclass, if the detector knows any
	listen  func(report func())
}

func kits() []kit {
	return []kit{endioKit(), sashaKit(), linkdataKit()}
}

// Classes by name, so that instances of one class share it.
var classes sync.Map

func class(name string) *lockdep.Class {
	c, _ := classes.LoadOrStore(name, lockdep.NewClass(name))
	return c.(*lockdep.Class)
}

func endioKit() kit {
	return kit{
		name: "endio/lockdep",
		mutex: func(c string) mutex {
			m := new(lockdep.Mutex)
			lockdep.SetClass(m, class(c))
			return m
		},
		rw: func(c string) rwMutex {
			m := new(lockdep.RWMutex)
			lockdep.SetClass(m, class(c))
			return m
		},
		wg: func(c string) waitGroup {
			w := new(lockdep.WaitGroup)
			lockdep.SetClass(w, class(c))
			return w
		},
		channel: func(c string) channel {
			ch := lockdep.NewChan[int](1)
			ch.SetClass(class(c))
			return endioChannel{ch}
		},
		io: func(c string) ioCount {
			io := new(endioIO)
			io.cond.L = &io.mu
			io.m.SetClass(class(c))
			return io
		},
		nested: func(m mutex, subclass int) { lockdep.LockNested(m.(*lockdep.Mutex), subclass) },
		listen: func(report func()) { lockdep.OnReport(func(*lockdep.Report) { report() }) },
	}
}

type endioChannel struct{ c lockdep.Chan[int] }

func (c endioChannel) produce() func() { c.c.OweSend(); return c.c.PaidSend }
func (c endioChannel) send(x int)      { c.c.Send(x) }
func (c endioChannel) recv() int       { x, _ := c.c.Recv(); return x }

// An endioIO is a plain count with the annotation beside it, as in the thread about
// IOCB_DIO_CALLER_COMP.
type endioIO struct {
	plainIO
	m lockdep.IOMap
}

func (io *endioIO) begin() { io.m.Owe(nil); io.plainIO.begin() }
func (io *endioIO) end()   { io.m.Paid(nil); io.plainIO.end() }
func (io *endioIO) wait()  { io.m.Wait(nil); io.plainIO.wait() }

// A plainIO is what every other detector gets.
type plainIO struct {
	mu   sync.Mutex
	cond sync.Cond
	n    int
}

func newPlainIO(string) ioCount {
	io := new(plainIO)
	io.cond.L = &io.mu
	return io
}

func (io *plainIO) begin() { io.mu.Lock(); io.n++; io.mu.Unlock() }
func (io *plainIO) end()   { io.mu.Lock(); io.n--; io.cond.Broadcast(); io.mu.Unlock() }
func (io *plainIO) wait() {
	io.mu.Lock()
	for io.n > 0 {
		io.cond.Wait()
	}
	io.mu.Unlock()
}

type plainChannel chan int

func (c plainChannel) produce() func() { return func() {} }
func (c plainChannel) send(x int)      { c <- x }
func (c plainChannel) recv() int       { return <-c }

// hangAfter is how long a lock may be waited for before the detectors that watch the clock call it a
// deadlock; the default of both is 30 s.
const hangAfter = 500 * time.Millisecond

func sashaKit() kit {
	return kit{
		name:    "sasha-s/go-deadlock",
		mutex:   func(string) mutex { return new(sasha.Mutex) },
		rw:      func(string) rwMutex { return new(sasha.RWMutex) },
		wg:      func(string) waitGroup { return new(sasha.WaitGroup) },
		channel: func(string) channel { return make(plainChannel, 1) },
		io:      newPlainIO,
		nested:  func(m mutex, _ int) { m.Lock() },
		listen: func(report func()) {
			sasha.Opts.DeadlockTimeout = hangAfter
			sasha.Opts.OnPotentialDeadlock = report
			sasha.Opts.LogBuf = discard{}
		},
	}
}

func linkdataKit() kit {
	return kit{
		name:    "linkdata/deadlock",
		mutex:   func(string) mutex { return new(linkdata.Mutex) },
		rw:      func(string) rwMutex { return new(linkdata.RWMutex) },
		wg:      func(string) waitGroup { return new(sync.WaitGroup) },
		channel: func(string) channel { return make(plainChannel, 1) },
		io:      newPlainIO,
		nested:  func(m mutex, _ int) { m.Lock() },
		listen: func(report func()) {
			linkdata.Opts.WriteLocked(func() {
				linkdata.Opts.DeadlockTimeout = hangAfter
				linkdata.Opts.OnPotentialDeadlock = report
				linkdata.Opts.LogBuf = discard{}
			})
		},
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// reports counts what a detector reported, for the speed run: it must be 0.
var reports atomic.Int64
