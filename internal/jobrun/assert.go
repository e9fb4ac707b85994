// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"endio/fiojob"
)

// An Assertion is a limit that the report of each job must keep, such as
//
//	read.iops>10000
//	mixed/write.clat_ns.p99<2ms
//	endio.verify.errors==0
//
// On the left is the path of a number in the JSON of a job, with pNN for a
// percentile; a job's name and a slash before it restrict it to that job.
// Comparisons are < <= > >= == and !=. The number on the right may have a unit:
// k, M, G (powers of 1000), Ki, Mi, Gi (of 1024), or ns, us, ms, s, which count
// in nanoseconds.
type Assertion struct {
	text    string
	job     string // "" for all
	path    []string
	compare string
	limit   float64
}

// String returns the assertion as it was given.
func (a *Assertion) String() string { return a.text }

var assertionSyntax = regexp.MustCompile(`^\s*(?:([^/<>=!]+)/)?([A-Za-z][A-Za-z0-9_.]*)\s*(<=|>=|==|!=|<|>)\s*([0-9.]+)\s*([A-Za-z]*)\s*$`)

var assertionUnits = map[string]float64{
	"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
	"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9,
}

// ParseAssertion reads one assertion about the jobs of file.
func ParseAssertion(text string, file *fiojob.File) (*Assertion, error) {
	m := assertionSyntax.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("assertion %q: want [JOB/]PATH, a comparison and a number, as in read.iops>10000", text)
	}
	a := &Assertion{text: strings.TrimSpace(text), job: m[1], path: splitPath(m[2]), compare: m[3]}
	number, err := strconv.ParseFloat(m[4], 64)
	if err != nil {
		return nil, fmt.Errorf("assertion %q: %q is not a number", text, m[4])
	}
	unit, ok := assertionUnits[m[5]]
	if !ok {
		return nil, fmt.Errorf("assertion %q: %q is no unit: use k, M, G, Ki, Mi, Gi, ns, us, ms or s", text, m[5])
	}
	a.limit = number * unit
	if err := a.check(file); err != nil {
		return nil, fmt.Errorf("assertion %q: %w", text, err)
	}
	return a, nil
}

// splitPath splits a path at its dots. A last pNN or percentile.NN becomes
// fio's key.
func splitPath(path string) []string {
	if before, after, ok := strings.Cut(path, ".percentile."); ok {
		path = before + ".p" + after
	}
	if i := strings.LastIndex(path, ".p"); i >= 0 {
		if p, err := strconv.ParseFloat(path[i+2:], 64); err == nil {
			return append(strings.Split(path[:i], "."), "percentile", percentileKey(p))
		}
	}
	return strings.Split(path, ".")
}

// check looks the path up in a report of each job that has every number, so
// that a misspelt path is found before the run and not after it.
func (a *Assertion) check(file *fiojob.File) error {
	found := false
	for i := range file.Jobs {
		job := &file.Jobs[i]
		if a.job != "" && a.job != job.Name {
			continue
		}
		found = true
		if _, err := lookUp(fullReport(job), a.path); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("there is no job %q", a.job)
	}
	return nil
}

// fullReport returns the JSON of a report of job in which no object is left out.
func fullReport(job *fiojob.Job) any {
	j := &JobReport{job: job, stats: newCloneStats()}
	j.stats.fallocates.add(1)
	j.stats.truncates.add(1)
	j.stats.sync.add(1)
	for dir := range j.stats.dirs {
		j.stats.dirs[dir].clat.add(1)
		j.stats.dirs[dir].handler.add(1)
	}
	j.finish(&Result{})
	j.Endio.Verify = &j.stats.verified
	return jsonTree(j)
}

// jsonTree returns v as encoding/json shows it to a reader.
func jsonTree(v any) any {
	text, err := json.Marshal(v)
	if err == nil {
		var tree any
		if err = json.Unmarshal(text, &tree); err == nil {
			return tree
		}
	}
	panic(fmt.Sprintf("jobrun: report is no JSON: %v", err)) // our own types
}

// lookUp returns the number at path.
func lookUp(tree any, path []string) (float64, error) {
	for i, key := range path {
		object, ok := tree.(map[string]any)
		if !ok {
			return 0, fmt.Errorf("%s has nothing below it", strings.Join(path[:i], "."))
		}
		if tree, ok = object[key]; !ok {
			return 0, fmt.Errorf("there is no %q in %s: it has %s", key, place(path[:i]), strings.Join(slices.Sorted(maps.Keys(object)), ", "))
		}
	}
	number, ok := tree.(float64)
	if !ok {
		return 0, fmt.Errorf("%s is not a number", strings.Join(path, "."))
	}
	return number, nil
}

func place(path []string) string {
	if len(path) == 0 {
		return "the report of a job"
	}
	return strings.Join(path, ".")
}

// A Verdict is what an assertion says of one job.
type Verdict struct {
	Assertion *Assertion
	Job       string
	Value     float64
	Holds     bool
	Missing   string // why there is no value, which does not hold
}

func (v *Verdict) String() string {
	state := "holds"
	if !v.Holds {
		state = "FAILED"
	}
	if v.Missing != "" {
		return fmt.Sprintf("assert %s: %s: job %s: %s", v.Assertion, state, v.Job, v.Missing)
	}
	return fmt.Sprintf("assert %s: %s: job %s has %v", v.Assertion, state, v.Job, v.value())
}

// value returns the value with the unit that the assertion counts in.
func (v *Verdict) value() any {
	if slices.ContainsFunc(v.Assertion.path, func(key string) bool { return strings.HasSuffix(key, "_ns") }) {
		return time.Duration(v.Value)
	}
	return v.Value
}

// Judge returns the verdicts of an assertion on the jobs of a report. A job that
// by its definition has no data in the direction that the path starts with is
// left out, unless it is named. A path that no job has fails.
func (a *Assertion) Judge(report *Report) []Verdict {
	var verdicts []Verdict
	for _, j := range report.Jobs {
		if a.job != "" && a.job != j.Name || a.job == "" && !j.hasDirection(a.path[0]) {
			continue
		}
		v := Verdict{Assertion: a, Job: j.Name}
		value, err := lookUp(jsonTree(j), a.path)
		if err != nil {
			v.Missing = err.Error()
		} else {
			v.Value, v.Holds = value, compare(value, a.compare, a.limit)
		}
		verdicts = append(verdicts, v)
	}
	if len(verdicts) == 0 {
		return []Verdict{{Assertion: a, Job: "(none)", Missing: "no job has it"}}
	}
	return verdicts
}

// hasDirection reports whether the job moves data in the direction called name,
// or name is no direction.
func (j *JobReport) hasDirection(name string) bool {
	for dir := range fiojob.Dir(fiojob.Dirs) {
		if dir.String() == name {
			return j.uses[dir]
		}
	}
	return true
}

func compare(value float64, how string, limit float64) bool {
	switch how {
	case "<":
		return value < limit
	case "<=":
		return value <= limit
	case ">":
		return value > limit
	case ">=":
		return value >= limit
	case "==":
		return value == limit
	}
	return value != limit
}
