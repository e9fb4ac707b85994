// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A heartbeat tells the watchdog how the search gets on, and the search when to
// stop.
type heartbeat struct {
	beats atomic.Int64 // goes up with every execution, and within long ones
	halt  atomic.Bool  // the search shall stop

	mu    sync.Mutex
	goids map[int64]bool // goroutines of the search
	by    string         // what the watchdog has stopped the search for, or empty
	dumps int            // stack dumps made in search of stray goroutines

	stray chan *Failure // a goroutine of the program took a step
}

func newHeartbeat() *heartbeat {
	return &heartbeat{goids: map[int64]bool{}, stray: make(chan *Failure, 1)}
}

func (h *heartbeat) adopt(id int64) {
	if h == nil {
		return
	}
	h.mu.Lock()
	h.goids[id] = true
	h.mu.Unlock()
}

func (h *heartbeat) disown(id int64) {
	if h == nil {
		return
	}
	h.mu.Lock()
	delete(h.goids, id)
	h.mu.Unlock()
}

func (h *heartbeat) owns(id int64) bool {
	if h == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.goids[id]
}

// goid returns the id of the current goroutine. It is slow: 1 to 6 µs.
func goid() int64 {
	var buf [64]byte
	return parseGoid(string(buf[:runtime.Stack(buf[:], false)]))
}

func parseGoid(stack string) int64 {
	s := strings.TrimPrefix(stack, "goroutine ")
	if i := strings.IndexByte(s, ' '); i > 0 {
		n, _ := strconv.ParseInt(s[:i], 10, 64)
		return n
	}
	return 0
}

// A stuck goroutine, from a dump of all stacks.
type stuck struct {
	id      int64
	state   string // for example "sync.Mutex.Lock"
	place   string // the innermost function outside the runtime and its line
	stack   string
	parent  int64  // the goroutine that created it
	creator string // the function that did
}

// dump returns all goroutines.
func dump() []stuck {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 64<<20 {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	var out []stuck
	for _, block := range bytes.Split(buf, []byte("\n\n")) {
		out = append(out, parseStack(string(block)))
	}
	return out
}

func parseStack(block string) stuck {
	lines := strings.Split(block, "\n")
	g := stuck{id: parseGoid(lines[0]), stack: block}
	if i, j := strings.IndexByte(lines[0], '['), strings.LastIndexByte(lines[0], ']'); i >= 0 && j > i {
		g.state, _, _ = strings.Cut(lines[0][i+1:j], ",")
	}
	for i := 1; i+1 < len(lines); i += 2 {
		f := lines[i]
		if _, id, ok := strings.Cut(f, " in goroutine "); ok && strings.HasPrefix(f, "created by ") {
			g.parent, _ = strconv.ParseInt(id, 10, 64)
			g.creator, _, _ = strings.Cut(strings.TrimPrefix(f, "created by "), " in goroutine ")
			break
		}
		if g.place == "" && !inRuntime(f) {
			where, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +")
			g.place = strings.SplitN(f, "(", 2)[0] + " at " + where
			if k := strings.LastIndexByte(f, '('); k > 0 {
				g.place = f[:k] + " at " + where
			}
		}
	}
	return g
}

// inRuntime reports whether a frame belongs to the standard library's ways to
// wait, which say nothing about the program.
func inRuntime(frame string) bool {
	for _, p := range []string{"runtime.", "sync.", "sync/atomic.", "internal/", "time.", "syscall.", "panic("} {
		if strings.HasPrefix(frame, p) {
			return true
		}
	}
	return false
}

// stalled makes the failure of a search that does not move: it finds the
// goroutine of the search that is neither parked nor waiting for another one.
func (h *heartbeat) stalled(after time.Duration) *Failure {
	for _, g := range dump() {
		if !h.owns(g.id) || g.state == "coroutine" || strings.HasPrefix(g.place, packagePrefix+"(*searching).") {
			continue
		}
		text := fmt.Sprintf("a task has been in one step for more than %v: [%s] %s; tasks must not block outside the explorer, and must take steps in loops that wait",
			after, g.state, g.place)
		return &Failure{Kind: Stalled, Text: text, Details: g.stack}
	}
	return &Failure{Kind: Stalled, Text: fmt.Sprintf("no step for more than %v, and no goroutine of the search runs", after)}
}

// overMemory makes the failure of a program that holds too much memory in one
// execution.
func (h *heartbeat) overMemory(live, limit int64) *Failure {
	place, stack := "an unknown place", ""
	for _, g := range dump() {
		if h.owns(g.id) && g.state != "coroutine" && !strings.HasPrefix(g.place, packagePrefix+"(*searching).") {
			place, stack = g.place, g.stack
		}
	}
	return &Failure{Kind: MemoryLimit, Details: stack,
		Text: fmt.Sprintf("one execution makes the heap grow by %d MiB, over the limit of %d MiB (Options.MemoryBytes); it is in %s", live>>20, limit>>20, place)}
}

// liveHeap returns the bytes that the last garbage collection left.
func liveHeap() int64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// memorySlack is what the heap may grow beyond the limit before the watchdog acts:
// the rest of the process lives there too.
const memorySlack = 64 << 20

// watchdog watches until done is closed. It returns a failure if the search can
// not go on, and otherwise what it was stopped for, or nothing.
func (h *heartbeat) watchdog(done <-chan struct{}, o *Options, report func()) (*Failure, string) {
	const interval = 20 * time.Millisecond
	tick := time.NewTicker(interval)
	defer tick.Stop()
	base := liveHeap()
	// Idle time counts only as far as the watchdog itself runs: a process that was stopped, or that has
	// no processor for a while, is not stalled.
	last, idle, ticked := h.beats.Load(), time.Duration(0), time.Now()
	bound := ""
	var asked time.Time
	reported := time.Now()
	for {
		select {
		case <-done:
			return nil, bound
		case f := <-h.stray:
			return f, ""
		case now := <-tick.C:
			idle += min(now.Sub(ticked), 5*interval)
			ticked = now
			if b := h.beats.Load(); b != last {
				last, idle = b, 0
			} else if idle > o.StallTimeout {
				return h.stalled(o.StallTimeout), ""
			}
			if report != nil && o.Progress != nil && now.Sub(reported) >= o.ProgressEvery {
				reported = now
				report()
			}
			live := liveHeap() - base
			switch {
			case live <= o.MemoryBytes+max(o.MemoryBytes/4, memorySlack):
			case bound == "":
				bound, asked = fmt.Sprintf("memory, %d MiB", o.MemoryBytes>>20), now
				h.stop(bound)
			case now.Sub(asked) > time.Second:
				return h.overMemory(live, o.MemoryBytes), ""
			}
		}
	}
}

// stop asks the search to stop, for want of something.
func (h *heartbeat) stop(by string) {
	h.mu.Lock()
	h.by = by
	h.mu.Unlock()
	h.halt.Store(true)
}

// bound returns what the watchdog has stopped the search for, or nothing.
func (h *heartbeat) bound() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.by
}

// inspect does the expensive checks at a step of t: is it t's own goroutine, has
// t started goroutines, and, for traces, where is it?
func (x *Exec) inspect(t *Task) {
	if x.tracing != nil {
		x.tracing.places[t.id] = x.place()
	}
	if t.coro.goid != goid() {
		x.stray(t)
	}
	if x.unwind {
		return
	}
	x.checkStrays()
}

// maxInspected bounds the steps of an execution that are inspected.
const maxInspected = 1000

// maxDumps bounds how often the stacks of all goroutines are looked through.
const maxDumps = 50

// owned counts the goroutines that searches of this process have started, so that two
// searches at a time do not take each other's for strays: each suspicion costs a dump of
// all stacks, for which the whole process stops.
var owned atomic.Int64

// others returns how many goroutines no search has started. A goroutine that begins or ends
// right now may be counted: that costs a dump.
func others() int { return runtime.NumGoroutine() - int(owned.Load()) }

// own runs f on a new goroutine of a search.
func own(f func()) {
	owned.Add(1)
	go func() {
		defer owned.Add(-1)
		f()
	}()
}

// checkStrays looks for goroutines that the program has started, if there are
// more goroutines than there were.
func (x *Exec) checkStrays() {
	h := x.heartbeat
	n := others()
	if h == nil || n <= x.goroutines {
		return
	}
	h.mu.Lock()
	h.dumps++
	enough := h.dumps > maxDumps
	h.mu.Unlock()
	if enough {
		return
	}
	for _, g := range dump() {
		if h.owns(g.parent) && !h.owns(g.id) && !ours(g.creator) {
			x.fail(strayFailure(g), nil)
			return
		}
	}
}

// ours reports whether a goroutine's creator is the explorer itself: a coroutine
// or worker that has not been adopted yet.
func ours(creator string) bool {
	return strings.HasPrefix(creator, "iter.Pull") || creator == packagePrefix+"own"
}

func strayFailure(g stuck) *Failure {
	_, by, _ := strings.Cut(g.stack, "created by ")
	by, where, _ := strings.Cut(by, "\n")
	by, _, _ = strings.Cut(by, " in goroutine")
	where, _, _ = strings.Cut(strings.TrimSpace(where), " +")
	return &Failure{Kind: StrayGoroutine, Details: g.stack,
		Text: fmt.Sprintf("the program started a goroutine in %s at %s: use Task.Go, the explorer can't control goroutines", by, where)}
}

// stray reports a step of t that is taken by somebody else. If that is another
// task, it fails; a goroutine outside the search ends here.
func (x *Exec) stray(t *Task) {
	text := fmt.Sprintf("a step of task %q was taken by another task: each task must use its own Task", t.name)
	if id := goid(); x.heartbeat == nil || x.heartbeat.owns(id) {
		panic(&badProgram{text})
	}
	var buf [4096]byte
	g := parseStack(string(buf[:runtime.Stack(buf[:], false)]))
	f := strayFailure(g)
	select {
	case x.heartbeat.stray <- f:
	default:
	}
	runtime.Goexit()
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
		f.Text = fmt.Sprintf("the program is not deterministic: after the same %d steps, task %q %s", x.depth, t.name, text)
	}
	x.ended = failed
	x.fail(f, t)
}
