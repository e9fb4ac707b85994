// SPDX-License-Identifier: Apache-2.0

package explore

import "fmt"

// A Kind says how a step uses an object.
type Kind uint8

// The kinds of access. Two accesses to one object are dependent unless neither
// modifies it.
//
//	kind          modifies  data races  synchronises
//	Read          no        checked     no
//	Write         yes       checked     no
//	AtomicRead    no        no          acquires
//	AtomicWrite   yes       no          releases
//	AtomicUpdate  yes       no          acquires and releases
//	Acquire       yes       no          acquires; the task holds the object
//	Release       yes       no          releases; the task holds it no more
//	Observe       no        no          no
//	Modify        yes       no          no
//
// Observe and Modify are for state of the machine that the program does not
// see as memory, such as which context a CPU runs.
const (
	Read Kind = iota
	Write
	AtomicRead
	AtomicWrite
	AtomicUpdate
	Acquire
	Release
	Observe
	Modify
	kindCount
)

var kindNames = [kindCount]string{"read", "write", "atomic read", "atomic write",
	"atomic update", "acquire", "release", "observe", "modify"}

// String returns the kind in words, for example "atomic read".
func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	kindModifies = 1 << iota // conflicts with every other access
	kindPlain                // checked for data races
	kindAcquires             // happens after the last release of the object
	kindReleases             // later acquires of the object happen after it
)

var kindFlags = [kindCount]uint8{
	Read:         kindPlain,
	Write:        kindPlain | kindModifies,
	AtomicRead:   kindAcquires,
	AtomicWrite:  kindModifies | kindReleases,
	AtomicUpdate: kindModifies | kindAcquires | kindReleases,
	Acquire:      kindModifies | kindAcquires,
	Release:      kindModifies | kindAcquires | kindReleases,
	Observe:      0,
	Modify:       kindModifies,
}

func (k Kind) modifies() bool { return kindFlags[k]&kindModifies != 0 }

// An Object is a handle to something that tasks share. Objects belong to one
// execution: make them in [Program] Init or in a task, never keep them for the
// next execution. The zero Object is not valid.
type Object struct{ id int32 } // dense id + 1

// Valid reports whether o was made by an [Exec] or a [Task].
func (o Object) Valid() bool { return o.id != 0 }

// An access is one use of an object by a step.
type access struct {
	obj  int32 // dense id
	kind Kind
}

func conflict(a, b []access) bool {
	for i := range a {
		for j := range b {
			if a[i].obj == b[j].obj && (a[i].kind.modifies() || b[j].kind.modifies()) {
				return true
			}
		}
	}
	return false
}

// badAccess says what is wrong with an access of a step of t.
func (x *Exec) badAccess(t *Task, a access) *badProgram {
	text := "an object of another execution: objects live as long as one, make them in Init or in a task each time"
	switch {
	case a.obj < 0:
		text = "the zero Object: make objects with NewObject"
	case a.kind >= kindCount:
		text = fmt.Sprintf("an unknown kind of access, %d", uint8(a.kind))
	}
	return &badProgram{fmt.Sprintf("a step of task %q names %s", t.name, text)}
}

// A Guard decides whether a step may happen. Enabled must be quick, must not
// change anything and must read only state that belongs to the objects which
// the step declares; the explorer calls it on whichever goroutine runs, often,
// and not at all while it replays a known prefix.
type Guard interface{ Enabled() bool }

// GuardFunc makes a function a [Guard]. Build it once per task, not once per
// step, to keep steps free of allocations.
type GuardFunc func() bool

// Enabled calls f.
func (f GuardFunc) Enabled() bool { return f() }

// A Waiter describes what a blocked step waits for. It is called only for
// reports, on the goroutine of the search.
type Waiter interface{ DescribeWait(w *Wait) }

// A Wait is filled in by a [Waiter].
type Wait struct {
	For    string  // what is waited for, for example "mutex m"
	Owners []*Task // who can end the wait; empty if not known
	By     string  // how they do: "held by" if empty, or for example "ended only by"
	Why    string  // what else is to be known: why nobody ends the wait, or what the owners have to do; or empty
	Busy   bool    // a daemon that waits in the midst of something: reports name it, as they do not one that is idle
}

// A Step is the declaration of a task's next visible operation. A task has one
// Step that it uses again and again: get it with [Task.Next], fill it in, and
// call [Step.Do]. All methods but Do return the Step.
type Step struct {
	t         *Task
	acc       []access
	guard     Guard
	wait      Waiter
	label     string
	op        uint64 // hash of the accesses, to notice nondeterminism
	state     uint64
	lane      int16
	voluntary bool
	exclusive bool
}

// On adds an access of kind k to o. A step may touch any number of objects; if
// it names one twice, the accesses add up.
func (s *Step) On(o Object, k Kind) *Step {
	s.acc = append(s.acc, access{o.id - 1, k})
	return s
}

// When sets the guard: the step can happen only while g is enabled.
func (s *Step) When(g Guard) *Step { s.guard = g; return s }

// Waiting sets the description of the wait, for reports.
func (s *Step) Waiting(w Waiter) *Step { s.wait = w; return s }

// Lane sets the column of the trace for this step; the default is the task's
// lane (see [Task.SetLane]).
func (s *Step) Lane(n int) *Step { s.lane = int16(n); return s }

// Label sets the text of the step in a trace. Text that must be formatted
// should be formatted only if [Task.Tracing].
func (s *Step) Label(text string) *Step { s.label = text; return s }

// Voluntary marks the step as a scheduling point of the program's own: to run
// another task before it is no preemption. Blocked steps are voluntary anyway.
func (s *Step) Voluntary() *Step { s.voluntary = true; return s }

// Exclusive promises that the guard of this step, which acquires one object and
// does nothing else, is true exactly if the object was never acquired or was
// last released. It saves [Optimal] from trying what can't work.
func (s *Step) Exclusive() *Step { s.exclusive = true; return s }

// State declares the task's control state before this step: position and
// local variables, as a hash. It matters only to [Cached].
func (s *Step) State(hash uint64) *Step { s.state = hash; return s }

// Do declares the step and returns when the explorer has chosen it. The code
// that follows, up to the next Do, happens atomically with it. If the execution
// ends first, Do does not return: it unwinds the task, running its deferred
// functions, in which steps do nothing but unwind.
func (s *Step) Do() { s.t.point() }

// seal checks the accesses and computes their hash.
func (s *Step) seal() {
	h := uint64(len(s.acc))
	x := s.t.x
	for i := range s.acc {
		a := &s.acc[i]
		if uint(a.obj) >= uint(len(x.objs)) || x.objs[a.obj].epoch != x.epoch || a.kind >= kindCount {
			panic(x.badAccess(s.t, *a))
		}
		h = (h ^ (uint64(uint32(a.obj))<<4 | uint64(a.kind))) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	if s.guard != nil {
		h = ^h
	}
	s.op = h
}
