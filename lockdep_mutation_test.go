// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// An edit replaces the first old in file by planted.
type edit struct{ file, old, planted string }

// mutations are faults to plant in a copy of the engine's code: one through each kind of
// lock and wait. Some hang if they are let, others would once in a blue moon;
// the report comes first in all.
var mutations = []struct {
	name   string
	edits  []edit
	pkg    string // whose tests must report it; "": this package
	tests  string
	report []string // nil: the tests must pass
}{
	{
		name: "inversion",
		edits: []edit{{"machine/host/machine.go",
			"\tp.reapMu.Lock()\n\tdefer p.reapMu.Unlock()\n\tp.submitMu.Lock()\n\tdefer p.submitMu.Unlock()\n",
			"\tp.submitMu.Lock()\n\tdefer p.submitMu.Unlock()\n\tp.reapMu.Lock()\n\tdefer p.reapMu.Unlock()\n"}},
		tests:  "TestContexts",
		report: []string{circular, "(port.reap)", "(port.submit)", "machine/host.(*Machine).ClosePort"},
	},
	{
		name: "self-wait",
		edits: []edit{{"file.go", "\tdefer f.inode.Admit(c)\n",
			"\tdefer f.inode.Admit(c)\n\tf.e.calls.enter(f, Write, 0, 0)\n\tf.e.calls.leave(f)\n"}},
		tests:  "TestDrain",
		report: []string{recursive, "(dio.section)", "endio.(*calls).enter"},
	},
	{ // the unaligned write of the thread about IOCB_DIO_CALLER_COMP, which drains its own I/O
		name: "drain of one's own I/O",
		edits: []edit{{"calls.go", "\tif kind == Write && f.partial(off, len(p)) {\n",
			"\tif kind == Write && f.partial(off, len(p)) {\n\t\tk.enter(f, kind, off, len(p))\n\t\tdefer k.leave(f)\n"}},
		tests:  "TestPartial",
		report: []string{recursive, "(dio.flight)", "endio/dio.(*Inode).Exclude"},
	},
	{
		name: "a sleeper keeps the list that it is to be found in",
		edits: []edit{{"machine/host/wait.go", "\tw.note.Recv()\n\tw.woken.Store(false)\n\tm.willing",
			"\tm.willing.mu.Lock()\n\tw.note.Recv()\n\tm.willing.mu.Unlock()\n\tw.woken.Store(false)\n\tm.willing"}},
		tests:  ".",
		report: []string{circular, "(host.note)", "(machine.willing)", "machine/host.(*waiter).sleep"},
	},
	{
		name: "a follower keeps what its leader needs",
		edits: []edit{
			{"machine/host/port.go", "\t\t\tp.led.Wait(nil)\n\t\t\tw.note.Recv()\n",
				"\t\t\tp.submitMu.Lock()\n\t\t\tp.led.Wait(nil)\n\t\t\tw.note.Recv()\n\t\t\tp.submitMu.Unlock()\n"},
			{"calls.go", "plain: int64(runtime.GOMAXPROCS(0))", "plain: int64(runtime.GOMAXPROCS(0)) / 1024"}, // all through the ring
		},
		tests:  "TestBlocking|TestAllContexts|TestSharedInode",
		report: []string{circular, "(port.lead)", "(port.submit)", "machine/host.(*Port).waitFor"},
	},
	{
		name:   "an owner follows with its port locked",
		edits:  []edit{{"machine/host/wait.go", "\tp.led.Wait(nil) //", "\tp.submitMu.Lock()\n\tp.led.Wait(nil)\n\tp.submitMu.Unlock()\n\t//"}},
		tests:  "TestDrain|TestAllContexts|TestQueuesComeAndGo|TestCloseRaces",
		report: []string{circular, "(port.lead)", "(port.submit)", "machine/host.(*waiter).sleepAt"},
	},
	{
		name: "who waits for a port to be quiet keeps it locked",
		edits: []edit{{"machine/host/machine.go", "\t\t\tp.led.Wait(nil)\n\t\t\tw.note.Recv()\n",
			"\t\t\tp.submitMu.Lock()\n\t\t\tp.led.Wait(nil)\n\t\t\tw.note.Recv()\n\t\t\tp.submitMu.Unlock()\n"}},
		tests:  "TestAbortedHotplug|TestOnlineUnderLoad|TestFollow|TestCloseInFlight|TestCloseRaces",
		report: []string{circular, "(port.lead)", "(port.submit)", "machine/host.(*Machine).Quiesce"},
	},
	{
		name:   "a spare member waits with its shard locked",
		edits:  []edit{{"machine/host/work.go", "\t\t\ts.mu.Unlock()\n\t\t\tmb.role.Recv()\n\t\t\ts.mu.Lock()\n", "\t\t\tmb.role.Recv()\n"}},
		tests:  "TestContexts|TestBlockedHandler|TestThousands",
		report: []string{circular, "(shard.idle)", "(shard)", "machine/host.(*shard).runWork"},
	},
	{
		name: "an idle member waits with its shard locked",
		edits: []edit{{"machine/host/port.go", "\t\tw.note.Recv()\n\t\tw.woken.Store(false)\n\t\treturn\n",
			"\t\ts := p.m.shards[p.rc.cpu]\n\t\ts.mu.Lock()\n\t\tw.note.Recv()\n\t\ts.mu.Unlock()\n\t\tw.woken.Store(false)\n\t\treturn\n"}},
		tests:  "TestContexts",
		report: []string{circular, "(shard.idle)", "(shard)", "machine/host.(*Port).serveOnce"},
	},
	{
		name:   "the machine waits for members that it has not told",
		edits:  []edit{{"machine/host/machine.go", "\t\ts.stop()\n\t\ts.idle.Paid(nil)\n\t}\n", "\t\ts.wg.Wait()\n\t\ts.stop()\n\t\ts.idle.Paid(nil)\n\t}\n"}},
		tests:  "TestContexts",
		report: []string{circular, "(shard.idle)", "(shard.members)", "machine/host.(*Machine).Close"},
	},
	{
		name: "who wakes a leader waits for it",
		edits: []edit{{"machine/host/wait.go", "\t\tp.waking.Owe(nil)\n",
			"\t\tp.waking.Owe(nil)\n\t\tp.leadMu.Lock()\n\t\tp.leadMu.Unlock()\n"}},
		tests:  "TestThousands|TestDrain|TestAllContexts|TestCloseRaces",
		report: []string{circular, "(port.wakers)", "(port.lead)", "machine/host.(*Machine).ClosePort"},
	},
	{
		name: "a port is closed under a lock that late submissions need",
		edits: []edit{
			{"machine/host/machine.go", "\tp.kicks.Wait()\n", "\tp.submitMu.Lock()\n\tp.kicks.Wait()\n\tp.submitMu.Unlock()\n"},
			{"machine/host/port.go", "p.kicks.Go(p.kick)", "p.kicks.Go(func() { p.submitMu.Lock(); p.submitMu.Unlock(); p.kick() })"},
		},
		tests:  "TestFaultyEngine",
		report: []string{circular, "(port.kicks)", "(port.submit)", "machine/host.(*Machine).ClosePort"},
	},
	{
		name: "a device with faults is closed under its lock",
		edits: []edit{{"machine/host/faults.go", "\tw.timers.Wait()\n",
			"\tw.mu.Lock()\n\tw.timers.Wait()\n\tw.mu.Unlock()\n"}},
		tests:  "TestFaultyEngine",
		report: []string{circular, "(fault.timers)", "(fault)", "machine/host.(*faulty).close"},
	},
	{
		name: "the monitor is waited for under a lock that it takes",
		edits: []edit{{"machine/host/monitor.go", "\to.ended.Wait()\n",
			"\to.m.shards[0].mu.Lock()\n\to.ended.Wait()\n\to.m.shards[0].mu.Unlock()\n"}},
		tests:  "TestContexts",
		report: []string{circular, "(monitor)", "(shard)", "machine/host.(*monitor).close"},
	},
	{
		name: "the monitor is waited for before it is told",
		edits: []edit{{"machine/host/monitor.go", "\to.closing.Store(true)\n",
			"\to.ended.Wait()\n\to.closing.Store(true)\n"}},
		tests:  "TestContexts",
		report: []string{circular, "(monitor)", "(monitor.news)", "machine/host.(*monitor).close"},
	},
	{
		name: "the watchdog is waited for under a lock that it takes",
		edits: []edit{{"engine.go", "\te.watchers.Wait()\n",
			"\te.sightMu.Lock()\n\te.watchers.Wait()\n\te.sightMu.Unlock()\n"}},
		pkg:    "./metrics",
		tests:  ".",
		report: []string{circular, "(engine.watchers)", "endio.(*Engine).Close", "endio.(*Engine).sight"},
	},
	{
		name: "jobs are waited for under a lock that they take",
		edits: []edit{
			{"internal/jobrun/run.go", "work.Go(func() { c.work(ctx, engine) })", "work.Go(func() { planted.Lock(); planted.Unlock(); c.work(ctx, engine) })"},
			{"internal/jobrun/run.go", "\twork.Wait()\n", "\tplanted.Lock()\n\twork.Wait()\n\tplanted.Unlock()\n"},
			{"internal/jobrun/run.go", "\tvar watch, work lockdep.WaitGroup\n", "\tvar watch, work lockdep.WaitGroup\n\tvar planted lockdep.Mutex\n"},
		},
		pkg:    "./internal/jobrun",
		tests:  ".",
		report: []string{circular, "WaitGroup@run.go", "Mutex@run.go", "jobrun.runWave"},
	},
	{
		name: "requests are waited for under a lock that their handlers take",
		edits: []edit{
			{"internal/jobrun/bind.go", "\t\tq.more.Wait()\n", "\t\tplanted.Lock()\n\t\tq.more.Wait()\n\t\tplanted.Unlock()\n"},
			{"internal/jobrun/bind.go", "\tq.arrived = append(q.arrived, r)\n\twake", "\tplanted.Lock()\n\tplanted.Unlock()\n\tq.arrived = append(q.arrived, r)\n\twake"},
			{"internal/jobrun/bind.go", "// A handlerQueue", "var planted lockdep.Mutex\n\n// A handlerQueue"},
		},
		pkg:    "./internal/jobrun",
		tests:  ".",
		report: []string{circular, "Cond@bind.go", "Mutex@bind.go", "jobrun.(*handlerQueue).Reap"},
	},
	{name: "none", tests: "TestContexts|TestDrain"},
	{name: "none, jobs", pkg: "./internal/jobrun", tests: "."},
}

const (
	circular  = "WARNING: possible circular locking dependency detected"
	recursive = "WARNING: possible recursive locking detected"
)

// TestLockdepMutations plants faults in a copy of the engine's code and runs the engine's own
// tests on it with the validator on: they must come out with the report.
//
// Each builds a test binary, so it runs on request: make test-lockdep, and in CI.
func TestLockdepMutations(t *testing.T) {
	if os.Getenv("ENDIO_MUTATE") == "" {
		t.Skip("set ENDIO_MUTATE=1: builds a package once for each mutation")
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			bin, dir := buildPlanted(t, m.edits, m.pkg)
			out, err := runPlanted(bin, dir, m.tests, m.report)
			if m.report == nil {
				if err != nil {
					t.Fatalf("the code without a fault fails: %v\n%s", err, out)
				}
				return
			}
			if err == nil {
				t.Fatalf("the tests pass with the fault:\n%s", out)
			}
			for _, want := range m.report {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}

// TestLockdepMutationsFit sees that the faults can still be planted, without building.
func TestLockdepMutationsFit(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) { plantedTexts(t, m.edits) })
	}
}

// plantedTexts returns the text of each file with its edits, by absolute path.
func plantedTexts(t *testing.T, edits []edit) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, e := range edits {
		path, err := filepath.Abs(e.file)
		if err != nil {
			t.Fatal(err)
		}
		if texts[path] == "" {
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(source)
		}
		if !strings.Contains(texts[path], e.old) {
			t.Fatalf("%s has no %q any more: plant the fault elsewhere", e.file, e.old)
		}
		texts[path] = strings.Replace(texts[path], e.old, e.planted, 1)
	}
	return texts
}

// buildPlanted builds the tests of a package with edits, and returns the binary and the
// directory to run it in.
func buildPlanted(t *testing.T, edits []edit, pkg string) (bin, dir string) {
	t.Helper()
	tmp := t.TempDir()
	texts := plantedTexts(t, edits)
	replace := map[string]string{}
	for path, text := range texts {
		copied := filepath.Join(tmp, filepath.Base(path))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = copied
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(tmp, "planted.test")
	build := exec.Command("go", "test", "-c", "-tags", "lockdep", "-overlay", overlayFile, "-o", bin, "./"+pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutation does not compile: %v\n%s", err, out)
	}
	return bin, "./" + pkg
}

// runPlanted runs tests until they end or have said all that is wanted: what was planted
// may hang after its report. err is nil if they passed.
func runPlanted(bin, dir, tests string, want []string) (string, error) {
	cmd := exec.Command(bin, "-test.run", tests, "-test.timeout", "1m")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ENDIO_MUTATE=")
	out := &watchedOutput{want: want, kill: func() { _ = cmd.Process.Kill() }} // an error says that it has ended
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	return out.text(), err
}

// watchedOutput keeps what is written, and calls kill once all of want is in it.
type watchedOutput struct {
	want []string
	kill func()

	mu  sync.Mutex
	all bytes.Buffer // guarded by mu
}

func (w *watchedOutput) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(p)
	found := 0
	for _, s := range w.want {
		if bytes.Contains(w.all.Bytes(), []byte(s)) {
			found++
		}
	}
	if len(w.want) > 0 && found == len(w.want) {
		w.kill()
	}
	return len(p), nil
}

func (w *watchedOutput) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}
