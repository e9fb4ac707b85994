// SPDX-License-Identifier: Apache-2.0

//go:build !lockdep

package lockdep

import (
	"reflect"
	"sync"
	"testing"
	"unsafe"
)

// TestOffIsNothing pins what the adapters are without the tag: the very types of
// the standard library, a bare channel, and nothing.
func TestOffIsNothing(t *testing.T) {
	for _, tt := range []struct{ got, want any }{
		{Mutex{}, sync.Mutex{}}, {RWMutex{}, sync.RWMutex{}}, {WaitGroup{}, sync.WaitGroup{}},
		{Cond{}, sync.Cond{}}, {Once{}, sync.Once{}},
	} {
		if got, want := reflect.TypeOf(tt.got), reflect.TypeOf(tt.want); got != want {
			t.Errorf("type = %v, want %v", got, want)
		}
	}
	if got, want := unsafe.Sizeof(Chan[int]{}), unsafe.Sizeof(make(chan int)); got != want {
		t.Errorf("size of Chan = %d, want %d", got, want)
	}
	if got := unsafe.Sizeof(IOMap{}); got != 0 {
		t.Errorf("size of IOMap = %d, want 0", got)
	}
	var m IOMap
	var mu Mutex
	got := testing.AllocsPerRun(10, func() {
		Init(&mu)
		m.Owe(Current())
		m.Wait(nil)
		m.Paid(nil)
	})
	if got != 0 {
		t.Errorf("AllocsPerRun = %v, want 0", got)
	}
}

// BenchmarkOff shows that the adapters cost nothing without the tag; make bench-lockdep
// runs it. The pairs must be equal.
func BenchmarkOff(b *testing.B) {
	var std sync.Mutex
	var adapter Mutex
	var io IOMap
	c, w := make(chan int, 1), NewChan[int](1)
	b.Run("sync.Mutex", func(b *testing.B) {
		for b.Loop() {
			std.Lock()
			std.Unlock()
		}
	})
	b.Run("lockdep.Mutex", func(b *testing.B) {
		for b.Loop() {
			adapter.Lock()
			adapter.Unlock()
		}
	})
	b.Run("lockdep.Mutex and IOMap", func(b *testing.B) {
		for b.Loop() {
			io.Owe(nil)
			adapter.Lock()
			io.Wait(nil)
			adapter.Unlock()
			io.Paid(nil)
		}
	})
	b.Run("chan", func(b *testing.B) {
		for b.Loop() {
			c <- 1
			<-c
		}
	})
	b.Run("lockdep.Chan", func(b *testing.B) {
		for b.Loop() {
			w.Send(1)
			w.Recv()
		}
	})
}
