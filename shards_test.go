// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"endio"
	"endio/machine/host"
)

// shardsUnderLoad changes the number of shards at random every few milliseconds for
// so long, while operations run in all three contexts and as blocking calls, with
// verification: every operation completes exactly once, reads what was written,
// and none is older than a second.
func shardsUnderLoad(t *testing.T, e *endio.Engine, most int, d time.Duration) {
	const workers, slots = 8, 32
	f := openPath(t, e, newFile(t, workers*slots*block))
	var stop atomic.Bool
	var submitted, completed, oldest atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			s := &soaker{t: t, e: e, f: f, w: w, submitted: &submitted, completed: &completed, oldest: &oldest}
			if w%4 == 2 {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				q, err := e.NewQueue(endio.QueueOptions{Depth: 16, OwnThread: w >= 4})
				if err != nil {
					t.Error(err)
					return
				}
				s.q = q
				defer func() {
					if err := q.Close(); err != nil {
						t.Error(err)
					}
				}()
			}
			for round := uint64(1); !stop.Load() && !t.Failed(); round++ {
				s.round(rng, round, slots)
			}
		})
	}
	var stood atomic.Int64 // how long this process as a whole has not run, at most
	wg.Go(func() {
		const nap = 10 * time.Millisecond
		for last := time.Now(); !stop.Load(); {
			time.Sleep(nap) // sleep: to see how much longer it takes
			now := time.Now()
			stood.Store(max(stood.Load(), int64(now.Sub(last)-nap)))
			last = now
		}
	})
	rng := rand.New(rand.NewPCG(7, 7))
	changes := 0
	for end := time.Now().Add(d); time.Now().Before(end); changes++ {
		if err := e.SetShards(1 + rng.IntN(most)); err != nil && !errors.Is(err, host.ErrAborted) {
			t.Error(err)
			break
		}
		time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond) // sleep: the changes are to come at any moment
	}
	stop.Store(true)
	wg.Wait()
	if s, c := submitted.Load(), completed.Load(); s != c || s == 0 {
		t.Errorf("%d operations were submitted, %d have completed", s, c)
	}
	if age := time.Duration(oldest.Load()); age > maxAge && os.Getenv("ENDIO_SOAK") != "" {
		t.Errorf("an operation was %v old when it completed, want less than %v", age, maxAge)
	}
	t.Logf("%d operations, %d changes of the number of shards, oldest operation %v; a sleeping goroutine was late by %v", completed.Load(), changes,
		time.Duration(oldest.Load()), time.Duration(stood.Load()))
}

// A soaker writes its slots of a file in one way of completion, and reads them back.
type soaker struct {
	t                            *testing.T
	e                            *endio.Engine
	f                            *endio.File
	q                            *endio.Queue
	w                            int
	submitted, completed, oldest *atomic.Int64
}

// maxAge is how old an operation may get in a soak. A test that is not asked to be
// one does not look at the clock.
const maxAge = time.Second

func (s *soaker) round(rng *rand.Rand, round uint64, slots int) {
	base := int64(s.w*slots) * block
	want := make([][]byte, slots)
	for _, kind := range []endio.Kind{endio.Write, endio.Read} {
		ops := make([]*endio.Op, slots)
		var pending sync.WaitGroup
		ran := make([]atomic.Int32, slots)
		for i := range ops {
			op := &endio.Op{File: s.f, Kind: kind, In: endio.Where(s.w % 2), Off: base + int64(i)*block, Buf: make([]byte, block)}
			if kind == endio.Write {
				binary.LittleEndian.PutUint64(op.Buf, round)
				binary.LittleEndian.PutUint64(op.Buf[block-8:], rng.Uint64())
				want[i] = op.Buf
			}
			start := time.Now()
			op.Done = func(c *endio.Context, op *endio.Op) {
				if ran[i].Add(1) != 1 {
					s.t.Errorf("operation %d of worker %d completed twice", i, s.w)
					return
				}
				if in := c.Where(); in != op.In {
					s.t.Errorf("ran in context %v, want %v", in, op.In)
				}
				s.finish(op, want[i], start)
				pending.Done()
			}
			ops[i] = op
		}
		pending.Add(len(ops))
		s.submitted.Add(int64(len(ops)))
		var err error
		switch {
		case s.q != nil:
			err = errors.Join(s.q.Submit(ops...), s.q.Drain())
		case s.w%4 == 3:
			for i, op := range ops {
				start := time.Now()
				if kind == endio.Write {
					op.N, op.Err = s.f.WriteAt(op.Buf, op.Off)
				} else {
					op.N, op.Err = s.f.ReadAt(op.Buf, op.Off)
				}
				s.finish(op, want[i], start)
				pending.Done()
			}
		default:
			err = s.e.Submit(ops...)
		}
		if err != nil {
			s.t.Error(err)
			return
		}
		pending.Wait()
	}
}

func (s *soaker) finish(op *endio.Op, want []byte, start time.Time) {
	s.completed.Add(1)
	age := time.Since(start)
	for old := s.oldest.Load(); int64(age) > old && !s.oldest.CompareAndSwap(old, int64(age)); old = s.oldest.Load() {
	}
	switch {
	case op.Err != nil || op.N != block:
		s.t.Errorf("%v at %d: %d bytes, %v", op.Kind, op.Off, op.N, op.Err)
	case op.Kind == endio.Read && !bytes.Equal(op.Buf, want):
		s.t.Errorf("read at %d: not what was written", op.Off)
	}
}
