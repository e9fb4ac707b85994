// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"math"
	"strings"

	"endio/bench/internal/rig"
)

// limits returns the promises about what was measured.
func limits(r *rig.Report) []rig.Limit {
	var all rig.Limits
	for _, w := range r.Rows {
		name := w.Section + "/" + w.Name
		switch w.Section {
		case "depth":
			for _, peer := range []string{"caller", "caller, own thread", "caller, own thread, together"} {
				depthLimit(&all, name, w, peer)
			}
		case "context":
			// The kernel gained 37% where the caller completes instead of a worker (E1). Task has no such
			// hand-off, so what stands for the kernel's worker is the design that has one.
			for _, how := range []string{"caller", "task"} {
				all.AtLeast(name, how+" IOPS / those of a hand-off", w.Ratio(how, "handoff", rig.KIOPS), 1)
				all.AtMost(name, how+" CPU / that of a hand-off", w.Ratio(how, "handoff", rig.CPU), 0.8)
			}
		case "uncached":
			for _, peer := range []string{"buffered", "RWF_DONTCACHE"} {
				all.AtLeast(name, "uncached MiB/s / "+peer, w.Ratio("uncached", peer, rig.MiBs), 1)
			}
			left := w.Get("uncached", rig.Left)
			if left.Open == "" && !left.Off {
				left.V = w.Cell("uncached").High[rig.Left]
			}
			all.AtMost(name, "most MiB left resident in a round", left, 0)
		case "calls":
			if strings.HasPrefix(w.Name, "page cache") {
				// Nothing to wait for, so nothing to gain either.
				all.AtLeast(name, "blocking IOPS / os.File's", w.Ratio("blocking", "os.File", rig.KIOPS), 0.8)
			} else if strings.HasSuffix(w.Name, "/64") {
				all.AtLeast(name, "blocking IOPS / os.File's", w.Ratio("blocking", "os.File", rig.KIOPS), 1.5)
				all.AtMost(name, "blocking CPU / os.File's", w.Ratio("blocking", "os.File", rig.CPU), 0.5)
			} else {
				// No collapse: as fast as with fewer.
				few := r.Row("calls", strings.TrimSuffix(w.Name, "1024")+"64")
				all.AtLeast(name, "blocking IOPS / those of 64 goroutines", w.Get("blocking", rig.KIOPS).To(few.Get("blocking", rig.KIOPS)), 0.8)
			}
		case "fair":
			for _, peer := range []string{readTask, readBlocking} {
				// Not behind the whole flood, as in a line that all share.
				all.AtMost(name, peer+": operations of the flood during the p99 of the reads", during(w.Get(peer, rig.P99), w.Get(peer, rig.FloodKIOPS)), floodOps)
			}
		case "wal":
			for _, way := range []string{logDSync, logBoth} {
				for _, peer := range []string{logPlain, logMany, logGroups} {
					all.AtLeast(name, way+": commits/s / "+peer, w.Ratio(way, peer, rig.Commits), 2)
				}
			}
		case "shards":
			all.AtMost(name, "CPU of one operation, 2 shards / 1", w.Ratio("2", "1", rig.CPU), flat)
		case "held":
			all.AtLeast(name, "in flight at once", w.Get("task", rig.Held), million)
		}
	}
	all.AtMost("inflight/all", "CPU of one operation, dearest / cheapest number in flight", spread(r, "inflight"), flat)
	all.AtMost("files/all", "CPU of one operation, dearest / cheapest number of files", spread(r, "files"), flat)
	return all
}

// during returns how many operations complete at a rate, in kIOPS, in a time, in µs.
func during(time, rate rig.Value) rig.Value {
	switch {
	case time.Off || time.Open != "":
		return time
	case rate.Off || rate.Open != "":
		return rate
	}
	return rig.Value{V: time.V * rate.V / 1e3}
}

// flat is how much more an operation may cost where there is much of something.
const flat = 1.5

// depthLimit wants more IOPS than fio's, or the same for less CPU.
func depthLimit(all *rig.Limits, name string, w *rig.Row, peer string) {
	speed, cpu := w.Ratio(peer, "fio", rig.KIOPS), w.Ratio(peer, "fio", rig.CPU)
	if strings.HasPrefix(w.Name, "page cache") {
		all.AtLeast(name, peer+" IOPS / fio's", speed, 1.3)
		return
	}
	text := peer + " beside fio: the better of IOPS / 1.1 and, at fio's IOPS, 0.9 / CPU"
	if speed.Open == "" && cpu.Open == "" {
		text = fmt.Sprintf("%s IOPS / fio's is %.2f and CPU %.2f: the better of IOPS / 1.1 and, at fio's IOPS, 0.9 / CPU", peer, speed.V, cpu.V)
		score := speed.V / 1.1
		if speed.V >= 1 {
			score = max(score, 0.9/cpu.V)
		}
		speed.V = score
	} else if speed.Open == "" {
		speed.V /= 1.1
	}
	speed.Low, speed.High = 0, 0 // they are of another figure
	all.AtLeast(name, text, speed, 1)
}

// spread is the highest to the lowest CPU of an operation among the rows of a section.
func spread(r *rig.Report, section string) rig.Value {
	low, high, rows := math.Inf(1), 0.0, 0
	for _, w := range r.Rows {
		if w.Section != section {
			continue
		}
		v := w.Get(w.Cells[0].Peer, rig.CPU)
		if v.Open != "" {
			return v
		}
		low, high, rows = min(low, v.V), max(high, v.V), rows+1
	}
	return rig.Value{V: high / low, Off: rows < 2}
}
