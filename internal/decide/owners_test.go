// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"strings"
	"testing"

	"endio/scenario"
)

// TestEngineOwners: the reports of version endio say who alone can end a wait on its own queues, too.
func TestEngineOwners(t *testing.T) {
	const C, T = "model callercomp\nconfig full\ninode X\nring R\n", "model taskcomp\nconfig full\nmutex M\nbio B\n"
	for _, r := range []struct{ name, text, want string }{
		{"the drain", C + "task T on cpu 0: freeze; submit R write X; fallocate X; wait R; thaw\n",
			`task "T" waits for the direct I/O in flight on X, ended only by task "iou-wrk-0" (it works on I/O 1 [T: write X])`},
		{"the turn", C + "task T on cpu 0: freeze; fallocate X; thaw\ntask U on cpu 1: fallocate X\n",
			`task "U" waits for its turn to have X for itself, held by task "T"`},
		{"what is held back", C + "mutex M\ntask T on cpu 0: freeze; lock M; unlock M; thaw\ntask U on cpu 1: lock M; read X; unlock M\ntask V on cpu 1: fallocate X\n",
			`task "U" waits for the end of I/O 1 [U: read X], brought about only by task "V": I/O 1 [U: read X] is held back until it lets I/O of X in`},
		{"a ring", C + "io-workers 1\ntask T on cpu 0: freeze; submit R fallocate X; wait R; thaw\n",
			`task "T" waits for completions of ring R, brought about only by task "iou-wrk-0" (it works on I/O 1 [T: fallocate X])`},
		{"a thread of the engine", C + "task T on cpu 0: write X; fallocate X\ntask F on cpu 1: freeze; write X; thaw\n",
			`task "F" waits for the end of I/O 2 [F: write X], brought about only by task "iou-wrk-`},
		{"the freeze", C + "task T on cpu 0: write X; fallocate X\ntask F on cpu 1: freeze; fallocate X; thaw\n",
			`task "F" waits for the thaw of the file system, done only by task "F"`},
		{"a batch", T + "bio A handler locks M\nworkers 1\nirq on cpu 0: complete A\nirq on cpu 0: complete B\ntask T on cpu 1: lock M; wait-bio B; unlock M\n",
			`task "T" waits for the handler of bio B, to be run by task "kworker/0:0"`},
	} {
		t.Run(r.name, func(t *testing.T) {
			f, err := scenario.Parse("owners.scn", []byte(r.text+"expect endio: fails hang\n"))
			if err != nil {
				t.Fatal(err)
			}
			a, err := Decide(context.Background(), f, f.Cases()[0], Options{})
			if err != nil || a.Failure == nil || a.Trace == nil {
				t.Fatalf("%v, %v: want a failure with a trace", err, a)
			}
			text := a.Problem()
			for i := range a.Trace.Waits {
				text += "\n" + a.Trace.Waits[i].String()
			}
			if !strings.Contains(text, r.want) {
				t.Errorf("want %s in\n%s", r.want, text)
			}
			for i := range a.Trace.Waits {
				if w := &a.Trace.Waits[i]; len(w.Owners) == 0 {
					t.Errorf("%s: nobody is named", w)
				}
			}
		})
	}
}
