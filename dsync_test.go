// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"sync"
	"testing"

	"endio"
	"endio/machine/host"
	"endio/uring"
)

// TestDSync looks at what the kernel is asked for: a write with DSync carries RWF_DSYNC,
// whatever it is made of and in every context; nothing else does, also when the Op is used
// again.
func TestDSync(t *testing.T) {
	var mu sync.Mutex
	var asked []uring.RWFlags
	// A rule that never strikes sees all requests.
	faults := &host.Faults{Rules: []host.FaultRule{{Match: func(r *host.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Flags)
		return false
	}}}}
	backendsWith(t, endio.Options{Faults: faults}, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, 8*block)
		for _, in := range contexts {
			want := bytes.Repeat([]byte{byte(in + 1)}, block)
			op := &endio.Op{File: f, Buf: want, Off: block}
			for _, step := range []struct {
				kind  endio.Kind
				dsync bool
				bufs  [][]byte
				flags uring.RWFlags
			}{
				{endio.Write, true, nil, uring.RWDsync},
				{endio.Write, false, nil, 0},
				{endio.Write, true, [][]byte{want[:100], want[100:]}, uring.RWDsync},
				{endio.Read, true, nil, 0},
				{endio.SyncData, true, nil, 0},
			} {
				asked = nil
				op.Kind, op.DSync, op.Bufs = step.kind, step.dsync, step.bufs
				run(t, e, in, op)
				if op.Err != nil || len(asked) == 0 {
					t.Fatalf("%v: %v, %d requests", step.kind, op.Err, len(asked))
				}
				for _, flags := range asked {
					if flags != step.flags {
						t.Errorf("%v %v, DSync %v: flags %v, want %v", in, step.kind, step.dsync, flags, step.flags)
					}
				}
			}
			got := make([]byte, block)
			if _, err := f.ReadAt(got, block); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: read back: %v, or other data", in, err)
			}
		}
	})
}
