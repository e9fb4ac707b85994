// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"endio"
)

// TestFairness has one file flooded with operations, and then a few on another file on the
// same shard or queue: they do not wait for the flood. And operations on one file start in
// the order of their submission.
func TestFairness(t *testing.T) {
	backendsWith(t, endio.Options{Shards: 1, Depth: 8}, func(t *testing.T, e *endio.Engine) {
		busy, quiet := openPath(t, e, newFile(t, 64*block)), openPath(t, e, newFile(t, 64*block))
		const flood, few = 20000, 10
		for _, in := range contexts {
			var q *endio.Queue
			submit := e.Submit
			if in == endio.Caller {
				var err error
				if q, err = e.NewQueue(endio.QueueOptions{Depth: 8}); err != nil {
					t.Fatal(err)
				}
				submit = q.Submit
			}
			var before atomic.Int64 // of the flood, completed
			var worst atomic.Int64  // of those, before the last of the few
			var all sync.WaitGroup
			all.Add(flood + few)
			admit := busy.Exclude() // so that the whole flood is in line at once
			ops := make([]*endio.Op, 0, flood+few)
			for i := range flood + few {
				op := &endio.Op{File: busy, Kind: endio.Read, In: in, Buf: make([]byte, 512), Off: int64(i%64) * block}
				op.Done = func(*endio.Context, *endio.Op) { before.Add(1); all.Done() }
				if i >= flood {
					op.File = quiet
					op.Done = func(*endio.Context, *endio.Op) { worst.Store(before.Load()); all.Done() }
				}
				ops = append(ops, op)
			}
			if err := submit(ops[:flood]...); err != nil {
				t.Fatal(err)
			}
			admit()
			base := before.Load()
			if err := submit(ops[flood:]...); err != nil {
				t.Fatal(err)
			}
			if q != nil {
				if err := q.Close(); err != nil {
					t.Error(err)
				}
			}
			all.Wait()
			// Fair are about few, and what was started before; in line it would be all.
			n, left := worst.Load()-base, flood-base
			t.Logf("%v: %d of %d operations on a busy file completed before %d that were submitted later on another one", in, n, left, few)
			if left > 100*few && n > left/2 {
				t.Errorf("%v: %d operations waited for %d of %d on another file", in, few, n, left)
			}
		}
	})
}
