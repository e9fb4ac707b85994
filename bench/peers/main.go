// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command peers measures endio beside its peers, fio and os.File: random reads
// and overwrites of 4 KiB, direct, on a file of the working directory's file
// system and on a loop device over RAM (which needs root), at depths 1, 16 and 64.
//
// Each measurement is a process of its own, so that its CPU time, its runtime
// and its spinning goroutines are its own. The rows run interleaved, round after
// round, and a row's figures are the medians of its rounds with the spread from
// the lowest to the highest; ratios are of medians. Besides the table it prints
// which of the project's limits hold.
//
//	go run . -quick                 a look, in a minute or two
//	go run . -doc ../../docs/benchmarks.md -json out.json
//	go run . -rows 'ext4/read/16'   only rows whose name matches
//
// A process with -child runs one measurement and prints it as JSON.
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
}

func main() {
	if err := mainErr(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func mainErr() error {
	child := flag.String("child", "", "run the one measurement that this JSON describes")
	quick := flag.Bool("quick", false, "short rounds and a small file: for a look, not for the record")
	rounds := flag.Int("rounds", 0, "rounds (default 5, quick 2)")
	duration := flag.Duration("time", 0, "length of one measurement (default 3s, quick 500ms)")
	size := flag.Int64("mib", 0, "size of the file in MiB (default 1024, quick 128)")
	dir := flag.String("dir", ".", "directory of the file")
	rows := flag.String("rows", "", "regular expression: only rows whose name matches")
	jsonOut := flag.String("json", "", "write all measurements to this file")
	doc := flag.String("doc", "", "replace the generated part of this Markdown file")
	flag.Parse()
	if *child != "" {
		return runChild(*child)
	}
	s := settings{rounds: 5, duration: 3 * time.Second, bytes: 1 << 30, dir: *dir}
	if *quick {
		s.rounds, s.duration, s.bytes = 2, 500*time.Millisecond, 128<<20
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
	return bench(s, *jsonOut, *doc)
}

// bench prepares the devices, measures, prints and cleans up, also on Ctrl-C.
func bench(s settings, jsonOut, doc string) (err error) {
	var stop atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		stop.Store(true)
	}()
	var places []*place
	defer func() {
		for _, p := range places {
			err = errors.Join(err, p.close())
		}
	}()
	report := newReport(s)
	for _, open := range []func(settings) (*place, error){openFile, openLoop} {
		p, err := open(s)
		switch {
		case errors.Is(err, errSkipped):
			report.Skipped = append(report.Skipped, err.Error())
		case err != nil:
			return err
		default:
			places = append(places, p)
		}
	}
	for _, v := range versions() {
		report.Versions = append(report.Versions, v)
	}
	specs := allSpecs(s, places)
	if len(specs) == 0 {
		return fmt.Errorf("-rows %v matches no row", s.rows)
	}
	for round := range s.rounds {
		for i, spec := range specs {
			if stop.Load() {
				return errors.New("interrupted")
			}
			fmt.Fprintf(os.Stderr, "\rround %d of %d, %d of %d: %-40s", round+1, s.rounds, i+1, len(specs), spec.Name())
			m, err := measure(spec)
			if err != nil {
				return fmt.Errorf("%s: %w", spec.Name(), err)
			}
			report.add(spec, m)
		}
	}
	fmt.Fprintf(os.Stderr, "\r%-79s\r", "")
	report.finish()
	if err := report.writeText(os.Stdout); err != nil {
		return err
	}
	if jsonOut != "" {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(jsonOut, append(text, '\n'), 0o666); err != nil {
			return err
		}
	}
	if doc != "" {
		return report.writeDoc(filepath.Clean(doc))
	}
	return nil
}
