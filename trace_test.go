// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"runtime/trace"
	"testing"

	"endio"
)

// TestTraceRegions wants a region for each handler in an execution trace, by the context
// that it ran in. `go tool trace` lists them as user-defined regions.
func TestTraceRegions(t *testing.T) {
	backends(t, func(t *testing.T, e *endio.Engine) {
		f, _ := open(t, e, block)
		var out bytes.Buffer
		if err := trace.Start(&out); err != nil {
			t.Skip(err) // the test itself is traced
		}
		for _, in := range contexts {
			run(t, e, in, &endio.Op{File: f, Kind: endio.Read, Buf: make([]byte, block)})
		}
		trace.Stop()
		for _, in := range contexts {
			if name := "endio." + in.String(); !bytes.Contains(out.Bytes(), []byte(name)) {
				t.Errorf("the trace has no region %s", name)
			}
		}
	})
}
