// SPDX-License-Identifier: Apache-2.0

package uring

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkNop measures one request from Next to Reap, without I/O: what the
// package and the system call cost.
func BenchmarkNop(b *testing.B) {
	for _, bm := range []struct {
		name  string
		cfg   Config
		batch int
		wait  bool
	}{
		{"submit and reap", Config{}, 1, false},
		{"submit and wait", Config{}, 1, true},
		{"submit and reap", Config{}, 32, false},
		{"defer, submit and wait", Config{Require: SetupSingleIssuer | SetupDeferTaskrun}, 1, true},
	} {
		b.Run(fmt.Sprintf("%s batch=%d", bm.name, bm.batch), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			r := openRing(b, bm.cfg)
			var dst [64]CQE
			b.ReportAllocs()
			for b.Loop() {
				for range bm.batch {
					r.Next().PrepNop(1)
				}
				var err error
				if bm.wait {
					_, err = r.SubmitAndWait(bm.batch, -1)
				} else {
					_, err = r.Submit()
				}
				if n := r.Reap(dst[:]); n != bm.batch || err != nil {
					b.Fatalf("reaped %d, %v, want %d, nil", n, err, bm.batch)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*bm.batch), "ns/request")
		})
	}
}

// BenchmarkWake compares the ways to wake a ring: a message from no ring, one
// through the process's messenger, and a NOP on the submission side.
func BenchmarkWake(b *testing.B) {
	for _, bm := range []struct {
		name string
		wake func(*Ring) error
	}{
		{"message from no ring", func(r *Ring) error { return r.Wake(1) }},
		{"messenger", func(r *Ring) error { return messenger.send(r.fd, 1) }},
		{"nop", func(r *Ring) error {
			r.Next().PrepNop(1)
			_, err := r.Submit()
			return err
		}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := openRing(b, Config{})
			var dst [2]CQE
			b.ReportAllocs()
			for b.Loop() {
				if err := bm.wake(r); err != nil {
					b.Fatal(err)
				}
				if n := r.Reap(dst[:]); n != 1 {
					b.Fatalf("Reap = %d, want 1", n)
				}
			}
		})
	}
}

// A readMode is one row of BenchmarkRead.
type readMode struct {
	name   string
	cfg    Config
	fixed  bool // registered buffers and files
	locked bool // one locked thread, as DEFER_TASKRUN needs
	ringFD bool // registered ring descriptor; needs locked
	batch  int  // submit after so many; 0: together with the wait
	fio    bool // the peer instead of this package
}

func readModes() []readMode {
	hold := func(c Config, d time.Duration) Config { c.Hold = d; return c }
	plain := Config{SQEntries: 128, NoDefaults: true}
	coop := Config{SQEntries: 128}
	deferred := Config{SQEntries: 128, Require: SetupSingleIssuer | SetupDeferTaskrun}
	const us100 = 100 * time.Microsecond
	modes := []readMode{
		{name: "plain, fixed", cfg: plain, fixed: true, batch: 4},
		{name: "coop (default)", cfg: coop, batch: 4},
		{name: "coop (default), fixed", cfg: coop, fixed: true, batch: 4},
		{name: "coop, fixed, hold 100us", cfg: hold(coop, us100), fixed: true, batch: 4},
		{name: "coop, fixed, hold", cfg: hold(coop, HoldUntilPreempted), fixed: true, batch: 4},
		{name: "defer, fixed", cfg: deferred, fixed: true, locked: true, batch: 4},
		{name: "defer, fixed, hold 100us", cfg: hold(deferred, us100), fixed: true, locked: true, batch: 4},
		{name: "defer, fixed, hold", cfg: hold(deferred, HoldUntilPreempted), fixed: true, locked: true, batch: 4},
		{name: "defer, fixed, hold, ring fd", cfg: hold(deferred, HoldUntilPreempted), fixed: true, locked: true, ringFD: true, batch: 4},
	}
	if _, err := exec.LookPath("fio"); err == nil {
		modes = append(modes,
			readMode{name: "fio, fixed", fixed: true, fio: true},
			readMode{name: "fio, fixed, batch 4", fixed: true, fio: true, batch: 4})
	}
	return modes
}

// A readResult is one round of one row.
type readResult struct {
	iops float64
	cpu  float64 // user and system seconds per million I/Os
	p50  time.Duration
	p99  time.Duration
}

// BenchmarkRead reads 4 KiB blocks at random with O_DIRECT, one goroutine that
// submits and reaps, over set-up flags, registration and depth, with fio beside
// them if it is installed. Rounds of all rows are interleaved; the table gives
// medians, the spread of IOPS and the ratio to "coop (default), fixed".
//
// URING_BENCH_FILES names files or devices (comma-separated; default: a 256
// MiB temporary file), URING_BENCH_ROUNDS and URING_BENCH_MS how often and long.
func BenchmarkRead(b *testing.B) {
	if b.N > 1 {
		return // the table needs one run
	}
	rounds, span := benchEnv("URING_BENCH_ROUNDS", 1), time.Duration(benchEnv("URING_BENCH_MS", 100))*time.Millisecond
	var paths []string
	if env := os.Getenv("URING_BENCH_FILES"); env != "" {
		paths = strings.Split(env, ",")
	} else {
		paths = []string{benchFile(b, 256<<20)}
	}
	modes := readModes()
	for _, path := range paths {
		for _, depth := range []int{1, 16, 64} {
			results := make([][]readResult, len(modes))
			for range rounds {
				for i, m := range modes {
					results[i] = append(results[i], measureRead(b, m, path, depth, span))
				}
			}
			printReads(path, depth, modes, results)
		}
	}
}

func benchEnv(name string, value int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return value
}

// benchFile returns a file with written blocks of size bytes.
func benchFile(b *testing.B, size int) string {
	path := filepath.Join(b.TempDir(), "data")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	for range size / len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func measureRead(b *testing.B, m readMode, path string, depth int, span time.Duration) readResult {
	if m.fio {
		return measureFio(b, m, path, depth, span)
	}
	if m.locked {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		b.Fatal(err)
	}
	r, err := Open(m.cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	l := &readLoop{r: r, fd: int(f.Fd()), mode: m, blocks: size / 4096, pool: alignedBytes(b, depth*4096)}
	l.started = make([]time.Time, depth)
	if m.fixed {
		if err := cmp.Or(r.RegisterFiles(1), r.UpdateFiles(0, []int32{int32(l.fd)}), r.RegisterBuffers([][]byte{l.pool})); err != nil {
			b.Fatal(err)
		}
		l.fd = 0
	}
	if m.ringFD {
		if err := r.RegisterRingFD(); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = r.UnregisterRingFD() }()
	}
	return l.run(b, depth, span)
}

// A readLoop keeps depth reads in flight.
type readLoop struct {
	r       *Ring
	fd      int
	mode    readMode
	blocks  int64
	pool    []byte
	started []time.Time
	took    []time.Duration
}

func (l *readLoop) start(slot int, now time.Time) {
	s := l.r.Next()
	buf := l.pool[slot*4096 : (slot+1)*4096]
	off := rand.Int64N(l.blocks) * 4096
	if l.mode.fixed {
		s.PrepReadFixed(l.fd, buf, off, 0, uint64(slot))
		s.SetFlags(SQEFixedFile)
	} else {
		s.PrepRead(l.fd, buf, off, uint64(slot))
	}
	l.started[slot] = now
}

func (l *readLoop) run(b *testing.B, depth int, span time.Duration) readResult {
	l.took = make([]time.Duration, 0, 1<<20)
	var dst [64]CQE
	cpu, begin := cpuTime(), time.Now()
	now := begin
	for slot := range depth {
		l.start(slot, now)
	}
	inFlight := depth
	for inFlight > 0 {
		if _, err := l.r.SubmitAndWait(1, -1); err != nil {
			b.Fatal(err)
		}
		n := l.r.Reap(dst[:])
		now = time.Now()
		for _, c := range dst[:n] {
			if c.Res != 4096 {
				b.Fatalf("read = %d (%v), want 4096", c.Res, c.Err())
			}
			l.took = append(l.took, now.Sub(l.started[c.UserData]))
			if now.Sub(begin) < span {
				l.start(int(c.UserData), now)
				if l.mode.batch > 0 && l.r.Unsubmitted() >= l.mode.batch {
					if _, err := l.r.Submit(); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				inFlight--
			}
		}
	}
	elapsed, used := time.Since(begin), cpuTime()-cpu
	slices.Sort(l.took)
	n := len(l.took)
	return readResult{
		iops: float64(n) / elapsed.Seconds(),
		cpu:  used.Seconds() / float64(n) * 1e6,
		p50:  l.took[n/2],
		p99:  l.took[n*99/100],
	}
}

// cpuTime returns the user and system time of the process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func measureFio(b *testing.B, m readMode, path string, depth int, span time.Duration) readResult {
	out, err := exec.Command("fio", "--name=read", "--filename="+path, "--readonly", "--rw=randread", "--bs=4k",
		"--direct=1", "--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1", "--norandommap",
		"--iodepth="+strconv.Itoa(depth), "--iodepth_batch_submit="+strconv.Itoa(max(min(m.batch, depth), 1)),
		"--iodepth_batch_complete_max="+strconv.Itoa(depth), "--time_based", fmt.Sprintf("--runtime=%dms", span.Milliseconds()),
		"--lat_percentiles=1", "--output-format=json").Output()
	if err != nil {
		b.Fatal("fio: ", err)
	}
	var report struct {
		Jobs []struct {
			Read struct {
				IOPS    float64
				Total   float64 `json:"total_ios"`
				Latency struct {
					Percentile map[string]int64
				} `json:"lat_ns"`
			}
			User    float64 `json:"usr_cpu"`
			System  float64 `json:"sys_cpu"`
			Runtime float64 `json:"job_runtime"` // ms
		}
	}
	if err := json.Unmarshal(out, &report); err != nil || len(report.Jobs) != 1 {
		b.Fatal("fio report: ", err)
	}
	j := report.Jobs[0]
	return readResult{
		iops: j.Read.IOPS,
		cpu:  (j.User + j.System) / 100 * j.Runtime / 1000 / j.Read.Total * 1e6,
		p50:  time.Duration(j.Read.Latency.Percentile["50.000000"]),
		p99:  time.Duration(j.Read.Latency.Percentile["99.000000"]),
	}
}

func printReads(path string, depth int, modes []readMode, results [][]readResult) {
	median := func(rs []readResult, of func(readResult) float64) (mid, low, high float64) {
		var v []float64
		for _, r := range rs {
			v = append(v, of(r))
		}
		slices.Sort(v)
		return v[len(v)/2], v[0], v[len(v)-1]
	}
	iops := func(r readResult) float64 { return r.iops }
	cpu := func(r readResult) float64 { return r.cpu }
	base := slices.IndexFunc(modes, func(m readMode) bool { return m.name == "coop (default), fixed" })
	baseIOPS, _, _ := median(results[base], iops)
	baseCPU, _, _ := median(results[base], cpu)
	fmt.Printf("\n%s, depth %d, %d rounds\n%-28s %8s %19s %6s %8s %6s %8s %8s\n", path, depth, len(results[0]),
		"", "kIOPS", "low..high", "ratio", "cpu s/M", "ratio", "p50 us", "p99 us")
	for i, m := range modes {
		mid, low, high := median(results[i], iops)
		c, _, _ := median(results[i], cpu)
		p50, _, _ := median(results[i], func(r readResult) float64 { return float64(r.p50) / 1e3 })
		p99, _, _ := median(results[i], func(r readResult) float64 { return float64(r.p99) / 1e3 })
		fmt.Printf("%-28s %8.1f %8.1f..%-9.1f %6.2f %8.2f %6.2f %8.0f %8.0f\n",
			m.name, mid/1e3, low/1e3, high/1e3, mid/baseIOPS, c, c/baseCPU, p50, p99)
	}
}

// alignedBytes returns n bytes that begin on a page boundary.
func alignedBytes(tb testing.TB, n int) []byte {
	tb.Helper()
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = syscall.Munmap(b) })
	return b
}
