// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command engine measures what endio's users choose it for beside what they have
// otherwise: fio, os.File with goroutines, plain buffered I/O; and what the levers
// of the engine are worth beside each other. Command peers, next to it, has the
// plain figures of each context and depth.
//
// Each measurement is a process of its own, so that its CPU time, its runtime and
// its memory limit are its own. The rows run interleaved, round after round, and
// a row's figures are the medians of its rounds with the spread from the lowest
// to the highest; ratios are of medians, to the first peer of the row. Besides the
// tables it prints which of the project's limits hold.
//
//	go run . -quick                 a look, in a few minutes
//	go run . -doc ../../docs/benchmarks.md -plot ../../docs -json out.json
//	go run . -rows '^uncached/'     only measurements whose name matches
//
// The rows of a loop device and of a memory limit need root. A process with -child
// runs one measurement and prints it as JSON.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// settings are what the flags say.
type settings struct {
	rounds   int
	duration time.Duration
	bytes    int64
	dir      string
	rows     *regexp.Regexp
	cgroup   string // with a memory limit; "" if it can't be had
}

func main() {
	if err := mainErr(); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func mainErr() error {
	child := flag.String("child", "", "run the one measurement that this JSON describes")
	quick := flag.Bool("quick", false, "short rounds and a small file: for a look, not for the record")
	rounds := flag.Int("rounds", 0, "rounds (default 5, quick 2)")
	duration := flag.Duration("time", 0, "length of one measurement (default 3s, quick 500ms)")
	size := flag.Int64("mib", 0, "size of the file in MiB (default 1024, quick 256)")
	dir := flag.String("dir", ".", "directory of the file")
	rows := flag.String("rows", "", "regular expression: only measurements whose name matches")
	jsonOut := flag.String("json", "", "write all measurements to this file")
	doc := flag.String("doc", "", "replace the generated part of this Markdown file")
	plots := flag.String("plot", "", "write the plot of the cost of an operation into this directory")
	flag.Parse()
	if *child != "" {
		return runChild(*child)
	}
	s := settings{rounds: 5, duration: 3 * time.Second, bytes: 1 << 30, dir: *dir}
	if *quick {
		s.rounds, s.duration, s.bytes = 2, 500*time.Millisecond, 256<<20
	}
	if *rounds > 0 {
		s.rounds = *rounds
	}
	if *duration > 0 {
		s.duration = *duration
	}
	if *size > 0 {
		s.bytes = *size << 20
	}
	var err error
	if s.rows, err = regexp.Compile(*rows); err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	r, err := bench(s)
	if err != nil {
		return err
	}
	if err := r.writeText(os.Stdout); err != nil {
		return err
	}
	if *jsonOut != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*jsonOut, append(text, '\n'), 0o666); err != nil {
			return err
		}
	}
	if *plots != "" {
		if err := r.writePlot(filepath.Join(*plots, plotFile)); err != nil {
			return err
		}
	}
	if *doc != "" {
		return r.writeDoc(filepath.Clean(*doc))
	}
	return nil
}

// bench prepares the devices, measures and cleans up, also on Ctrl-C.
func bench(s settings) (r *report, err error) {
	var stop atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		stop.Store(true)
	}()
	r = newReport(s)
	var cleanups []func() error
	defer func() {
		for _, f := range cleanups {
			err = errors.Join(err, f())
		}
	}()
	file, err := openFile(s)
	if err != nil {
		return nil, err
	}
	cleanups = append(cleanups, file.close)
	loop, err := openLoop(s)
	switch {
	case errors.Is(err, errSkipped):
		r.Skipped = append(r.Skipped, err.Error())
		loop = nil
	case err != nil:
		return nil, err
	default:
		cleanups = append(cleanups, loop.close)
	}
	if s.cgroup, err = limitMemory(); err != nil {
		r.Skipped = append(r.Skipped, fmt.Sprintf("uncached streams run without a memory limit: %v", err))
	} else {
		cleanups = append(cleanups, func() error { return os.Remove(s.cgroup) })
	}
	r.Versions = versions()
	specs := allSpecs(s, file, loop, file)
	if len(specs) == 0 {
		return nil, fmt.Errorf("-rows %v matches no measurement", s.rows)
	}
	for round := range s.rounds {
		for i, one := range specs {
			if stop.Load() {
				return nil, errors.New("interrupted")
			}
			fmt.Fprintf(os.Stderr, "\rround %d of %d, %d of %d: %-50s", round+1, s.rounds, i+1, len(specs), one.Name())
			m, err := measure(one)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one.Name(), err)
			}
			r.add(one, m)
		}
	}
	fmt.Fprintf(os.Stderr, "\r%-99s\r", "")
	r.finish()
	return r, nil
}

// memoryLimit is that of the uncached streams: the file is larger than half of it.
const memoryLimit = 128 << 20

// limitMemory makes a control group with a memory limit, of version 1 or 2.
func limitMemory() (dir string, err error) {
	for _, g := range []struct{ root, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir = filepath.Join(g.root, fmt.Sprintf("bench-engine.%d", os.Getpid()))
		if err = os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		if err = os.WriteFile(filepath.Join(dir, g.file), []byte(strconv.Itoa(memoryLimit)), 0); err == nil {
			return dir, nil
		}
		err = errors.Join(err, os.Remove(dir))
	}
	return "", err
}
