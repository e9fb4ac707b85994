// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"

	"endio/bench/internal/rig"
)

// Peers, by the ways in which they are measured.
const (
	fio         = "fio"           // io_uring, fixed buffers, registered files, batches
	fioTogether = "fio, together" // and waits for as many as it submits, as ownTogether does
	osFile      = "os.File"       // a goroutine for each of the depth
	caller      = "caller"        // endio, one goroutine on one queue
	own         = "caller, own thread"
	ownTogether = "caller, own thread, together"
	task        = "task"     // endio, handlers on workers
	inline      = "inline"   // endio, handlers on the reaper
	blocking    = "blocking" // endio's ReadAt and WriteAt, a goroutine for each of the depth
)

var suite = &rig.Suite{
	Name: "bench-peers",
	Sections: []rig.Section{
		{Name: "depth", Title: "4 KiB at random, direct, by depth", Figures: []string{rig.KIOPS, rig.CPU, rig.P50, rig.P99, rig.P99Turn, rig.Allocs}},
		{Name: "busy", Title: "The same at depth 1 with all processors busy: two spinning goroutines, GOMAXPROCS=2", Figures: []string{rig.KIOPS, rig.P50, rig.P99}},
		{Name: "held", Title: "Memory of operations in flight, held by a device that gives no answer", Figures: []string{rig.Held, rig.Resident}},
	},
	Specs: specs, Limits: limits, Summary: summary, QuickMiB: 128,
}

// inFlight is how many operations at once the project promises to have room for.
const inFlight = 100_000

// specs returns all measurements.
func specs(file, ram string) []rig.Spec {
	var all []rig.Spec
	add := func(one rig.Spec, peers ...string) {
		for _, peer := range peers {
			one.Peer, one.How = peer, peer
			// Of many goroutines all would look slow at each stop, which is more than one in a hundred.
			one.Turns = one.Section == "depth" && peer != blocking && peer != osFile
			one.Count = 0
			switch peer {
			case own:
				one.How = "own"
			case ownTogether:
				one.How, one.Count = "own", rig.Together(one.Depth)
			case fioTogether:
				one.How, one.Count = "fio", rig.Together(one.Depth)
			}
			all = append(all, one)
		}
	}
	places := []string{file}
	if ram != "" {
		places = append(places, ram)
	}
	kinds := map[bool]string{false: "read", true: "write"}
	for _, place := range places {
		for _, write := range []bool{false, true} {
			for _, depth := range []int{1, 16, 64} {
				peers := []string{fio, caller, own, task, inline, blocking, osFile}
				if depth > 1 {
					peers = []string{fio, fioTogether, caller, own, ownTogether, task, inline, blocking, osFile}
				}
				add(rig.Spec{Section: "depth", Row: fmt.Sprintf("%s/%s/%d", place, kinds[write], depth), Place: place, Write: write, Depth: depth}, peers...)
			}
		}
	}
	for _, place := range places {
		for _, write := range []bool{false, true} {
			add(rig.Spec{Section: "busy", Row: fmt.Sprintf("%s/%s/1", place, kinds[write]), Place: place, Write: write, Depth: 1, Busy: 2}, osFile, blocking, caller)
		}
	}
	return append(all, rig.Spec{Section: "held", Row: fmt.Sprint(inFlight), Peer: task, How: "held", Place: file, Count: inFlight})
}

// limits returns the promises about what was measured.
func limits(r *rig.Report) []rig.Limit {
	var all rig.Limits
	for _, w := range r.Rows {
		name := w.Section + "/" + w.Name
		switch w.Section {
		case "depth":
			depthLimits(&all, name, w)
		case "busy":
			for _, peer := range []string{blocking, caller} {
				all.AtMost(name, peer+" p50 / os.File's", w.Ratio(peer, osFile, rig.P50), 1.2)
				all.AtMost(name, peer+" p99 / os.File's", w.Ratio(peer, osFile, rig.P99), 1.2)
			}
		case "held":
			all.AtMost(name, "MiB resident", w.Get(task, rig.Resident), 200)
		}
	}
	return all
}

func depthLimits(all *rig.Limits, name string, w *rig.Row) {
	deep := !strings.HasSuffix(name, "/1")
	if deep {
		for _, peer := range []string{caller, own, ownTogether} {
			all.AtLeast(name, peer+" IOPS / fio's", w.Ratio(peer, fio, rig.KIOPS), 1)
			all.AtMost(name, peer+" CPU / fio's", w.Ratio(peer, fio, rig.CPU), 1.1)
		}
		all.AtMost(name, "task CPU / fio's", w.Ratio(task, fio, rig.CPU), 1.5)
		all.AtMost(name, "task p99 / fio's", w.Ratio(task, fio, rig.P99), 1.5)
	} else {
		all.AtMost(name, "blocking p50 / os.File's", w.Ratio(blocking, osFile, rig.P50), 1.05)
	}
	if strings.HasPrefix(w.Name, "ext4/") && strings.HasSuffix(w.Name, "/64") {
		all.AtLeast(name, "blocking IOPS / os.File's", w.Ratio(blocking, osFile, rig.KIOPS), 1.3)
		all.AtMost(name, "blocking CPU / os.File's", w.Ratio(blocking, osFile, rig.CPU), 0.7)
		all.AtMost(name, "blocking p99 / os.File's", w.Ratio(blocking, osFile, rig.P99), 0.2)
		all.AtMost(name, "blocking p99 by turns / os.File's", w.Ratio(blocking, osFile, rig.P99Turn), 0.2)
	}
	for _, peer := range []string{caller, own, ownTogether, task, inline} {
		// Less than one in a hundred is the runtime's own, not the operation's.
		all.AtMost(name, peer+" allocations per operation", w.Get(peer, rig.Allocs), 0.01)
	}
}

// summary returns the table for the README: some rows, as they are in the document.
func summary(r *rig.Report) [][]string {
	lines := [][]string{{"4 KiB, direct, on " + r.File, "peer", "endio", "endio / peer"}}
	for _, one := range []struct {
		text, section, row, peer, mine string
		figures                        []string
	}{
		{"random reads, 16 in flight", "depth", r.File + "/read/16", fio, caller, []string{rig.KIOPS, rig.CPU, rig.P99}},
		{"random reads, 64 in flight", "depth", r.File + "/read/64", fio, caller, []string{rig.KIOPS, rig.CPU, rig.P99}},
		{"random overwrites, 64 in flight", "depth", r.File + "/write/64", fio, caller, []string{rig.KIOPS, rig.CPU, rig.P99}},
		{"handlers on workers, reads, 64 in flight", "depth", r.File + "/read/64", fio, task, []string{rig.KIOPS, rig.CPU, rig.P99}},
		{"64 goroutines that read", "depth", r.File + "/read/64", osFile, blocking, []string{rig.KIOPS, rig.CPU, rig.P99}},
		{"one reader, all processors busy", "busy", r.File + "/read/1", osFile, blocking, []string{rig.P50, rig.P99}},
	} {
		w := r.Row(one.section, one.row)
		peer, mine, ratios := []string{}, []string{}, []string{}
		for _, f := range one.figures {
			a, b := w.Get(one.peer, f), w.Get(one.mine, f)
			if v := b.To(a); !v.Off && v.Open == "" {
				peer, mine = append(peer, quantity(f, a.V)), append(mine, quantity(f, b.V))
				ratios = append(ratios, fmt.Sprintf("%s %.2f", strings.Fields(strings.TrimPrefix(f, "k"))[0], v.V))
			}
		}
		if len(ratios) > 0 {
			lines = append(lines, []string{one.text, one.peer + ": " + strings.Join(peer, ", "), one.mine + ": " + strings.Join(mine, ", "), strings.Join(ratios, ", ")})
		}
	}
	if v := r.Row("held", fmt.Sprint(inFlight)).Get(task, rig.Resident); !v.Off && v.Open == "" {
		lines = append(lines, []string{fmt.Sprintf("%d operations in flight at once", inFlight), "", rig.Number(v.V) + " MiB resident", ""})
	}
	return lines
}

// quantity prints a figure for people.
func quantity(figure string, v float64) string {
	name, unit, _ := strings.Cut(figure, " ")
	switch figure {
	case rig.KIOPS:
		return rig.Number(v) + " " + name
	default:
		return name + " " + rig.Number(v) + " " + unit
	}
}
