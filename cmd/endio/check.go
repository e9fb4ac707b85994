// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"endio/explore"
	"endio/internal/decide"
	"endio/internal/render"
	"endio/scenario"
)

// checkCmd is `endio check`.
type checkCmd struct {
	Paths    []string      `arg:"" optional:"" name:"file" help:"Scenario files, directories with *.scn files, or all. Default: all."`
	Version  given         `placeholder:"V" help:"Check only this version, also where the file expects nothing of it."`
	Config   given         `placeholder:"C" help:"Check only this configuration or ring mode, for example lazy, defer or full/coop."`
	Strategy string        `default:"auto" enum:"auto,cached,optimal,sleepsets,random,pct,bound0,bound1,bound2,bound3" help:"How to search: ${enum}."`
	MaxTime  time.Duration `placeholder:"T" help:"Give up on a case after this, for example 30s. The verdict is then unknown."`
	Slow     bool          `help:"Include the scenarios that are marked slow."`
	JSON     bool          `name:"json" help:"Print a JSON array."`
	Explain  bool          `help:"Say the files in words, and check nothing."`
	Replay   given         `placeholder:"TOKEN" help:"Make the execution of a token again. Needs one file, --version and --config."`
	Trace    string        `placeholder:"FORM" enum:"text,svg,perfetto," default:"" help:"Show traces of failures as text, svg or perfetto (Trace Event JSON)."`
	Out      given         `short:"o" placeholder:"FILE" help:"Write the trace to FILE instead of standard output; several go to FILE-VERSION-CONFIG."`
	Quiet    bool          `short:"q" help:"No trace for failures that are not expected; no progress."`

	pictures []picture
	legend   bool // the legend of traces was printed
}

// given is the value of a flag that must not be empty: with --version "$V" and no V, an
// empty one that means "all" would check something else than was asked for.
type given string

// Decode is what the command line calls for a value.
func (g *given) Decode(ctx *kong.DecodeContext) error {
	var s string
	if err := ctx.Scan.PopValueInto("string", &s); err != nil {
		return err
	}
	if s == "" {
		return errors.New("is empty: give a value, or leave the flag out")
	}
	*g = given(s)
	return nil
}

// Help is the long text of --help.
func (*checkCmd) Help() string {
	return `A scenario is a question to the checker: what tasks, interrupts and hotplug do, and
what you expect of which version of a protocol. Every interleaving is explored, and the
answer says for which scope it counts. docs/scenario.md is the reference of the format.

One file prints a line for each version and configuration: whether the verdict is the
expected one, the verdict, its scope, executions, states and seconds. Several files
print a line each. A failure that is not expected prints its trace; --trace text
prints those that are expected, too. A verdict of which the file expects nothing
(--version) is neither ok nor BAD, and marked "-".

Exit code: 0 if every verdict is the one that its file expects, 1 if not, 2 for bad input.

Examples:
  endio check scenarios/hotplug-rollback.scn
  endio check all --json | jq '.[] | select(.verdict == "fails")'
  endio check --explain scenarios/fallocate.scn
  endio check scenarios/fallocate.scn --version 6.6-rc --config defer --trace svg -o deadlock.svg
  endio check my.scn --version v7 --config rt --strategy pct --max-time 1m`
}

// scenarioDir is where `all` looks: in the current directory.
const scenarioDir = "scenarios"

// Run checks.
func (k *checkCmd) Run(c *console) error {
	if len(k.Paths) == 0 {
		k.Paths = []string{"all"}
	}
	if err := k.contradiction(); err != nil {
		return &exitError{exitBadInput, err}
	}
	files, err := k.read()
	if err != nil {
		return &exitError{exitBadInput, err}
	}
	if k.Explain {
		for i, f := range files {
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			fmt.Fprintf(c.out, "%s\n\n%s", f.Name, f.Explain())
		}
		return nil
	}
	jobs, err := k.jobs(files)
	if err != nil {
		return &exitError{exitBadInput, err}
	}
	if k.Replay != "" {
		return k.replay(c, jobs)
	}
	return k.check(c, jobs)
}

// contradiction reports flags that do not go together, of which one would be ignored.
func (k *checkCmd) contradiction() error {
	for _, x := range []struct {
		bad  bool
		text string
	}{
		{k.MaxTime < 0, fmt.Sprintf("--max-time is %v: it must not be negative", k.MaxTime)},
		{k.Explain && (k.JSON || k.Trace != "" || k.Replay != ""), "--explain says files in words, and checks nothing: leave --json, --trace and --replay out"},
		{k.JSON && k.Trace != "", "--json has no traces: leave one of --json and --trace out (the JSON has tokens, and --replay TOKEN shows the trace of one)"},
		{k.Out != "" && !k.exports(), "-o is for pictures and files: add --trace svg or --trace perfetto, or redirect standard output"},
	} {
		if x.bad {
			return errors.New("check: " + x.text)
		}
	}
	return nil
}

// A job is one case to decide.
type job struct {
	file *scenario.File
	c    scenario.Case
}

// read reads all files that are asked for.
func (k *checkCmd) read() ([]*scenario.File, error) {
	var names []string
	for _, p := range k.Paths {
		found, err := scenarioFiles(p)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	var files []*scenario.File
	var errs []error
	for _, n := range names {
		f, err := readScenario(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if f.Slow && !k.Slow && len(names) > 1 {
			continue
		}
		files = append(files, f)
	}
	return files, errors.Join(errs...)
}

// readScenario reads one file, but no more than a scenario may have.
func readScenario(name string) (*scenario.File, error) {
	in := os.Stdin
	if name != "-" {
		var err error
		if in, err = os.Open(name); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
		defer in.Close()
		if st, err := in.Stat(); err == nil && st.Size() > scenario.MaxBytes {
			return nil, fmt.Errorf("%s:1:1: the file has %d bytes; a scenario has at most %d: is it one?", name, st.Size(), scenario.MaxBytes)
		}
	}
	data := make([]byte, 0, 1<<14)
	buf := make([]byte, 1<<14)
	for len(data) <= scenario.MaxBytes {
		n, err := in.Read(buf)
		data = append(data, buf[:n]...)
		if err != nil {
			if err.Error() == "EOF" {
				break
			}
			return nil, fmt.Errorf("check: %w", err)
		}
	}
	return scenario.Parse(name, data)
}

// scenarioFiles returns the files that an argument stands for.
func scenarioFiles(arg string) ([]string, error) {
	dir := arg
	if arg == "all" {
		dir = scenarioDir
	} else if arg == "-" {
		return []string{arg}, nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		if arg == "all" {
			return nil, fmt.Errorf("check all: there is no directory %s here: run it where the scenarios are, or name a file or directory", scenarioDir)
		}
		return nil, fmt.Errorf("check: %w", err)
	}
	if !st.IsDir() {
		return []string{arg}, nil
	}
	var names []string
	if l, err := os.Lstat(dir); err == nil && l.Mode()&fs.ModeSymlink != 0 {
		dir += string(filepath.Separator) // or the walk would end at the link
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".scn") {
			return err
		}
		// A FIFO would be waited for; who wants to be read from one names it.
		if st, err := os.Stat(path); err != nil || st.Mode().IsRegular() {
			names = append(names, path)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("check %s: there is no *.scn file in it", dir)
	}
	sort.Strings(names)
	return names, err
}

// jobs lists the cases.
func (k *checkCmd) jobs(files []*scenario.File) ([]job, error) {
	if k.Version != "" {
		model := "" // that all files ask about
		for i, f := range files {
			if i == 0 {
				model = f.Model
			} else if model != f.Model {
				model = ""
			}
		}
		known := append(scenario.VersionNames(scenario.TaskComp), scenario.VersionNames(scenario.CallerComp)...)
		if model != "" {
			known = scenario.VersionNames(model)
		}
		if !slices.Contains(known, string(k.Version)) {
			return nil, fmt.Errorf("check --version: %s", scenario.UnknownVersion(model, string(k.Version)))
		}
	}
	var jobs []job
	for _, f := range files {
		cases, err := decide.Select(f, string(k.Version), string(k.Config))
		if err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
		for _, c := range cases {
			jobs = append(jobs, job{f, c})
		}
	}
	if len(jobs) > 0 {
		return jobs, nil
	}
	if len(files) == 0 {
		return nil, errors.New("check: nothing to check: all files are marked slow, and need --slow")
	}
	return nil, errors.New("check: nothing to check: the files expect nothing of any version")
}

// What is being decided: answers[i] or errs[i] is there when done[i] is closed.
type deciding struct {
	answers []*decide.Answer
	errs    []error
	done    []chan struct{}
	workers sync.WaitGroup
}

// decideAll starts to decide all jobs, on all CPUs.
func (k *checkCmd) decideAll(ctx context.Context, c *console, jobs []job) *deciding {
	workers, inner := min(runtime.GOMAXPROCS(0), len(jobs)), 1
	if len(jobs) == 1 {
		workers, inner = 1, runtime.GOMAXPROCS(0)
	}
	d := &deciding{answers: make([]*decide.Answer, len(jobs)), errs: make([]error, len(jobs)), done: make([]chan struct{}, len(jobs))}
	for i := range d.done {
		d.done[i] = make(chan struct{})
	}
	var memo decide.Memo
	var slow sync.Mutex // such a case has the memory, and all processors, to itself
	decideOne := func(i int) {
		defer close(d.done[i])
		o := decide.Options{Strategy: k.Strategy, MaxTime: k.MaxTime, Workers: inner, Memo: &memo}
		if !k.Quiet {
			o.Progress = func(p explore.Progress) { k.progress(c, jobs[i], p) }
		}
		if jobs[i].file.Slow {
			slow.Lock()
			defer slow.Unlock()
			o.Workers = runtime.GOMAXPROCS(0)
		}
		d.answers[i], d.errs[i] = decide.Decide(ctx, jobs[i].file, jobs[i].c, o)
	}
	next := make(chan int)
	for range workers {
		d.workers.Go(func() {
			for i := range next {
				decideOne(i)
			}
		})
	}
	go func() {
		for _, i := range decide.Order(len(jobs), func(i int) (*scenario.File, scenario.Case) { return jobs[i].file, jobs[i].c }) {
			next <- i
		}
		close(next)
	}()
	return d
}

// check decides all jobs and reports in the order of the files.
func (k *checkCmd) check(c *console, jobs []job) error {
	ctx, cancel := untilStopped(c, "stopping: what is decided is reported, the rest is unknown")
	defer cancel()
	d := k.decideAll(ctx, c, jobs)
	start := time.Now()
	agree, asked := 0, 0
	var out []result
	var sum render.Sum
	files := filesOf(jobs)
	if files > 1 && !k.JSON {
		fmt.Fprintln(k.table(c), render.SumHead())
	}
	for i := range jobs {
		<-d.done[i]
		if d.errs[i] != nil {
			return &exitError{exitBadInput, d.errs[i]}
		}
		a := d.answers[i]
		switch {
		case !a.Agrees():
		case a.Expected == nil:
			asked++
		default:
			agree++
		}
		if k.JSON {
			out = append(out, resultOf(a))
		} else if err := k.show(c, &sum, files, jobs, i, a); err != nil {
			return &exitError{exitBadInput, err}
		}
		d.answers[i] = nil // traces are large
	}
	d.workers.Wait()
	if err := k.write(c, files); err != nil {
		return &exitError{exitBadInput, err}
	}
	if k.JSON {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		if err := e.Encode(out); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(k.table(c), "%s, %s, %.1f s\n", scenario.Counted(len(jobs), "case"), tally(agree, asked), time.Since(start).Seconds())
	}
	if agree+asked < len(jobs) {
		return &exitError{code: exitFailed}
	}
	return nil
}

// tally says how many answers were as expected, and of how many cases nothing was.
func tally(agree, asked int) string {
	switch {
	case asked == 0:
		return fmt.Sprintf("%d as expected", agree)
	case agree == 0:
		return fmt.Sprintf("nothing expected of %d", asked)
	}
	return fmt.Sprintf("%d as expected, nothing expected of %d", agree, asked)
}

// progress says on standard error how far a case has come that takes long.
func (k *checkCmd) progress(c *console, j job, p explore.Progress) {
	text := ""
	if p.States > 0 {
		text = fmt.Sprintf(", %d states", p.States)
	}
	fmt.Fprintf(c.err, "... %s, %s %s: %d executions%s, %.0f s\n", j.file.Name, j.c.Version, j.c.Config, p.Executions, text, p.Elapsed.Seconds())
}

// filesOf counts the files of jobs, which are in their order.
func filesOf(jobs []job) int {
	n := 0
	for i := range jobs {
		if i == 0 || jobs[i].file != jobs[i-1].file {
			n++
		}
	}
	return n
}

// show prints the answer to job i: a line of its own if there is one file only or if it
// is not the expected one, and a line for the file after its last job.
func (k *checkCmd) show(c *console, sum *render.Sum, files int, jobs []job, i int, a *decide.Answer) error {
	w := render.WidthsOf(a.File.Cases())
	out := k.table(c)
	if i == 0 || jobs[i].file != jobs[i-1].file {
		*sum = render.Sum{}
		if files == 1 {
			fmt.Fprintf(out, "%s\n%s\n", a.File.Name, render.CaseHead(w))
		}
	}
	sum.Add(a)
	news := !a.Agrees() || a.Expected == nil && a.Failure != nil // for whoever wrote the file
	if a.NotBegun && files > 1 {
		// The line of the file tells how many.
	} else if files == 1 || news || k.Trace != "" && a.Failure != nil {
		fmt.Fprintln(out, render.Line(a, w))
		if a.LeftOut != "" {
			fmt.Fprintf(out, "     %s\n", a.LeftOut)
		}
	}
	if k.exports() {
		if err := k.export(a); err != nil {
			return err
		}
	} else if a.Failure != nil && (k.Trace == "text" || news && !k.Quiet) {
		k.text(out, a)
	}
	if files > 1 && (i == len(jobs)-1 || jobs[i].file != jobs[i+1].file) {
		fmt.Fprintln(out, sum.Line(a.File.Name))
	}
	return nil
}

// table is where verdicts go: not among the bytes of a picture.
func (k *checkCmd) table(c *console) io.Writer {
	if k.exports() && k.Out == "" {
		return c.err
	}
	return c.out
}

// text prints the report of a failure, the first with a legend.
func (k *checkCmd) text(out io.Writer, a *decide.Answer) {
	fmt.Fprintf(out, "\n%s\n", render.Text(a))
	if !k.legend && a.Trace != nil {
		fmt.Fprintf(out, "%s\n", render.Legend)
		k.legend = true
	}
}

// exports reports whether traces go out in a form for another program.
func (k *checkCmd) exports() bool { return k.Trace == "svg" || k.Trace == "perfetto" }

// A picture is a trace for another program, and of which case it is.
type picture struct {
	file string
	c    scenario.Case
	data []byte
}

// export keeps the trace of an answer as a picture or for Perfetto; write writes it when it is known how
// many there are.
func (k *checkCmd) export(a *decide.Answer) error {
	if a.Trace == nil || a.Failure == nil && k.Replay == "" {
		return nil
	}
	p := picture{file: a.File.Name, c: a.Case}
	if k.Trace == "svg" {
		text, err := render.SVG(a)
		if err != nil {
			return err
		}
		p.data = []byte(text)
	} else {
		var err error
		if p.data, err = render.Perfetto(a); err != nil {
			return err
		}
	}
	k.pictures = append(k.pictures, p)
	return nil
}

// write writes what was exported: one picture to where it was asked for, several to files that are named after
// their cases.
func (k *checkCmd) write(c *console, files int) error {
	switch n := len(k.pictures); {
	case !k.exports():
		return nil
	case n == 0:
		fmt.Fprintln(c.err, "nothing fails: there is no trace to write")
		return nil
	case n > 1 && k.Out == "":
		return fmt.Errorf("check --trace %s: %d cases fail, and their traces would run into each other: add -o FILE, which makes a file for each, or choose one case with --version and --config", k.Trace, n)
	case k.Out == "":
		_, err := c.out.Write(append(k.pictures[0].data, '\n'))
		return err
	}
	taken := map[string]bool{}
	for _, p := range k.pictures {
		name := string(k.Out)
		if len(k.pictures) > 1 {
			name = p.name(string(k.Out), files > 1)
		}
		// Files of the same name in two directories have pictures of the same name.
		for base, n := name, 2; taken[name]; n++ {
			ext := filepath.Ext(base)
			name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(base, ext), n, ext)
		}
		taken[name] = true
		if err := os.WriteFile(name, p.data, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s: %s, version %s, %s\n", name, p.file, p.c.Version, p.c.Config)
	}
	return nil
}

// name is the name of one file of several: x-v6-lazy.svg, or x-fallocate-6.6-rc-full-defer.svg.
func (p *picture) name(out string, scenarios bool) string {
	ext := filepath.Ext(out)
	parts := []string{strings.TrimSuffix(out, ext)}
	if scenarios {
		parts = append(parts, strings.TrimSuffix(filepath.Base(p.file), ".scn"))
	}
	parts = append(parts, p.c.Version, strings.ReplaceAll(p.c.Config.String(), "/", "-"))
	return strings.Join(parts, "-") + ext
}

// replay makes one execution again.
func (k *checkCmd) replay(c *console, jobs []job) error {
	if len(jobs) != 1 {
		return &exitError{exitBadInput, fmt.Errorf("check --replay: the token belongs to one case, and %d are selected: name one file, --version and --config", len(jobs))}
	}
	a, err := decide.Replay(jobs[0].file, jobs[0].c, string(k.Replay))
	if err != nil {
		return &exitError{exitBadInput, fmt.Errorf("check: %w", err)}
	}
	switch {
	case k.JSON:
		err = json.NewEncoder(c.out).Encode([]result{resultOf(a)})
	default:
		w := render.WidthsOf([]scenario.Case{a.Case})
		fmt.Fprintf(k.table(c), "%s\n%s\n%s\n", a.File.Name, render.CaseHead(w), render.Line(a, w))
		if !k.exports() {
			k.text(c.out, a)
		} else if err = k.export(a); err == nil {
			err = k.write(c, 1)
		}
	}
	if err == nil && !a.Agrees() {
		return &exitError{code: exitFailed}
	}
	return err
}

// A result is an answer in JSON.
type result struct {
	Scenario   string  `json:"scenario"`
	Version    string  `json:"version"`
	Config     string  `json:"config"`
	Verdict    string  `json:"verdict"`
	Expected   string  `json:"expected"` // "holds", "fails KIND", or "" if the file expects nothing of the case
	OK         bool    `json:"ok"`       // the verdict is the expected one
	Problem    string  `json:"problem"`
	Waits      []wait  `json:"waits"` // who could not go on at the end of the trace, and why
	Scope      string  `json:"scope"`
	Bound      string  `json:"bound"`
	Executions int64   `json:"executions"`
	States     int64   `json:"states"`
	Seconds    float64 `json:"seconds"`
	TraceSteps int     `json:"trace_steps"`
	Replay     string  `json:"replay"`
	LeftOut    string  `json:"left_out,omitempty"` // for want of time
	Shared     string  `json:"shared,omitempty"`   // version and configuration whose search this was, if not this one's
}

// A wait is one task of a failing trace that could not go on.
type wait struct {
	Task   string   `json:"task"`
	CPU    int      `json:"cpu"`
	For    string   `json:"for"`
	Owners []string `json:"owners"` // who alone can end the wait; empty if nobody can, or it is not known
	Why    string   `json:"why,omitempty"`
	Step   string   `json:"step"` // what it was about to do
}

func resultOf(a *decide.Answer) result {
	r := result{Scenario: a.File.Name, Version: a.Case.Version, Config: a.Case.Config.String(), Verdict: a.Verdict.String(),
		Problem: a.Problem(), Scope: a.Scope, Bound: a.Bound, Executions: a.Executions, States: a.States,
		Seconds: a.Elapsed.Seconds(), OK: a.Agrees(), Waits: []wait{}}
	if a.Expected != nil {
		r.Expected = "holds"
		if !a.Expected.Holds {
			r.Expected = "fails " + a.Expected.Kind
		}
	}
	if a.Trace != nil {
		r.TraceSteps = len(a.Trace.Steps)
		for _, w := range a.Trace.Waits {
			r.Waits = append(r.Waits, wait{w.Task, w.Lane, w.For, append([]string{}, w.Owners...), w.Why, w.Step})
		}
	}
	if a.Failure != nil {
		r.Replay = a.Failure.Token
	}
	r.LeftOut = a.LeftOut
	if a.Shared != nil {
		r.Shared = a.Shared.Version + " " + a.Shared.Config.String()
	}
	if a.Verdict == explore.Unknown && r.Scope == "" {
		r.Scope = "bounded"
	}
	return r
}
