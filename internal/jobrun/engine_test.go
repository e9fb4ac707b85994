// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"endio"
	"endio/fiojob"
)

// A testEngine moves data with plain calls, completes requests in random order,
// and notes what it was asked. hook, if set, may change what an operation does.
type testEngine struct {
	hook func(f *testFile, r *Request) (n int, err error, handled bool)

	mu       sync.Mutex
	opens    []string
	most     int // most requests in flight in one queue
	overlaps int // writes in flight on the same bytes of one file
	calls    map[string]int
	blockedN map[string]int // blocking calls made while requests were in flight

	inFlight atomic.Int64
}

func newTestEngine() *testEngine {
	return &testEngine{calls: map[string]int{}, blockedN: map[string]int{}}
}

func (e *testEngine) Backend() string { return "test" }

func (e *testEngine) Open(path string, flags int, perm os.FileMode, mode Mode) (File, error) {
	file, err := os.OpenFile(path, flags, perm)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opens = append(e.opens, fmt.Sprintf("%s direct=%v uncached=%v", path, mode.Direct, mode.Uncached))
	return &testFile{File: file, engine: e, path: path}, nil
}

type testFile struct {
	*os.File
	engine *testEngine
	path   string
}

func (f *testFile) note(call string) {
	f.engine.mu.Lock()
	defer f.engine.mu.Unlock()
	f.engine.calls[call]++
	if f.engine.inFlight.Load() > 0 {
		f.engine.blockedN[call]++
	}
}

func (f *testFile) Align() endio.Align { return endio.Align{Memory: 1, Offset: 1} }

func (f *testFile) Sync() error     { f.note("sync"); return f.File.Sync() }
func (f *testFile) SyncData() error { f.note("syncdata"); return f.File.Sync() }
func (f *testFile) Truncate(size int64) error {
	f.note("truncate")
	return f.File.Truncate(size)
}
func (f *testFile) Fallocate(off, bytes int64) error {
	f.note("fallocate")
	if size, err := f.Size(); err != nil || size >= off+bytes {
		return err
	}
	return f.File.Truncate(off + bytes)
}
func (f *testFile) PunchHole(off, bytes int64) error {
	f.note("punch")
	_, err := f.File.WriteAt(make([]byte, bytes), off)
	return err
}
func (f *testFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (e *testEngine) NewQueue(options QueueOptions) (Queue, error) {
	q := &testQueue{engine: e, options: options, rng: rand.New(rand.NewPCG(1, uint64(options.Depth)))}
	for range options.Depth {
		q.requests = append(q.requests, &Request{Buf: make([]byte, options.BufferBytes)})
	}
	return q, nil
}

type testQueue struct {
	engine   *testEngine
	options  QueueOptions
	rng      *rand.Rand
	requests []*Request
	pending  []*Request
	done     []*Request
}

func (q *testQueue) Requests() []*Request { return q.requests }

func (q *testQueue) Submit(requests []*Request) error {
	for _, r := range requests {
		r.Submitted = q.options.Clock()
		r.Accepted = r.Submitted
		for _, other := range q.pending {
			if r.Kind == OpWrite && other.Kind == OpWrite && r.File == other.File && r.Off < other.Off+int64(other.Len) && other.Off < r.Off+int64(r.Len) {
				q.engine.mu.Lock()
				q.engine.overlaps++
				q.engine.mu.Unlock()
			}
		}
		q.pending = append(q.pending, r)
	}
	q.engine.inFlight.Add(int64(len(requests)))
	q.engine.mu.Lock()
	defer q.engine.mu.Unlock()
	q.engine.most = max(q.engine.most, len(q.pending))
	if len(q.pending) > q.options.Depth {
		return errors.New("more requests than the depth")
	}
	return nil
}

// Reap completes at least min pending requests, chosen at random.
func (q *testQueue) Reap(min int) ([]*Request, error) {
	if min > len(q.pending) {
		return nil, fmt.Errorf("reap %d of %d pending", min, len(q.pending))
	}
	q.done = q.done[:0]
	n := min + q.rng.IntN(len(q.pending)-min+1)
	for range n {
		i := q.rng.IntN(len(q.pending))
		r := q.pending[i]
		q.pending = append(q.pending[:i], q.pending[i+1:]...)
		r.N, r.Err = q.do(r)
		r.Completed = q.options.Clock()
		r.Handled = r.Completed
		q.done = append(q.done, r)
	}
	q.engine.inFlight.Add(int64(-n))
	return q.done, nil
}

func (q *testQueue) do(r *Request) (int, error) {
	f := r.File.(*testFile)
	if q.engine.hook != nil {
		if n, err, handled := q.engine.hook(f, r); handled {
			return n, err
		}
	}
	switch r.Kind {
	case OpRead:
		return f.ReadAt(r.Buf[:r.Len], r.Off)
	case OpWrite:
		return f.WriteAt(r.Buf[:r.Len], r.Off)
	}
	return 0, f.Sync()
}

func (q *testQueue) Close() error {
	if len(q.pending) > 0 {
		return fmt.Errorf("closed with %d pending", len(q.pending))
	}
	return nil
}

var _ = fiojob.Read
