// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import "fmt"

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
		l := limit{Row: w.Name, Text: text, Value: value, Limit: bound, Most: most}
		l.Holds = most && value <= bound || !most && value >= bound
		all = append(all, l)
	}
	for _, w := range r.Rows {
		fio, caller, task := w.cell(peerFio), w.cell(peerCaller), w.cell(peerTask)
		blocking, file := w.cell(peerBlocking), w.cell(peerOS)
		deep := w.spec.Depth > 1 && w.spec.Busy == 0 && w.spec.InFlight == 0
		if deep && fio != nil && caller != nil {
			add(w, "caller IOPS / fio's", caller.Median.IOPS/fio.Median.IOPS, 1, false)
			add(w, "caller CPU / fio's", caller.Median.CPU/fio.Median.CPU, 1.1, true)
		}
		if deep && fio != nil && task != nil {
			add(w, "task CPU / fio's", task.Median.CPU/fio.Median.CPU, 1.5, true)
			add(w, "task p99 / fio's", task.Median.P99/fio.Median.P99, 1.5, true)
		}
		switch {
		case blocking == nil || file == nil:
		case w.spec.Busy > 0:
			for _, c := range []*cell{blocking, caller} {
				if c != nil {
					add(w, c.Peer+" p50 / os.File's", c.Median.P50/file.Median.P50, 1.2, true)
					add(w, c.Peer+" p99 / os.File's", c.Median.P99/file.Median.P99, 1.2, true)
				}
			}
		case w.spec.Depth == 1:
			add(w, "blocking p50 / os.File's", blocking.Median.P50/file.Median.P50, 1.05, true)
		case w.spec.Depth == 64 && w.spec.Place == "ext4":
			add(w, "blocking IOPS / os.File's", blocking.Median.IOPS/file.Median.IOPS, 1.3, false)
			add(w, "blocking CPU / os.File's", blocking.Median.CPU/file.Median.CPU, 0.7, true)
			add(w, "blocking p99 / os.File's", blocking.Median.P99/file.Median.P99, 0.2, true)
		}
		for _, c := range []*cell{caller, task, w.cell(peerInline)} {
			if c == nil || w.spec.Busy > 0 {
				continue
			}
			if w.spec.InFlight > 0 {
				add(w, "MiB resident", c.Median.MiB, 200, true)
			} else {
				// Less than one in a hundred is the runtime's own, not the operation's.
				add(w, c.Peer+" allocations per operation", c.Median.Allocs, 0.01, true)
			}
		}
	}
	return all
}
