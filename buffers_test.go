// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"testing"
	"time"

	"endio"
)

// TestPutWrongBuffer gives a pool what it has not given: a panic of the handler that does it, and
// the pool goes on.
func TestPutWrongBuffer(t *testing.T) {
	e, err := endio.Open(endio.Options{Backend: endio.Threads})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b, err := e.NewBuffers(1, 4096)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it was taken")
			}
		}()
		b.Put(make([]byte, 100))
	}()
	got := make(chan []byte, 1)
	go func() { got <- b.Get() }()
	select {
	case p := <-got:
		if len(p) != 4096 {
			t.Errorf("a buffer of %d bytes", len(p))
		}
	case <-time.After(10 * time.Second):
		t.Error("the pool is locked for ever")
	}
}
