// SPDX-License-Identifier: Apache-2.0

// Command findings writes docs/findings.md from runs of the checker: what each thread
// claimed, and what the machine found. Run it with make findings. It contains no
// times, so that a second run on another machine writes the same.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"

	"endio/explore"
	"endio/internal/decide"
	"endio/internal/render"
	"endio/scenario"
)

func main() {
	out := flag.String("o", "docs/findings.md", "file to write")
	check := flag.Bool("check", false, "only compare the file with what would be written; exit 1 if it differs")
	flag.Parse()
	text, err := findings("scenarios")
	if err == nil && *check {
		var old []byte
		if old, err = os.ReadFile(*out); err == nil && !bytes.Equal(old, text) {
			err = fmt.Errorf("%s is not current: run make findings and look at the difference", *out)
		}
	} else if err == nil {
		err = os.WriteFile(*out, text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "findings:", err)
		os.Exit(1)
	}
}

// A question is a file with the answers to its cases.
type question struct {
	file    *scenario.File
	answers []*decide.Answer
}

// findings decides all scenarios of a directory that are not slow.
func findings(dir string) ([]byte, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.scn"))
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var qs []*question
	for _, n := range names {
		f, err := scenario.ReadFile(n)
		if err != nil {
			return nil, err
		}
		if !f.Slow {
			qs = append(qs, &question{file: f, answers: make([]*decide.Answer, len(f.Cases()))})
		}
	}
	if err := decideAll(qs); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	write(&b, qs)
	return b.Bytes(), nil
}

func decideAll(qs []*question) error {
	type job struct {
		q *question
		i int
	}
	jobs := make(chan job)
	var mu sync.Mutex
	var memo decide.Memo
	var all error
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range jobs {
				a, err := decide.Decide(context.Background(), j.q.file, j.q.file.Cases()[j.i], decide.Options{Memo: &memo})
				if err == nil && !a.Agrees() {
					err = fmt.Errorf("%s\n%s", render.Line(a, render.Widths{}), render.Text(a))
				}
				j.q.answers[j.i] = a
				if err != nil {
					mu.Lock()
					all = errors.Join(all, err)
					mu.Unlock()
				}
			}
		})
	}
	var list []job
	for _, q := range qs {
		for i := range q.answers {
			list = append(list, job{q, i})
		}
	}
	for _, i := range decide.Order(len(list), func(i int) (*scenario.File, scenario.Case) {
		return list[i].q.file, list[i].q.file.Cases()[list[i].i]
	}) {
		jobs <- list[i]
	}
	close(jobs)
	wg.Wait()
	return all
}

const intro = `# Findings

Made by the checker: ` + "`make findings`" + ` runs every scenario under scenarios/ and writes this
file; ` + "`make findings-current`" + ` checks that it is current. A row of a table stands for all configurations with one
verdict, and gives ranges. Each verdict is a search over all interleavings: "holds"
means that no execution within the scope fails, "fails" comes with an execution that does.
Scope *exhausted* means that all states of the scenario were looked at (sequentially
consistent memory; states are compared by a 64-bit hash). Some cases have the same program and share a search: "one program" says
that all configurations of a row do. endio knows no ring modes, for example: a ring is an owner of completions there. Steps are those of the shortest trace found.
The versions are explained in docs/scenario.md; endio is this project's own code.
In a trace a column is a CPU and a line a step; ` + "`[name]`" + ` says who runs there from then on, ` + "`*`" + ` that the one before could have gone on, and ` + "`end`" + ` what
somebody was about to do who could not, and waits for.

`

func write(b *bytes.Buffer, qs []*question) {
	b.WriteString(intro)
	for _, part := range []struct{ title, model string }{
		{"Thread 1: direct I/O completed by its caller", scenario.CallerComp},
		{"Thread 2: bios completed in task context", scenario.TaskComp},
	} {
		fmt.Fprintf(b, "## %s\n\n| question | who says | fails | holds |\n| --- | --- | --- | --- |\n", part.title)
		for _, q := range qs {
			if q.file.Model == part.model {
				fmt.Fprintf(b, "| [%s](#%s) | %s | %s | %s |\n", q.file.Title, anchor(q.file), who(q.file),
					versions(q, explore.Fails), versions(q, explore.Holds))
			}
		}
		b.WriteString("\n")
	}
	for _, q := range qs {
		section(b, q)
	}
}

func anchor(f *scenario.File) string { return strings.TrimSuffix(filepath.Base(f.Name), ".scn") }

func who(f *scenario.File) string {
	var out []string
	seen := map[string]bool{}
	for _, c := range f.Claims {
		if !seen[c.Who] {
			seen[c.Who] = true
			out = append(out, c.Who)
		}
	}
	if len(out) == 0 {
		return "nobody asked"
	}
	return strings.Join(out, ", ")
}

// versions lists the versions with a verdict, and in which configurations if they differ.
func versions(q *question, v explore.Verdict) string {
	all, with := map[string]int{}, map[string][]string{}
	var order []string
	for _, a := range q.answers {
		if all[a.Case.Version]++; a.Verdict == v {
			if with[a.Case.Version] == nil {
				order = append(order, a.Case.Version)
			}
			with[a.Case.Version] = append(with[a.Case.Version], a.Case.Config.String())
		}
	}
	var out []string
	for _, n := range order {
		switch {
		case len(with[n]) == all[n]:
		case len(with[n]) > all[n]/2:
			var not []string
			for _, a := range q.answers {
				if c := a.Case.Config.String(); a.Case.Version == n && !slices.Contains(with[n], c) {
					not = append(not, c)
				}
			}
			n += " (not " + strings.Join(not, ", ") + ")"
		default:
			n += " (" + strings.Join(with[n], ", ") + ")"
		}
		out = append(out, n)
	}
	return strings.Join(out, ", ")
}

// section has what was claimed, what was found, and the shortest trace.
func section(b *bytes.Buffer, q *question) {
	fmt.Fprintf(b, "## %s\n\n%s ([%s](../%s))\n\n", anchor(q.file), q.file.Title, q.file.Name, q.file.Name)
	for _, c := range q.file.Claims {
		fmt.Fprintf(b, "> %s: %s\n>\n", c.Who, c.Text)
	}
	if len(q.file.Claims) > 0 {
		b.WriteString("\n")
	}
	for _, n := range q.file.Notes {
		fmt.Fprintf(b, "%s\n\n", n)
	}
	b.WriteString("| version | configurations | verdict | scope | executions | states | steps | problem |\n| --- | --- | --- | --- | --: | --: | --: | --- |\n")
	var shown *decide.Answer
	for _, a := range q.answers {
		if a.Trace != nil && (shown == nil || len(a.Trace.Steps) < len(shown.Trace.Steps)) {
			shown = a
		}
	}
	for _, r := range grouped(q.answers) {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.version, configsOf(q, r), r.verdict, r.scope,
			span(r.executions), span(r.states), span(r.steps), strings.ReplaceAll(r.problem, "|", "\\|"))
	}
	b.WriteString("\n")
	if shown != nil {
		fmt.Fprintf(b, "The shortest trace, version %s, %s:\n\n```\n%s```\n\n", shown.Case.Version, shown.Case.Config, strings.TrimLeft(render.Text(shown), "\n"))
	}
}

// A row stands for all configurations in which a version has the same verdict, for the
// same kind of problem.
type row struct {
	version, verdict, kind, scope, problem string
	configs                                []string
	asked                                  map[scenario.Case]bool // programs
	executions, states, steps              []int64
}

func grouped(answers []*decide.Answer) []*row {
	var rows []*row
	for _, a := range answers {
		scope := a.Scope
		if a.Bound != "" {
			scope += " by " + a.Bound
		}
		kind, _, _ := strings.Cut(a.Problem(), ":")
		var r *row
		for _, o := range rows {
			if o.version == a.Case.Version && o.verdict == a.Verdict.String() && o.kind == kind && o.scope == scope {
				r = o
			}
		}
		if r == nil {
			r = &row{version: a.Case.Version, verdict: a.Verdict.String(), kind: kind, scope: scope, problem: a.Problem(), asked: map[scenario.Case]bool{}}
			rows = append(rows, r)
		}
		r.configs = append(r.configs, a.Case.Config.String())
		r.asked[decide.Same(a.File, a.Case)] = true
		r.executions = append(r.executions, a.Executions)
		if a.States > 0 {
			r.states = append(r.states, a.States)
		}
		if a.Trace != nil {
			r.steps = append(r.steps, int64(len(a.Trace.Steps)))
		}
	}
	return rows
}

// configsOf lists the configurations of a row, or says that they are all.
func configsOf(q *question, r *row) string {
	text := strings.Join(r.configs, ", ")
	if all := len(q.file.ConfigCases()); len(r.configs) == all && all > 1 {
		text = fmt.Sprintf("all %d", all)
	}
	switch n := len(r.asked); {
	case n == len(r.configs):
	case n == 1:
		text += " (one program)"
	default:
		text += fmt.Sprintf(" (%d programs)", n)
	}
	return text
}

// span is the range of numbers.
func span(ns []int64) string {
	if len(ns) == 0 {
		return ""
	}
	low, high := slices.Min(ns), slices.Max(ns)
	if low == high {
		return fmt.Sprint(low)
	}
	return fmt.Sprintf("%d to %d", low, high)
}
