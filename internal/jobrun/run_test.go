// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"endio/fiojob"
	"endio/internal/verify"
)

// plan parses a job file whose files are in dir and plans it.
func plan(t *testing.T, dir, text string, options PlanOptions) *Plan {
	t.Helper()
	file, err := fiojob.Parse("x.fio", []byte("[global]\ndirectory="+dir+"\n"+text), fiojob.Env{})
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	p, err := NewPlan(file, options)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return p
}

// run runs a job file in dir on engine and returns its report.
func run(t *testing.T, engine *testEngine, dir, text string) (*Report, *Result) {
	t.Helper()
	result, err := Run(context.Background(), plan(t, dir, text, PlanOptions{}), engine, Options{})
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	return NewReport(result, "test"), result
}

// TestCounts runs job files and checks how many operations of each kind there are.
// TestCountsOfFio of cmd/endio compares more with fio itself.
func TestCounts(t *testing.T) {
	type counts struct{ reads, writes, trims, syncs int64 }
	for _, tt := range []struct {
		name, job string
		want      counts
	}{
		{"write", "rw=write\nsize=1m", counts{0, 256, 0, 0}},
		{"read lays out", "rw=read\nsize=1m", counts{256, 0, 0, 0}},
		{"last block is cut off", "rw=write\nsize=100k\nbs=64k", counts{0, 1, 0, 0}},
		{"odd block size", "rw=write\nsize=100k\nbs=1000", counts{0, 102, 0, 0}},
		{"io_size above size", "rw=randwrite\nsize=4m\nio_size=8m", counts{0, 2048, 0, 0}},
		{"io_size below size", "rw=randwrite\nsize=4m\nio_size=25%", counts{0, 256, 0, 0}},
		{"number_ios", "rw=randwrite\nsize=4m\nnumber_ios=100", counts{0, 100, 0, 0}},
		{"fsync", "rw=write\nsize=4m\nfsync=16", counts{0, 1024, 0, 63}},
		{"fsync and fdatasync", "rw=write\nsize=1m\nfsync=32\nfdatasync=7", counts{0, 256, 0, 42}},
		{"whole blocks of each file", "rw=write\nsize=1000k\nbs=64k\nnrfiles=4", counts{0, 12, 0, 0}},
		{"size beyond the files", "rw=write\nfilesize=64k\nnrfiles=4\nsize=512k", counts{0, 64, 0, 0}},
		{"nrfiles", "rw=randwrite\nfilesize=4m\nnrfiles=2", counts{0, 2048, 0, 0}},
		{"size percent", "rw=write\nfilesize=4m\nsize=50%", counts{0, 512, 0, 0}},
		{"bs by direction", "rw=write\nsize=1m\nbs=4k,8k", counts{0, 128, 0, 0}},
		{"numjobs", "rw=write\nsize=1m\nnumjobs=3", counts{0, 768, 0, 0}},
		{"numjobs in a group", "rw=write\nsize=1m\nnumjobs=3\ngroup_reporting", counts{0, 768, 0, 0}},
		{"loops and verify", "rw=randwrite\nsize=4m\nverify=crc32c\nloops=3", counts{3072, 3072, 0, 0}},
		{"no verify phase", "rw=randwrite\nsize=4m\nverify=crc32c\ndo_verify=0", counts{0, 1024, 0, 0}},
		{"skips", "rw=write:4k\nsize=1m", counts{0, 256, 0, 0}},
		{"trim", "rw=randtrim\nsize=1m", counts{0, 0, 256, 0}},
		{"trim and write", "rw=randtrimwrite\nsize=1m", counts{0, 128, 128, 0}},
		{"mixed, reads only", "rw=randrw\nrwmixread=100\nsize=1m", counts{256, 0, 0, 0}},
		{"mixed, writes only", "rw=randrw\nrwmixwrite=100\nsize=1m", counts{0, 256, 0, 0}},
		{"zipf", "rw=randread\nrandom_distribution=zipf\nsize=1m", counts{256, 0, 0, 0}},
		{"end_fsync", "rw=write\nsize=1m\nend_fsync=1", counts{0, 256, 0, 1}},
		{"offset percent", "rw=write\nfilesize=4m\noffset=50%", counts{0, 512, 0, 0}},
	} {
		for _, engine := range []string{"psync", "io_uring"} {
			t.Run(tt.name+"/"+engine, func(t *testing.T) {
				text := "[a]\nioengine=" + engine + "\n" + tt.job + "\n"
				if engine == "io_uring" {
					text += "iodepth=8\niodepth_batch=4\niodepth_batch_complete=2\niodepth_batch_complete_max=3\n"
				}
				report, result := run(t, newTestEngine(), t.TempDir(), text)
				if err := result.Failed(); err != nil {
					t.Fatal(err)
				}
				var got counts
				for _, j := range report.Jobs {
					got.reads += j.Read.Total
					got.writes += j.Write.Total
					got.trims += j.Trim.Total
					got.syncs += j.Sync.Total
				}
				if got != tt.want {
					t.Errorf("operations = %+v, want %+v", got, tt.want)
				}
			})
		}
	}
}

// TestVerifyFinds checks that what is written is verified, and that each way of
// spoiling it is found.
func TestVerifyFinds(t *testing.T) {
	// Spoils the last write: nothing is written over it.
	last := func(spoil func(f *testFile, r *Request) (int, error)) func() func(*testFile, *Request) (int, error, bool) {
		return func() func(*testFile, *Request) (int, error, bool) {
			writes := 0
			return func(f *testFile, r *Request) (int, error, bool) {
				if r.Kind != OpWrite {
					return 0, nil, false
				}
				if writes++; writes != 256 {
					return 0, nil, false
				}
				n, err := spoil(f, r)
				return n, err, true
			}
		}
	}
	for _, tt := range []struct {
		name, want string
		errors     int64
		hook       func() func(*testFile, *Request) (int, error, bool)
	}{
		{"nothing", "", 0, func() func(*testFile, *Request) (int, error, bool) { return nil }},
		{"lost write", "no verify header", 1, last(func(f *testFile, r *Request) (int, error) { return r.Len, nil })},
		{"flipped bit", "of the data", 1, last(func(f *testFile, r *Request) (int, error) {
			spoilt := bytes.Clone(r.Buf[:r.Len])
			spoilt[1000] ^= 4
			return f.WriteAt(spoilt, r.Off)
		})},
		{"torn write", "of the data", 1, last(func(f *testFile, r *Request) (int, error) {
			n, err := f.WriteAt(r.Buf[:512], r.Off)
			return n + r.Len - 512, err
		})},
		{"misplaced write", "offset in the header", 2, last(func(f *testFile, r *Request) (int, error) {
			return f.WriteAt(r.Buf[:r.Len], (r.Off+1<<19)%(1<<20))
		})},
	} {
		for _, sum := range []string{"crc32c", "xxhash", "sha256"} {
			t.Run(tt.name+"/"+sum, func(t *testing.T) {
				engine := newTestEngine()
				engine.hook = tt.hook()
				_, result := run(t, engine, t.TempDir(), "[a]\nioengine=io_uring\niodepth=4\nrw=randwrite\nsize=1m\nverify="+sum+"\n")
				err := result.Failed()
				if tt.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				got := result.Plan.Waves[0].Clones[0].stats.verified.Errors
				if err == nil || got != tt.errors || !errors.Is(err, syscall.EILSEQ) {
					t.Fatalf("%d errors, %v; want %d with EILSEQ", got, err, tt.errors)
				}
				if text := fmt.Sprint(result.Messages); !strings.Contains(text, tt.want) {
					t.Errorf("messages %s, want %q", text, tt.want)
				}
			})
		}
	}
}

// TestVerifyFatal checks that verify_fatal ends at the first wrong unit.
func TestVerifyFatal(t *testing.T) {
	for fatal, want := range map[string]int64{"0": 256, "1": 1} {
		engine := newTestEngine()
		engine.hook = func(f *testFile, r *Request) (int, error, bool) { return r.Len, nil, r.Kind == OpWrite }
		_, result := run(t, engine, t.TempDir(), "[a]\nrw=write\nsize=1m\nverify=crc32c\nfallocate=truncate\nverify_fatal="+fatal+"\n")
		if got := result.Plan.Waves[0].Clones[0].stats.verified.Errors; got != want {
			t.Errorf("verify_fatal=%s: %d errors, want %d", fatal, got, want)
		}
	}
}

// TestOverwrites writes each block many times, at random and several at once:
// the last generation counts, and two writes never overlap in flight.
func TestOverwrites(t *testing.T) {
	engine := newTestEngine()
	report, result := run(t, engine, t.TempDir(), `
[a]
ioengine=io_uring
iodepth=32
rw=randrw
rwmixread=40
norandommap
bssplit=4k/50:8k/30:16k/20
size=128k
io_size=16m
filename=shared
verify=xxhash
numjobs=3
group_reporting
`)
	if err := result.Failed(); err != nil {
		t.Fatal(err)
	}
	j := report.Jobs[0]
	if engine.overlaps > 0 {
		t.Errorf("%d writes overlapped in flight", engine.overlaps)
	}
	if j.Endio.Conflicts == 0 {
		t.Error("no write ever waited for another: the test does not test")
	}
	if v := j.Endio.Verify; v.Units < 1000 || v.Errors != 0 {
		t.Errorf("verified %+v, want more than 1000 units and no error", v)
	}
}

// TestFallocateOverOwnIO checks that the blocking calls come while the clone's
// own operations are in flight, and that the file is as large as before.
func TestFallocateOverOwnIO(t *testing.T) {
	engine, dir := newTestEngine(), t.TempDir()
	report, result := run(t, engine, dir, `
[a]
ioengine=io_uring
iodepth=16
rw=randwrite
overwrite=1
size=1m
filename=f
verify=crc32c
#endio: fallocate_every=10 truncate_every=25
`)
	if err := result.Failed(); err != nil {
		t.Fatal(err)
	}
	if f, tr := report.Jobs[0].Endio.Fallocate, report.Jobs[0].Endio.Truncate; f.Calls != 25 || tr.Calls != 10 || f.InFlight < 1 || tr.InFlight < 1 {
		t.Errorf("fallocate %+v, truncate %+v; want 25 and 10 calls over I/O in flight", f, tr)
	}
	if d := report.Jobs[0].Endio.Drains; d.Calls != 35 || d.Lat.N != 35 {
		t.Errorf("drains %+v, want 35: fallocates and truncates", d)
	}
	if engine.blockedN["fallocate"] < 20 || engine.blockedN["truncate"] < 8 {
		t.Errorf("calls with I/O in flight: %v", engine.blockedN)
	}
	if info, err := os.Stat(filepath.Join(dir, "f")); err != nil || info.Size() != 1<<20 {
		t.Errorf("size is %v, %v, want 1 MiB: the last truncate is after the last fallocate", info.Size(), err)
	}
}

// TestJobError checks that an error of an operation ends its job, is reported
// with its number, and leaves nothing in flight.
func TestJobError(t *testing.T) {
	for _, kind := range []Kind{OpWrite, OpSync} {
		engine := newTestEngine()
		engine.hook = func(f *testFile, r *Request) (int, error, bool) {
			return 0, &os.PathError{Op: "write", Path: f.path, Err: syscall.ENOSPC}, r.Kind == kind && r.Off+int64(kind) >= 1<<19 || kind == OpSync && r.Kind == OpSync
		}
		report, result := run(t, engine, t.TempDir(), "[a]\nioengine=io_uring\niodepth=8\nrw=write\nsize=1m\nfsync=100\nverify=crc32c\n[b]\nrw=read\nsize=64k\nstonewall\n")
		if err := result.Failed(); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "job a.0") {
			t.Errorf("%v: Failed() = %v, want ENOSPC of job a", kind, err)
		}
		if report.Jobs[0].Error != int(syscall.ENOSPC) || report.Jobs[1].Error != 0 || report.Jobs[1].Read.Total != 16 {
			t.Errorf("%v: errors %d and %d, %d reads of b", kind, report.Jobs[0].Error, report.Jobs[1].Error, report.Jobs[1].Read.Total)
		}
		if n := engine.inFlight.Load(); n != 0 {
			t.Errorf("%v: %d operations are still in flight", kind, n)
		}
	}
}

// TestShortRead checks that a read at the end of a file that shrinks is an error.
func TestShortRead(t *testing.T) {
	engine := newTestEngine()
	engine.hook = func(f *testFile, r *Request) (int, error, bool) { return r.Len / 2, nil, r.Off == 8192 }
	report, result := run(t, engine, t.TempDir(), "[a]\nrw=read\nsize=1m\n")
	if err := result.Failed(); err == nil || !strings.Contains(err.Error(), "2048 of 4096 bytes") {
		t.Errorf("Failed() = %v, want a short read", err)
	}
	if report.Jobs[0].Read.Short != 1 {
		t.Errorf("short_ios = %d, want 1", report.Jobs[0].Read.Short)
	}
}

// TestPlanErrors checks what is refused before anything runs.
func TestPlanErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	makePipe(t, filepath.Join(dir, "pipe"))
	for _, tt := range []struct{ job, want string }{
		{"rw=read", "the file does not exist or is empty: size= or filesize= says"},
		{"rw=read\nfilename=sub\nsize=1m", "is a directory"},
		{"rw=read\nfilename=pipe\nsize=1m", "is a pipe"},
		{"rw=read\nfilename=/dev/null\nsize=1m", "is a character device"},
		{"rw=write\nfilename=none/x\nsize=1m", "does not exist"},
		{"rw=write\nfilesize=1m\noffset=1m", "0 bytes at offset 1048576 have no room for a block of 4096"},
		{"rw=write\nsize=8k\nnrfiles=4", "have no room for a block"},
		{"rw=randwrite\nsize=64k\nblockalign=1m", "65536 bytes at offset 0 are less than one step of blockalign=1048576"},
		{"rw=write\nsize=1m\noffset=9223372036854775807", "offset 9223372036854775807 and size 1048576 exceed the largest offset"},
		{"rw=write\nsize=1m\noffset_increment=4611686018427387904\nnumjobs=5", "offset 0 and 2 times offset_increment 4611686018427387904 exceed"},
		{"rw=write\nsize=1m\nnumjobs=4000\n[b]\nrw=write\nsize=1m\nnumjobs=97", "with numjobs=97 there are more than 4096 jobs in all"},
		{"rw=write\nsize=1g\nbs=512\nnrfiles=524288\nnumjobs=3", "524288 files each of 3 jobs, with those that run at the same time, are more than 1048576 open files"},
		{"rw=write\nsize=1m\nverify=crc32c\noffset=1k", "verify needs offsets that are multiples of 4096"},
	} {
		file, err := fiojob.Parse("x.fio", []byte("[global]\ndirectory="+dir+"\n[a]\n"+tt.job+"\n"), fiojob.Env{})
		if err == nil {
			_, err = NewPlan(file, PlanOptions{})
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.job, err, tt.want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the plans left %v, %v", entries, err)
	}
}

// TestJournalsApart plans jobs whose journals would overwrite each other, or their data.
func TestJournalsApart(t *testing.T) {
	const one = "rw=write\nsize=64k\nverify=crc32c\nsync=dsync\n"
	t.Chdir(t.TempDir())
	for _, tt := range []struct{ job, want string }{
		{"[global]\n" + one + "#endio: journal=j\n[a]\n[b]\nstonewall\n", "job b: b.0.0: journal=j is that of a.0.0: name one for each"},
		{"[a]\n" + one + "filename=f\n#endio: journal=./f\n", "job a: journal=./f is a file that the jobs work on"},
		{"[a]\n" + one + "#endio: journal=f\n[b]\nrw=read\nsize=64k\nfilename=f\n", "job b: f is the journal of a.0.0"},
		{"[a]\n" + one + "nrfiles=2\nfilename_format=$filenum\n#endio: journal=j\n[b]\nstonewall\n" + one + "filename=0\n#endio: journal=j\n", ""},
	} {
		file, err := fiojob.Parse("x.fio", []byte(tt.job), fiojob.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = NewPlan(file, PlanOptions{}); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.job, err, tt.want)
		}
	}
}

// TestInterrupt checks that a cancelled run stops, has nothing in flight and
// reports what it did.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	engine := newTestEngine()
	var writes int
	engine.hook = func(f *testFile, r *Request) (int, error, bool) {
		if writes++; writes == 1000 {
			cancel()
		}
		return 0, nil, false
	}
	dir := t.TempDir()
	p := plan(t, dir, "[a]\nioengine=io_uring\niodepth=8\nrw=randwrite\nsize=1m\ntime_based\nruntime=1h\nverify=crc32c\nunlink=1\n[b]\nstonewall\nrw=read\nsize=1m\n", PlanOptions{})
	result, err := Run(ctx, p, engine, Options{})
	if err != nil || !result.Interrupted || result.Failed() != nil {
		t.Fatalf("Run = %v, interrupted %v, failed %v", err, result.Interrupted, result.Failed())
	}
	report := NewReport(result, "test")
	if got := int(report.Jobs[0].Write.Total); got < 990 || got > writes {
		t.Errorf("%d writes were measured, want 990 to %d, the number submitted", got, writes)
	}
	if len(report.Jobs) != 2 || report.Jobs[1].Read.Total != 0 {
		t.Errorf("the second wave ran, or is missing")
	}
	if n := engine.inFlight.Load(); n != 0 {
		t.Errorf("%d operations are still in flight", n)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("files are left: %v", entries)
	}
}

// TestJournal runs a job with a journal, then checks from the journal alone, as
// after a SIGKILL; then spoils what was acknowledged in several ways.
func TestJournal(t *testing.T) {
	for _, how := range []string{"sync=dsync", "fsync=8", "fdatasync=3", "end_fsync=1"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			journal, data := filepath.Join(dir, "journal"), filepath.Join(dir, "f")
			text := "[a]\nioengine=io_uring\niodepth=8\nrw=randwrite\nsize=256k\nio_size=1m\nnorandommap\nfilename=f\nverify=crc32c\n" + how + "\n#endio: journal=" + journal + "\n"
			_, result := run(t, newTestEngine(), dir, text)
			if err := result.Failed(); err != nil {
				t.Fatal(err)
			}
			check := func() (*Clone, error) {
				t.Helper()
				r, err := Run(context.Background(), plan(t, dir, text, PlanOptions{VerifyOnly: true}), newTestEngine(), Options{})
				if err != nil {
					t.Fatal(err)
				}
				return r.Plan.Waves[0].Clones[0], r.Failed()
			}
			c, err := check()
			v := c.stats.verified
			if err != nil || v.Acknowledged < 30 || v.Units != v.Acknowledged {
				t.Fatalf("verify after: %v, %+v; want at least 30 units acknowledged and found", err, v)
			}
			good, err := os.ReadFile(data)
			if err != nil {
				t.Fatal(err)
			}
			// The block of an acknowledged unit is lost, stale or swapped.
			for name, spoil := range map[string]func(b []byte){
				"zeroed": func(b []byte) { clear(b) },
				"bit":    func(b []byte) { b[77]++ },
			} {
				bad := bytes.Clone(good)
				for at := 0; at < len(bad); at += 4096 {
					spoil(bad[at : at+4096])
				}
				if err := os.WriteFile(data, bad, 0o666); err != nil {
					t.Fatal(err)
				}
				// A unit that was rewritten and not acknowledged again may be torn.
				c, err := check()
				if w := c.stats.verified; err == nil || w.Errors+w.Torn != v.Acknowledged || w.Errors < v.Acknowledged/2 {
					t.Errorf("%s: %v, %+v; want %d errors or torn units", name, err, w, v.Acknowledged)
				}
			}
			if err := os.Remove(journal); err != nil {
				t.Fatal(err)
			}
			if _, err := check(); err == nil || !strings.Contains(err.Error(), "run the job first") {
				t.Errorf("without a journal: %v", err)
			}
		})
	}
}

// TestAcknowledgedOnlyWhenDurable kills the run (as far as the journal can tell)
// before the sync that would cover the writes: nothing may be acknowledged.
func TestAcknowledgedOnlyWhenDurable(t *testing.T) {
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	text := "[a]\nioengine=io_uring\niodepth=8\nrw=write\nsize=64k\nfilename=f\nverify=crc32c\ndo_verify=0\nfsync=1000\n#endio: journal=" + journal + "\n"
	run(t, newTestEngine(), dir, text)
	r, err := Run(context.Background(), plan(t, dir, text, PlanOptions{VerifyOnly: true}), newTestEngine(), Options{})
	if err != nil || r.Failed() != nil {
		t.Fatal(err, r.Failed())
	}
	if v := r.Plan.Waves[0].Clones[0].stats.verified; v.Acknowledged != 0 {
		t.Errorf("%d units are acknowledged without a sync", v.Acknowledged)
	}
}

// TestAcksOfOneUnit writes few blocks many times between syncs: what waits for the sync is kept once for each block, and
// what is acknowledged is the last write.
func TestAcksOfOneUnit(t *testing.T) {
	dir := t.TempDir()
	text := "[a]\nioengine=io_uring\niodepth=8\nrw=randwrite\nnorandommap\nsize=64k\nio_size=64m\nfilename=f\nverify=crc32c\ndo_verify=0\nend_fsync=1\n#endio: journal=" + filepath.Join(dir, "journal") + "\n"
	_, r := run(t, newTestEngine(), dir, text)
	if n := cap(r.Plan.Waves[0].Clones[0].durable); n > 4*keptAcks {
		t.Errorf("room for %d writes was needed, want at most %d", n, 4*keptAcks)
	}
	r, err := Run(context.Background(), plan(t, dir, text, PlanOptions{VerifyOnly: true}), newTestEngine(), Options{})
	if err != nil || r.Failed() != nil {
		t.Fatal(err, r.Failed())
	}
	if v := r.Plan.Waves[0].Clones[0].stats.verified; v.Acknowledged != 16 || v.Units != 16 {
		t.Errorf("%+v, want all of 16 units", v)
	}
}

// TestVerifyOnly checks a job's data from another run, without a journal.
func TestVerifyOnly(t *testing.T) {
	dir := t.TempDir()
	text := "[a]\nrw=randwrite\nsize=256k\nfilename=f\nverify=sha256\nunlink=0\n"
	run(t, newTestEngine(), dir, text)
	again := func() (verifyStats, error) {
		_, r := run(t, newTestEngine(), dir, text+"verify_only\n")
		return r.Plan.Waves[0].Clones[0].stats.verified, r.Failed()
	}
	if v, err := again(); err != nil || v.Units != 64 {
		t.Errorf("verify_only: %v, %+v, want 64 units", err, v)
	}
	f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 3*4096+500); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := again(); err == nil || v.Errors != 1 {
		t.Errorf("verify_only of spoilt data: %v, %+v, want 1 error", err, v)
	}
	// A job that only reads verifies what it reads.
	if _, r := run(t, newTestEngine(), dir, "[a]\nrw=randread\nfilename=f\nverify=sha256\n"); r.Failed() == nil {
		t.Error("a reader finds nothing wrong with spoilt data")
	}
}

// TestRates checks, without measuring time, that a rate makes operations due
// when it says.
func TestRates(t *testing.T) {
	p := plan(t, t.TempDir(), "[a]\nrw=rw\nsize=1m\nrate=1m,2m\n[b]\nrw=rw\nsize=1m\nrate_iops=,100\n", PlanOptions{})
	a, b := p.Waves[0].Clones[0], p.Waves[0].Clones[1]
	a.measuring, b.measuring = true, true
	a.issued.add(fiojob.Read, 512<<10)
	a.issued.add(fiojob.Write, 512<<10)
	b.issued.add(fiojob.Write, 4096)
	for _, tt := range []struct {
		c    *Clone
		dir  fiojob.Dir
		now  int64
		want string
	}{
		{a, fiojob.Read, 0, "500ms"}, {a, fiojob.Read, 4e8, "100ms"}, {a, fiojob.Read, 6e8, "0s"}, {a, fiojob.Write, 0, "250ms"},
		{b, fiojob.Read, 0, "0s"}, {b, fiojob.Write, 0, "10ms"},
	} {
		if got := tt.c.untilRate(tt.dir, tt.now).String(); got != tt.want {
			t.Errorf("job %s: untilRate(%v) at %d = %s, want %s", tt.c.Job.Name, tt.dir, tt.now, got, tt.want)
		}
	}
	if dir, wait := a.direction(3e8); dir != fiojob.Write || wait != 0 {
		t.Errorf("direction = %v, %v: a read is not due, a write is", dir, wait)
	}
}

// TestEndsInTime has jobs that pause for longer than they may run, and one that is
// stopped while it spins.
func TestEndsInTime(t *testing.T) {
	const long = 20 * time.Second // so long takes the test where a pause does not end with its job
	for _, job := range []string{
		"rate=1\nruntime=20ms", "rate_iops=1\nnumber_ios=100\nruntime=20ms", "thinktime=20s\nruntime=20ms",
		"thinktime=20s\nthinktime_spin=20s\nruntime=20ms", "thinktime=20s\nthinktime_spin=20s",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		engine := newTestEngine()
		interrupts := !strings.Contains(job, "runtime")
		engine.hook = func(*testFile, *Request) (int, error, bool) {
			if interrupts {
				cancel()
			}
			return 0, nil, false
		}
		start := time.Now()
		result, err := Run(ctx, plan(t, t.TempDir(), "[a]\nrw=write\nsize=1m\n"+job+"\n", PlanOptions{}), engine, Options{})
		cancel()
		if err := errors.Join(err, result.Failed()); err != nil {
			t.Errorf("%q: %v", job, err)
		}
		if took := time.Since(start); result.Interrupted != interrupts || took >= long {
			t.Errorf("%q took %v, interrupted %v", job, took, result.Interrupted)
		}
	}
}

// TestLongest has a job whose ramp and runtime are together longer than there are numbers.
func TestLongest(t *testing.T) {
	c := plan(t, t.TempDir(), "[a]\nrw=write\nsize=1m\ntime_based\nruntime=100000d\nramp_time=100000d\nstartdelay=100000d\n", PlanOptions{}).Waves[0].Clones[0]
	day := int64(24 * time.Hour)
	for now, want := range map[int64]time.Duration{
		0: math.MaxInt64, 50000 * day: math.MaxInt64, 99999 * day: time.Duration(100001 * day), 100000 * day: time.Duration(100000 * day), math.MaxInt64: time.Duration(200000*day - math.MaxInt64),
	} {
		if got := c.left(now); got != want || c.finished(now) {
			t.Errorf("after %v are left %v, want %v; finished %v", time.Duration(now), got, want, c.finished(now))
		}
	}
	if part := c.done(time.Duration(50000 * day)); part < 0.16 || part > 0.17 {
		t.Errorf("a sixth of the time is %v of it", part)
	}
}

// TestReportJSON checks the report against the keys of fio's.
func TestReportJSON(t *testing.T) {
	src, err := os.ReadFile("testdata/fio-3.33.json")
	if err != nil {
		t.Fatal(err)
	}
	var theirs, ours any
	if err := json.Unmarshal(src, &theirs); err != nil {
		t.Fatal(err)
	}
	report, _ := run(t, newTestEngine(), t.TempDir(), "[a]\nioengine=io_uring\niodepth=8\nrw=randrw\nsize=4m\nverify=crc32c\nfsync=16\nnumjobs=2\ngroup_reporting\n")
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &ours); err != nil {
		t.Fatal(err)
	}
	// What fio reports and endio does not have: disk_util reads /proc/diskstats,
	// the latency_ keys are of latency_target.
	skip := map[string]bool{"disk_util": true, "latency_target": true, "latency_percentile": true, "latency_window": true}
	compareKeys(t, "", theirs, ours, skip)
	if t.Failed() {
		t.Logf("ours: %s", text)
	}
}

// compareKeys fails for each key of want that got lacks, and for values of
// different kinds.
func compareKeys(t *testing.T, path string, want, got any, skip map[string]bool) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %T, want an object", path, got)
			return
		}
		if strings.HasSuffix(path, "options") {
			return
		}
		for key, value := range want {
			if _, ok := object[key]; !ok && !skip[key] {
				t.Errorf("%s.%s is missing", path, key)
			} else if ok {
				compareKeys(t, path+"."+key, value, object[key], skip)
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			t.Errorf("%s is no list, or empty", path)
			return
		}
		compareKeys(t, path+"[0]", want[0], list[0], skip)
	default:
		if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			t.Errorf("%s is %T, want %T", path, got, want)
		}
	}
}

func TestAssertions(t *testing.T) {
	text := "[a]\nrw=randwrite\nsize=1m\n[b]\nrw=read\nsize=1m\n"
	report, result := run(t, newTestEngine(), t.TempDir(), text)
	for _, tt := range []struct {
		assertion, verdicts string
	}{
		{"write.total_ios==256", "a:true"},
		{"read.total_ios<256", "b:false"},
		{"a/read.total_ios>0", "a:false"},
		{"write.clat_ns.p99<1000s", "a:true"},
		{"write.clat_ns.p99>=1000s", "a:false"},
		{"read.clat_ns.percentile.99.9 <= 10s", "b:true"},
		{"error!=1", "a:true b:true"},
		{"read.io_bytes == 1Mi", "b:true"},
		{"write.io_kbytes>=1.024k", "a:true"},
		{"trim.iops>0", "(none):false"},
		{"endio.fallocate.calls>0", "a:false b:false"},
	} {
		a, err := ParseAssertion(tt.assertion, result.Plan.File)
		if err != nil {
			t.Errorf("ParseAssertion(%q): %v", tt.assertion, err)
			continue
		}
		var got []string
		for _, v := range a.Judge(report) {
			got = append(got, fmt.Sprintf("%s:%v", v.Job, v.Holds))
		}
		if strings.Join(got, " ") != tt.verdicts {
			t.Errorf("%q: %v, want %s", tt.assertion, got, tt.verdicts)
		}
	}
	for assertion, want := range map[string]string{
		"read.iops":           "want [JOB/]PATH",
		"read.iops>x":         "want [JOB/]PATH",
		"read.iops>1.2.3":     "not a number",
		"read.iops>1kk":       "is no unit",
		"read.iopsy>1":        `there is no "iopsy" in read: it has`,
		"read>1":              "is not a number",
		"jobname==1":          "is not a number",
		"read.iops.x>1":       "has nothing below it",
		"c/read.iops>1":       `there is no job "c"`,
		"read.clat_ns.p98>1s": "99.000000",
	} {
		if _, err := ParseAssertion(assertion, result.Plan.File); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAssertion(%q) = %v, want %q", assertion, err, want)
		}
	}
}

// TestFailedWritesAreNotAcknowledged checks that a write with an error, and one
// that was moved in part, is not in the journal, and that a sync acknowledges
// only what had completed when it was submitted.
func TestFailedWritesAreNotAcknowledged(t *testing.T) {
	for _, how := range []string{"sync=dsync", "fsync=4"} {
		dir := t.TempDir()
		engine := newTestEngine()
		durable := map[int64]bool{} // units written when a sync ran, or at once with dsync
		var written []int64
		writes := 0
		engine.hook = func(f *testFile, r *Request) (int, error, bool) {
			switch {
			case r.Kind == OpSync:
				for _, off := range written {
					durable[off] = true
				}
			case r.Kind == OpWrite:
				if writes++; writes > 40 {
					return 512, syscall.EIO, true
				}
				written = append(written, r.Off)
				if how == "sync=dsync" {
					durable[r.Off] = true
				}
			}
			return 0, nil, false
		}
		journal := filepath.Join(dir, "journal")
		text := "[a]\nioengine=io_uring\niodepth=8\nrw=write\nsize=1m\nfilename=f\nverify=crc32c\n" + how + "\n#endio: journal=" + journal + "\n"
		if _, result := run(t, engine, dir, text); !errors.Is(result.Failed(), syscall.EIO) {
			t.Fatalf("%s: Failed() = %v, want EIO", how, result.Failed())
		}
		j, err := verify.OpenJournal(journal)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = j.Entries(func(e verify.Entry) bool {
			if e.Acknowledged > 0 {
				n++
				if !durable[e.Offset] {
					t.Errorf("%s: the unit at %d is acknowledged and was not durable", how, e.Offset)
				}
			}
			return true
		})
		if err := errors.Join(err, j.Close()); err != nil || n < 10 {
			t.Errorf("%s: %v, %d units acknowledged, want at least 10", how, err, n)
		}
	}
}
