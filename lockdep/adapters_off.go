// SPDX-License-Identifier: Apache-2.0

//go:build !lockdep

package lockdep

import (
	"io"
	"log/slog"
	"sync"
)

// Enabled says whether the Go adapters check anything: whether the program was
// built with the tag lockdep.
const Enabled = false

// The adapters. Without the tag lockdep they are the standard types.
type (
	Mutex     = sync.Mutex
	RWMutex   = sync.RWMutex
	WaitGroup = sync.WaitGroup
	Cond      = sync.Cond
	Once      = sync.Once
)

// An adapterState is empty without the tag lockdep.
type adapterState struct{}

var _ = new(Task).adapterState // only files with the tag use it

// NewCond returns a new Cond with Locker l.
func NewCond(l sync.Locker) *Cond { return sync.NewCond(l) }

// Current returns the calling goroutine's task in the default validator, or nil
// without the tag lockdep.
func Current() *Task { return nil }

// Default returns the validator of the Go adapters, or nil without the tag
// lockdep.
func Default() *Validator { return nil }

// OnReport sends the reports of the Go adapters to f, until restore is called. Without
// the tag lockdep it does nothing.
func OnReport(f func(*Report)) (restore func()) { return func() {} }

// Print writes reports to w. Without the tag lockdep it does nothing.
func Print(w io.Writer) (restore func()) { return func() {} }

// Slog logs reports at level Error. Without the tag lockdep it does nothing.
func Slog(l *slog.Logger) (restore func()) { return func() {} }

// Panic panics with each report, on the goroutine that caused it. Without the tag lockdep
// it does nothing.
func Panic() (restore func()) { return func() {} }

// FailTests lets tb fail with each report from now until it ends. Without the tag lockdep
// it does nothing.
func FailTests(tb TB) {}

// RunTests runs the tests of a package and returns the exit code for os.Exit: with the tag
// lockdep 1 if there was a report that no test took for its own. Call it from TestMain.
func RunTests(m interface{ Run() int }) int { return m.Run() }

// CheckExited reports goroutines that ended with locks held or events owed, and returns how
// many there are. Without the tag lockdep it returns 0.
func CheckExited() int { return 0 }

// SetClass gives l a class: call it before the first use. Without the tag lockdep it does
// nothing.
func SetClass[L annotated](l L, c *Class) {}

// Init makes the place of this call the class of l. Without the tag lockdep it does
// nothing.
func Init[L annotated](l L) {}

// Freed says that the memory of l is about to be used for something else: a lock that
// somebody holds is reported. Without the tag lockdep it does nothing.
func Freed[L annotated](l L) {}

// LockNested locks m as a lock of a subclass, for a second lock of the class of one that is
// held. Without the tag lockdep it locks m.
func LockNested(m *Mutex, subclass int) { m.Lock() }

// RWLockNested locks m for writing, as [LockNested] does.
func RWLockNested(m *RWMutex, subclass int) { m.Lock() }

// RLockNested locks m for reading, as [LockNested] does.
func RLockNested(m *RWMutex, subclass int) { m.RLock() }

// LockUnder locks m while nest is held, which every goroutine holds that locks several of
// m's class. Without the tag lockdep it locks m.
func LockUnder(m, nest *Mutex) { m.Lock() }

// Disown says that the calling goroutine will not unlock what it has locked: another one
// will, after [Adopt]. Without the tag lockdep it does nothing.
func Disown[L ownable](l L) {}

// Adopt says that the calling goroutine holds from now on what another one locked and gave
// up with [Disown]. Without the tag lockdep it does nothing.
func Adopt[L ownable](l L) {}

// Owe says that the calling goroutine has to bring about what w's waiters wait for: a Done,
// or a Signal. Without the tag lockdep it does nothing.
func Owe[W owable](w W) {}

// Paid undoes one [Owe]. Without the tag lockdep it does nothing.
func Paid[W owable](w W) {}

// An IOMap is the I/O in flight on one object: the task that has to run a completion owes
// it, and who drains waits; see docs/lockdep.md. Without the tag lockdep it has no size, and
// its methods compile to nothing.
type IOMap struct{}

// SetClass does nothing without the tag lockdep.
func (*IOMap) SetClass(*Class) {}

// Owe does nothing without the tag lockdep.
func (*IOMap) Owe(*Task) {}

// Paid does nothing without the tag lockdep.
func (*IOMap) Paid(*Task) {}

// HandOver does nothing without the tag lockdep.
func (*IOMap) HandOver(from, to *Task) {}

// Wait does nothing without the tag lockdep.
func (*IOMap) Wait(*Task) {}

// WaitHelping does nothing without the tag lockdep.
func (*IOMap) WaitHelping(*Task) {}

// A Chan is a channel of T. Its methods OweSend to WaitRecv tell the validator who owes
// values or room, and who waits for them: see docs/lockdep.md.
type Chan[T any] struct{ c chan T }

// NewChan returns a channel with room for size values.
func NewChan[T any](size int) Chan[T] { return Chan[T]{make(chan T, size)} }

// C returns the channel itself, for select, range, len and cap.
func (c Chan[T]) C() chan T { return c.c }

// SetClass does nothing without the tag lockdep.
func (c Chan[T]) SetClass(*Class) {}

// Send sends x, waiting for room or for a receiver.
func (c Chan[T]) Send(x T) { c.c <- x }

// Recv receives a value, waiting for one; ok is false if the channel is closed
// and empty.
func (c Chan[T]) Recv() (x T, ok bool) { x, ok = <-c.c; return x, ok }

// Close closes the channel.
func (c Chan[T]) Close() { close(c.c) }

// OweSend does nothing without the tag lockdep.
func (c Chan[T]) OweSend() {}

// PaidSend does nothing without the tag lockdep.
func (c Chan[T]) PaidSend() {}

// OweRecv does nothing without the tag lockdep.
func (c Chan[T]) OweRecv() {}

// PaidRecv does nothing without the tag lockdep.
func (c Chan[T]) PaidRecv() {}

// WaitSend does nothing without the tag lockdep.
func (c Chan[T]) WaitSend() {}

// WaitRecv does nothing without the tag lockdep.
func (c Chan[T]) WaitRecv() {}
