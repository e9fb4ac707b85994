// SPDX-License-Identifier: Apache-2.0

//go:build lockdep

package lockdep

import (
	"bytes"
	"math/bits"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
)

// A goroutine is identified by the address of its descriptor, which the runtime never
// frees and uses again for later goroutines, and by its number, which is never
// used again. Where in the descriptor the number is depends on the Go version; it
// is found out at start, by looking for the number that runtime.Stack prints. If
// that fails in any way, every lookup asks runtime.Stack.

// maxGoidOffset bounds the search for the number in the descriptor, in bytes. The
// descriptor of Go 1.26 has it at 152 and is 440 bytes long.
const maxGoidOffset = 320

// goidOffset is where the number is, or 0 if it is not known.
var goidOffset = findGoidOffset()

// findGoidOffset returns the one offset at which several goroutines have the numbers that
// runtime.Stack gives them, or 0 if there is not exactly one, or if where does not find
// the caller's program counter.
func findGoidOffset() uintptr {
	if !haveWhere || !wherePCWorks() {
		return 0
	}
	const goroutines = 4
	found := make(chan []uintptr)
	for range goroutines {
		go func() {
			id := goidFromStack()
			var offsets []uintptr
			for off := uintptr(8); off < maxGoidOffset; off += 8 {
				if _, word, _ := whereUp(off); word == id {
					offsets = append(offsets, off)
				}
			}
			found <- offsets
		}()
	}
	count := make(map[uintptr]int)
	for range goroutines {
		for _, off := range <-found {
			count[off]++
		}
	}
	var offset uintptr
	for off, n := range count {
		if n != goroutines {
			continue
		}
		if offset != 0 {
			return 0
		}
		offset = off
	}
	return offset
}

// wherePCWorks checks that where and whereUp return the program counters that
// runtime.Callers gives for the same places.
//
//go:noinline
func wherePCWorks() bool {
	direct, up, want := probeOuter()
	return direct == want[0] && up == want[1] && direct != 0 && up != 0
}

//go:noinline
func probeOuter() (direct, up uintptr, want [2]uintptr) {
	direct, up, want = probeInner()
	return direct, up, want
}

//go:noinline
func probeInner() (direct, up uintptr, want [2]uintptr) {
	runtime.Callers(2, want[:]) // the return addresses into probeOuter and wherePCWorks
	_, _, direct = where(0)
	_, _, up = whereUp(0)
	return direct, up, want
}

// goidFromStack returns the running goroutine's number, from the first line of
// its stack trace: `goroutine 18 [running]:`.
func goidFromStack() uint64 {
	var buf [64]byte
	head := buf[:runtime.Stack(buf[:], false)]
	head = bytes.TrimPrefix(head, []byte("goroutine "))
	if i := bytes.IndexByte(head, ' '); i > 0 {
		if id, err := strconv.ParseUint(string(head[:i]), 10, 64); err == nil {
			return id
		}
	}
	panic("lockdep: runtime.Stack has a new format: " + string(buf[:]))
}

// An adapterState is what a task of the Go adapters knows of its goroutine.
type adapterState struct {
	goid     atomic.Uint64 // number of the goroutine
	g        uintptr       // address of its descriptor; 0 if not known
	condSite uintptr       // where it waits for a Cond
	exposed  bool          // given out by Current, so others may book debts to it
	fence    atomic.Uint64 // see raceEnabled
}

// A goTable finds the task of a descriptor. Lookups take no lock; a change replaces a
// slot, and growth the table.
type goTable struct {
	slots []atomic.Pointer[Task]
	shift uint
}

// minSlowSweep is the least number of tasks of which ended ones are looked for.
const minSlowSweep = 4096

var (
	goTasks atomic.Pointer[goTable]

	goMu      sync.Mutex           // guards changes of goTasks, and what follows
	goCount   int                  // entries of goTasks
	slowTasks = map[uint64]*Task{} // by number, when descriptors can not be used
	slowSweep = minSlowSweep       // size of slowTasks at which to look for ended goroutines
)

func init() {
	goTasks.Store(newGoTable(256))
}

func newGoTable(size int) *goTable {
	return &goTable{slots: make([]atomic.Pointer[Task], size), shift: uint(64 - bits.Len(uint(size-1)))}
}

func (tab *goTable) start(g uintptr) int {
	return int(uint64(g) * 0x9e3779b97f4a7c15 >> (tab.shift & 63))
}

// lookup returns the task of goroutine id on descriptor g, or nil if it is not in its first
// slot; hereSlow finds it then.
func lookup(g uintptr, id uint64) *Task {
	tab := goTasks.Load()
	if t := tab.slots[tab.start(g)].Load(); t != nil && t.g == g && t.goid.Load() == id {
		return t
	}
	return nil
}

// probe is lookup for a task that is not in its first slot.
func (tab *goTable) probe(g uintptr, id uint64) *Task {
	for i := tab.start(g); ; i++ {
		t := tab.slots[i&(len(tab.slots)-1)].Load()
		if t == nil || t.g == g {
			if t == nil || t.goid.Load() != id {
				return nil
			}
			return t
		}
	}
}

// here returns the running goroutine's task, and the program counter to which the
// function that called here returns. Its callers must not be inlined.
//
//go:noinline
func here() (t *Task, pc uintptr) {
	g, id, pc := whereUp(goidOffset)
	if t := lookup(g, id); t != nil {
		return t, pc
	}
	return hereSlow(g, id, pc)
}

// hereSlow finds or makes the task when the fast path did not. Its caller's caller, or that
// one's, is a method of an adapter.
//
//go:noinline
func hereSlow(g uintptr, id uint64, pc uintptr) (*Task, uintptr) {
	if goidOffset == 0 {
		return slowTask(goidFromStack()), callerOutside()
	}
	if t := goTasks.Load().probe(g, id); t != nil {
		return t, pc
	}
	t, old := enterGoroutine(g, id)
	if old != nil {
		reportEnded(t, old)
	}
	return t, pc
}

// callerOutside returns the program counter of the innermost caller that is no code of
// this package.
func callerOutside() uintptr {
	var pcs [16]uintptr
	n := runtime.Callers(3, pcs[:])
	for _, pc := range pcs[:n] {
		if f, _ := runtime.CallersFrames([]uintptr{pc}).Next(); !ownFrame(f) {
			return pc
		}
	}
	return 0
}

// enterGoroutine gives goroutine id, which runs on descriptor g, a task. The task
// of the goroutine that ran on g before is used again if nobody else can know it
// and it ended with nothing held; otherwise it is returned as old.
func enterGoroutine(g uintptr, id uint64) (t, old *Task) {
	goMu.Lock()
	defer goMu.Unlock()
	if 2*goCount >= len(goTasks.Load().slots) {
		growGoTable()
	}
	tab := goTasks.Load()
	for i := tab.start(g); ; i++ {
		slot := &tab.slots[i&(len(tab.slots)-1)]
		switch old := slot.Load(); {
		case old == nil:
			t := newGoTask(g, id)
			slot.Store(t)
			goCount++
			return t, nil
		case old.g == g && old.goid.Load() == id:
			return old, nil
		case old.g == g:
			if raceEnabled {
				old.fence.Load()
			}
			if !old.exposed && len(old.held) == 0 {
				old.goid.Store(id)
				old.id = int(id)
				old.untracked = 0
				return old, nil
			}
			t := newGoTask(g, id)
			slot.Store(t)
			return t, old
		}
	}
}

func newGoTask(g uintptr, id uint64) *Task {
	t := &Task{v: Default(), name: "goroutine", id: int(id), adapterState: adapterState{g: g}}
	t.goid.Store(id)
	t.updateContext()
	return t
}

// reportEnded reports what ended, the task of a goroutine that is no more, still
// holds. It runs on the goroutine of t.
func reportEnded(t, ended *Task) {
	if raceEnabled {
		ended.fence.Load()
	}
	ended.drainInbox()
	v := ended.v
	if len(ended.held) == 0 || v.off.Load() {
		return
	}
	v.mu.Lock()
	v.reportStillHeld(ended)
	v.unlockAndDeliver(t)
	ended.held = ended.held[:0]
}

// slowTask returns the task of goroutine id when descriptors can not be used.
func slowTask(id uint64) *Task {
	goMu.Lock()
	t := slowTasks[id]
	sweep := t == nil && len(slowTasks) >= slowSweep
	if t == nil {
		t = newGoTask(0, id)
		slowTasks[id] = t
	}
	goMu.Unlock()
	if sweep {
		CheckExited()
		goMu.Lock()
		slowSweep = 2*len(slowTasks) + minSlowSweep
		goMu.Unlock()
	}
	return t
}

// CheckExited reports each goroutine that has ended with locks held or events owed, and returns how
// many there are. It stops the world for a moment, so it is for the end of
// a test or a program. Goroutines whose descriptor was used again are reported without it.
func CheckExited() int {
	live := liveGoroutines()
	var ended []*Task
	goMu.Lock()
	tab := goTasks.Load()
	for i := range tab.slots {
		if t := tab.slots[i].Load(); t != nil && !live[t.goid.Load()] {
			ended = append(ended, t)
		}
	}
	for id, t := range slowTasks {
		if !live[id] {
			ended = append(ended, t)
			delete(slowTasks, id)
		}
	}
	goMu.Unlock()
	n := 0
	for _, t := range ended {
		if raceEnabled {
			t.fence.Load()
		}
		if t.drainInbox(); len(t.held) > 0 {
			n++
			reportEnded(nil, t)
		}
	}
	return n
}

// liveGoroutines returns the numbers of all goroutines that there are.
func liveGoroutines() map[uint64]bool {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	live := make(map[uint64]bool)
	for _, line := range bytes.Split(buf[:n], []byte("\n")) {
		rest, ok := bytes.CutPrefix(line, []byte("goroutine "))
		if i := bytes.IndexByte(rest, ' '); ok && i > 0 {
			if id, err := strconv.ParseUint(string(rest[:i]), 10, 64); err == nil {
				live[id] = true
			}
		}
	}
	return live
}

func growGoTable() {
	old := goTasks.Load()
	tab := newGoTable(2 * len(old.slots))
	for i := range old.slots {
		if t := old.slots[i].Load(); t != nil {
			for j := tab.start(t.g); ; j++ {
				slot := &tab.slots[j&(len(tab.slots)-1)]
				if slot.Load() == nil {
					slot.Store(t)
					break
				}
			}
		}
	}
	goTasks.Store(tab)
}
