// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"time"
)

// settings are what the flags say.
type settings struct {
	child    string
	list     bool
	rounds   int
	duration time.Duration
	budget   time.Duration // 0: none
	bytes    int64
	dir      string
	rows     *regexp.Regexp
	filtered bool // rows leaves something out
	json     string
	append   string
	doc      string
	readme   string
	plot     string
	profile  string
}

// lookTime is the shortest time that is worth a record: in its first half second fio
// reports less CPU than it uses.
const lookTime = 2 * time.Second

// errUsage is a wrong command line.
var errUsage = errors.New("wrong usage")

// parse reads the command line of s.
func (s *Suite) parse(args []string, out io.Writer) (settings, error) {
	var o settings
	f := flag.NewFlagSet(s.Name, flag.ContinueOnError)
	var help bytes.Buffer
	f.SetOutput(&help)
	f.StringVar(&o.child, "child", "", "run the one measurement that this JSON describes, and print it as JSON")
	f.BoolVar(&o.list, "list", false, "print the names of all measurements and do nothing else")
	quick := f.Bool("quick", false, "one short round on a small file: for a look, not for the record")
	rounds := f.Int("rounds", 5, "rounds that each row shall have, with those in the -append file (quick 1)")
	duration := f.Duration("time", 3*time.Second, "length of one measurement (quick 500ms); below "+lookTime.String()+
		" it is for a look: in its first half second fio reports less CPU than it uses")
	budget := f.Duration("for", 0, "start nothing that would end later than this; with -append, the next run goes on from there")
	mib := f.Int64("mib", 1024, fmt.Sprintf("size of the file in MiB (quick %d)", s.QuickMiB))
	f.StringVar(&o.dir, "dir", ".", "directory of the file")
	rows := f.String("rows", "", "regular expression: only measurements whose name, section/row/peer, matches (-list prints them)")
	f.StringVar(&o.json, "json", "", "write all measurements to this file")
	f.StringVar(&o.append, "append", "", "add to the measurements in this file, which must be of the same version and settings, and report all of them")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of each measurement but fio's into this directory, of its last round; for a look, not for the record")
	f.StringVar(&o.doc, "doc", "", "replace the generated part of this Markdown file")
	if s.Summary != nil {
		f.StringVar(&o.readme, "readme", "", "replace the summary in this Markdown file")
	}
	if s.Plot != nil {
		f.StringVar(&o.plot, "plot", "", "write the plot into this directory")
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, errors.Join(err, write(out, help.Bytes()))
		}
		return o, fmt.Errorf("%w: %w; -h lists the flags", errUsage, err)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%w: %q is not a flag; rows are chosen with -rows", errUsage, f.Arg(0))
	}
	given := make(map[string]bool)
	f.Visit(func(one *flag.Flag) { given[one.Name] = true })
	o.rounds, o.duration, o.budget, o.bytes = *rounds, *duration, *budget, *mib<<20
	if *quick {
		for name, set := range map[string]func(){
			"rounds": func() { o.rounds = 1 },
			"time":   func() { o.duration = 500 * time.Millisecond },
			"mib":    func() { o.bytes = s.QuickMiB << 20 },
		} {
			if !given[name] {
				set()
			}
		}
	}
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("%w: -rows %q: %w", errUsage, *rows, err)
	}
	o.filtered = *rows != ""
	return o, o.check(given)
}

func write(w io.Writer, text []byte) error {
	_, err := w.Write(text)
	return err
}

// minMiB leaves each of 1,024 goroutines a few blocks.
const minMiB = 16

func (o *settings) check(given map[string]bool) error {
	switch {
	case o.rounds < 1:
		return fmt.Errorf("%w: -rounds %d: want at least 1", errUsage, o.rounds)
	case o.duration < 50*time.Millisecond:
		return fmt.Errorf("%w: -time %v: want at least 50ms, and %v for a record", errUsage, o.duration, lookTime)
	case given["for"] && o.budget <= 0:
		return fmt.Errorf("%w: -for %v: want a time, such as 140s", errUsage, o.budget)
	case o.bytes < minMiB<<20 || o.bytes > 1<<40:
		return fmt.Errorf("%w: -mib %d: want %d to %d", errUsage, o.bytes>>20, minMiB, 1<<20)
	case (o.doc != "" || o.readme != "" || o.plot != "") && o.append == "" && (o.filtered || o.budget > 0):
		return fmt.Errorf("%w: -doc, -readme and -plot with -rows or -for would drop the other rows from the record: add -append FILE, which collects them", errUsage)
	case o.profile != "" && (o.doc != "" || o.readme != "" || o.plot != "" || o.append != ""):
		return fmt.Errorf("%w: -profile slows what it measures: leave out -append, -doc, -readme and -plot, which are for the record", errUsage)
	}
	return nil
}
