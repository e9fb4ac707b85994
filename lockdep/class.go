// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"fmt"
	"hash/fnv"
	"sync/atomic"
)

// MaxSubclasses is the number of subclasses of a [Class], counted from 0.
//
// Source: MAX_LOCKDEP_SUBCLASSES, include/linux/lockdep_types.h, Linux v6.12.
const MaxSubclasses = 8

// A WaitType says what happens to a task that finds a lock taken. A context or
// a held lock sets a ceiling; taking a lock above the ceiling is an invalid wait
// context.
//
// Source: enum lockdep_wait_type, include/linux/lockdep_types.h, Linux v6.12.
type WaitType uint8

// The wait types, from the one allowed everywhere to the one that sleeps.
const (
	WaitInv    WaitType = iota // not checked
	WaitFree                   // never waits: RCU read sections
	WaitSpin                   // spins with preemption off: raw_spinlock_t
	WaitConfig                 // spins, or sleeps on PREEMPT_RT: spinlock_t, local_lock_t
	WaitSleep                  // sleeps: mutex, rwsem, every Go lock
	WaitMax                    // the ceiling of a task that holds nothing
)

// A LockType changes how the searches treat a class.
//
// Source: enum lockdep_lock_type, include/linux/lockdep_types.h, Linux v6.12.
type LockType uint8

// The lock types.
const (
	Normal       LockType = iota
	PerCPU                // local_lock_t: no path of an interrupt rule runs through it
	WaitOverride          // its inner wait type replaces the ceiling instead of lowering it
)

// A Class is what all instances of one kind of lock have in common: rules are
// learned and checked between classes, never between instances. The pointer is
// the identity, so a Class must not be copied. Its fields must not change after
// its first use. One Class may serve several validators at once.
//
// Source: struct lock_class_key and struct lock_class, Linux v6.12.
type Class struct {
	// Name is printed in reports. Two classes may have the same name; the
	// second is then printed with #2.
	Name string

	// Outer is the lowest ceiling under which a lock of this class may be
	// taken; [WaitInv] means the same as Inner.
	Outer WaitType

	// Inner is the ceiling while a lock of this class is held. [WaitInv]
	// switches the check of wait contexts off for this class.
	Inner WaitType

	// Type is [Normal] for everything but local locks and overrides.
	Type LockType

	// Order, if not nil, says in which order two instances of this class may
	// be held: negative if held may be followed by next. It runs under the
	// validator's internal lock and must not take locks itself.
	//
	// Source: lock_cmp_fn, include/linux/lockdep.h, Linux v6.12.
	Order func(held, next *Map) int
}

// NewClass returns a class of sleeping locks with that name.
func NewClass(name string) *Class {
	return &Class{Name: name, Outer: WaitSleep, Inner: WaitSleep}
}

// A Map is one instance of a lock, or of anything else that can be waited for.
// The zero Map has no class: call [Map.Init] first, or the first use reports
// the lock as not initialised. A Map must not be copied after its first use. It
// may be used by several goroutines at once, and belongs to one validator from
// its first acquire on.
//
// Source: struct lockdep_map, include/linux/lockdep_types.h, Linux v6.12.
type Map struct {
	class *Class
	fam   atomic.Pointer[family] // class in its validator, nil until first use
	addr  uintptr                // printed instead of the instance number, if not 0
	inst  atomic.Uint64          // epoch<<32 + number in order of first report
	sub   uint8                  // subclass that SetSubclass made the default
}

// Init gives m a class, and makes it a new instance. Use [Task.Reinit] for a Map that
// may be held.
func (m *Map) Init(class *Class) {
	m.class = class
	m.fam.Store(nil)
	m.inst.Store(0)
	m.sub = 0
}

// SetSubclass makes all later uses of m belong to that subclass when they name none
// themselves. The class and its name stay. It must not be called while m is in use.
// It reports whether there is such a subclass, 0 to [MaxSubclasses]-1.
//
// Source: lockdep_set_subclass, include/linux/lockdep.h, Linux v6.12.
func (m *Map) SetSubclass(subclass int) bool {
	if subclass < 0 || subclass >= MaxSubclasses {
		return false
	}
	m.sub = uint8(subclass)
	return true
}

// Class returns the class of m, or nil before [Map.Init].
func (m *Map) Class() *Class { return m.class }

// A family is a Class as one validator knows it: a record per subclass in use.
type family struct {
	v     *Validator
	class *Class
	sub   [MaxSubclasses]atomic.Pointer[classRec]
}

// A classRec is one class (of one subclass) in one validator. Fields marked G
// are guarded by Validator.mu.
type classRec struct {
	class *Class
	idx   uint32
	name  uint32 // a hash of class name and subclass, the same in each validator
	sub   uint8

	outer, inner WaitType // as the validator's configuration maps them

	usage      atomic.Uint32       // usage bits; grows under Validator.mu, read without
	usageStack [usageBits]stackRef // G: where each bit was set first
	after      []int32             // G: edges to classes taken while this one was held
	before     []int32             // G: edges from classes held while this one was taken
	epoch      uint32              // G: run in which this class was used last
	visit      uint32              // G: number of the search that saw this class last
	seen       uint8               // G: in which of the two states it saw it
}

// resolve finds or makes the record of m's class, and is the slow path of every
// acquire: it runs once for each instance. It returns nil when the class can not
// be checked, after a report.
func (v *Validator) resolve(t *Task, m *Map, how How) *classRec {
	if m.class == nil {
		v.mu.Lock()
		v.reportClassMisuse(t, m, "trying to register non-static key",
			"A lock was used before it was given a class: call Init first.")
		v.unlockAndDeliver(t)
		return nil
	}
	v.mu.Lock()
	fam := v.families[m.class]
	if fam == nil {
		fam = &family{v: v, class: m.class}
		v.families[m.class] = fam
	}
	if old := m.fam.Load(); old != nil && old != fam {
		why := fmt.Sprintf("found a different class %q with the same key", old.class.Name)
		if old.v != v {
			why = "this instance belongs to another validator"
		}
		v.reportClassMisuse(t, m, "Looking for class \""+m.class.Name+"\"", why)
		v.unlockAndDeliver(t)
		return nil
	}
	rec := v.recordLocked(t, fam, m.subclass(how))
	m.fam.Store(fam)
	v.unlockAndDeliver(t)
	return rec
}

// recordLocked returns the record of one subclass, made on first use, or nil if the
// class table is full. Preconditions: v.mu is held.
func (v *Validator) recordLocked(t *Task, fam *family, sub uint8) *classRec {
	rec := fam.sub[sub].Load()
	if rec == nil {
		if len(v.classes) >= v.cfg.MaxClasses {
			v.reportLimit(t, limitClasses)
			return nil
		}
		h := fnv.New32a()
		h.Write([]byte(fam.class.Name))
		h.Write([]byte{sub})
		rec = &classRec{class: fam.class, idx: uint32(len(v.classes)), name: h.Sum32(), sub: sub}
		rec.outer, rec.inner = v.waitTypes(fam.class)
		v.classes = append(v.classes, rec)
	}
	v.useLocked(rec)
	fam.sub[sub].Store(rec)
	return rec
}

// useLocked enters rec in the list of what this run has used, which is what
// Reset has to clear. Preconditions: v.mu is held.
func (v *Validator) useLocked(rec *classRec) {
	if rec.epoch == v.epoch {
		return
	}
	rec.epoch = v.epoch
	v.used = append(v.used, rec)
}

// waitTypes maps a class's wait types to the configuration: without raw nesting
// checks, spinlock_t and raw_spinlock_t are the same.
//
// Source: the definition of LD_WAIT_CONFIG without CONFIG_PROVE_RAW_LOCK_NESTING.
func (v *Validator) waitTypes(c *Class) (outer, inner WaitType) {
	inner = v.waitType(c.Inner)
	outer = v.waitType(c.Outer)
	if outer == WaitInv || inner == WaitInv {
		outer = inner
	}
	return outer, inner
}

func (v *Validator) waitType(w WaitType) WaitType {
	if w == WaitConfig && !v.cfg.RawNesting {
		return WaitSpin
	}
	return w
}

// subclass returns the subclass that an operation on m means.
func (m *Map) subclass(how How) uint8 {
	if s := how.subclass(); s != 0 {
		return s
	}
	return m.sub
}

// record returns m's class record in v if it is known already.
func (m *Map) record(v *Validator, how How) *classRec {
	fam := m.fam.Load()
	if fam == nil || fam.v != v {
		return nil
	}
	return fam.sub[m.subclass(how)].Load()
}
