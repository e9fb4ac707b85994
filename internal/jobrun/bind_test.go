// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"endio"
)

// TestOnEngine runs jobs on the real engine, in each context and on each
// backend: mixed overwrites at depth by clones that share a file, with syncs and
// blocking calls over their own I/O, verified.
func TestOnEngine(t *testing.T) {
	for _, backend := range []endio.Backend{endio.Auto, endio.Threads} {
		for _, complete := range []string{"caller", "task", "inline", "blocking"} {
			for _, direct := range []int{0, 1} {
				t.Run(fmt.Sprintf("%s/%s/direct=%d", backend, complete, direct), func(t *testing.T) {
					how := "ioengine=psync\n"
					if complete != "blocking" {
						how = "ioengine=io_uring\niodepth=16\niodepth_batch=4\n#endio: complete=" + complete + "\n"
					}
					j := runOnEngine(t, backend, fmt.Sprintf(`
[a]
rw=randrw
norandommap
bssplit=4k/70:8k/30
size=1m
io_size=4m
filename=shared
verify=xxhash
fsync=50
end_fsync=1
numjobs=2
direct=%d
group_reporting
%s
#endio: fallocate_every=40 truncate_every=100
`, direct, how))
					if e := j.Endio; e.Verify.Errors != 0 || e.Verify.Units < 200 || e.Fallocate.Calls < 20 || e.Truncate.Calls < 8 ||
						e.Completions[complete] != j.Read.Total+j.Write.Total {
						t.Errorf("report %+v, verify %+v", e, e.Verify)
					}
				})
			}
		}
	}
}

// runOnEngine runs one job and returns its report.
func runOnEngine(t *testing.T, backend endio.Backend, text string) *JobReport {
	t.Helper()
	e, err := endio.Open(endio.Options{Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	result, err := Run(context.Background(), plan(t, t.TempDir(), text, PlanOptions{}), NewEngine(e), Options{})
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	if err := result.Failed(); err != nil {
		t.Fatal(err)
	}
	return NewReport(result, "test").Jobs[0]
}

// TestLatenciesOnEngine checks that the times of a request are in order:
// submitted, completed, handled.
func TestLatenciesOnEngine(t *testing.T) {
	for _, complete := range []string{"caller", "task", "inline"} {
		j := runOnEngine(t, endio.Auto, "[a]\nrw=randread\nsize=1m\ndirect=1\nioengine=io_uring\niodepth=8\n#endio: complete="+complete+"\n")
		r := j.Read
		if r.Clat.Min <= 0 || r.Endio.Handler.Min < 0 || r.Lat.Min < r.Clat.Min || r.Clat.N != 256 || r.Endio.Handler.N != 256 {
			t.Errorf("%s: clat %+v, handler %+v, lat %+v", complete, r.Clat, r.Endio.Handler, r.Lat)
		}
	}
}
