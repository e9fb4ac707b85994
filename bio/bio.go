// SPDX-License-Identifier: Apache-2.0

// Package bio is one I/O and the order of the steps at its end.
//
// # Model
//
// Whoever issues an I/O fills in a [Bio] and calls [Bio.Start]. Whoever learns
// that the I/O is over calls [End], once, in whatever context he is. End decides
// where EndIO, the handler, runs: at once; later in a task context, if the Bio
// asks for one and End was called in an atomic context; or later in the context
// of the owner.
//
// # Order of the steps
//
// End mirrors bio_endio (block/bio.c, Linux 7.3) as far as completion contexts
// go: a chained Bio ends when all of its children have; its status is the first
// error among theirs; then the context is chosen; then the handler is called or
// handed over. After that nobody but the handler may touch the Bio, which may
// have been started anew already.
//
// # Who may touch a Bio
//
// From Start to the call of EndIO the Bio belongs to this package and to those
// it is handed to ([Deferrer], [Owner]). Before and after, it belongs to the user.
package bio

import (
	"errors"

	"endio/machine"
)

// ErrNoHandler reports a Bio without an EndIO. Nothing was started.
var ErrNoHandler = errors.New("bio has no EndIO handler")

// ErrBusy reports a Bio that was started and has not ended. Nothing was started.
var ErrBusy = errors.New("bio is in flight already")

// Flags say how a [Bio] is to be completed, and how far it is.
type Flags uint16

const (
	// CompleteInTask asks that EndIO run where it may block. It is the user's, stays
	// set over the life of the Bio, and is never set by this package.
	// It mirrors BIO_COMPLETE_IN_TASK (include/linux/blk_types.h, Linux 7.3), but for
	// one thing: there the same bit also says "already deferred".
	CompleteInTask Flags = 1 << iota

	deferred // given to the Deferrer since Start
	inFlight // started, not yet handed to EndIO
)

// A Deferrer runs the handlers of Bios in a task context, each once.
// Package batch has one.
type Deferrer interface {
	// Defer takes b over; it calls [Run] on it later. Any context may call it.
	Defer(c machine.Context, b *Bio)
}

// An Owner runs the handlers of its Bios in its own context, each once.
// Package batch has one.
type Owner interface {
	// Post takes b over; the owner calls [Run] on it when it next can.
	// Any context may call it.
	Post(c machine.Context, b *Bio)
}

// A Bio is one I/O. The zero value, with EndIO set, is ready to be started. It
// must not be copied once started.
type Bio struct {
	// EndIO is the handler. It is called once for each Start, in a context that the
	// Bio asked for, and may reuse or free the Bio.
	EndIO func(c machine.Context, b *Bio)

	// Private is the user's; this package does not look at it.
	Private any

	// Err is the outcome; nil is success. It is set before EndIO is called: the error
	// given to End, or for a chained Bio the first error of all.
	Err error

	// Flags may be set before Start.
	Flags Flags

	// Owner, if set, runs EndIO in its own context, wherever End was called.
	Owner Owner

	// Next links the Bio into a [List]; it is free for whoever has the Bio.
	Next *Bio

	chain *chain // of a parent: counts children; kept for reuse
	up    *Bio   // of a child: its parent
}

// A chain counts what a parent still waits for.
type chain struct {
	remaining machine.Counter // children in flight plus 1 for the parent itself
	failures  machine.Counter // how many of those have failed
	firstErr  machine.Var     // the parent's Err
}

// Start puts b in flight. From then on it belongs to whoever calls End.
// A Bio without handler is refused with [ErrNoHandler]: there would be nothing
// to run, and whoever defers it could only find out when it is too late.
func (b *Bio) Start() error {
	if b.EndIO == nil {
		return ErrNoHandler
	}
	if b.Flags&inFlight != 0 {
		return ErrBusy
	}
	b.Flags = b.Flags&CompleteInTask | inFlight
	b.Err = nil
	return nil
}

// Abandon takes back a Start. The Bio was given to nobody and has no children.
func (b *Bio) Abandon() { b.Flags &^= inFlight }

// InFlight reports whether b was started and its handler has not been called.
// Only whom b belongs to may ask.
func (b *Bio) InFlight() bool { return b.Flags&inFlight != 0 }

// Chain makes parent wait for child: parent's handler runs after [End] has been
// called on parent and on all of its children. A child has no handler, no owner
// and no flags of its own; where the handler runs is decided by the parent alone.
// Both are put in flight, parent only the first time.
//
// Only the issuer of parent may call it, before it calls End on parent.
// It mirrors bio_chain (block/bio.c), and refuses what that only warns of.
func Chain(m machine.Machine, c machine.Context, child, parent *Bio) error {
	if child.EndIO != nil || child.Owner != nil {
		return errors.New("chained bio has a handler or an owner of its own")
	}
	if child.Flags&inFlight != 0 {
		return ErrBusy
	}
	if parent.Flags&inFlight == 0 {
		if err := parent.Start(); err != nil {
			return err
		}
	}
	if parent.chain == nil {
		parent.chain = &chain{
			remaining: m.NewCounter("bio.remaining", 1),
			failures:  m.NewCounter("bio.failures", 0),
			firstErr:  m.NewVar("bio.err"),
		}
	}
	parent.chain.remaining.Add(c, 1)
	child.up = parent
	child.Flags |= inFlight
	child.Err = nil
	return nil
}

// End says that the I/O of b is over, with the given outcome. Any context may
// call it, once for each Start or Chain; a second call is a bug of the caller
// and panics. d runs the handler if b wants a task context and c is not one.
//
// When End returns, the handler has run, or d or the owner has b.
func End(c machine.Context, d Deferrer, b *Bio, err error) {
	for {
		if b.Flags&inFlight == 0 {
			panic("bio: End of a bio that is not in flight")
		}
		parent := b.up
		if !b.settle(c, err) {
			return
		}
		if parent == nil {
			break
		}
		// A loop and not a recursion: a chain may be long.
		b.up = nil
		b.Flags &^= inFlight
		b, err = parent, b.Err
	}
	switch {
	case b.Owner != nil:
		b.Owner.Post(c, b)
	case b.Flags&CompleteInTask != 0 && c.Atomic():
		b.Flags |= deferred
		d.Defer(c, b)
	default:
		Run(c, b)
	}
}

// settle records err and reports whether b, with all of its children, has ended.
func (b *Bio) settle(c machine.Context, err error) bool {
	if b.chain == nil {
		b.Err = err
		return true
	}
	// The first to fail sets the error; whoever brings remaining to 0 comes after.
	if err != nil && b.chain.failures.Add(c, 1) == 1 {
		b.chain.firstErr.Write(c)
		b.Err = err
	}
	if b.chain.remaining.Add(c, -1) != 0 {
		return false
	}
	b.chain.firstErr.Read(c)
	b.chain.remaining.Add(c, 1)
	if n := b.chain.failures.Load(c); n != 0 {
		b.chain.failures.Add(c, -n)
	}
	return true
}

// Run calls the handler of b. It is for those to whom End gave b.
func Run(c machine.Context, b *Bio) {
	b.Flags &^= inFlight
	b.EndIO(c, b)
}

// CompleteLater moves a handler that is running to a task context: it reports
// true if it handed b to d, which calls the handler again; the handler must then
// return without touching b. It reports false if the handler may block where it
// is, or has been deferred before. Only the handler of b may call it.
//
// It mirrors bio_complete_in_task (include/linux/bio.h, Linux 7.3). "Deferred
// before" ends what would otherwise go on for ever on a machine that calls every
// context atomic.
func CompleteLater(c machine.Context, d Deferrer, b *Bio) bool {
	if b.Flags&deferred != 0 || !c.Atomic() {
		return false
	}
	b.Flags |= deferred | inFlight
	d.Defer(c, b)
	return true
}

// A List is a queue of Bios, linked through Next. The zero List is empty.
// It does not protect itself.
type List struct {
	head, tail *Bio
}

// Empty reports whether l has no Bio.
func (l *List) Empty() bool { return l.head == nil }

// Push appends b.
func (l *List) Push(b *Bio) {
	b.Next = nil
	if l.tail == nil {
		l.head = b
	} else {
		l.tail.Next = b
	}
	l.tail = b
}

// Pop removes and returns the first Bio, or nil.
func (l *List) Pop() *Bio {
	b := l.head
	if b == nil {
		return nil
	}
	l.head = b.Next
	if l.head == nil {
		l.tail = nil
	}
	b.Next = nil
	return b
}

// Append appends all Bios of m, in their order; m must not be used any more.
func (l *List) Append(m List) {
	switch {
	case m.head == nil:
	case l.tail == nil:
		*l = m
	default:
		l.tail.Next = m.head
		l.tail = m.tail
	}
}

// Take removes and returns all Bios, in their order.
func (l *List) Take() List {
	all := *l
	*l = List{}
	return all
}
