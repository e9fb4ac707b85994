// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestForgottenByOthers lets go of a file that is registered with a thread's own ring, on
// another thread: its owner empties the slot when it next waits.
func TestForgottenByOthers(t *testing.T) {
	m, err := New(Config{Shards: 1, MaxShards: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.Start()
	defer m.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := m.OpenOwnPort(0, 8, 1, "here")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.ClosePort(p); err != nil {
			t.Error(err)
		}
	}()
	if p.Owner() == 0 {
		t.Skip("no ring of a thread's own here")
	}
	c := m.NewContext(0, nil, p)
	read := func() *File {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, make([]byte, 512), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		file := NewFile(f)
		done := false
		p.Submit(true, &Request{Op: OpRead, File: file, Buf: make([]byte, 512), Complete: func(_ *Context, _ *Request, res int32) {
			done = true
			if res != 512 {
				t.Errorf("read %d", res)
			}
		}})
		for !done {
			p.Lead(c, 1)
		}
		return file
	}
	file := read()
	if got := len(p.fileFree); got != registeredFiles-1 {
		t.Fatalf("%d slots are free with one file registered, want %d", got, registeredFiles-1)
	}
	forgotten := make(chan struct{})
	go func() { file.Forget(); close(forgotten) }()
	<-forgotten
	if got := len(p.orphans); got != 1 {
		t.Errorf("%d slots wait for their owner, want 1", got)
	}
	read().Forget() // by the owner itself
	if free, left := len(p.fileFree), len(p.orphans); free != registeredFiles || left != 0 {
		t.Errorf("%d slots are free and %d wait for the owner, want %d and 0", free, left, registeredFiles)
	}
}
