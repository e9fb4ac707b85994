// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"endio"
)

// small is a suite of two rows in two sections.
func small() *Suite {
	return &Suite{
		Name: "bench-small", QuickMiB: 32,
		Sections: []Section{{Name: "a", Title: "A", Figures: []string{KIOPS, P50}}, {Name: "b", Title: "B", Figures: []string{Resident}}},
		Specs: func(file, ram string) []Spec {
			all := []Spec{{Section: "a", Row: file + "/1", Peer: "peer", Place: file}, {Section: "a", Row: file + "/1", Peer: "mine", Place: file}}
			if ram != "" {
				all = append(all, Spec{Section: "a", Row: ram + "/1", Peer: "peer", Place: ram})
			}
			return append(all, Spec{Section: "b", Row: "2", Peer: "mine", Place: file})
		},
		Limits: func(r *Report) []Limit {
			var all Limits
			for _, w := range r.Rows {
				all.AtLeast(w.Section+"/"+w.Name, "mine / peer", w.Ratio("mine", "peer", KIOPS), 1)
				all.AtMost(w.Section+"/"+w.Name, "p50", w.Ratio("mine", "peer", P50), 2)
			}
			return all
		},
		Summary: func(*Report) [][]string { return [][]string{{"x"}, {"1"}} },
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", ""}, {"-quick -rounds 3 -time 2s -rows a/ext4", ""}, {"-append f -for 140s -doc d -readme r -rows x", ""},
		{"-rounds 0", "-rounds 0: want at least 1"}, {"-rounds -2", "-rounds -2"}, {"-rounds many", "invalid value"},
		{"-time -1s", "-time -1s: want at least 50ms"}, {"-time 0s", "-time 0s"}, {"-time 3", "invalid value"},
		{"-for 0s", "-for 0s: want a time"}, {"-for -1m", "-for -1m0s"},
		{"-mib 1", "-mib 1: want 16"}, {"-mib 99999999", "-mib 99999999"},
		{"-rows (", "-rows \"(\": error parsing"}, {"ext4", "\"ext4\" is not a flag"}, {"-nonesuch", "-nonesuch"},
		{"-json a -append b -doc d -rows x", ""}, {"-doc d -rows x", "add -append"}, {"-readme d -for 3s", "add -append"},
		{"-plot .", "not defined: -plot"}, {"-profile .", ""}, {"-profile . -append f", "leave out -append"}, {"-profile . -doc d", "leave out -append, -doc"},
	} {
		_, err := small().parse(strings.Fields(c.args), &bytes.Buffer{})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.args, err)
		case c.want != "" && (err == nil || !errors.Is(err, errUsage) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: error %v, want a usage error with %q", c.args, err, c.want)
		}
	}
	var help bytes.Buffer
	if _, err := small().parse([]string{"-h"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "below 2s it is for a look") {
		t.Errorf("-h: %v, %s", err, help.String())
	}
}

func TestQuickYieldsToFlags(t *testing.T) {
	for _, c := range []struct {
		args     string
		rounds   int
		duration time.Duration
		mib      int64
	}{
		{"", 5, 3 * time.Second, 1024}, {"-quick", 1, 500 * time.Millisecond, 32}, {"-rounds 4 -mib 64 -quick", 4, 500 * time.Millisecond, 64},
	} {
		if o, err := small().parse(strings.Fields(c.args), &bytes.Buffer{}); err != nil || o.rounds != c.rounds || o.duration != c.duration || o.bytes != c.mib<<20 {
			t.Errorf("%q: %+v, %v", c.args, o, err)
		}
	}
}

// newBench returns a bench that has not measured yet.
func newBench(t *testing.T, args ...string) *bench {
	t.Helper()
	s := small()
	o, err := s.parse(args, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{suite: s, o: o, begun: time.Now(), report: &Report{Suite: s.Name, Seconds: 3, MiB: 1024, File: "ext4", Versions: []string{"v1"}, Since: "2026-01-01", Until: "2026-01-01", suite: s}}
}

func TestRowsAreChosen(t *testing.T) {
	for _, c := range []struct{ rows, ram, want string }{
		{"", "ram", "a/ext4/1 a/ram/1 b/2"}, {"", "", "a/ext4/1 b/2"}, {"/mine$", "ram", "a/ext4/1 b/2"}, {"ram", "ram", "a/ram/1"},
		{"ram", "", "error: -rows ram matches only what was left out"}, {"nothing", "ram", "error: wrong usage: -rows nothing matches no measurement"},
	} {
		b := newBench(t, "-rows", c.rows)
		err := b.choose("ext4", c.ram)
		var names []string
		for _, u := range b.units {
			names = append(names, u.name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" {
			t.Errorf("-rows %q with ram %q: %s, want %s", c.rows, c.ram, got, c.want)
		}
	}
}

// fake is the outcome of a spec.
func fake(s Spec, m Measurement, err error) outcome { return outcome{spec: s, m: m, err: err} }

// TestRoundsAreInterleaved follows the order of the rows: those with fewer rounds
// come first, and one that does not fit into the time makes way.
func TestRoundsAreInterleaved(t *testing.T) {
	b := newBench(t)
	if err := b.choose("ext4", "ram"); err != nil {
		t.Fatal(err)
	}
	b.report.add(fake(b.units[1].specs[0], Measurement{KIOPS: 1}, nil))
	b.report.add(fake(b.units[1].specs[0], nil, errors.New("broken")))
	var order []string
	for {
		u := next(b.units, b.report, 3, func(u unit) bool { return u.name != "b/2" || len(order) > 1 })
		if u == nil {
			break
		}
		order = append(order, u.name)
		for _, s := range u.specs {
			b.report.add(fake(s, Measurement{KIOPS: 1}, nil))
		}
	}
	if got, want := strings.Join(order, " "), "a/ext4/1 a/ext4/1 b/2 b/2 a/ext4/1 a/ram/1 b/2"; got != want {
		t.Errorf("measured in the order %s, want %s", got, want)
	}
	b.o.budget, b.took = time.Minute, map[string]time.Duration{"a/ram/1": 2 * time.Minute}
	if b.fits(b.units[1]) || !b.fits(b.units[0]) {
		t.Error("what takes two minutes fits into one, or what takes some seconds does not")
	}
}

func TestMediansAndSpread(t *testing.T) {
	c := &Cell{Rounds: []Measurement{{KIOPS: 5, P50: 7}, {KIOPS: 1}, {KIOPS: 4}, {KIOPS: 3}}}
	c.summarize([]string{KIOPS, P50, P99})
	if !maps.Equal(c.Median, Measurement{KIOPS: 3.5, P50: 7}) || c.Low[KIOPS] != 1 || c.High[KIOPS] != 5 {
		t.Errorf("median %v, low %v, high %v", c.Median, c.Low, c.High)
	}
	for v, want := range map[float64]string{0: "0", 0.0004: "0.000", 0.056: "0.056", 0.5: "0.50", 12.34: "12.3", 123.4: "123", 98765.4: "98765"} {
		if got := Number(v); got != want {
			t.Errorf("%v is printed as %s, want %s", v, got, want)
		}
	}
}

// measured returns a report of which one peer failed in each round, and one once.
func measured(t *testing.T) *bench {
	b := newBench(t)
	if err := b.choose("ext4", "ram"); err != nil {
		t.Fatal(err)
	}
	s := b.specs
	for round := range 2 {
		// Out of order: finish puts it right.
		b.report.add(fake(s[3], nil, errors.New("the device\nis | away")))
		b.report.add(fake(s[1], Measurement{KIOPS: 20 + float64(round)*2, P50: 5}, nil))
		b.report.add(fake(s[0], Measurement{KIOPS: 10, P50: 2}, nil))
	}
	b.report.add(fake(s[0], nil, errors.New("once")))
	b.report.finish(b.specs)
	return b
}

func TestTable(t *testing.T) {
	b := measured(t)
	want := `2026-01-01; v1; 2 to 3 interleaved rounds of 3s, file of 1024 MiB; medians (lowest-highest round); ratios, figure by figure, are to the first peer of the row in the same round, and their median

### A

| row | peer | kIOPS | p50 µs | ratios |
| --- | --- | --- | --- | --- |
| ext4/1 | peer | 10.0 | 2.00 | 1 |
| ext4/1 | mine | 21.0 (20.0-22.0) | 5.00 | 2.10, 2.50 |

### B

| row | peer | MiB resident | ratios |
| --- | --- | --- | --- |
| 2 | mine | - | NOT MEASURED: the device is / away |

The project's limits:

- holds  a/ext4/1: mine / peer 2.1, want at least 1
- MISSED a/ext4/1: p50 2.5, want at most 2
- failed in 1 of 3 rounds: a/ext4/1/peer: once
- failed in 2 of 2 rounds: b/2/mine: the device is | away
`
	if got := b.report.document(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := b.report.summary(), "| x |\n| --- |\n| 1 |\n\nMedians; 2026-01-01; v1; 2 to 3 interleaved rounds of 3s, file of 1024 MiB.\n"; got != want {
		t.Errorf("summary: got\n%s\nwant\n%s", got, want)
	}
	b.report.partial, b.report.Seconds = "interrupted", 0.5
	var text bytes.Buffer
	if err := b.report.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"too short for more than a look", "PARTIAL: interrupted", "NOT MEASURED", "MISSED a/ext4/1"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, text.String())
		}
	}
}

func TestLimits(t *testing.T) {
	cell := func(peer string, m Measurement) *Cell { return &Cell{Peer: peer, Median: m} }
	w := &Row{Cells: []*Cell{cell("a", Measurement{KIOPS: 3}), cell("b", Measurement{KIOPS: 2}), cell("zero", Measurement{KIOPS: 0}), cell("failed", Measurement{})}}
	for _, c := range []struct {
		v    Value
		most bool
		want string
	}{
		{w.Ratio("a", "b", KIOPS), false, "holds  r: x 1.5, want at least 1.5"}, {w.Ratio("a", "b", KIOPS), true, "holds  r: x 1.5, want at most 1.5"},
		{w.Ratio("b", "a", KIOPS), false, "MISSED r: x 0.667, want at least 1.5"}, {w.Get("a", KIOPS), true, "MISSED r: x 3, want at most 1.5"},
		{Value{V: 1.5011}, true, "MISSED r: x 1.5011, want at most 1.5"},
		{w.Ratio("zero", "a", KIOPS), false, "MISSED r: x 0, want at least 1.5"},
		{w.Ratio("a", "zero", KIOPS), false, "OPEN   r: x not measured (what it is compared with is 0), want at least 1.5"},
		{w.Ratio("a", "failed", KIOPS), false, "OPEN   r: x not measured (failed has no kIOPS), want at least 1.5"},
		{w.Ratio("failed", "a", KIOPS), true, "OPEN   r: x not measured (failed has no kIOPS), want at most 1.5"},
		{w.Ratio("a", "absent", KIOPS), false, ""}, {(*Row)(nil).Get("a", KIOPS), false, ""},
	} {
		var all Limits
		if all.add("r", "x", c.v, 1.5, c.most); len(all) == 0 {
			all = append(all, Limit{})
		}
		if got := all[0].String(); got != c.want && !(c.want == "" && all[0].Text == "") {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestRatioWithinRounds: a machine that slows down for all peers does not change a ratio.
func TestRatioWithinRounds(t *testing.T) {
	cell := func(peer string, rounds ...float64) *Cell {
		c := &Cell{Peer: peer}
		for _, v := range rounds {
			c.Rounds = append(c.Rounds, Measurement{KIOPS: v})
		}
		c.summarize([]string{KIOPS})
		return c
	}
	w := &Row{Cells: []*Cell{cell("base", 100, 50, 20, 10, 30), cell("twice", 200, 100, 50, 20, 45), cell("fewer", 200, 100), cell("failed", 60, 60, 60, 60), cell("none", 1, 1, 0, 1, 1)}}
	w.Cell("failed").Failures = []string{"once"}
	for _, c := range []struct {
		peer, to string
		want     string
	}{
		{"twice", "base", "holds  r: x 2 (1.5-2.5), want at least 1.5"},
		{"fewer", "base", "holds  r: x 5, want at least 1.5"},
		{"failed", "base", "holds  r: x 2, want at least 1.5"},
		{"base", "none", "holds  r: x 30, want at least 1.5"},
		{"base", "twice", "MISSED r: x 0.5 (0.4-0.667), want at least 1.5"},
	} {
		var all Limits
		all.AtLeast("r", "x", w.Ratio(c.peer, c.to, KIOPS), 1.5)
		if got := all[0].String(); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.peer, c.to, got, c.want)
		}
	}
	if got := w.ratios("twice", []string{KIOPS, CPU}); got != "2.00, -" {
		t.Errorf("in the table: %s", got)
	}
}

// TestWarm: rows of the page cache are not measured from the disk.
func TestWarm(t *testing.T) {
	path := filepath.Join(".", "warm.tmp") // on a disk: temporary directories may be memory
	t.Cleanup(func() { os.Remove(path) })
	if err := os.WriteFile(path, make([]byte, 3<<20+1), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cached := func() uint64 {
		var st unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0); err != nil {
			t.Skip("no cachestat here: ", err)
		}
		return st.Cache
	}
	if err := errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		t.Fatal(err)
	}
	if before := cached(); before > 1 {
		t.Skipf("%d pages stay in the cache, whatever the advice", before)
	}
	want := uint64(3<<20/os.Getpagesize() + 1)
	if err := warm(path); err != nil || cached() != want {
		t.Errorf("%v, %d pages are in the page cache, want %d", err, cached(), want)
	}
	if err := warm(path + "x"); err == nil {
		t.Error("a file that is not there could be read")
	}
}

// TestJoin adds a run to an earlier one, and refuses to where it was of something else.
func TestJoin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.out")
	first := measured(t)
	if err := first.report.join(path); err != nil {
		t.Fatalf("a file that is not there yet: %v", err)
	}
	if err := first.report.write(path); err != nil {
		t.Fatal(err)
	}
	second := measured(t)
	second.report.Rows, second.report.Since, second.report.Until = nil, "2026-01-03", "2026-01-03"
	if err := second.report.join(path); err != nil {
		t.Fatal(err)
	}
	second.report.add(fake(second.specs[0], Measurement{KIOPS: 30, P50: 2}, nil))
	second.report.finish(second.specs)
	if c := second.report.Row("a", "ext4/1").Cell("peer"); len(c.Rounds) != 3 || c.Median[KIOPS] != 10 || c.High[KIOPS] != 30 || len(c.Failures) != 1 {
		t.Errorf("after a second run: %+v", c)
	}
	if got := second.report.header(); !strings.HasPrefix(got, "2026-01-01 to 2026-01-03; ") {
		t.Errorf("header %s", got)
	}
	for what, change := range map[string]func(*Report){
		"versions v1":      func(r *Report) { r.Versions = []string{"v2"} },
		"seconds":          func(r *Report) { r.Seconds = 1 },
		"MiB of the file":  func(r *Report) { r.MiB = 1 },
		"file system ext4": func(r *Report) { r.File = "file" },
		"suite":            func(r *Report) { r.Suite = "other" },
	} {
		other := measured(t).report
		change(other)
		if err := other.join(path); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s changed: %v", what, err)
		}
	}
	if err := os.WriteFile(path, []byte("no JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := second.report.join(path); err == nil {
		t.Error("a file of something else was accepted")
	}
}

func TestReplace(t *testing.T) {
	const begin, end = "<!-- s: written by make s; do not edit -->", "<!-- s: end -->"
	for _, c := range []struct {
		old  string
		add  bool
		want string
	}{
		{"x\n" + begin + "\nold\n" + end + "\ny\n", false, "x\n" + begin + "\n\nnew\n\n" + end + "\ny\n"},
		{"x\n", true, "x\n\n" + begin + "\n\nnew\n\n" + end + "\n"},
		{"", true, begin + "\n\nnew\n\n" + end + "\n"},
		{"x\n", false, "error"}, {"x" + begin + "y", true, "error"},
	} {
		got, err := replaceIn(c.old, "s", "\nnew\n", c.add)
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%q became %q (%v), want %q", c.old, got, err, c.want)
		}
	}
}

const fioOutput = `fio: a note
{"jobs": [{"error": 0, "read": {"iops": 50000.5, "total_ios": 100000, "clat_ns": {"percentile": {"50.000000": 2000, "99.000000": 9000}}},
"write": {"iops": 0, "total_ios": 0}, "job_runtime": 2000, "usr_cpu": 5, "sys_cpu": 20}]}`

func TestParseFio(t *testing.T) {
	m, err := parseFio([]byte(fioOutput), false)
	if want := (Measurement{KIOPS: 50.0005, CPU: 5, P50: 2, P99: 9}); err != nil || !maps.Equal(m, want) {
		t.Errorf("%v, %v; want %v", m, err, want)
	}
	for _, c := range []struct {
		text  string
		write bool
		want  string
	}{
		{fioOutput, true, "no I/O"}, {"fio: bad option", false, "no JSON"}, {`{"jobs": []}`, false, "0 jobs"}, {"{", false, "JSON"},
		{strings.Replace(fioOutput, `"error": 0`, `"error": 5`, 1), false, "error 5"}, {strings.Replace(fioOutput, "99.000000", "98", 1), false, "percentile"},
	} {
		if _, err := parseFio([]byte(c.text), c.write); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// TestOutputStops interrupts a child, and lets one fail.
func TestOutputStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := output(ctx, "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := output(context.Background(), "sh", "-c", "echo reason >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "reason") {
		t.Errorf("failed: %v", err)
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := &progress{w: &out}
	for _, round := range []int{1, 1, 2} {
		p.show(round, 2, "a/b/c", 61*time.Second)
	}
	p.clear()
	if got, want := out.String(), "round 1 of 2; 1m1s left in all\nround 2 of 2; 1m1s left in all\n"; got != want {
		t.Errorf("without a terminal: %q, want %q", got, want)
	}
}

// TestWays makes each kind of measurement once, on a small file.
func TestWays(t *testing.T) {
	path := filepath.Join(".", "rig-test.tmp")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
	if err := errors.Join(fill(context.Background(), f, 4<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, how := range slices.Sorted(maps.Keys(ways)) {
		s := Spec{How: how, Path: path, Bytes: 4 << 20, Depth: 4, Block: 4096, Count: 2, Duration: 50 * time.Millisecond}
		s.Write = slices.Contains([]string{"fdatasync", "dsync", "group"}, how)
		switch how {
		case "held":
			s.Count = 2000
		case "inflight":
			s.Count = 100_000
		}
		s.Profile = filepath.Join(t.TempDir(), "pprof")
		end, err := profile(s.Profile)
		if err != nil {
			t.Fatal(err)
		}
		m, err := measureHere(s)
		if err := end(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(s.Profile); err != nil || info.Size() == 0 {
			t.Errorf("%s: no profile: %v", how, err)
		}
		if err != nil && strings.Contains(err.Error(), "the engine runs on") {
			t.Skip(err)
		}
		if errors.Is(err, endio.ErrNoDirect) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
			t.Logf("%s: left out: %v", how, err) // the file system or the kernel can not do it
			continue
		}
		if err != nil || len(m) == 0 {
			t.Errorf("%s: %v, %v", how, m, err)
		}
		if _, err := json.Marshal(m); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if how == "held" && m[Held] != 2000 {
			t.Errorf("%s: %v", how, m)
		}
	}
}

// TestFair has one goroutine that does a thousand operations while another one waits
// for its first.
func TestFair(t *testing.T) {
	lucky, starved := newRecorder(), newRecorder()
	for range 1000 {
		lucky.add(time.Millisecond)
	}
	starved.add(time.Second)
	all := newRecorder()
	all.hist.Merge(lucky.hist)
	all.hist.Merge(starved.hist)
	if got := time.Duration(all.hist.ValueAtPercentile(99)); got > 2*time.Millisecond {
		t.Errorf("plain p99 is %v, want that of the lucky one", got)
	}
	// 1,001 operations of 2 goroutines in a second: a turn is 2 ms, and the second kept 500.
	h := fair(2*time.Millisecond, []*recorder{lucky, starved})
	if n := h.TotalCount(); n < 1490 || n > 1510 {
		t.Errorf("counts %d operations, want about 1,500", n)
	}
	if got := time.Duration(h.ValueAtPercentile(99)); got < 900*time.Millisecond {
		t.Errorf("p99 by turns is %v, want at least 900 ms", got)
	}
}

// TestLateMeter has the measured part begin long after its time, as where thousands of goroutines leave
// no processor for the one that measures: it has its length all the same. (It was measured
// for some ns then, and what had completed in the meantime was billions a second.)
func TestLateMeter(t *testing.T) {
	m := newMeter(Spec{Duration: 50 * time.Millisecond})
	m.from = time.Now().Add(-time.Hour)
	edges := 0
	if p := m.run(func() { edges++ }, func() {}); p.elapsed < 50*time.Millisecond || edges != 2 {
		t.Errorf("measured for %v with %d edges, want at least 50ms and 2", p.elapsed, edges)
	}
}
