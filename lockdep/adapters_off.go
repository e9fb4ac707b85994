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

// OnReport does nothing without the tag lockdep.
func OnReport(func(*Report)) (restore func()) { return func() {} }

// Print does nothing without the tag lockdep.
func Print(io.Writer) (restore func()) { return func() {} }

// Slog does nothing without the tag lockdep.
func Slog(*slog.Logger) (restore func()) { return func() {} }

// Panic does nothing without the tag lockdep.
func Panic() (restore func()) { return func() {} }

// FailTests does nothing without the tag lockdep.
func FailTests(TB) {}

// RunTests runs the tests of a package and returns their exit code.
func RunTests(m interface{ Run() int }) int { return m.Run() }

// CheckExited does nothing without the tag lockdep.
func CheckExited() int { return 0 }

// SetClass does nothing without the tag lockdep.
func SetClass[L annotated](L, *Class) {}

// Init does nothing without the tag lockdep.
func Init[L annotated](L) {}

// Freed does nothing without the tag lockdep.
func Freed[L annotated](L) {}

// LockNested locks m.
func LockNested(m *Mutex, subclass int) { m.Lock() }

// RWLockNested locks m for writing.
func RWLockNested(m *RWMutex, subclass int) { m.Lock() }

// RLockNested locks m for reading.
func RLockNested(m *RWMutex, subclass int) { m.RLock() }

// LockUnder locks m.
func LockUnder(m, nest *Mutex) { m.Lock() }

// Disown does nothing without the tag lockdep.
func Disown[L ownable](L) {}

// Adopt does nothing without the tag lockdep.
func Adopt[L ownable](L) {}

// Owe does nothing without the tag lockdep.
func Owe[W owable](W) {}

// Paid does nothing without the tag lockdep.
func Paid[W owable](W) {}

// An IOMap has no size and its methods compile to nothing without the tag lockdep.
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

// A Chan is a channel of T.
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
