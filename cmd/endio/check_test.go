// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const askedFailure = `model taskcomp
bio A
bio B
irq on cpu 1: complete A
irq on cpu 1: complete B
hotplug: down 1 may fail at TEARDOWN_CPU
`

// checkText runs endio check on a file with the text.
func checkText(t *testing.T, text string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "q.scn")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code = run(append([]string{"check", name}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCheckExitCodes(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       int
		want       string
	}{
		{"as expected", askedFailure + "expect v6: fails never-run\nexpect v7: holds\n", exitOK, "2 cases, 2 as expected"},
		{"expected to hold", askedFailure + "expect v6: holds\n", exitFailed, "expected to hold"},
		{"expected another failure", askedFailure + "expect v6: fails corruption\n", exitFailed, "never-run"},
		{"expected to fail", askedFailure + "expect v7: fails never-run\n", exitFailed, "holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := checkText(t, c.text)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, c.code, c.want, out, errs)
			}
		})
	}
	code, _, errs := checkText(t, "modle x\n")
	if code != exitBadInput || !strings.Contains(errs, ":1:1: unknown statement") {
		t.Errorf("bad input: exit %d, %s", code, errs)
	}
	code, _, errs = checkText(t, strings.Repeat("bio A\n", 10<<20/6))
	if code != exitBadInput || !strings.Contains(errs, ":1:1: the file has") {
		t.Errorf("10 MB: exit %d, %s", code, errs)
	}
	code, _, errs = checkText(t, askedFailure+"expect v7: holds\n", "--version", "v77x")
	if code != exitBadInput || !strings.Contains(errs, `unknown version "v77x" of model taskcomp; its versions are v4`) {
		t.Errorf("unknown version: exit %d, %s", code, errs)
	}
}

// fullDisk is a file on a file system without room.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// TestCheckFullDisk: a report that could not be written is no success, in whatever form.
func TestCheckFullDisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "q.scn")
	if err := os.WriteFile(name, []byte(askedFailure+"expect v7: holds\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", name}, {"check", name, name}, {"check", name, "--json"}, {"check", name, "--explain"}, {"version"}} {
		var errs bytes.Buffer
		if code := run(args, fullDisk{}, &errs); code != exitBadInput || errs.String() != "endio: no space left on device\n" {
			t.Errorf("%v: exit %d, %q", args, code, errs.String())
		}
	}
}

// TestCheckMisuse asks in ways that make no sense: what is said names what was asked, and what could be meant.
func TestCheckMisuse(t *testing.T) {
	ring := "model callercomp\ninode X\nring R any\ntask T: submit R write X; wait R\nexpect 6.5: holds\n"
	for _, c := range []struct {
		name, text string
		args       []string
		want       string
	}{
		{"a version of the other model", ring, []string{"--version", "v6"}, "belongs to model taskcomp"},
		{"a version misspelt", ring, []string{"--version", "6.6-rx"}, "did you mean 6.6-rc?"},
		{"a version with a sign left out", ring, []string{"--version", "6.6rc"}, "did you mean 6.6-rc?"},
		{"a version that is to come", askedFailure + "expect v7: holds\n", []string{"--version", "v8"}, "did you mean v7?"},
		{"half a configuration", ring, []string{"--config", "ful"}, "did you mean full?"},
		{"a configuration misspelt", ring, []string{"--config", "lazy/dafer"}, "did you mean lazy/defer?"},
		{"a ring mode without rings", askedFailure + "expect v7: holds\n", []string{"--config", "defer"}, "known: none, none+count"},
		{"time below zero", ring, []string{"--max-time=-5s"}, "must not be negative"},
		{"a file for text", ring, []string{"-o", "x"}, "add --trace svg"},
		{"a picture in JSON", ring, []string{"--json", "--trace", "svg"}, "leave one of"},
		{"words in JSON", ring, []string{"--json", "--explain"}, "leave --json"},
		{"a token for many cases", ring, []string{"--replay", "x"}, "4 are selected"},
		{"an empty version", ring, []string{"--version", ""}, "--version: is empty: give a value, or leave the flag out"},
		{"an empty configuration", ring, []string{"--config="}, "--config: is empty"},
		{"an empty token", ring, []string{"--replay", ""}, "--replay: is empty"},
		{"a picture to nowhere", ring, []string{"--trace", "svg", "-o", ""}, "--out: is empty"},
		{"no token", ring, []string{"--replay", "x", "--config", "lazy/defer"}, "replay token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := checkText(t, c.text, c.args...)
			if code != exitBadInput || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, exitBadInput, c.want, out, errs)
			}
		})
	}
	if code, out, errs := checkText(t, "\ufeff"+askedFailure+"expect v7: holds\n"); code != exitOK {
		t.Errorf("a byte order mark: exit %d\n%s%s", code, out, errs)
	}
}

// TestCheckUnexpected asks about a version of which the file expects nothing: the answer is neither good nor bad, and a
// failure shows its trace, which nobody knows yet.
func TestCheckUnexpected(t *testing.T) {
	for _, c := range []struct{ version, mark, tally string }{
		{"v7", "\n-    v7 ", "1 case, nothing expected of 1"},
		{"v6", "\n-    v6 ", "1 case, nothing expected of 1"},
		{"v5", "\nok   v5 ", "1 case, 1 as expected"},
	} {
		code, out, errs := checkText(t, askedFailure+"expect v5: holds\n", "--version", c.version)
		if code != exitOK || !strings.Contains(out, c.mark) || !strings.Contains(out, c.tally) {
			t.Errorf("%s: exit %d, want %q and %q\n%s%s", c.version, code, c.mark, c.tally, out, errs)
		}
		if trace := strings.Contains(out, "step  CPU 0"); trace != (c.version == "v6") {
			t.Errorf("%s: a trace: %v\n%s", c.version, trace, out)
		}
	}
}

// TestCheckReplay takes the token of a failure from JSON and makes its execution again.
func TestCheckReplay(t *testing.T) {
	name := filepath.Join(t.TempDir(), "q.scn")
	if err := os.WriteFile(name, []byte(askedFailure+"expect v6: fails never-run\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"check", name, "--json"}, &out, &errs); code != exitOK {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var results []result
	if err := json.Unmarshal(out.Bytes(), &results); err != nil || len(results) != 1 {
		t.Fatalf("JSON: %v, %s", err, out.String())
	}
	r := results[0]
	if r.Verdict != "fails" || r.TraceSteps == 0 || r.Executions == 0 || !strings.HasPrefix(r.Problem, "never-run") {
		t.Errorf("result: %+v", r)
	}
	for _, form := range []string{"text", "svg", "perfetto"} {
		out.Reset()
		if code := run([]string{"check", name, "--version", "v6", "--config", "lazy", "--replay", r.Replay, "--trace", form}, &out, &errs); code != exitOK {
			t.Errorf("replay as %s: exit %d, %s", form, code, errs.String())
		}
		want := map[string]string{"text": "never-run: bio", "svg": "<svg", "perfetto": `"traceEvents"`}[form]
		if !strings.Contains(out.String(), want) {
			t.Errorf("replay as %s has no %q:\n%s", form, want, out.String())
		}
	}
	other := filepath.Join(filepath.Dir(name), "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	other = filepath.Join(other, "q.scn")
	if err := os.WriteFile(other, []byte(askedFailure+"expect v6: holds\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if code := run([]string{"check", other, "--version", "v6", "--replay", r.Replay}, &out, &errs); code != exitFailed || !strings.HasPrefix(strings.Split(out.String(), "\n")[2], "BAD") {
		t.Errorf("a failure that is not expected: exit %d\n%s%s", code, out.String(), errs.String())
	}
	if code := run([]string{"check", name, "--version", "v6", "--config", "lazy", "--replay", "ex1.zz"}, &out, &errs); code != exitBadInput {
		t.Errorf("bad token: exit %d", code)
	}
}

const whoWaits = `model callercomp
inode X
ring R any
task T: submit R write X; fallocate X; wait R
expect 6.6-rc in default: fails deadlock
expect 6.6-rc in coop defer: fails hang
expect 6.6-rc in sqpoll: holds
`

// TestCheckJSON reads what each field says.
func TestCheckJSON(t *testing.T) {
	code, out, errs := checkText(t, whoWaits, "--json", "--config", "default")
	var results []result
	if err := json.Unmarshal([]byte(out), &results); code != exitOK || err != nil || len(results) != 1 {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out, errs)
	}
	r := results[0]
	if !r.OK || r.Expected != "fails deadlock" || len(r.Waits) != 1 {
		t.Fatalf("%+v", r)
	}
	if w := r.Waits[0]; w.Task != "T" || w.For != "the direct I/O in flight on X" || len(w.Owners) != 1 || w.Owners[0] != "T" ||
		w.Why != "the last step of I/O 1 [T: write X] is task work of T" || w.Step != "inode_dio_wait" {
		t.Errorf("%+v", w)
	}
	code, out, _ = checkText(t, strings.Replace(whoWaits, "fails deadlock", "holds", 1), "--json", "--config", "default")
	if code != exitFailed || !strings.Contains(out, `"ok": false`) || !strings.Contains(out, `"expected": "holds"`) {
		t.Errorf("exit %d\n%s", code, out)
	}
	code, out, _ = checkText(t, whoWaits, "--json", "--config", "sqpoll")
	if code != exitOK || !strings.Contains(out, `"waits": []`) || !strings.Contains(out, `"ok": true`) {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestCheckPictures writes no, one and several traces.
func TestCheckPictures(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "why.svg")
	code, stdout, stderr := checkText(t, whoWaits, "--trace", "svg", "-o", out, "--config", "coop")
	if code != exitOK || !strings.Contains(stdout, out+": ") || !strings.Contains(stdout, "version 6.6-rc, lazy/coop") {
		t.Errorf("one: exit %d\n%s%s", code, stdout, stderr)
	}
	if svg, err := os.ReadFile(out); err != nil || !bytes.Contains(svg, []byte("waits for the direct I/O in flight on X")) || !bytes.Contains(svg, []byte("A column is a CPU")) {
		t.Errorf("the picture: %v", err)
	}
	code, stdout, stderr = checkText(t, whoWaits, "--trace", "svg", "-o", out)
	for _, mode := range []string{"default", "coop", "defer"} {
		name := filepath.Join(dir, "why-6.6-rc-lazy-"+mode+".svg")
		if _, err := os.Stat(name); err != nil || !strings.Contains(stdout, name) {
			t.Errorf("several: exit %d, %v\n%s%s", code, err, stdout, stderr)
		}
	}
	code, stdout, stderr = checkText(t, whoWaits, "--trace", "perfetto")
	if code != exitBadInput || stdout != "" || !strings.Contains(stderr, "3 cases fail") {
		t.Errorf("several on standard output: exit %d\n%s%s", code, stdout, stderr)
	}
	code, stdout, stderr = checkText(t, whoWaits, "--trace", "svg", "--config", "sqpoll")
	if code != exitOK || stdout != "" || !strings.Contains(stderr, "nothing fails") {
		t.Errorf("none: exit %d\n%s%s", code, stdout, stderr)
	}
}

// TestCheckPicturesOfNamesakes: no picture overwrites another one.
func TestCheckPicturesOfNamesakes(t *testing.T) {
	dir := t.TempDir()
	args := []string{"check", "--config", "coop", "--trace", "svg", "-o", filepath.Join(dir, "why.svg")}
	for _, sub := range []string{"a", "b", "c"} {
		name := filepath.Join(dir, sub, "q.scn")
		if err := errors.Join(os.Mkdir(filepath.Join(dir, sub), 0o755), os.WriteFile(name, []byte("title of "+sub+"\n"+whoWaits), 0o644)); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	var out, errs bytes.Buffer
	if code := run(args, &out, &errs); code != exitOK {
		t.Fatalf("exit %d\n%s%s", code, &out, &errs)
	}
	for sub, name := range map[string]string{"a": "why-q-6.6-rc-lazy-coop.svg", "b": "why-q-6.6-rc-lazy-coop-2.svg", "c": "why-q-6.6-rc-lazy-coop-3.svg"} {
		if svg, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(svg), "of "+sub+"<") {
			t.Errorf("%s: %v, want the picture of %s", name, err, sub)
		}
	}
}

// TestCheckHeadlines wants the chain of who waits for whom in one line.
func TestCheckHeadlines(t *testing.T) {
	for _, c := range []struct{ name, text, version, config, want string }{
		{"itself", whoWaits, "6.6-rc", "default", `deadlock: task "T" waits for the direct I/O in flight on X, ended only by task "T" itself (the last step of I/O 1 [T: write X] is task work of T)`},
		{"a worker", "model callercomp\ninode X\nring R defer\ntask T: submit R write X; submit R fallocate X; wait R 2\nexpect 6.6-rc: fails hang\n", "6.6-rc", "",
			`deadlock: task "T" waits for CQE 2, posted only by task "iou-wrk-0" (it works on I/O 2 [T: fallocate X]), which waits for the direct I/O in flight on X, ended only by task "T" (the last step of I/O 1 [T: write X] is task work of T)`},
		{"the freeze", "model callercomp\ninode X\nring R\ntask T: submit R write X; freeze; thaw; wait R\nexpect 6.5: fails hang\n", "6.5", "",
			`deadlock: task "T" waits for the writers of the file system, ended only by task "T" itself (the last step of I/O 1 [T: write X] is task work of T)`},
		{"a handler", "model taskcomp\nbio A handler waits for B\nbio B\nirq on cpu 0: complete A\nirq on cpu 0: complete B\nexpect v7: fails hang\n", "v7", "",
			`the handler of bio A never returns: task "kworker/0:0" waits for the handler of bio B, to be run by task "kworker/0:0" itself`},
		{"no memory", "model taskcomp\nmemory short\nbio A\nirq on cpu 0: complete A\ntask T: wait-bio A\nexpect v4: fails hang\n", "v4", "",
			`lost-work: task "T" waits for the handler of bio A (it is on the list of cpu 0, which holds nothing else, and work bio_complete is queued on cpu 0, where memory is short and no worker can be made, and workqueue bio_complete has no rescuer)`},
		{"no memory for endio", "model taskcomp\nmemory short\nmutex M\nbio A handler locks M\nbio B\nirq on cpu 0: complete A\nirq on cpu 1: complete B\n" +
			"task T on cpu 0: lock M; wait-bio B; unlock M\nexpect endio: fails hang\n", "endio", "",
			`held by task "T", which waits for the handler of bio B, to be run by task "rescuer machine" (work batch.work runs, and does not end; work batch.work is queued on cpu 1, where no worker can be made, and the rescuer is busy)`},
		{"a child of endio", "model taskcomp\nmutex M\nbio P\nbio C parent P\nbio D handler locks M\nirq on cpu 0: complete P\nirq on cpu 1: complete D\n" +
			"task T on cpu 0: lock M; wait-bio P; unlock M\ntask U on cpu 1: wait-bio D; complete C\nexpect endio: fails hang\n", "endio", "",
			`held by task "T", which waits for the handler of bio P (its child C has not ended)`},
		{"never run", askedFailure + "expect v6: fails hang\n", "v6", "", "and work bio_complete of cpu 1 is idle: nothing queues it again"},
	} {
		args := []string{"--json", "--version", c.version}
		if c.config != "" {
			args = append(args, "--config", c.config)
		}
		code, out, errs := checkText(t, c.text, args...)
		var results []result
		if err := json.Unmarshal([]byte(out), &results); err != nil || code != exitOK || len(results) != 1 {
			t.Errorf("%s: exit %d, %v\n%s%s", c.name, code, err, out, errs)
		} else if !strings.Contains(results[0].Problem, c.want) {
			t.Errorf("%s: %s\nwant %s", c.name, results[0].Problem, c.want)
		}
	}
}

// TestCheckTrace wants the end of the trace in it, brackets whole, and a CPU that is down shown as such.
func TestCheckTrace(t *testing.T) {
	_, out, _ := checkText(t, whoWaits, "--trace", "text", "--config", "default")
	for _, want := range []string{" end    inode_dio_wait", "- waits for the direct I/O in flight on X", "end: nobody could go on", "1 case, 1 as expected"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	down := "model taskcomp\nmemory short\nbio A\nirq on cpu 1: complete A\nhotplug: down 1\nexpect v4: fails hang\n"
	_, out, _ = checkText(t, "offline 1\n"+strings.Replace(down, "hotplug: down 1\n", "", 1), "--trace", "text")
	if !strings.Contains(out, "--- off line ---") || !strings.Contains(out, "irq, sent here: cpu 1 is") {
		t.Errorf("%s", out)
	}
}

// TestSleepHoldingMutex sleeps with a mutex, which is legal.
func TestSleepHoldingMutex(t *testing.T) {
	code, out, errs := checkText(t, "model callercomp\ninode X\nring R\nmutex M\ntask T: submit R write X; fallocate X under M; wait R\nexpect endio: holds\n")
	if code != exitOK {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	code, out, _ = checkText(t, "model taskcomp\nmutex M\nbio A handler sleeps\nirq on cpu 0: complete A\ntask T: lock M; wait-bio A; unlock M\nexpect v7 endio: holds\n")
	if code != exitOK {
		t.Errorf("exit %d\n%s", code, out)
	}
}
