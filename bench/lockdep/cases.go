// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

// A detectCase is one program with a fault, or without one.
type detectCase struct {
	name  string
	what  string
	fault bool
	hangs bool // the fault comes true in this run, so the program never ends
	run   func(k kit)
}

// run2 runs f on a goroutine of its own and waits for it, so that the locks of two
// runs are taken by two goroutines and never at the same time.
func run2(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

func lockAll(ms ...mutex) {
	for _, m := range ms {
		m.Lock()
	}
	for i := len(ms) - 1; i >= 0; i-- {
		ms[i].Unlock()
	}
}

var detectCases = []detectCase{
	{"AA", "one goroutine locks a mutex twice", true, true, func(k kit) {
		a := k.mutex("a")
		a.Lock()
		a.Lock()
	}},
	{"ABBA", "two locks, other order, at different times", true, false, func(k kit) {
		a, b := k.mutex("a"), k.mutex("b")
		run2(func() { lockAll(a, b) })
		run2(func() { lockAll(b, a) })
	}},
	{"three locks", "a then b, b then c, c then a, at different times", true, false, func(k kit) {
		a, b, c := k.mutex("a"), k.mutex("b"), k.mutex("c")
		run2(func() { lockAll(a, b) })
		run2(func() { lockAll(b, c) })
		run2(func() { lockAll(c, a) })
	}},
	{"other instances", "store then index of one pair, index then store of another", true, false, func(k kit) {
		a1, b1, a2, b2 := k.mutex("store"), k.mutex("index"), k.mutex("store"), k.mutex("index")
		run2(func() { lockAll(a1, b1) })
		run2(func() { lockAll(b2, a2) })
	}},
	{"read recursion", "RLock under RLock, no writer in this run", true, false, func(k kit) {
		m := k.rw("m")
		m.RLock()
		m.RLock()
		m.RUnlock()
		m.RUnlock()
	}},
	{"read recursion, writer waits", "RLock, another goroutine's Lock, RLock", true, true, func(k kit) {
		m := k.rw("m")
		m.RLock()
		go m.Lock()
		time.Sleep(100 * time.Millisecond) // the writer must be waiting: nothing else shows it
		m.RLock()
	}},
	{"WaitGroup under a lock, lucky", "Wait under mu; the goroutine has had mu and is done", true, false, func(k kit) {
		mu, wg := k.mutex("mu"), k.wg("wg")
		done := make(chan struct{})
		wg.Go(func() { lockAll(mu); close(done) })
		<-done
		mu.Lock()
		wg.Wait()
		mu.Unlock()
	}},
	{"WaitGroup under a lock, unlucky", "Wait under mu; the goroutine wants mu", true, true, func(k kit) {
		mu, wg := k.mutex("mu"), k.wg("wg")
		mu.Lock()
		wg.Go(func() { lockAll(mu) })
		wg.Wait()
	}},
	{"channel under a lock, lucky", "receive under mu; the sender has had mu and sent", true, false, func(k kit) {
		mu, c := k.mutex("mu"), k.channel("c")
		run2(func() {
			done := c.produce()
			lockAll(mu)
			c.send(1)
			done()
		})
		mu.Lock()
		c.recv()
		mu.Unlock()
	}},
	{"channel under a lock, unlucky", "receive under mu; the sender wants mu", true, true, func(k kit) {
		mu, c := k.mutex("mu"), k.channel("c")
		mu.Lock()
		go func() {
			done := c.produce()
			lockAll(mu)
			c.send(1)
			done()
		}()
		c.recv()
	}},
	{"completion waits for its own I/O", "begin I/O that only I complete, then drain", true, true, func(k kit) {
		io := k.io("inode")
		io.begin()
		io.wait()
		io.end()
	}},
	{"drain under a lock, lucky", "the completion needs the inode lock, and is over before the drain", true, false, func(k kit) {
		rwsem, io := k.mutex("i_rwsem"), k.io("inode")
		run2(func() {
			io.begin()
			lockAll(rwsem)
			io.end()
		})
		rwsem.Lock()
		io.wait()
		rwsem.Unlock()
	}},
	{"safe trylock", "a then b; b then TryLock of a, which gives up", false, false, func(k kit) {
		a, b := k.mutex("a"), k.mutex("b")
		run2(func() { lockAll(a, b) })
		run2(func() {
			b.Lock()
			if a.TryLock() {
				a.Unlock()
			}
			b.Unlock()
		})
	}},
	{"same order", "a then b by many goroutines at once", false, false, func(k kit) {
		a, b := k.mutex("a"), k.mutex("b")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { lockAll(a, b) })
		}
		all.Wait()
	}},
	{"hand over hand", "a, b, not a, c, not b, not c", false, false, func(k kit) {
		a, b, c := k.mutex("a"), k.mutex("b"), k.mutex("c")
		a.Lock()
		b.Lock()
		a.Unlock()
		c.Lock()
		b.Unlock()
		c.Unlock()
	}},
	{"WaitGroup outside the lock", "the goroutine takes mu; Wait holds nothing", false, false, func(k kit) {
		mu, wg := k.mutex("mu"), k.wg("wg")
		wg.Go(func() { lockAll(mu) })
		wg.Wait()
		lockAll(mu)
	}},
	{"gated order", "under a gate lock both orders of a and b are safe", false, false, func(k kit) {
		gate, a, b := k.mutex("gate"), k.mutex("a"), k.mutex("b")
		run2(func() { lockAll(gate, a, b) })
		run2(func() { lockAll(gate, b, a) })
	}},
	{"gated order, annotated", "the second order says LockNested", false, false, func(k kit) {
		gate, a, b := k.mutex("gate"), k.mutex("a"), k.mutex("b")
		run2(func() { lockAll(gate, a, b) })
		run2(func() {
			gate.Lock()
			k.nested(b, 1)
			k.nested(a, 1)
			a.Unlock()
			b.Unlock()
			gate.Unlock()
		})
	}},
}
