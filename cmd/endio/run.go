// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"endio"
	"endio/fiojob"
	"endio/internal/jobrun"
)

// runCmd is `endio run`.
type runCmd struct {
	File         string        `arg:"" help:"fio job file, or - for standard input."`
	OutputFormat string        `enum:"normal,json" default:"normal" help:"How to print the results: normal (for people) or json (fio's keys)."`
	JSON         bool          `name:"json" help:"Short for --output-format=json."`
	Output       string        `short:"o" placeholder:"FILE" help:"Write the results to FILE instead of standard output."`
	Assert       []string      `sep:"none" placeholder:"LIMIT" help:"Fail unless LIMIT holds, such as 'read.iops>10000'. May be given several times."`
	Section      []string      `placeholder:"NAME" help:"Run only the jobs of this name. May be given several times."`
	Runtime      time.Duration `placeholder:"TIME" help:"Replace the runtime of each job that has one, such as 2s."`
	VerifyOnly   bool          `help:"Write nothing: check what an earlier run of the file has written, by its journals where it kept them."`
	ParseOnly    bool          `help:"Check the job file and the assertions, and run nothing."`
	Backend      string        `enum:"auto,io_uring,threads" default:"auto" help:"What moves the data: auto, io_uring or threads."`
	Progress     string        `enum:"auto,always,never" default:"auto" help:"Progress line on standard error: auto (on a terminal), always or never."`
}

// Help is the long text of --help.
func (*runCmd) Help() string {
	return `The file is one of fio's, and the same file runs under fio. What is supported is
listed in the documentation of the package fiojob; all else is an error that names
the line. What only endio has stands in comments:

  #endio: complete=caller        completions run in the caller (default), task or inline
  #endio: fallocate_every=1000   a blocking fallocate after so many operations, while
  #endio: truncate_every=5000    the caller's own I/O is in flight; truncate cuts it off
  #endio: uncached=1             buffered I/O that stays out of the page cache
  #endio: journal=FILE           record acknowledged writes, for --verify-only after a kill

A limit of --assert is a path in the JSON of a job, a comparison and a number:
read.iops>10000, write.clat_ns.p99<2ms, NAME/write.bw_bytes>=100Mi,
endio.verify.errors==0. It holds if it holds for each job that has the direction.

The first Ctrl-C stops the jobs and prints what was measured; a second one ends the
process.

Exit code: 0 if all jobs ran, verified and kept the limits; 1 if not, or interrupted;
2 if the file or a flag can not be understood.

Examples:
  endio run examples/falloc-dio.fio
  endio run --json job.fio | jq '.jobs[].read.iops'
  endio run job.fio --assert 'read.iops>10000' --assert 'read.clat_ns.p99<2ms'
  endio run --verify-only job.fio`
}

// Run runs the job file.
func (r *runCmd) Run(c *console) error {
	file, err := r.load(c)
	if err != nil {
		return &exitError{exitBadInput, err}
	}
	var limits []*jobrun.Assertion
	for _, text := range r.Assert {
		limit, err := jobrun.ParseAssertion(text, file)
		if err != nil {
			return &exitError{exitBadInput, err}
		}
		limits = append(limits, limit)
	}
	if r.ParseOnly {
		return nil
	}
	plan, err := jobrun.NewPlan(file, jobrun.PlanOptions{VerifyOnly: r.VerifyOnly})
	if err != nil {
		return &exitError{exitBadInput, err}
	}
	// Opened before the jobs run, since what they measure would have nowhere to go.
	out, closeOut := c.out, func() error { return nil }
	if sameFile(r.Output, r.File) {
		return &exitError{exitBadInput, fmt.Errorf("--output %s: is the job file itself, which would be overwritten: give another file", r.Output)}
	}
	if r.Output != "" {
		file, err := os.Create(r.Output)
		if err != nil {
			return &exitError{exitFailed, fmt.Errorf("--output: %w", err)}
		}
		out, closeOut = file, file.Close
	}
	engine, err := endio.Open(endio.Options{Backend: backends[r.Backend]})
	if err != nil {
		return &exitError{exitFailed, errors.Join(err, closeOut())}
	}
	result, err := r.run(c, plan, engine)
	report := jobrun.NewReport(result, moduleVersion())
	report.Endio.Engine = engine.Stats()
	if printErr := writeReport(out, report, r.JSON || r.OutputFormat == "json"); printErr != nil {
		err = errors.Join(err, fmt.Errorf("print the results: %w", printErr))
	}
	return judge(c, report, result, limits, errors.Join(err, closeOut(), engine.Close()))
}

var backends = map[string]endio.Backend{"auto": endio.Auto, "io_uring": endio.IOUring, "threads": endio.Threads}

// load reads the job file, prints its warnings and applies the flags that
// change it.
func (r *runCmd) load(c *console) (*fiojob.File, error) {
	file, err := fiojob.Load(r.File)
	if err != nil {
		return nil, err
	}
	for _, w := range file.Warnings {
		fmt.Fprintf(c.err, "endio: warning: %v\n", w)
	}
	if len(r.Section) > 0 {
		var names []string
		file.Jobs = slices.DeleteFunc(file.Jobs, func(j fiojob.Job) bool {
			names = append(names, j.Name)
			return !slices.Contains(r.Section, j.Name)
		})
		if len(file.Jobs) == 0 {
			return nil, fmt.Errorf("%s has no job named %s: it has %s", r.File, strings.Join(r.Section, " or "), strings.Join(names, ", "))
		}
	}
	if r.Runtime < 0 {
		return nil, fmt.Errorf("--runtime %v is negative", r.Runtime)
	}
	for i := range file.Jobs {
		if j := &file.Jobs[i]; r.Runtime > 0 && j.Runtime > 0 {
			j.Runtime = r.Runtime
		}
	}
	return file, nil
}

// run runs the plan with a progress line, until it ends or Ctrl-C.
func (r *runCmd) run(c *console, plan *jobrun.Plan, engine *endio.Engine) (*jobrun.Result, error) {
	ctx, done := untilStopped(c, "stopping: waiting for the I/O in flight")
	defer done()
	progress := newProgress(c.err, r.Progress)
	defer progress.finish()
	return jobrun.Run(ctx, plan, jobrun.NewEngine(engine), jobrun.Options{Progress: progress.show, ProgressEvery: progressEvery})
}

func writeReport(out io.Writer, report *jobrun.Report, asJSON bool) error {
	if !asJSON {
		return report.WriteText(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(report)
}

// judge prints the verdicts and decides on the exit code. err is what went wrong
// beside the jobs.
func judge(c *console, report *jobrun.Report, result *jobrun.Result, limits []*jobrun.Assertion, err error) error {
	failed := result.Interrupted
	for _, limit := range limits {
		for _, v := range limit.Judge(report) {
			if !v.Holds {
				failed = true
				fmt.Fprintf(c.err, "endio: %v\n", &v)
			}
		}
	}
	if err := errors.Join(result.Failed(), err); err != nil {
		return &exitError{exitFailed, err}
	}
	if failed {
		return &exitError{code: exitFailed}
	}
	return nil
}

// moduleVersion returns the version as the Go tool recorded it.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
