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
