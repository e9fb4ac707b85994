// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCachedReads has many goroutines read a file through the page cache, parts of which
// are thrown out of it meanwhile. All of them go past the few that are plain calls, by
// asking the page cache or through the ring, and each read is whole.
func TestCachedReads(t *testing.T) {
	const size = 4<<20 + 123 // the last page is not whole
	e, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.calls.port == nil {
		t.Skip("without a ring all calls are plain")
	}
	e.calls.plain = 0
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	name := filepath.Join(t.TempDir(), "cached")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := e.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fdatasync(f.host.FD); err != nil { // dirty pages stay in the cache
		t.Fatal(err)
	}
	var readers, thrower sync.WaitGroup
	stop := make(chan struct{})
	thrower.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := unix.Fadvise(f.host.FD, rng.Int64N(size), 64<<10, unix.FADV_DONTNEED); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for g := range uint64(32) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(2, g))
			buf := make([]byte, 40<<10)
			for range 300 {
				off := rng.Int64N(size)
				p := buf[:1+rng.IntN(len(buf))]
				want := data[off:min(size, off+int64(len(p)))]
				var eof error
				if len(want) < len(p) {
					eof = io.EOF
				}
				if n, err := f.ReadAt(p, off); n != len(want) || err != eof || !bytes.Equal(p[:n], want) {
					t.Errorf("ReadAt(%d bytes, %d) = %d, %v, or wrong data; want %d, %v", len(p), off, n, err, len(want), eof)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	thrower.Wait()
}

func TestGuess(t *testing.T) {
	var g guess
	asked := 0
	for range 8 + 320 {
		if g.likely() {
			asked++
			g.miss()
		}
	}
	if asked != 8+10 {
		t.Errorf("asked the page cache %d times of 328, which never had anything, want 18", asked)
	}
	g.hit()
	for range 2 {
		if !g.likely() {
			t.Error("does not ask the page cache again after it had something")
		}
	}
}
