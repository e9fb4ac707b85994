// SPDX-License-Identifier: Apache-2.0

// Command spin verifies the batch protocol twice, side by side: package batch itself
// on the simulated kernel, and batch.pml, a model of it, with SPIN. Both run on one core,
// in turns; endio also runs on two. It prints medians, the spread, and ratios.
//
// It needs spin and a C compiler (apt install spin gcc). Each verification is a process
// of its own, so that its peak memory is the system's number and not its own claim.
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
		pan, err := build(dir, model, grain)
		if err != nil {
			return err
		}
		name := "spin, merged by hand"
		if grain != "" {
			name = "spin, every access"
		}
		all = append(all, &contestant{name: name, argv: []string{pan, "-m100000"}, states: panStates})
	}
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
	show(all)
	return nil
}

func build(dir, model, grain string) (string, error) {
	model, err := filepath.Abs(model)
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath("spin"); err != nil {
		return "", errors.New("spin is not installed: as root, apt-get install spin gcc")
	}
	d := filepath.Join(dir, "grain"+grain)
	if err := os.Mkdir(d, 0o700); err != nil {
		return "", err
	}
	args := []string{"-a", model}
	if grain != "" {
		args = append([]string{grain}, args...)
	}
	for _, argv := range [][]string{append([]string{"spin"}, args...), {"gcc", "-w", "-O2", "-DSAFETY", "-o", "pan", "pan.c"}} {
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

func show(all []*contestant) {
	base := all[2] // endio on one core
	fmt.Printf("%-22s %10s %18s %10s %12s %14s\n", "", "median", "min .. max", "peak MiB", "states", "time / endio")
	for _, c := range all {
		t, lo, hi := median(c.took), slices.Min(c.took), slices.Max(c.took)
		fmt.Printf("%-22s %9.2fs %7.2fs .. %5.2fs %10.1f %12d %13.2fx\n", c.name, t.Seconds(), lo.Seconds(), hi.Seconds(),
			float64(median(c.bytes))/(1<<20), c.n, t.Seconds()/median(base.took).Seconds())
	}
	for _, c := range all[:2] {
		fmt.Printf("endio on one core : %s = %.2fx the time, %.2fx the memory, %.2fx the states\n", c.name,
			median(base.took).Seconds()/median(c.took).Seconds(), float64(median(base.bytes))/float64(median(c.bytes)), float64(base.n)/float64(c.n))
	}
	if len(all) > 3 {
		fmt.Printf("endio on two cores : one core = %.2fx the time\n", median(all[3].took).Seconds()/median(base.took).Seconds())
	}
}

func median[T int64 | time.Duration](v []T) T {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}
