// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"endio"
	"endio/machine/host"
)

// tempFile opens an engine with an empty file.
func tempFile(o endio.Options) (e *endio.Engine, f *endio.File, end func()) {
	dir, err := os.MkdirTemp("", "endio-example-")
	if err != nil {
		log.Fatal(err)
	}
	if e, err = endio.Open(o); err != nil {
		log.Fatal(err)
	}
	if f, err = e.OpenFile(filepath.Join(dir, "data"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		log.Fatal(err)
	}
	return e, f, func() {
		if err := errors.Join(e.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// Handlers in the Task context may block, and submit again.
func ExampleEngine_Submit() {
	e, f, end := tempFile(endio.Options{})
	defer end()
	done := make(chan error)
	write := &endio.Op{File: f, Kind: endio.Write, In: endio.Task, Buf: []byte("hello")}
	write.Done = func(c *endio.Context, op *endio.Op) {
		if op.Err != nil {
			done <- op.Err
			return
		}
		fmt.Println(op.N, "bytes written")
		op.Kind, op.Done = endio.Sync, func(_ *endio.Context, op *endio.Op) { done <- op.Err }
		if err := c.Submit(op); err != nil {
			done <- err
		}
	}
	if err := e.Submit(write); err != nil {
		log.Fatal(err)
	}
	fmt.Println("durable, error:", <-done)
	// Output:
	// 5 bytes written
	// durable, error: <nil>
}

// One goroutine submits, and runs the handlers when it comes back.
func ExampleQueue() {
	e, f, end := tempFile(endio.Options{})
	defer end()
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		log.Fatal(err)
	}
	written := 0 // no lock: handlers run in this goroutine
	for i := range 8 {
		op := &endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 100), Off: int64(i) * 100, Done: func(_ *endio.Context, op *endio.Op) { written += op.N }}
		if err := q.Submit(op); err != nil {
			log.Fatal(err)
		}
	}
	if err := q.Close(); err != nil { // drains it
		log.Fatal(err)
	}
	fmt.Println(written, "bytes written")
	// Output: 800 bytes written
}

// What an engine has done.
func ExampleEngine_Stats() {
	e, f, end := tempFile(endio.Options{Shards: 1})
	defer end()
	if _, err := f.WriteAt(make([]byte, 1000), 0); err != nil {
		log.Fatal(err)
	}
	if err := f.SyncData(); err != nil {
		log.Fatal(err)
	}
	s := e.Stats()
	fmt.Printf("%d shard, %d file; writes: %+v; syncs: %+v\n", s.Shards, s.Files, s.Write, s.SyncData)
	// Output: 1 shard, 1 file; writes: {Ops:0 Calls:1 Errors:0 Bytes:1000}; syncs: {Ops:0 Calls:1 Errors:0 Bytes:0}
}

// Who waits for a device that gives no answer.
func ExampleEngine_Flights() {
	faults := &host.Faults{} // in place of a broken device
	e, f, end := tempFile(endio.Options{Faults: faults})
	defer end()
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		log.Fatal(err)
	}
	faults.Hold()
	err = q.Submit(&endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 512), Off: 8192, Done: func(*endio.Context, *endio.Op) {}})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range e.Flights() {
		fmt.Printf("%s of %d bytes at %d of %s, for %s: %s\n", f.Op, f.Len, f.Off, filepath.Base(f.Path), f.In, f.State())
	}
	faults.Release()
	if err := q.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: write of 512 bytes at 8192 of data, for caller: nobody waits
}

// The watchdog reports an operation that takes too long, once.
func ExampleOptions_watchdog() {
	var once sync.Once
	reported := make(chan struct{})
	show := func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key { // what is the same each time
		case slog.MessageKey:
			once.Do(func() { close(reported) })
			return a
		case "op", "offset", "bytes", "context", "state":
			return a
		}
		return slog.Attr{}
	}
	faults := &host.Faults{} // in place of a broken device
	e, f, end := tempFile(endio.Options{
		OldAfter: 50 * time.Millisecond, Faults: faults,
		Logger: slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: show})),
	})
	defer end()
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		log.Fatal(err)
	}
	faults.Hold()
	err = q.Submit(&endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 512), Off: 8192, Done: func(*endio.Context, *endio.Op) {}})
	if err != nil {
		log.Fatal(err)
	}
	<-reported
	faults.Release()
	if err := q.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: msg="endio: an operation does not complete" op=write offset=8192 bytes=512 context=caller state="nobody waits"
}
