// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"math"
	"strings"
)

// A limit is one thing that the project promises of its speed.
type limit struct {
	Row   string  `json:"row"`
	Text  string  `json:"text"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	Most  bool    `json:"most"` // the value is at most the limit, else at least
	Holds bool    `json:"holds"`
}

func (l limit) String() string {
	state, sign := "MISSED", "at least"
	if l.Holds {
		state = "holds "
	}
	if l.Most {
		sign = "at most"
	}
	return fmt.Sprintf("%s %s: %s %.3g, want %s %.3g", state, l.Row, l.Text, l.Value, sign, l.Limit)
}

// limits returns the promises of which both sides were measured.
func limits(r *report) []limit {
	var all []limit
	add := func(w *row, text string, value, bound float64, most bool) {
		l := limit{Row: w.Section + "/" + w.Name, Text: text, Value: value, Limit: bound, Most: most}
		l.Holds = most && value <= bound || !most && value >= bound
		all = append(all, l)
	}
	// ratio is that of one figure of two peers; false if one was not measured.
	ratio := func(w *row, peer, to, figure string) (float64, bool) {
		a, b := w.cell(peer), w.cell(to)
		if a == nil || b == nil || b.Median[figure] == 0 {
			return 0, false
		}
		return a.Median[figure] / b.Median[figure], true
	}
	for _, w := range r.Rows {
		switch w.Section {
		case "depth":
			speed, ok := ratio(w, "caller", "fio", kiops)
			cpu, _ := ratio(w, "caller", "fio", cpuIO)
			switch {
			case !ok:
			case strings.HasPrefix(w.Name, "page cache"):
				add(w, "caller IOPS / fio's", speed, 1.3, false)
			default:
				// Either more of it, or the same for less.
				score := speed / 1.1
				if speed >= 1 {
					score = max(score, 0.9/cpu)
				}
				add(w, fmt.Sprintf("caller IOPS / fio's is %.2f and CPU %.2f: the better of IOPS / 1.1 and, at fio's IOPS, 0.9 / CPU", speed, cpu), score, 1, false)
			}
		case "context":
			if v, ok := ratio(w, "caller", "task", kiops); ok {
				add(w, "caller IOPS / task's", v, 1, false)
			}
		case "uncached":
			for _, peer := range []string{"buffered", "RWF_DONTCACHE"} {
				if v, ok := ratio(w, "uncached", peer, mibs); ok {
					add(w, "uncached MiB/s / "+peer, v, 1, false)
				}
			}
			if c := w.cell("uncached"); c != nil {
				add(w, "most MiB left resident in a round", c.High[left], 0, true)
			}
		case "calls":
			speed, ok := ratio(w, "blocking", "os.File", kiops)
			cpu, _ := ratio(w, "blocking", "os.File", cpuIO)
			if ok && strings.HasSuffix(w.Name, "/64") {
				add(w, "blocking IOPS / os.File's", speed, 1.5, false)
				add(w, "blocking CPU / os.File's", cpu, 0.5, true)
			}
			if ok && strings.HasSuffix(w.Name, "/1024") {
				// No collapse: as fast as with fewer.
				if few := r.row("calls", strings.TrimSuffix(w.Name, "1024")+"64").cell("blocking"); few != nil {
					add(w, "blocking IOPS / those of 64 goroutines", w.cell("blocking").Median[kiops]/few.Median[kiops], 0.8, false)
				}
			}
		case "wal":
			for _, way := range []string{"caller, DSync", "caller, DSync, groups"} {
				for _, peer := range []string{"os.File", "os.File, 4 goroutines", "os.File, groups"} {
					if v, ok := ratio(w, way, peer, commits); ok {
						add(w, way+": commits/s / "+peer, v, 2, false)
					}
				}
			}
		}
	}
	for _, s := range []struct{ section, text string }{{"inflight", "CPU of one operation, dearest / cheapest number in flight"}, {"files", "CPU of one operation, dearest / cheapest number of files"}} {
		low, high := math.Inf(1), 0.0
		for _, w := range r.Rows {
			if w.Section == s.section {
				low, high = min(low, w.Cells[0].Median[cpuIO]), max(high, w.Cells[0].Median[cpuIO])
			}
		}
		if high > 0 {
			add(&row{Section: s.section, Name: "all"}, s.text, high/low, 1.5, true)
		}
	}
	return all
}
