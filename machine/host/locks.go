// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync"
	"sync/atomic"

	"endio/lockdep"
	"endio/machine"
)

// cacheLine keeps what two CPUs write apart. 64 bytes on all platforms that
// matter here, and x86 fetches lines in pairs.
const cacheLine = 128

// local is a [machine.Local]: a mutex a CPU, because the contexts of one shard are
// goroutines on any thread.
type local struct {
	m        *Machine
	sections []section
}

type section struct {
	mu lockdep.Mutex
	_  [cacheLine]byte
}

// Lock implements [machine.Local]. A CPU that is taken offline has its sections
// held while it leaves, so whoever got one sees an online CPU.
func (l *local) Lock(c machine.Context) machine.CPU {
	for {
		cpu := c.CPU()
		l.sections[cpu].mu.Lock()
		if l.m.Online(cpu) {
			return cpu
		}
		l.sections[cpu].mu.Unlock()
	}
}

func (l *local) LockOn(_ machine.Context, cpu machine.CPU) { l.sections[cpu].mu.Lock() }
func (l *local) Unlock(_ machine.Context, cpu machine.CPU) { l.sections[cpu].mu.Unlock() }

// lock is a [machine.Lock].
type lock struct{ mu lockdep.Mutex }

func (l *lock) Lock(machine.Context)   { l.mu.Lock() }
func (l *lock) Unlock(machine.Context) { l.mu.Unlock() }

// lockClasses are the validator's classes of the locks of completion code, by their
// names.
var lockClasses sync.Map

// nameLock makes mu one of all locks with that name. Without the build tag lockdep
// there is nothing to name.
func nameLock(mu *lockdep.Mutex, name string) {
	lockdep.SetClass(mu, className(name))
}

// className returns the class of locks and waits with that name; nil without the build
// tag lockdep.
func className(name string) *lockdep.Class {
	if !lockdep.Enabled {
		return nil
	}
	class, ok := lockClasses.Load(name)
	if !ok {
		class, _ = lockClasses.LoadOrStore(name, lockdep.NewClass(name))
	}
	return class.(*lockdep.Class)
}

// The validator's names of what goroutines of the host wait for.
const (
	noteWait   = "host.note"    // a sleeper, for being woken; owed by who looks through a list of sleepers
	idleWait   = "shard.idle"   // an idle member of a shard, for being told; owed by who queues work, or closes the machine
	leadWait   = "port.lead"    // who needs what the leader reaps; held by the leader as its lock
	pollerWait = "poller.note"  // a leader without a thread, for its ring to have something; owed by the poller
	wakersWait = "port.wakers"  // who closes a port, for those that wake its leader
	kicksWait  = "port.kicks"   // and for goroutines of retryLocked
	timersWait = "fault.timers" // and for completions that faults keep back
)

// noVar is a [machine.Var]: the host announces nothing.
type noVar struct{}

func (noVar) Read(machine.Context)  {}
func (noVar) Write(machine.Context) {}

// counter is a [machine.Counter].
type counter struct{ n atomic.Int64 }

func (k *counter) Add(_ machine.Context, delta int64) int64 { return k.n.Add(delta) }
func (k *counter) Load(machine.Context) int64               { return k.n.Load() }
