// SPDX-License-Identifier: Apache-2.0

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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio/internal/noring"
)

// limits is what a test takes away from endio before it runs, as a list of
// NAME=VALUE in the environment: fsize, nofile and memlock (bytes or a number),
// user (a number), noring.
const limits = "ENDIO_TEST_LIMITS"

func init() {
	resources := map[string]int{"fsize": unix.RLIMIT_FSIZE, "nofile": unix.RLIMIT_NOFILE, "memlock": unix.RLIMIT_MEMLOCK}
	for _, limit := range strings.Fields(os.Getenv(limits)) {
		name, value, _ := strings.Cut(limit, "=")
		n, err := strconv.Atoi(value)
		switch resource, ok := resources[name]; {
		case err != nil:
		case ok:
			err = unix.Setrlimit(resource, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)})
		case name == "user":
			err = syscall.Setuid(n)
		case name == "noring":
			err = noring.Forbid()
		default:
			err = errors.New("no such limit")
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", limit, err)
			os.Exit(99)
		}
	}
}

// nobody is a user without rights, for tests that root runs.
const nobody = "user=65534"

// mounted makes a file system in directory name for the test, or skips it.
func mounted(name, kind, options string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if os.Geteuid() != 0 {
			t.Skip("needs root, to mount a file system")
		}
		dir, err := filepath.Abs(name)
		if err == nil {
			err = os.Mkdir(dir, 0o777)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
			t.Skipf("no %s can be mounted: %v", kind, err)
		}
		t.Cleanup(func() {
			// A process that has ended may hold its files for a moment more, in its rings.
			for tries := 0; ; tries++ {
				if err := unix.Unmount(dir, 0); err != unix.EBUSY || tries == 1000 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				time.Sleep(10 * time.Millisecond) // sleep: looks at the system at intervals
			}
		})
	}
}

// readOnly makes what is mounted at name read-only, with a file in it.
func readOnly(name string, mount func(*testing.T)) func(t *testing.T) {
	return func(t *testing.T) {
		mount(t)
		if err := os.WriteFile(filepath.Join(name, "f"), make([]byte, 64<<10), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("", name, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// file makes a file of 64 KiB.
func file(name string, mode os.FileMode) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if err := errors.Join(os.WriteFile(name, make([]byte, 64<<10), 0o666), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
	}
}

func directory(name string, mode os.FileMode) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if err := errors.Join(os.Mkdir(name, 0o777), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
	}
}

// direct skips the test where files can not be opened for direct I/O.
func direct(t *testing.T) {
	f, err := os.OpenFile("probe", os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		t.Skip("the file system of the temporary directory has no direct I/O")
	}
	if err := errors.Join(err, f.Close(), os.Remove("probe")); err != nil {
		t.Fatal(err)
	}
}

// a second job, which has to run whatever becomes of the first one.
const second = "\n[after]\nstonewall\nrw=write\nsize=64k\nunlink=1\n"

// asyncJob starts a job with operations in flight.
const asyncJob = "[a]\nioengine=io_uring\niodepth=8\n"

// TestBadJobs runs job files that ask for what can not be done. Each ends, says
// what was asked, on what and why it can't be, exits with the right code, leaves
// nothing but what it did, and reports the jobs that could run.
func TestBadJobs(t *testing.T) {
	aligned := "offsets and lengths must be multiples of (512|4096) bytes, and %s does not give such: change it, or use direct=0"
	onlyRoot := os.Geteuid() != 0
	for _, tt := range []struct {
		name   string
		before func(t *testing.T)
		limits string
		args   string
		job    string

		code   int
		stderr string   // a regular expression
		errnos string   // of the jobs in the report, a regular expression; "" if there is none
		left   []string // beside what before has made
	}{
		{name: "bs", before: direct, job: asyncJob + "direct=1\nrw=write\nbs=1000\nsize=64k" + second, code: 1,
			stderr: "x.fio:1:1: job a.0: a.0.0: not aligned for direct I/O: " + fmt.Sprintf(aligned, `a block of 1000 bytes \(bs\)`), errnos: "a:22:0 after:0:16"},
		{name: "bs of blocking calls", before: direct, job: "[a]\ndirect=1\nrw=read\nbs=1000\nsize=64k" + second, code: 1, stderr: fmt.Sprintf(aligned, `a block of 1000 bytes \(bs\)`), errnos: "a:22:0 after:0:16"},
		{name: "bssplit", before: direct, job: asyncJob + "direct=1\nrw=write\nbssplit=4k/50:100/50\nsize=64k", code: 1, stderr: fmt.Sprintf(aligned, `a block of 100 bytes \(bssplit\)`), errnos: "a:22:0"},
		{name: "bs_unaligned", before: direct, job: asyncJob + "direct=1\nrw=write\nbsrange=4k-64k\nbs_unaligned\nsize=64k", code: 1, stderr: fmt.Sprintf(aligned, `a range of 4096 to 65536 bytes with bs_unaligned`), errnos: "a:22:0"},
		{name: "offset", before: direct, job: asyncJob + "direct=1\nrw=write\noffset=100\nsize=64k", code: 1, stderr: fmt.Sprintf(aligned, `a start at byte 100 \(offset, offset_increment\)`), errnos: "a:22:0"},
		{name: "offset_increment", before: direct, job: asyncJob + "direct=1\nrw=write\noffset_increment=100\nnumjobs=2\nsize=64k\nfilename=f\nunlink=1", code: 1, stderr: "job a.1: .*" + fmt.Sprintf(aligned, `a start at byte 100 \(offset, offset_increment\)`), errnos: "a:0:16 a:22:0"},
		{name: "blockalign", before: direct, job: asyncJob + "direct=1\nrw=randwrite\nba=100\nsize=64k", code: 1, stderr: fmt.Sprintf(aligned, `blockalign=100`), errnos: "a:22:0"},
		{name: "skip", before: direct, job: asyncJob + "direct=1\nrw=write:100\nsize=64k", code: 1, stderr: fmt.Sprintf(aligned, `a step of 100 bytes \(rw=write:100\)`), errnos: "a:22:0"},
		{name: "size", before: direct, job: asyncJob + "direct=1\nrw=write\nsize=65000\nunlink=1", code: 0, stderr: "^$", errnos: "a:0:15"}, // as fio: whole blocks only
		{name: "no direct I/O", before: mounted("ram", "ramfs", ""), job: asyncJob + "direct=1\nrw=write\nsize=64k\ndirectory=ram" + second, code: 1,
			stderr: `open ram/a.0.0: the file system has no direct I/O: .*direct=0 in the job file`, errnos: "a:22:0 after:0:16"},
		{name: "no holes", before: mounted("ram", "ramfs", ""), job: "[a]\nrw=trim\nsize=64k\ndirectory=ram\nunlink=1" + second, code: 1,
			stderr: `a.0.0 4096 bytes at 0: operation not supported`, errnos: "a:95:0 after:0:16"},

		{name: "read-only file", before: file("f", 0o444), limits: nobody, job: "[a]\nrw=randwrite\nfilename=f" + second, code: 1, stderr: "job a.0: open f: permission denied", errnos: "a:13:0 after:0:16"},
		{name: "unreadable file", before: file("f", 0o200), limits: nobody, job: "[a]\nrw=read\nfilename=f" + second, code: 1, stderr: "job a.0: open f: permission denied", errnos: "a:13:0 after:0:16"},
		{name: "directory not writable", before: directory("d", 0o555), limits: nobody, job: "[a]\nrw=write\nsize=64k\ndirectory=d" + second, code: 1, stderr: "job a.0: lay out d/a.0.0 with 65536 bytes: permission denied", errnos: "a:13:0 after:0:16"},
		{name: "read-only file system", before: readOnly("ro", mounted("ro", "tmpfs", "size=1m")), job: "[new]\nrw=write\nsize=64k\ndirectory=ro\n[old]\nrw=write\nfilename=ro/f\n[read]\nrw=read\nfilename=ro/f\n" + second, code: 1,
			stderr: `(?s)lay out ro/new.0.0 with 65536 bytes: read-only file system.*open ro/f: read-only file system`, errnos: "new:30:0 old:30:0 read:0:16 after:0:16"},

		{name: "negative", job: "[a]\nrw=write\nsize=-64k\noffset=-1\nio_size=-5\nnumber_ios=-1", code: 2, stderr: `(?s)x.fio:3:1: size: "-64k" is negative.*x.fio:4:1: offset: "-1" is negative.*x.fio:5:1.*x.fio:6:1`},
		{name: "overflow of a number", job: "[a]\nrw=write\nsize=9999999999g", code: 2, stderr: `x.fio:3:1: size: "9999999999g" is larger than 9223372036854775807 bytes`},
		{name: "overflow of an offset", job: "[a]\nrw=write\nsize=1m\noffset=9223372036854775807", code: 2, stderr: `offset 9223372036854775807 and size 1048576 exceed the largest offset`},
		{name: "overflow of increments", job: "[a]\nrw=write\nsize=1m\noffset_increment=4611686018427387904\nnumjobs=5", code: 2, stderr: `2 times offset_increment 4611686018427387904 exceed the largest offset`},
		{name: "larger than any file", job: "[a]\nrw=write\nsize=1m\noffset=8000000t" + second, code: 1, stderr: `lay out a.0.0 with 8796093022209048576 bytes: (file too large|no space left on device)`, errnos: "a:(27|28):0 after:0:16"}, // tmpfs has no largest file
		{name: "larger than memory", job: asyncJob + "iodepth=32768\nbs=1g\nrw=write\nsize=1g", code: 2, stderr: `takes buffers of 32 TiB`},

		{name: "a directory", before: directory("d", 0o777), job: "[a]\nrw=read\nfilename=d\nsize=64k", code: 2, stderr: "x.fio:1:1: job a: d is a directory: jobs run on files and block devices"},
		{name: "a missing file", job: "[a]\nrw=read\nfilename=none", code: 2, stderr: "job a: none: the file does not exist or is empty: size= or filesize= says how large"},
		{name: "a missing directory", job: "[a]\nrw=read\nsize=64k\ndirectory=none/at/all", code: 2, stderr: "job a: none/at/all/a.0.0: directory none/at/all does not exist"},
		{name: "a file as directory", before: file("f", 0o666), job: "[a]\nrw=read\nsize=64k\ndirectory=f", code: 2, stderr: "f/a.0.0: not a directory"},
		{name: "a file without size", before: func(t *testing.T) { t.Helper(); file("f", 0o666)(t); check(t, os.Truncate("f", 0)) }, job: "[a]\nrw=write\nfilename=f", code: 2, stderr: "f: the file does not exist or is empty"},

		{name: "disk full", before: mounted("small", "tmpfs", "size=1m"), job: asyncJob + "rw=write\nsize=4m\nfallocate=none\nverify=crc32c\ndirectory=small" + second, code: 1,
			stderr: `job a.0: write small/a.0.0 4096 bytes at 1048576: no space left on device`, errnos: "a:28:256 after:0:16", left: []string{"small/a.0.0"}},
		{name: "disk full of blocking calls", before: mounted("small", "tmpfs", "size=1m"), job: "[a]\nrw=write\nsize=4m\nfallocate=none\ndirectory=small\nunlink=1" + second, code: 1,
			stderr: `write small/a.0.0 4096 bytes at 1048576: no space left on device`, errnos: "a:28:256 after:0:16"},
		{name: "disk full before the job", before: mounted("small", "tmpfs", "size=1m"), job: "[before]\nrw=write\nsize=64k\nunlink=1\n[a]\nstonewall\nrw=write\nsize=4m\ndirectory=small" + second, code: 1,
			stderr: `job a.0: lay out small/a.0.0 with 4194304 bytes: no space left on device`, errnos: "before:0:16 a:28:0 after:0:16"},
		{name: "disk full while laying out", before: mounted("small", "tmpfs", "size=1m"), job: "[a]\nnumjobs=2\nrw=read\nfallocate=none\nsize=4m\nfilename=small/f" + second, code: 1,
			stderr: `lay out small/f with 4194304 bytes: no space left on device`, errnos: "a:28:0 a:28:0 after:0:16"},
		{name: "disk full for the journal", before: mounted("small", "tmpfs", "size=4k"), job: "[a]\nrw=write\nsize=64m\nfilename=f\nsync=dsync\nverify=crc32c\n#endio: journal=small/j" + second, code: 1,
			stderr: `small/j: .*no space left on device`, errnos: "a:28:1 after:0:16", left: []string{"f", "small/j"}},
		{name: "file size limit", limits: "fsize=524288", job: asyncJob + "rw=write\nsize=1m\nfallocate=none\nunlink=1" + second, code: 1,
			stderr: `write a.0.0 4096 bytes at 524288: file too large: .*RLIMIT_FSIZE`, errnos: "a:27:128 after:0:16"},
		{name: "too many files", limits: "nofile=20", job: "[a]\nrw=write\nnrfiles=40\nsize=1m\nfallocate=none" + second, code: 1, stderr: `a.0.\d+: too many open files`, errnos: "a:24:0 after:0:16"},

		{name: "io_uring forbidden", limits: "noring=1", job: asyncJob + "rw=write\nsize=64k\nunlink=1", code: 0, stderr: "^$", errnos: "a:0:16 threads (.*operation not permitted.*)"},
		{name: "io_uring forbidden and wanted", limits: "noring=1", args: "--backend=io_uring", job: asyncJob + "rw=write\nsize=64k\nunlink=1", code: 1, stderr: "^endio: open engine: io_uring was asked for and can't be had: .*operation not permitted"},
		{name: "no memory for rings", limits: "memlock=0 " + nobody, job: asyncJob + "rw=write\nsize=64k\nunlink=1", code: 0, stderr: "^$", errnos: "a:0:16"},

		{name: "output in no directory", args: "-o none/out", job: "[a]\nrw=write\nsize=64k", code: 1, stderr: "^endio: --output: open none/out: no such file or directory"},
		{name: "unknown option", job: "[a]\nrw=write\nsize=64k\niodeth=4\nzonemode=zbd\n", code: 2, stderr: `(?s)x.fio:4:1: unknown option "iodeth".*did you mean iodepth.*x.fio:5:1: fio's option "zonemode" is not supported.*nearest`},
		{name: "binary", job: "\x00\xff\x7fELF\n\x01\x02[a]\n", code: 2, stderr: `x.fio:1:1: option .* stands outside of a section`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.limits, "user=") && onlyRoot {
				tt.limits = strings.TrimSpace(strings.ReplaceAll(tt.limits, nobody, ""))
			}
			t.Chdir(t.TempDir())
			check(t, os.Chmod(".", 0o777)) // for nobody
			if tt.before != nil {
				tt.before(t)
			}
			check(t, os.WriteFile("x.fio", []byte(tt.job), 0o666))
			had := tree(t)
			code, stdout, stderr := limited(t, tt.limits, append(append([]string{"run", "--json"}, strings.Fields(tt.args)...), "x.fio")...)
			if code != tt.code || !regexp.MustCompile(tt.stderr).MatchString(stderr) {
				t.Errorf("exit %d, want %d; stderr %q, want %q", code, tt.code, stderr, tt.stderr)
			}
			want, backend, _ := strings.Cut(tt.errnos, " threads")
			if got := outcomes(t, stdout); !regexp.MustCompile("^" + want + "$").MatchString(got) {
				t.Errorf("jobs %q, want %q", got, want)
			}
			if backend != "" && !regexp.MustCompile(`"backend": "threads`+backend).MatchString(stdout) {
				t.Errorf("the report does not say why it uses threads: %s", stdout)
			}
			left := slices.DeleteFunc(tree(t), func(name string) bool { return slices.Contains(had, name) })
			if !slices.Equal(left, tt.left) {
				t.Errorf("left behind: %q, want %q", left, tt.left)
			}
		})
	}
}

// tree lists the files below the working directory, but for directories.
func tree(t *testing.T) (names []string) {
	t.Helper()
	check(t, filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	}))
	return names
}

// outcomes returns NAME:ERRNO:OPERATIONS of each job of a report.
func outcomes(t *testing.T, report string) string {
	t.Helper()
	if report == "" {
		return ""
	}
	type ios struct {
		N int64 `json:"total_ios"`
	}
	var r struct {
		Jobs []struct {
			Name              string `json:"jobname"`
			Error             int
			Read, Write, Trim ios
		}
	}
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatalf("the output is no JSON: %v: %s", err, report)
	}
	var list []string
	for _, j := range r.Jobs {
		list = append(list, fmt.Sprintf("%s:%d:%d", j.Name, j.Error, j.Read.N+j.Write.N+j.Trim.N))
	}
	return strings.Join(list, " ")
}

// limited runs endio as a process of its own with limits on it. It fails the test
// if the process does not end, or panics.
func limited(t *testing.T, limit string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, limits+"="+limit)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	check(t, cmd.Start())
	// With SIGQUIT the runtime says where it hangs.
	hangs := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	err := cmd.Wait()
	if !hangs.Stop() {
		t.Errorf("endio hangs: %s", errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if regexp.MustCompile(`panic:|fatal error:|goroutine \d+ \[`).MatchString(errs.String()) {
		t.Errorf("endio panics: %s", errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestNobodyReads closes what the progress lines are written to: the run stops,
// and removes its file.
func TestNobodyReads(t *testing.T) {
	t.Chdir(t.TempDir())
	check(t, os.WriteFile("x.fio", []byte("[a]\nrw=randwrite\nsize=1m\ntime_based\nruntime=1h\nunlink=1\n"), 0o666))
	cmd := command(t, "run", "--progress=always", "--json", "x.fio")
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	check(t, err)
	check(t, cmd.Start())
	if n, err := io.ReadAtLeast(stderr, make([]byte, 512), 1); err != nil {
		t.Errorf("no progress line: %d bytes, %v", n, err)
	}
	check(t, stderr.Close())
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("Wait = %v, want exit code %d", err, exitFailed)
	}
	if r := decode(t, out.String()); !r.Endio.Interrupted || r.Jobs[0].Write.Total == 0 {
		t.Errorf("report %+v, want what was measured until then", r)
	}
	if left := tree(t); !slices.Equal(left, []string{"x.fio"}) {
		t.Errorf("left behind: %q", left)
	}
}

// TestInterruptedLayout stops endio while it makes a file for a job that reads:
// half a file is of no use to a later run, which would take it for a whole one.
func TestInterruptedLayout(t *testing.T) {
	t.Chdir(t.TempDir())
	check(t, os.WriteFile("x.fio", []byte("[a]\nrw=read\nfallocate=none\nsize=8g\nverify=crc32c\n"), 0o666))
	cmd := command(t, "run", "--json", "x.fio")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	check(t, cmd.Start())
	for {
		if info, err := os.Stat("a.0.0"); err == nil && info.Size() > 0 {
			break
		}
		time.Sleep(time.Millisecond) // sleep: looks at another process at intervals
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("Wait = %v, want exit code %d; %s", err, exitFailed, errs.String())
	}
	if r := decode(t, out.String()); !r.Endio.Interrupted || r.Jobs[0].Error != 0 {
		t.Errorf("report %+v, want an interrupted run without an error", r)
	}
	if left := tree(t); !slices.Equal(left, []string{"x.fio"}) {
		t.Errorf("left behind: %q", left)
	}
}
