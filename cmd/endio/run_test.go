// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"endio/internal/verify"
	"endio/lockdep"
)

// asCommand makes the test binary behave as endio itself, for tests that kill it.
const asCommand = "ENDIO_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(lockdep.RunTests(m))
}

// command returns endio as a process of its own.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// runEndio runs args in this process.
func runEndio(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func examples(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../../examples/*.fio")
	if err != nil || len(list) < 6 {
		t.Fatalf("examples: %v, %v", list, err)
	}
	for i := range list {
		if list[i], err = filepath.Abs(list[i]); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// A jobResult is what the tests look at in a report.
type jobResult struct {
	Name  string `json:"jobname"`
	Error int
	Read  struct{ IOPS float64 }
	Write struct {
		IOPS  float64
		Total int64 `json:"total_ios"`
	}
	Endio struct {
		Completions map[string]int64
		Fallocate   struct {
			Calls    int64
			InFlight float64 `json:"in_flight_mean"`
		}
		Truncate struct{ Calls int64 }
		Verify   struct{ Units, Errors, Acknowledged int64 }
	}
}

type runResult struct {
	Jobs  []jobResult
	Endio struct {
		Backend     string
		Interrupted bool
	}
}

func decode(t *testing.T, text string) runResult {
	t.Helper()
	var r runResult
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("the output is no JSON: %v: %s", err, text)
	}
	return r
}

// TestRunExamples runs each example on each backend, for a moment instead of its
// runtime: it verifies its data, exits with 0 and leaves no file.
func TestRunExamples(t *testing.T) {
	for _, path := range examples(t) {
		for _, backend := range []string{"auto", "threads"} {
			t.Run(filepath.Base(path)+"/"+backend, func(t *testing.T) {
				t.Chdir(t.TempDir())
				code, out, errs := runEndio("run", "--json", "--runtime=200ms", "--backend="+backend, path)
				if code != exitOK {
					t.Fatalf("exit %d: %s", code, errs)
				}
				units := int64(0)
				for _, j := range decode(t, out).Jobs {
					units += j.Endio.Verify.Units
					if j.Endio.Verify.Errors != 0 || j.Error != 0 {
						t.Errorf("job %s: %+v", j.Name, j)
					}
				}
				if units == 0 {
					t.Error("nothing was verified")
				}
				if left, err := os.ReadDir("."); err != nil || len(left) != 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			})
		}
	}
}

// TestFallocDio checks that the default example does what it is there for:
// fallocate and truncate by the goroutine whose own I/O is in flight.
func TestFallocDio(t *testing.T) {
	path, err := filepath.Abs("../../examples/falloc-dio.fio")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	code, out, errs := runEndio("run", "--json", "--runtime=1s", path)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	j := decode(t, out).Jobs[0]
	if j.Endio.Fallocate.Calls < 1 || j.Endio.Fallocate.InFlight < 1 || j.Endio.Fallocate.Calls != j.Write.Total/1000 ||
		j.Endio.Truncate.Calls != j.Write.Total/4500 || j.Endio.Completions["caller"] < j.Write.Total {
		t.Errorf("report %+v: want a fallocate every 1000 writes over I/O in flight", j)
	}
}

// TestExamplesUnderFio checks that fio reads each example; make examples-fio
// runs them to their end.
func TestExamplesUnderFio(t *testing.T) {
	fio, err := exec.LookPath("fio")
	if err != nil {
		t.Skip("fio is not installed")
	}
	for _, path := range examples(t) {
		if out, err := exec.Command(fio, "--parse-only", path).CombinedOutput(); err != nil {
			t.Errorf("fio --parse-only %s: %v: %s", path, err, out)
		}
	}
}

const killJob = `
[w]
ioengine=io_uring
direct=1
rw=randwrite
norandommap
bs=4k
size=8m
iodepth=16
%s
time_based
runtime=1h
verify=crc32c
filename=data
#endio: journal=journal
`

// acknowledged returns how many units the journal in the working directory
// knows as acknowledged.
func acknowledged(t *testing.T) (n int64, last verify.Entry) {
	t.Helper()
	j, err := verify.OpenJournal("journal")
	if err != nil {
		return 0, last // not there yet
	}
	err = j.Entries(func(e verify.Entry) bool {
		if e.Acknowledged > 0 && e.Acknowledged == e.Begun {
			last = e
		}
		if e.Acknowledged > 0 {
			n++
		}
		return true
	})
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	return n, last
}

// TestKilled kills a verified, synced write job with SIGKILL in the middle, and
// checks that another process finds each acknowledged block; then that it notices
// when one is lost.
func TestKilled(t *testing.T) {
	for _, how := range []string{"sync=dsync", "fsync=16", "fdatasync=16"} {
		t.Run(how, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("kill.fio", fmt.Appendf(nil, killJob, how), 0o666); err != nil {
				t.Fatal(err)
			}
			cmd := command(t, "run", "kill.fio")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(time.Minute)
			for {
				if n, _ := acknowledged(t); n > 500 {
					break
				}
				if time.Now().After(deadline) {
					t.Error("no 500 blocks are acknowledged after a minute")
					break
				}
				time.Sleep(5 * time.Millisecond) // sleep: looks at another process at intervals
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed, as it should be
			if t.Failed() {
				return
			}
			want, last := acknowledged(t)
			code, out, errs := runEndio("run", "--json", "--verify-only", "kill.fio")
			if code != exitOK {
				t.Fatalf("verify after the kill: exit %d: %s", code, errs)
			}
			if v := decode(t, out).Jobs[0].Endio.Verify; v.Acknowledged != want || v.Errors != 0 || v.Units < want-16 {
				t.Errorf("verified %+v, want all %d acknowledged units", v, want)
			}
			// Lose one.
			f, err := os.OpenFile("data", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt(make([]byte, 4096), last.Offset)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			code, out, errs = runEndio("run", "--json", "--verify-only", "kill.fio")
			if v := decode(t, out).Jobs[0].Endio.Verify; code != exitFailed || v.Errors != 1 {
				t.Errorf("with a lost block: exit %d, %+v, %s; want 1 and one error", code, v, errs)
			}
		})
	}
}

// TestInterrupted sends SIGINT: the job stops, prints what it has measured,
// removes its file, and the exit code is 1.
func TestInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	job := fmt.Sprintf(killJob, "sync=dsync") + "unlink=1\n"
	if err := os.WriteFile("kill.fio", []byte(job), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "run", "--json", "--progress=always", "kill.fio")
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first progress line says that the job runs; there may be nothing in flight
	// for the moment.
	progress := regexp.MustCompile(`1 running, write .*, (0 in flight|\d+ in flight \(caller \d+\)), `)
	var line [512]byte
	n, err := stderr.Read(line[:])
	if err != nil || !progress.Match(line[:n]) {
		t.Errorf("progress line %q, %v", line[:n], err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil || !strings.Contains(string(rest), "stopping") {
		t.Errorf("stderr after SIGINT: %q, %v", rest, err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("Wait = %v, want exit code %d", err, exitFailed)
	}
	r := decode(t, out.String())
	if !r.Endio.Interrupted || r.Jobs[0].Write.Total == 0 {
		t.Errorf("report %+v, want what was measured until the interrupt", r)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v; want the job file only", left, err)
	}
}

// TestRunExitCodes checks codes and messages.
func TestRunExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"ok.fio":    "[a]\nrw=write\nsize=64k\nunlink=1\n",
		"bad.fio":   "[a]\nrw=wrote\n",
		"warn.fio":  "[a]\nrw=write\nsize=64k\niodepth=4\nunlink=1\n",
		"dir.fio":   "[a]\nfilename=.\nsize=64k\n",
		"none.fio":  "[a]\nrw=read\nfilename=nothing\n",
		"align.fio": "[a]\nrw=write\nbs=1000\nsize=64k\ndirect=1\nioengine=io_uring\nunlink=1\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"ok.fio", exitOK, ""},
		{"ok.fio --assert write.total_ios==16", exitOK, ""},
		{"ok.fio --assert write.total_ios>16", exitFailed, "assert write.total_ios>16: FAILED: job a has 16"},
		{"ok.fio --assert write.total>16", exitBadInput, `there is no "total" in write`},
		{"ok.fio --parse-only --assert x", exitBadInput, "want [JOB/]PATH"},
		{"bad.fio --parse-only", exitBadInput, `bad.fio:2:1: rw: "wrote" is not supported: the nearest is "write"`},
		{"warn.fio", exitOK, "warning: warn.fio:4:1: ioengine=psync waits for each operation"},
		{"missing.fio", exitBadInput, "no such file"},
		{"dir.fio", exitBadInput, "dir.fio:1:1: job a: . is a directory"},
		{"none.fio", exitBadInput, "size= or filesize= says how large"},
		{"align.fio", exitFailed, "not aligned for direct I/O"},
		{"ok.fio --section b", exitBadInput, "no job named b: it has a"},
		{"ok.fio --verify-only", exitBadInput, "no job in the file verifies"},
		{"ok.fio --runtime=-1s", exitBadInput, "is negative"},
		{"ok.fio --output-format terse", exitBadInput, "normal"},
		{"ok.fio -o no/such/dir", exitFailed, "no such file"},
	} {
		code, _, stderr := runEndio(append([]string{"run"}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("endio run %s: exit %d, want %d; stderr %q, want %q", tt.args, code, tt.code, stderr, tt.stderr)
		}
	}
	if left, err := filepath.Glob("a.*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestInputIsKept: what a verb reads is not what it overwrites.
func TestInputIsKept(t *testing.T) {
	dir := t.TempDir()
	job, link := filepath.Join(dir, "j.fio"), filepath.Join(dir, "link")
	const text = "[j]\nrw=read\nsize=4k\n"
	if err := errors.Join(os.WriteFile(job, []byte(text), 0o666), os.Symlink(job, link)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run", job, "-o", link}, {"replay", job, "--on", link}} {
		if args[0] == "replay" {
			if err := os.WriteFile(job, []byte("write 0x0 0x200 0x0\n"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.ReadFile(job)
		code, out, errs := runEndio(args...)
		after, _ := os.ReadFile(job)
		if code != exitBadInput || !strings.Contains(errs, "itself, which would be overwritten") || !bytes.Equal(before, after) {
			t.Errorf("%v: exit %d, %q, %q; the file holds %q, and held %q", args, code, out, errs, after, before)
		}
	}
}
