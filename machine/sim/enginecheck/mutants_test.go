// SPDX-License-Identifier: Apache-2.0

package enginecheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"endio/internal/race"
)

// An edit replaces text that occurs exactly once in a file.
type edit struct{ old, new string }

// A mutant is a fault planted in a production file.
type mutant struct {
	name  string
	file  string
	edits []edit
}

func one(old, new string) []edit { return []edit{{old, new}} }

// mutants are the planted faults. Every one must be found.
var mutants = []mutant{
	{"online does not enable", "batch/batch.go", one("	b.active.work.Enable(c)\n	bs.local", "	bs.local")},
	{"online leaves the batch marked down", "batch/batch.go", one("	b.down = false\n", "")},
	{"down does not disable", "batch/batch.go", one("	l.work.Disable(c)\n}", "	_ = l\n}")},
	{"down disables without marking the batch", "batch/batch.go", one("	b.down = true\n	l :=", "	l :=")},
	{"down leaves what has gathered", "batch/batch.go", one("	if !b.list.Empty() {\n		bs.addStrays(c, b.list.Take())\n	}\n", "")},
	{"down drops what has gathered", "batch/batch.go", one("		bs.addStrays(c, b.list.Take())\n", "		b.list.Take()\n")},
	{"down moves one completion only", "batch/batch.go", one("		bs.addStrays(c, b.list.Take())\n", "		var one bio.List\n		one.Push(b.list.Pop())\n		bs.addStrays(c, one)\n")},
	{"down marks the batch after it has moved what has gathered", "batch/batch.go", []edit{
		{"	b.down = true\n	l :=", "	l :="},
		{"	bs.local.Unlock(c, cpu)\n	// If the handler", "	bs.local.Unlock(c, cpu)\n	bs.local.LockOn(c, cpu)\n	b.data.Write(c)\n	b.down = true\n	bs.local.Unlock(c, cpu)\n	// If the handler"}}},
	{"down looks at the list without the section", "batch/batch.go", []edit{
		{"	bs.local.LockOn(c, cpu)\n	b.data.Write(c)\n	b.down = true\n", "	b.data.Write(c)\n	b.down = true\n"},
		{"	bs.local.Unlock(c, cpu)\n	// If the handler", "	// If the handler"}}},
	{"the adder of a CPU that is down adds to its batch", "batch/batch.go", one("	if b.down {\n		var one", "	if false {\n		var one")},
	{"the strays are used without the lock", "batch/batch.go", []edit{
		{"	bs.lock.Lock(c)\n	s.data.Write(c)\n", "	s.data.Write(c)\n"},
		{"		s.active.work.Queue(c) // at once: the timers of a dead CPU do not run\n	}\n	bs.lock.Unlock(c)\n", "		s.active.work.Queue(c)\n	}\n"}}},
	{"the strays are not armed", "batch/batch.go", one("		s.active.work.Queue(c) // at once: the timers of a dead CPU do not run\n", "")},
	{"the strays are armed when there were some", "batch/batch.go", one("	if wasEmpty {\n		s.active", "	if !wasEmpty {\n		s.active")},
	{"the strays wait for a timer", "batch/batch.go", one("s.active.work.Queue(c) //", "s.active.work.QueueAfter(c, bs.delay) //")},
	{"the worker of the strays enters the section of CPU 0", "batch/batch.go", []edit{
		{"	if b.cpu == anywhere {\n		b.all.lock.Lock(c)\n	} else {\n		b.all.local.LockOn(c, b.cpu)\n", "	if false {\n		b.all.lock.Lock(c)\n	} else {\n		b.all.local.LockOn(c, max(b.cpu, 0))\n"},
		{"	if b.cpu == anywhere {\n		b.all.lock.Unlock(c)\n	} else {\n		b.all.local.Unlock(c, b.cpu)\n", "	if false {\n		b.all.lock.Unlock(c)\n	} else {\n		b.all.local.Unlock(c, max(b.cpu, 0))\n"}}},
	{"the adder arms when the list was not empty", "batch/batch.go", one("	if wasEmpty {\n		b.active", "	if !wasEmpty {\n		b.active")},
	{"the adder never arms", "batch/batch.go", one("		b.active.work.QueueAfter(c, b.all.delay)\n", "")},
	{"the adder arms before it appends", "batch/batch.go", []edit{
		{"	wasEmpty := b.list.Empty()\n	b.list.Push(x)\n", "	wasEmpty := b.list.Empty()\n"},
		{"		b.active.work.QueueAfter(c, b.all.delay)\n	}\n", "		b.active.work.QueueAfter(c, b.all.delay)\n	}\n	bs := b.all\n	bs.local.Unlock(c, b.cpu)\n	bs.local.LockOn(c, b.cpu)\n	b.data.Write(c)\n	b.list.Push(x)\n"}}},
	{"the adder appends without the section", "batch/batch.go", []edit{
		{"	cpu := bs.local.Lock(c)\n", "	cpu := c.CPU()\n"},
		{"	bs.local.Unlock(c, cpu)\n}\n\n// addLocked", "}\n\n// addLocked"}}},
	{"the worker takes without the section", "batch/batch.go", one("	b.enter(c)\n	defer b.leave(c)\n", "")},
	{"the worker does not yield to itself at the end of a pass", "batch/batch.go", one("		l.work.Queue(c)\n	}\n	b.leave(c)\n}", "	}\n	b.leave(c)\n}")},
	{"a stalled worker goes on with the batch", "batch/batch.go", []edit{
		{"		if l.stalled.Load(c) != 0 {\n			return // another lane has the batch, and its CPU may be gone\n		}\n", ""},
		{"	if b.active != l {\n		return nil\n	}\n", ""}}},
	{"a stalled worker looks at its batch once more", "batch/batch.go", one("		if l.stalled.Load(c) != 0 {\n			return // another lane has the batch, and its CPU may be gone\n		}\n", "")},
	{"a stall starts no new lane", "batch/batch.go", one("		l.work.Retire(c)\n		b.active = b.newLane()\n", "		l.work.Retire(c)\n")},
	{"a stall does not queue the new lane", "batch/batch.go", one("		case !b.list.Empty():\n			b.active.work.Queue(c)\n", "")},
	{"a stall on the way down makes an enabled lane", "batch/batch.go", one("		case b.down:\n			b.active.work.Disable(c) // idle: nothing to wait for\n", "")},
	{"the worker takes the newest first", "bio/bio.go", one(`	b.Next = nil
	if l.tail == nil {
		l.head = b
	} else {
		l.tail.Next = b
	}
	l.tail = b
`, `	b.Next = l.head
	l.head = b
	if l.tail == nil {
		l.tail = b
	}
`)},
	{"the list forgets its new tail", "bio/bio.go", one("		l.tail.Next = b\n	}\n	l.tail = b\n", "		l.tail.Next = b\n	}\n	if l.tail == nil {\n		l.tail = b\n	}\n")},
	{"the list keeps the tail that was popped", "bio/bio.go", one("	if l.head == nil {\n		l.tail = nil\n	}\n", "")},
	{"take leaves the list as it is", "bio/bio.go", one("	*l = List{}\n", "")},
	{"end ignores where it is", "bio/bio.go", one("	case b.Flags&CompleteInTask != 0 && c.Atomic():\n", "	case b.Flags&CompleteInTask != 0 && !c.Atomic():\n")},
	{"end defers and runs", "bio/bio.go", one("		d.Defer(c, b)\n	default:\n", "		d.Defer(c, b)\n		Run(c, b)\n	default:\n")},
	{"end ignores the owner", "bio/bio.go", one("	case b.Owner != nil:\n", "	case b.Owner != nil && b.Flags&CompleteInTask != 0:\n")},
	{"append forgets the new tail", "bio/bio.go", one("		l.tail.Next = m.head\n		l.tail = m.tail\n", "		l.tail.Next = m.head\n")},
	{"append to an empty list is lost", "bio/bio.go", one("		*l = m\n", "")},
	{"run leaves the bio in flight", "bio/bio.go", one("	b.Flags &^= inFlight\n	b.EndIO(c, b)\n", "	b.EndIO(c, b)\n")},
	{"a handler is deferred again and again", "bio/bio.go", one("	if b.Flags&deferred != 0 || !c.Atomic() {\n", "	if !c.Atomic() {\n")},
	{"a parent ends with its first child", "bio/bio.go", one("	if b.chain.remaining.Add(c, -1) != 0 {\n", "	if b.chain.remaining.Add(c, -1) > 1 {\n")},
	{"the error of a child is lost", "bio/bio.go", one("failures.Add(c, 1) == 1 {", "failures.Add(c, 1) == 2 {")},
	{"complete calls the handler before it ends the I/O", "dio/dio.go", one(`	if n != nil {
		n.End(c)
	}
	bio.End(c, d, b, err)
`, `	bio.End(c, d, b, err)
	if n != nil {
		n.End(c)
	}
`)},
	{"the last end wakes nobody", "dio/dio.go", one("	if left == excluded {\n		n.wq.Wake(c)\n	}\n", "")},
	{"a drain does not wait for what is in flight", "dio/dio.go", one("	n.wait(c, drained{n})\n", "")},
	{"a drain does not wait for its turn", "dio/dio.go", one("	n.wait(c, t)\n", "")},
	{"a drain does not help", "dio/dio.go", one("		if !c.Help() {\n			n.wq.Sleep(c, cond)\n		}\n", "		n.wq.Sleep(c, cond)\n")},
	{"a drain sleeps without looking again", "dio/dio.go", one("			n.wq.Sleep(c, cond)\n", "			n.wq.Sleep(c, never{})\n		}\n	}\n}\n\ntype never struct{}\n\nfunc (never) Ready(machine.Context) bool { return false }\n\nfunc unused(c machine.Context) {\n	for {\n		{\n")},
	{"a drain does not hold new I/O back", "dio/dio.go", []edit{
		{"		n.state.Add(c, excluded)\n", ""}, {"		begun -= excluded\n", ""},
		{"return d.n.state.Load(c) == excluded", "return d.n.state.Load(c) == 0"}}},
	{"an I/O that is held back stays counted", "dio/dio.go", one("		n.End(c) // not begun after all: whoever excludes must not wait for it\n", "")},
	{"an I/O is held back although the section has ended", "dio/dio.go", one("		if n.turns.head != nil {\n			w.held", "		if true {\n			w.held")},
	{"admit forgets what was held back", "dio/dio.go", one("		w.Start(c, w) // w may be gone when this returns\n", "")},
	{"withdraw takes what is not held back any more", "dio/dio.go", one("		w.held = false // too late to withdraw\n", "")},
	{"withdraw leaves the I/O in the list", "dio/dio.go", one("		n.held.remove(w)\n", "")},
	{"withdraw looks without the lock", "dio/dio.go", one(`	n.lock.Lock(c)
	n.data.Write(c)
	held := w.held
	if held {
		w.held = false
		n.held.remove(w)
	}
	n.lock.Unlock(c)
`, `	n.data.Write(c)
	held := w.held
	if held {
		w.held = false
		n.held.remove(w)
	}
`)},
	{"withdraw cuts off what is held behind", "dio/dio.go", one("		w.prev.next = w.next\n	} else {\n		l.head = w.next\n	}\n", "		w.prev.next = nil\n	} else {\n		l.head = nil\n	}\n")},
	{"withdraw forgets the new tail", "dio/dio.go", one("	} else {\n		l.tail = w.prev\n	}\n	w.next, w.prev = nil, nil\n", "	}\n	w.next, w.prev = nil, nil\n")},
	{"admit does not count what it lets in", "dio/dio.go", one("		begun++\n", "")},
	{"admit does not wake who comes next", "dio/dio.go", one("	if next != nil {\n		n.wq.Wake(c)\n	}\n", "")},
	{"admit gives the turn before it counts what it lets in", "dio/dio.go", one(`	n.state.Add(c, begun)
	if next != nil {
		next.mine.Add(c, 1)
	}
`, `	if next != nil {
		next.mine.Add(c, 1)
	}
	n.state.Add(c, begun)
`)},
	{"post wakes nobody", "batch/owner.go", one("	if first {\n		o.wq.Wake(c)\n	}\n", "	_ = first\n")},
	{"post counts before it appends, outside of the lock", "batch/owner.go", []edit{
		{"	o.lock.Lock(c)\n	o.data.Write(c)\n	o.list.Push(b)\n", "	first := o.n.Add(c, 1) == 1\n	o.lock.Lock(c)\n	o.data.Write(c)\n	o.list.Push(b)\n"},
		{"	first := o.n.Add(c, 1) == 1\n	o.lock.Unlock", "	o.lock.Unlock"}}},
	{"post appends without the lock", "batch/owner.go", []edit{
		{"	o.lock.Lock(c)\n	o.data.Write(c)\n	o.list.Push(b)\n", "	o.data.Write(c)\n	o.list.Push(b)\n"},
		{"	first := o.n.Add(c, 1) == 1\n	o.lock.Unlock(c)\n", "	first := o.n.Add(c, 1) == 1\n"}}},
}

// A kill is how a mutant was found.
type kill struct {
	Mutant int
	Check  string
	Config string
	Kind   string
	Text   string
	Steps  int
}

// TestMutants plants each fault in a copy of the sources, and explores the checks
// on it until one fails.
func TestMutants(t *testing.T) {
	if race.Enabled || testing.Short() {
		t.Skip("the mutants are searched without the race detector and not in short tests")
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := map[string]string{}
	dir := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		file := filepath.Join(dir, fmt.Sprintf("f%d.go", len(overlay)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(root, path)] = file
	}
	for i, m := range mutants {
		putMutant(t, root, i, m, put)
	}
	put("machine/sim/enginecheck/mutants/main.go", mutantMain())
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "mutants")
	build := exec.Command("go", "build", "-overlay", list, "-o", bin, "endio/machine/sim/enginecheck/mutants")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the mutants: %v\n%s", err, out)
	}
	var stdout, stderr bytes.Buffer
	run := exec.Command(bin)
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err != nil {
		t.Fatalf("run the mutants: %v\n%s", err, stderr.String())
	}
	report(t, stdout.String())
}

func report(t *testing.T, out string) {
	killed := map[int]kill{}
	for line := range strings.Lines(out) {
		var k kill
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		killed[k.Mutant] = k
	}
	for i, m := range mutants {
		k, ok := killed[i]
		if !ok {
			t.Errorf("mutant %d of %s survives: %s", i, m.file, m.name)
			continue
		}
		t.Logf("%-74s %-8s %3d steps  %s: %s (%s)", m.name, k.Check, k.Steps, k.Kind, k.Text, k.Config)
	}
	if len(mutants) < 20 {
		t.Errorf("%d mutants, want at least 20", len(mutants))
	}
}

// putMutant makes copies of the production packages, with m planted, and of the
// checks, that use each other.
func putMutant(t *testing.T, root string, i int, m mutant, put func(path, text string)) {
	t.Helper()
	base := fmt.Sprintf("machine/sim/enginecheck/mutants/m%d", i)
	for _, pkg := range []string{"bio", "batch", "dio", "machine/sim/enginecheck"} {
		files, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no sources of %s: %v", pkg, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s := string(text)
			if pkg+"/"+filepath.Base(f) == m.file {
				s = m.plant(t, s)
			}
			for _, p := range []string{"bio", "batch", "dio"} {
				s = strings.ReplaceAll(s, `"endio/`+p+`"`, `"endio/`+base+"/"+p+`"`)
			}
			put(base+"/"+filepath.Base(pkg)+"/"+filepath.Base(f), s)
		}
	}
}

func (m mutant) plant(t *testing.T, s string) string {
	t.Helper()
	for _, e := range m.edits {
		if n := strings.Count(s, e.old); n != 1 {
			t.Fatalf("mutant %q does not apply to %s any more: its text occurs %d times, want 1:\n%s", m.name, m.file, n, e.old)
		}
		s = strings.Replace(s, e.old, e.new, 1)
	}
	return s
}

// mutantMain is a program that explores the checks on each mutant and prints how
// it was found.
func mutantMain() string {
	var b strings.Builder
	b.WriteString(`package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"endio/explore"
	"endio/machine/sim"
`)
	for i := range mutants {
		fmt.Fprintf(&b, "\tm%d \"endio/machine/sim/enginecheck/mutants/m%d/enginecheck\"\n", i, i)
	}
	b.WriteString(`)

type check struct {
	name    string
	large   bool
	program func(sim.Config) *explore.Program
}

func try(i int, checks []check) {
	checks = append(checks[2:], checks[:2]...) // the first two are the slow ones
	for _, cfg := range []sim.Config{{}, {Preemption: sim.Full}, {Preemption: sim.Full, Concurrent: true}} {
		for _, k := range checks {
			if k.large {
				continue
			}
			r, err := explore.Explore(context.Background(), k.program(cfg), explore.Options{Strategy: explore.Cached(), MaxTime: time.Minute, MaxSteps: 300})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if f := r.Failure; f != nil {
				_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"Mutant": i, "Check": k.name, "Config": cfg.String(),
					"Kind": string(f.Kind), "Text": f.Text, "Steps": f.Steps})
				return
			}
		}
	}
}

func main() {
`)
	for i := range mutants {
		fmt.Fprintf(&b, `	{
		var cs []check
		for _, k := range m%d.Checks() {
			cs = append(cs, check{k.Name, k.Large, k.Program})
		}
		try(%d, cs)
	}
`, i, i)
	}
	b.WriteString("}\n")
	return b.String()
}
