// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio"
)

// blockingCalls makes every call of the engine that may wait, on a file on which nothing
// else goes on, and returns how each ended.
func blockingCalls(e *endio.Engine, path string) map[string]error {
	errs := make(map[string]error)
	f, err := e.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return map[string]error{"open": err}
	}
	buf := make([]byte, 100)
	_, errs["ReadAt"] = f.ReadAt(buf, 0)
	_, errs["WriteAt"] = f.WriteAt(buf, 0)
	errs["Sync"] = f.Sync()
	errs["SyncData"] = f.SyncData()
	errs["Drain"] = f.Drain()
	errs["Truncate"] = f.Truncate(4 * block)
	errs["Fallocate"] = f.Fallocate(endio.FallocAllocate, 0, block)
	errs["PunchHole"] = f.PunchHole(0, block)
	errs["SetShards"] = errors.Join(e.SetShards(1), e.SetShards(2))
	q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
	if err != nil {
		return map[string]error{"new queue": err}
	}
	ran := false
	submitted := q.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: buf, Done: func(*endio.Context, *endio.Op) { ran = true }})
	_, err = q.Reap(1)
	errs["Queue.Reap"] = errors.Join(submitted, err)
	errs["Queue.Drain"] = q.Drain()
	errs["Queue.Close"] = q.Close()
	if errs["Queue.Close"] == nil && !ran {
		errs["Queue.Close"] = errors.New("the handler has not run")
	}
	empty, err := e.NewQueue(endio.QueueOptions{Depth: 2})
	if err != nil {
		return map[string]error{"new queue": err}
	}
	errs["Queue.Close of an empty one"] = empty.Close()
	if errs["Queue.Close"] != nil {
		left.Store(&[2]*endio.Queue{q, empty}) // for whoever may close them
	}
	errs["Close"] = f.Close()
	return errs
}

// left are queues that could not be closed where they were made.
var left atomic.Pointer[[2]*endio.Queue]

func wantCalls(t *testing.T, where string, errs map[string]error, want error) {
	t.Helper()
	for name, err := range errs {
		if !errors.Is(err, want) {
			t.Errorf("%s in %s = %v, want %v", name, where, err, want)
		}
	}
	if len(errs) != 14 {
		t.Errorf("in %s %d calls were made, want 14: %v", where, len(errs), errs)
	}
}

// logger passes what is logged to a function.
type logger func(text string)

func (logger) Enabled(context.Context, slog.Level) bool { return true }
func (l logger) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l(text)
	return nil
}
func (l logger) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l logger) WithGroup(string) slog.Handler      { return l }

// TestCallsInCallbacks makes every blocking call in each kind of handler and in what is
// called when a handler panics: it works, or it says at once why not.
func TestCallsInCallbacks(t *testing.T) {
	for _, in := range contexts {
		for _, panics := range []bool{false, true} {
			t.Run(fmt.Sprint(in, "/panics ", panics), func(t *testing.T) {
				var call func(*endio.Engine)
				var e *endio.Engine
				o := endio.Options{Shards: 2, OnPanic: func(endio.HandlerPanic) { call(e) }}
				backendsWith(t, o, func(t *testing.T, opened *endio.Engine) {
					e = opened
					path := newFile(t, 4*block)
					f := openPath(t, e, path)
					done := make(chan struct{})
					call = func(e *endio.Engine) {
						defer close(done)
						want, wantClose := error(nil), endio.ErrInHandler
						if in == endio.Inline {
							want, wantClose = endio.ErrWouldBlock, endio.ErrWouldBlock
						}
						wantCalls(t, fmt.Sprint("a handler, ", in), blockingCalls(e, path), want)
						err := e.Close()
						if in == endio.Caller && (err == nil || !strings.Contains(err.Error(), "queues are open")) || in != endio.Caller && !errors.Is(err, wantClose) {
							t.Errorf("Engine.Close in a handler, %v: %v", in, err)
						}
					}
					op := &endio.Op{File: f, Kind: endio.Read, In: in, Buf: make([]byte, 16), Done: func(c *endio.Context, _ *endio.Op) {
						if panics {
							panic("on purpose")
						}
						call(e)
					}}
					within(t, "a handler", func() {
						if in != endio.Caller {
							if err := e.Submit(op); err != nil {
								t.Error(err)
								return
							}
							<-done
							return
						}
						q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
						if err != nil {
							t.Error(err)
							return
						}
						if err := errors.Join(q.Submit(op), q.Drain(), q.Close()); err != nil {
							t.Error(err)
						}
						<-done
					})
					if in != endio.Inline {
						return
					}
					// The file that an Inline handler could not close is open: Engine.Close closes
					// it. The queues are for whoever owns them.
					for _, q := range left.Load() {
						if err := q.Close(); err != nil {
							t.Error(err)
						}
					}
				})
			})
		}
	}
}

// TestCallsInReports makes every blocking call where the engine tells of a slow handler,
// and where it logs what the watchdog has found; and then closes the engine there, as
// far as that can be: the handler that is reported has ended.
func TestCallsInReports(t *testing.T) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		for _, kind := range []string{"slow Inline", "slow Task", "old operation"} {
			t.Run(fmt.Sprint(b, "/", kind), func(t *testing.T) { callsInReport(t, b, kind) })
		}
	}
}

func callsInReport(t *testing.T, b endio.Backend, kind string) {
	path, other := newFile(t, 4*block), newFile(t, 4*block)
	want := map[string]string{"slow Inline": "slow Inline", "slow Task": "a Task handler does not return", "old operation": "an operation does not complete"}[kind]
	var e *endio.Engine
	var mu sync.Mutex // guards reports
	var reports []string
	release, released, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	report := func(text string) {
		if strings.Contains(text, other) {
			t.Logf("a call of this test was slow, as on a machine under load: %s", text)
			return
		}
		mu.Lock()
		reports = append(reports, text)
		first := len(reports) == 1
		mu.Unlock()
		if !first {
			return
		}
		wantCalls(t, "a report", blockingCalls(e, other), nil)
		close(release)
		<-released
		if err := e.Close(); err != nil {
			t.Errorf("Engine.Close in a report: %v", err)
		}
		close(closed)
	}
	o := endio.Options{Backend: b, Shards: 2, SlowInline: 5 * time.Millisecond, OldAfter: 20 * time.Millisecond, Logger: slog.New(logger(report))}
	if kind == "slow Inline" {
		o.OldAfter = -1
		o.OnSlowHandler = func(s endio.SlowHandler) { report("slow Inline " + s.Handler + s.Path) }
	}
	e, err := endio.Open(o)
	if err != nil {
		t.Skip(err)
	}
	f, err := e.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	op := &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) {}}
	admit := func() {}
	switch kind {
	case "old operation":
		admit = f.Exclude()
	case "slow Task":
		op.In = endio.Task
		fallthrough
	default:
		op.Done = func(*endio.Context, *endio.Op) { <-release }
	}
	if err := e.Submit(op); err != nil {
		t.Fatal(err)
	}
	within(t, "a report", func() { <-release })
	admit()
	close(released)
	within(t, "the close of an engine in a report", func() { <-closed })
	mu.Lock()
	defer mu.Unlock()
	if len(reports) != 1 || !strings.Contains(reports[0], want) || !strings.Contains(reports[0], path) {
		t.Errorf("reported %q, want one report of %q on %s", reports, want, path)
	}
}

// TestReportEndsGoroutine has a logger that ends its goroutine: what is logged next
// comes all the same, and Close does not wait for it.
func TestReportEndsGoroutine(t *testing.T) {
	var n atomic.Int32
	seen := make(chan struct{}, 10)
	o := endio.Options{SlowInline: 2 * time.Millisecond, OnSlowHandler: func(endio.SlowHandler) {
		n.Add(1)
		seen <- struct{}{}
		endGoroutine(1)
	}}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		f := openPath(t, e, newFile(t, 4*block))
		for range 3 {
			within(t, "a report", func() {
				err := e.Submit(&endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, 16), Done: func(*endio.Context, *endio.Op) { <-seen }})
				if err != nil {
					t.Error(err)
				}
				if err := f.Drain(); err != nil {
					t.Error(err)
				}
			})
		}
	})
	if n.Load() == 0 {
		t.Error("nothing was reported")
	}
}

// TestSlowTask has a Task handler that does not return for a while, behind one that does:
// it is reported once, with its name and file, and nothing else is.
func TestSlowTask(t *testing.T) {
	texts := make(chan string, 100)
	o := endio.Options{OldAfter: 8 * time.Millisecond, Logger: slog.New(logger(func(text string) { texts <- text }))}
	backendsWith(t, o, func(t *testing.T, e *endio.Engine) {
		f := openPath(t, e, newFile(t, 4*block))
		release := make(chan struct{})
		for _, done := range []func(*endio.Context, *endio.Op){func(*endio.Context, *endio.Op) {}, func(*endio.Context, *endio.Op) { slowHandler(release) }} {
			if err := e.Submit(&endio.Op{File: f, Kind: endio.Read, In: endio.Task, Buf: make([]byte, 16), Done: done}); err != nil {
				t.Fatal(err)
			}
		}
		within(t, "the report", func() {
			if text := <-texts; !strings.Contains(text, "Task handler does not return") || !strings.Contains(text, "TestSlowTask") || !strings.Contains(text, f.Name()) {
				t.Errorf("logged %q", text)
			}
		})
		time.Sleep(40 * time.Millisecond) // sleep: five times the limit, for a second report that must not come
		close(release)
		select {
		case text := <-texts:
			t.Errorf("logged again: %q", text)
		default:
		}
	})
}

func slowHandler(release chan struct{}) { <-release }
