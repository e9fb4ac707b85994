// SPDX-License-Identifier: Apache-2.0

// Package metrics shows what an engine does: to Prometheus ([NewCollector]), to expvar
// ([Publish]), and to somebody who looks at what is stuck ([Handler]). It is a package
// of its own so that a program that wants none of it links none of it.
package metrics

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"endio"
)

// A collector reads an engine's counts when it is scraped.
type collector struct {
	e                                                                   *endio.Engine
	handlers, panics, taskRuns, inFlight, shards, files, queues, oldest *prometheus.Desc
}

// NewCollector returns a collector of the counts of e, with these labels on all of
// them. Register it with a registry, and unregister it before e is closed.
func NewCollector(e *endio.Engine, labels prometheus.Labels) prometheus.Collector {
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("endio_"+name, help, variable, labels)
	}
	return &collector{
		e:        e,
		handlers: desc("handlers_total", "Handlers run, by context.", "context"),
		panics:   desc("handler_panics_total", "Handlers that panicked."),
		taskRuns: desc("task_runs_total", "How often workers were set to run Task handlers."),
		inFlight: desc("in_flight", "Requests with the kernel, or in line for it."),
		shards:   desc("shards", "Shards online.", "backend"),
		files:    desc("files", "Open files."),
		queues:   desc("queues", "Open queues."),
		oldest:   desc("oldest_seconds", "Least age of the oldest request in flight."),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.e.Stats()
	send := func(d *prometheus.Desc, t prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, labels...)
	}
	send(c.handlers, prometheus.CounterValue, float64(s.Inline), "inline")
	send(c.handlers, prometheus.CounterValue, float64(s.Task), "task")
	send(c.handlers, prometheus.CounterValue, float64(s.Caller), "caller")
	send(c.panics, prometheus.CounterValue, float64(s.Panics))
	send(c.taskRuns, prometheus.CounterValue, float64(s.TaskRuns))
	send(c.inFlight, prometheus.GaugeValue, float64(s.InFlight))
	send(c.shards, prometheus.GaugeValue, float64(s.Shards), string(s.Backend))
	send(c.files, prometheus.GaugeValue, float64(s.Files))
	send(c.queues, prometheus.GaugeValue, float64(s.Queues))
	var oldest time.Duration
	if flights := c.e.Flights(); len(flights) > 0 {
		oldest = flights[0].Age
	}
	send(c.oldest, prometheus.GaugeValue, oldest.Seconds())
}

// Publish makes the counts of e the expvar variable name. Like [expvar.Publish] it
// panics if that name is taken, and is for ever: publish engines that live as long
// as the process.
func Publish(name string, e *endio.Engine) {
	expvar.Publish(name, expvar.Func(func() any { return e.Stats() }))
}

// Handler returns a page of what e has in flight: oldest first, with file, context and
// who waits. ?format=json for programs. It shows paths: keep it where only
// operators come.
func Handler(e *endio.Engine) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stats, flights := e.Stats(), e.Flights()
		if r.FormValue("format") == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(struct {
				Stats   endio.Stats    `json:"stats"`
				Flights []endio.Flight `json:"flights"`
			}{stats, flights})
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(w, "%s, %d shards, %d files, %d queues; handlers run: %d inline, %d task, %d caller; %d panics\n\n",
			stats.Backend, stats.Shards, stats.Files, stats.Queues, stats.Inline, stats.Task, stats.Caller, stats.Panics)
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "age\top\toffset\tbytes\tcontext\tshard\tstate\twaiters\tfile")
		for _, f := range flights {
			state := "in line"
			switch {
			case f.Held:
				state = "held back"
			case f.Started && f.Led:
				state = "waited for"
			case f.Started:
				state = "nobody waits"
			}
			fmt.Fprintf(t, "%v\t%s\t%d\t%d\t%s\t%d\t%s\t%d\t%s\n", f.Age.Round(time.Microsecond), f.Op, f.Off, f.Len, f.In, f.Shard, state, f.Waiting, f.Path)
		}
		_ = t.Flush()
	})
}
