// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"endio/lockdep/selftest"
)

// lockdepCmd is `endio lockdep`.
type lockdepCmd struct {
	Replay lockdepReplayCmd `cmd:"" help:"Run a table of locking cases against the validator."`
}

// lockdepReplayCmd is `endio lockdep replay`.
type lockdepReplayCmd struct {
	File    string `arg:"" help:"Table to run, or - for standard input."`
	JSON    bool   `name:"json" help:"Print one JSON object."`
	Verbose bool   `short:"v" help:"Print the reports of all rows that have one."`
}

// Help is the long text of --help.
func (*lockdepReplayCmd) Help() string {
	return `A table is tab-separated text with the columns group, name, lock_type, context,
steps and expected, and a first line that names them. Each row is run from a clean
state; expected is FAILURE if the validator must report something and SUCCESS if it
must stay silent. The notation of the steps is in the documentation of the package
lockdep/selftest; docs/lockdep.md is about the validator.

Exit code: 0 if all rows agree, 1 if one does not, 2 if the table can not be understood.

Examples:
  endio lockdep replay lockdep/selftest/testdata/selftest.tsv
  endio lockdep replay --json cases.tsv | jq .rows
  printf 'group\tname\tlock_type\tcontext\tsteps\texpected\n\tAA\tspin\ttask\tL(spin.X1); L(spin.X2)\tFAILURE\n' | endio lockdep replay -v -`
}

// A replayRow is one row that disagrees, or with -v one that has a report.
type replayRow struct {
	Name     string `json:"name"`
	Group    string `json:"group"`
	Line     int    `json:"line"`
	Expected string `json:"expected"`
	Got      string `json:"got"`
	Reason   string `json:"reason,omitempty"`
	Report   string `json:"report,omitempty"`
	agrees   bool
}

// Run runs the table.
func (l *lockdepReplayCmd) Run(c *console) error {
	rows, err := parseInput(l.File, selftest.Parse)
	if err != nil {
		return &exitError{exitBadInput, fmt.Errorf("lockdep replay %s: %w", l.File, err)}
	}
	var out struct {
		Passed int         `json:"passed"`
		Failed int         `json:"failed"`
		Rows   []replayRow `json:"rows"`
	}
	out.Rows = []replayRow{}
	runner := selftest.NewRunner()
	for i := range rows {
		res := runner.Run(&rows[i])
		if res.Agrees() {
			out.Passed++
		} else {
			out.Failed++
		}
		if !res.Agrees() || l.Verbose && res.Reason != "" {
			out.Rows = append(out.Rows, replayRow{rows[i].Name, rows[i].Group, rows[i].Line,
				string(rows[i].Expected), string(res.Got), res.Reason, res.Text, res.Agrees()})
		}
	}
	if l.JSON {
		err = json.NewEncoder(c.out).Encode(out)
	} else {
		for _, r := range out.Rows {
			printReplayRow(c.out, r, l.Verbose)
		}
		_, err = fmt.Fprintf(c.out, "%d passed, %d failed\n", out.Passed, out.Failed)
	}
	if err != nil {
		return err
	}
	if out.Failed > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

func printReplayRow(w io.Writer, r replayRow, verbose bool) {
	if !r.agrees {
		fmt.Fprintf(w, "%s: expected %s, got %s", r.Name, r.Expected, r.Got)
	} else {
		fmt.Fprintf(w, "%s: %s as expected", r.Name, r.Got)
	}
	if r.Reason != "" {
		fmt.Fprintf(w, " (%s)", r.Reason)
	}
	fmt.Fprintln(w)
	if verbose {
		fmt.Fprint(w, r.Report)
	}
}
