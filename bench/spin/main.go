// SPDX-License-Identifier: Apache-2.0

// Command spin verifies the batch protocol twice, side by side: package batch itself
// on the simulated kernel, and batch.pml, a model of it, with SPIN. Both run on one core,
// in turns; endio also runs on two. It prints medians, the spread, and ratios.
//
// It needs spin and a C compiler (apt install spin gcc). Each verification is a process
// of its own, so that its peak memory is the system's number and not its own claim. The time
// is that of the process; to make and compile pan, which takes a second or two each time that
// a model changes, is not counted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"endio/explore"
	"endio/machine/sim/enginecheck"
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds of each, in turns")
	child := flag.Int("verify", 0, "verify with this many workers, and print states: what the rounds run")
	model := flag.String("model", "batch.pml", "the Promela model")
	flag.Parse()
	run := func() error { return compare(*model, *rounds) }
	if *child > 0 {
		run = func() error { return verify(*child) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "spin:", err)
		os.Exit(1)
	}
}

func verify(workers int) error {
	r, err := explore.Explore(context.Background(), enginecheck.Protocol(), explore.Options{Strategy: explore.Cached(), Workers: workers})
	if err != nil {
		return err
	}
	if r.Verdict != explore.Holds || r.Scope != "exhausted" {
		return fmt.Errorf("verdict %v, %s, %v", r.Verdict, r.Scope, r.Err())
	}
	fmt.Println(r.States)
	return nil
}

// A contestant is one way to verify.
type contestant struct {
	name   string
	argv   []string
	env    []string
	states func(out string) (int64, error)
	took   []time.Duration
	bytes  []int64
	n      int64
}

func (c *contestant) run() error {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	c.took = append(c.took, time.Since(start))
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.bytes = append(c.bytes, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss*1024)
	c.n, err = c.states(string(out))
	return err
}

func compare(model string, rounds int) error {
	dir, err := os.MkdirTemp("", "endio-spin")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	all := []*contestant{}
	for _, grain := range []string{"", "-DFINE"} {
		name := "spin, merged by hand"
		if grain != "" {
			name = "spin, every access"
		}
		pan, err := build(dir, model, grain, "plain")
		if err != nil {
			return err
		}
		compact, err := build(dir, model, grain, "compact", "-DHC4")
		if err != nil {
			return err
		}
		// By default pan takes 128 MiB for its hash table, which costs memory and time here. So
		// it runs with a table of the size that these states need too, and with
		// hash compaction: that compares states by hashes, as endio does.
		all = append(all, &contestant{name: name, argv: []string{pan}, states: panStates},
			&contestant{name: name + ", -w19", argv: []string{pan, "-m1000", "-w19"}, states: panStates},
			&contestant{name: name + ", HC4 -w19", argv: []string{compact, "-m1000", "-w19"}, states: panStates})
	}
	peers := len(all)
	for workers := 1; workers <= min(2, runtime.NumCPU()); workers++ {
		all = append(all, &contestant{name: fmt.Sprintf("endio, %d core", workers), argv: []string{self, "-verify", strconv.Itoa(workers)},
			env: []string{fmt.Sprintf("GOMAXPROCS=%d", workers)}, states: func(out string) (int64, error) { return strconv.ParseInt(strings.TrimSpace(out), 10, 64) }})
	}
	for range rounds {
		for _, c := range all {
			if err := c.run(); err != nil {
				return err
			}
		}
	}
	show(all[:peers], all[peers:])
	return nil
}

// panFlags are those with which pan is compiled besides what is compared.
var panFlags = []string{"-O2", "-DSAFETY"}

func build(dir, model, grain, name string, defines ...string) (string, error) {
	model, err := filepath.Abs(model)
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath("spin"); err != nil {
		return "", errors.New("spin is not installed: as root, apt-get install spin gcc")
	}
	d := filepath.Join(dir, name+grain)
	if err := os.Mkdir(d, 0o700); err != nil {
		return "", err
	}
	args := []string{"-a", model}
	if grain != "" {
		args = append([]string{grain}, args...)
	}
	for _, argv := range [][]string{append([]string{"spin"}, args...),
		slices.Concat([]string{"gcc", "-w"}, panFlags, []string{"-o", "pan", "pan.c"}, defines)} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = d
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
		}
	}
	return filepath.Join(d, "pan"), nil
}

var storedStates = regexp.MustCompile(`(\d+) states, stored`)

func panStates(out string) (int64, error) {
	if !strings.Contains(out, "errors: 0") {
		return 0, fmt.Errorf("the model does not hold:\n%s", out)
	}
	m := storedStates.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("no states in:\n%s", out)
	}
	return strconv.ParseInt(m[1], 10, 64)
}

func show(peers, ours []*contestant) {
	base := ours[0] // on one core
	fmt.Printf("pan: gcc %s; partial-order reduction on, as is its default; no COLLAPSE\n", strings.Join(panFlags, " "))
	fmt.Printf("%-32s %9s %18s %10s %12s   %s\n", "", "median", "min .. max", "peak MiB", "states", "endio on one core: time, memory, states")
	for _, c := range append(peers, ours...) {
		t, lo, hi := median(c.took), slices.Min(c.took), slices.Max(c.took)
		fmt.Printf("%-32s %8.2fs %7.2fs .. %5.2fs %10.1f %12d", c.name, t.Seconds(), lo.Seconds(), hi.Seconds(), float64(median(c.bytes))/(1<<20), c.n)
		if !slices.Contains(ours, c) {
			fmt.Printf("   %.2fx, %.2fx, %.2fx", median(base.took).Seconds()/t.Seconds(), float64(median(base.bytes))/float64(median(c.bytes)), float64(base.n)/float64(c.n))
		}
		fmt.Println()
	}
	if len(ours) > 1 {
		fmt.Printf("endio on two cores : one core = %.2fx the time\n", median(ours[1].took).Seconds()/median(base.took).Seconds())
	}
}

func median[T int64 | time.Duration](v []T) T {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}
