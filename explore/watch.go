// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
)

// A heartbeat lets the watchdog see whether a search moves.
type heartbeat struct{}

func (h *heartbeat) adopt(int64) {}

// goid returns the id of the current goroutine. It is slow: 1 to 6 µs.
func goid() int64 {
	var buf [64]byte
	b := buf[:runtime.Stack(buf[:], false)]
	b = bytes.TrimPrefix(b, []byte("goroutine "))
	if i := bytes.IndexByte(b, ' '); i > 0 {
		n, _ := strconv.ParseInt(string(b[:i]), 10, 64)
		return n
	}
	return 0
}

// inspect does the expensive checks at a step: is this the task's own
// goroutine, and where is it?
func (x *Exec) inspect(t *Task) {
	if x.tracing != nil {
		x.tracing.places[t.id] = x.place()
	}
}

// stray reports a step of a task that is not running.
func (x *Exec) stray(t *Task) {
	panic(&badProgram{fmt.Sprintf("a step of task %q was taken while another task runs: tasks must not use each other's Task, nor start goroutines", t.name)})
}

// goexited notes that a task called runtime.Goexit.
func (x *Exec) goexited(t *Task) {
	x.fail(&Failure{Kind: BadProgram, Task: t.name, Text: fmt.Sprintf(
		"task %q called runtime.Goexit (perhaps by t.FailNow of a test): use Task.Fail", t.name)}, t)
}

// nondeterministic reports that a replayed prefix went another way.
func (x *Exec) nondeterministic(t *Task, text string) {
	f := &Failure{Kind: Nondeterminism, Text: "the program is not deterministic: " + text}
	if t != nil {
		f.Task = t.name
	}
	x.ended = failed
	x.fail(f, t)
}
