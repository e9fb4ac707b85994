// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync/atomic"

	"endio/lockdep"
)

// DefaultThreads is how many system calls of all ports together, and of blocking calls,
// are under way at a time without rings, and how many leaders wait in rings: each keeps a
// thread. More than any device
// needs, and few beside the 10,000 at which the Go runtime gives up.
const DefaultThreads = 512

// A gate lets so many in at a time. Who waits at it keeps no thread.
type gate struct {
	limit   int32
	in      atomic.Int32
	waiting atomic.Int32

	mu   lockdep.Mutex
	free *lockdep.Cond // somebody has left
}

func (g *gate) init(limit int) {
	g.limit = int32(limit)
	nameLock(&g.mu, "gate")
	g.free = lockdep.NewCond(&g.mu)
}

func (g *gate) enter() {
	if g.tryEnter() {
		return
	}
	g.mu.Lock()
	g.waiting.Add(1) // before the next look: who leaves after that sees it
	for !g.tryEnter() {
		g.free.Wait()
	}
	g.waiting.Add(-1)
	g.mu.Unlock()
}

func (g *gate) tryEnter() bool {
	for n := g.in.Load(); n < g.limit; n = g.in.Load() {
		if g.in.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (g *gate) leave() {
	g.in.Add(-1)
	if g.waiting.Load() > 0 {
		g.mu.Lock()
		g.free.Signal()
		g.mu.Unlock()
	}
}

// Execute performs a request in the calling thread, and returns the result or a
// negated errno. Only its Op, File, Buf, Off, Len, Vec and Flags count. On a machine
// without rings it waits while [Config.Threads] others are under way; with rings, who
// calls sees to it that they are few.
func (m *Machine) Execute(r *Request) int32 {
	if m.reason == "" {
		return execute(r)
	}
	return m.ExecuteInTurn(r)
}

// ExecuteInTurn is Execute for those who may be many, such as workers: it waits with rings,
// too.
func (m *Machine) ExecuteInTurn(r *Request) int32 {
	m.gate.enter()
	defer m.gate.leave()
	return execute(r)
}

// TakeThread waits, without a thread, while [Config.Threads] system calls are under way.
// Who comes back makes those that may take long, and then calls GiveThread.
func (m *Machine) TakeThread() { m.gate.enter() }

// GiveThread is the end of TakeThread.
func (m *Machine) GiveThread() { m.gate.leave() }
