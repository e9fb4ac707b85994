// SPDX-License-Identifier: Apache-2.0

package jobrun

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"endio/fiojob"
)

// WriteText prints the report for people.
func (report *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, j := range report.Jobs {
		j.writeText(&b)
	}
	e := report.Endio
	fmt.Fprintf(&b, "run: %s in all, CPU usr %s sys %s", time.Duration(e.ElapsedMs)*time.Millisecond,
		time.Duration(e.UserCPUMs)*time.Millisecond, time.Duration(e.SysCPUMs)*time.Millisecond)
	if e.CPUPerMIO > 0 {
		fmt.Fprintf(&b, ", %.2f s per million I/Os", e.CPUPerMIO)
	}
	fmt.Fprintf(&b, "; backend: %s\n", e.Backend)
	for _, m := range e.Messages {
		fmt.Fprintf(&b, "  %s\n", m)
	}
	if e.Interrupted {
		b.WriteString("interrupted: this is what was measured until then\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (j *JobReport) writeText(b *strings.Builder) {
	state := "ok"
	if j.err != nil {
		state = fmt.Sprintf("FAILED (errno %d)", j.Error)
	}
	fmt.Fprintf(b, "%s: group %d, %s, completions %s", j.Name, j.Group, j.Endio.Engine, contexts(j.Endio.Completions))
	fmt.Fprintf(b, ": %s\n", state)
	if j.Description != "" {
		fmt.Fprintf(b, "  %s\n", j.Description)
	}
	for dir, d := range []*DirReport{j.Read, j.Write, j.Trim} {
		if d.Total > 0 || j.uses[dir] {
			d.writeText(b, fiojob.Dir(dir))
		}
	}
	if j.Sync.Total > 0 {
		fmt.Fprintf(b, "  sync: %d, %s\n", j.Sync.Total, summary(&j.Sync.Lat))
	}
	j.writeBlocked(b, "fallocate", j.Endio.Fallocate)
	j.writeBlocked(b, "truncate", j.Endio.Truncate)
	if d := j.Endio.Drains; d != nil {
		fmt.Fprintf(b, "  drains: %d, %v of waiting and doing in all\n", d.Calls, time.Duration(d.Lat.Mean*float64(d.Calls)).Round(time.Microsecond))
	}
	fmt.Fprintf(b, "  cpu: usr %.1f%% sys %.1f%%, %.2f s per million I/Os, %d context switches\n",
		j.UserCPU, j.SysCPU, j.Endio.CPUPerMIO, j.Switches)
	if v := j.Endio.Verify; v != nil {
		v.writeText(b)
	}
	if j.err != nil {
		fmt.Fprintf(b, "  error: %v\n", j.err)
	}
}

func contexts(m map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(parts, ", ")
}

func (d *DirReport) writeText(b *strings.Builder, dir fiojob.Dir) {
	fmt.Fprintf(b, "  %s: %s IOPS, %s/s, %d I/Os of %s in %v\n", dir, count(d.IOPS), Bytes(float64(d.BWBytes)),
		d.Total, Bytes(float64(d.Bytes)), time.Duration(d.RuntimeMs)*time.Millisecond)
	if d.Short > 0 {
		fmt.Fprintf(b, "    short: %d\n", d.Short)
	}
	if d.Clat.N > 0 {
		fmt.Fprintf(b, "    submit to completion:  %s\n", summary(&d.Clat))
	}
	if d.Endio.Handler.N > 0 {
		fmt.Fprintf(b, "    completion to handler: %s\n", summary(&d.Endio.Handler))
	}
}

func (j *JobReport) writeBlocked(b *strings.Builder, name string, r *BlockedReport) {
	if r == nil {
		return
	}
	fmt.Fprintf(b, "  %s: %d calls over %.1f own I/Os submitted and not handled (at most %d), %s\n", name, r.Calls, r.InFlight, r.Most, summary(&r.Lat))
}

func (v *verifyStats) writeText(b *strings.Builder) {
	fmt.Fprintf(b, "  verify: %d units (%s) checked, %d wrong", v.Units, Bytes(float64(v.Bytes)), v.Errors)
	for _, part := range []struct {
		n    int64
		what string
	}{{v.Acknowledged, "acknowledged in the journal"}, {v.Skipped, "changed while they were read"},
		{v.NotWritten, "never written"}, {v.Torn, "in flight at the kill and torn"}} {
		if part.n > 0 {
			fmt.Fprintf(b, ", %d %s", part.n, part.what)
		}
	}
	b.WriteByte('\n')
}

// shownPercentiles are those of which the text shows the values, where they are
// in the report.
var shownPercentiles = []struct {
	p    float64
	name string
}{{50, "p50"}, {90, "p90"}, {99, "p99"}, {99.9, "p99.9"}, {99.99, "p99.99"}}

// summary returns a latency distribution in one line.
func summary(r *LatReport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "mean %s", nanoseconds(r.Mean))
	for _, shown := range shownPercentiles {
		if v, ok := r.Percentile[percentileKey(shown.p)]; ok {
			fmt.Fprintf(&b, ", %s %s", shown.name, nanoseconds(float64(v)))
		}
	}
	fmt.Fprintf(&b, ", max %s", nanoseconds(float64(r.Max)))
	return b.String()
}

// nanoseconds returns a time with three digits.
func nanoseconds(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0fns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.3gµs", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.3gms", ns/1e6)
	}
	return fmt.Sprintf("%.3gs", ns/1e9)
}

// count returns a number with three digits and a k or M.
func count(n float64) string {
	switch {
	case n < 1e3:
		return fmt.Sprintf("%.3g", n)
	case n < 1e6:
		return fmt.Sprintf("%.3gk", n/1e3)
	}
	return fmt.Sprintf("%.3gM", n/1e6)
}

// Bytes returns an amount with its unit, in powers of 1024.
func Bytes(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if n < 1000 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.4g TiB", n)
}
