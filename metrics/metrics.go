// SPDX-License-Identifier: Apache-2.0

// Package metrics shows what an engine does: to Prometheus ([NewCollector]), to expvar
// ([Publish]), and to somebody who looks at what is stuck ([Handler]). It is a package
// of its own so that a program that wants none of it links none of it.
//
// What the watchdog logs, and what `go tool trace` shows, needs no package: see
// [endio.Options], OldAfter, SlowInline and Logger, and docs/observability.md.
package metrics

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"endio"
)

// A collector reads an engine's counts when it is scraped.
type collector struct {
	e *endio.Engine

	operations, bytes, errors, handlers, panics, taskRuns, reports *prometheus.Desc
	inFlight, oldest, backend, shards, files, queues               *prometheus.Desc
}

// NewCollector returns a collector of the counts of e, with these labels on all of
// them. Register it with a registry, and unregister it before e is closed. Two engines in one
// registry need labels that differ. A scrape goes through what is in flight, for its age: with a million
// operations in flight that takes some hundred ms.
func NewCollector(e *endio.Engine, labels prometheus.Labels) prometheus.Collector {
	desc := func(name, help string, variable ...string) *prometheus.Desc {
		return prometheus.NewDesc("endio_"+name, help, variable, labels)
	}
	return &collector{
		e:          e,
		operations: desc("operations_total", "Operations that are over, by kind, and by way: an Op whose handler has returned, or a blocking call.", "kind", "way"),
		bytes:      desc("transferred_bytes_total", "Bytes read and written.", "kind"),
		errors:     desc("operation_errors_total", "Operations that failed or were cancelled; the end of the file is no error.", "kind"),
		handlers:   desc("handlers_total", "Handlers that have returned, by the context that they ran in.", "context"),
		panics:     desc("handler_panics_total", "Handlers that panicked or ended their goroutine."),
		taskRuns:   desc("task_runs_total", "How often workers were set to run Task handlers: handlers by this is the mean batch."),
		reports:    desc("watchdog_reports_total", "What the watchdog has reported: old operations and Task handlers, and slow Inline handlers.", "reason"),
		inFlight:   desc("in_flight_requests", "Requests with the kernel, or in line for it."),
		oldest:     desc("oldest_operation_age_seconds", "Least age of the oldest operation in flight or held back; 0 if there is none."),
		backend:    desc("backend_info", "Always 1; the label says how I/O is done.", "backend"),
		shards:     desc("online_shards", "Shards online."),
		files:      desc("open_files", "Open files."),
		queues:     desc("open_queues", "Open queues."),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.e.Stats()
	for _, k := range []struct {
		name string
		of   endio.KindStats
	}{{"read", s.Read}, {"write", s.Write}, {"sync", s.Sync}, {"syncdata", s.SyncData}} {
		count(c.operations, k.of.Ops, k.name, "op")
		count(c.operations, k.of.Calls, k.name, "call")
		count(c.errors, k.of.Errors, k.name)
	}
	count(c.bytes, s.Read.Bytes, "read")
	count(c.bytes, s.Write.Bytes, "write")
	count(c.handlers, s.Inline, "inline")
	count(c.handlers, s.Task, "task")
	count(c.handlers, s.Caller, "caller")
	count(c.panics, s.Panics)
	count(c.taskRuns, s.TaskRuns)
	count(c.reports, s.Old, "old")
	count(c.reports, s.Slow, "slow")
	gauge(c.inFlight, float64(s.InFlight))
	var oldest time.Duration
	if flights := c.e.Flights(); len(flights) > 0 {
		oldest = flights[0].Age
	}
	gauge(c.oldest, oldest.Seconds())
	gauge(c.backend, 1, string(s.Backend))
	gauge(c.shards, float64(s.Shards))
	gauge(c.files, float64(s.Files))
	gauge(c.queues, float64(s.Queues))
}

// Publish makes the counts of e, an [endio.Stats], the expvar variable name. Like [expvar.Publish] it
// panics if that name is taken, and is for ever: publish engines that live as long
// as the process.
func Publish(name string, e *endio.Engine) {
	expvar.Publish(name, expvar.Func(func() any { return e.Stats() }))
}

// A Page is what [Handler] answers to ?format=json.
type Page struct {
	Stats   endio.Stats    `json:"stats"`
	Flights []endio.Flight `json:"flights"`  // oldest first; never null
	LeftOff int            `json:"left_off"` // younger ones, beyond the limit

	Handlers []endio.Running `json:"handlers"` // in the Task context, oldest first; never null
}

// defaultLimit is how many operations a page lists if the request does not say.
const defaultLimit = 1000

// Handler returns a page of what e has in flight, blocking calls and what is held back
// included, oldest first, with file, context, handler and who waits; and of the Task handlers that run. ?format=json is for programs, and
// answers with a [Page]; ?limit=N lists N operations instead of 1,000, 0 all. It shows paths and names of
// functions: keep it where only operators come.
func Handler(e *endio.Engine) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := defaultLimit
		if text := r.FormValue("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				http.Error(w, fmt.Sprintf("limit=%q: want a number of operations, 0 for all", text), http.StatusBadRequest)
				return
			}
			limit = n
		}
		format := r.FormValue("format")
		if format != "" && format != "json" && format != "text" {
			http.Error(w, fmt.Sprintf("format=%q: want json or text", format), http.StatusBadRequest)
			return
		}
		p := Page{Stats: e.Stats(), Flights: e.Flights(), Handlers: e.Handlers()}
		if limit > 0 && len(p.Flights) > limit {
			p.Flights, p.LeftOff = p.Flights[:limit], len(p.Flights)-limit
		}
		if p.Flights == nil {
			p.Flights = []endio.Flight{}
		}
		if p.Handlers == nil {
			p.Handlers = []endio.Running{}
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if format == "json" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(p)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		p.write(w)
	})
}

// write writes p for people.
func (p Page) write(w http.ResponseWriter) {
	s := p.Stats
	fmt.Fprintf(w, "%s, %d shards, %d files, %d queues; %d requests in flight\n", s.Backend, s.Shards, s.Files, s.Queues, s.InFlight)
	fmt.Fprintf(w, "handlers run: %d inline, %d task in %d runs, %d caller; %d panics; reported: %d old, %d slow\n\n",
		s.Inline, s.Task, s.TaskRuns, s.Caller, s.Panics, s.Old, s.Slow)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "kind\tops\tcalls\terrors\tbytes")
	fmt.Fprintf(t, "read\t%d\t%d\t%d\t%d\n", s.Read.Ops, s.Read.Calls, s.Read.Errors, s.Read.Bytes)
	fmt.Fprintf(t, "write\t%d\t%d\t%d\t%d\n", s.Write.Ops, s.Write.Calls, s.Write.Errors, s.Write.Bytes)
	fmt.Fprintf(t, "sync\t%d\t%d\t%d\t-\n", s.Sync.Ops, s.Sync.Calls, s.Sync.Errors)
	fmt.Fprintf(t, "syncdata\t%d\t%d\t%d\t-\n", s.SyncData.Ops, s.SyncData.Calls, s.SyncData.Errors)
	_ = t.Flush()
	if len(p.Handlers) > 0 {
		fmt.Fprint(w, "\nTask handlers that run, oldest first.\n\n")
		fmt.Fprintln(t, "age\tshard\thandler\tfile")
		for _, h := range p.Handlers {
			fmt.Fprintf(t, "%v\t%d\t%s\t%s\n", h.Age.Round(time.Microsecond), h.Shard, h.Handler, h.Path)
		}
		_ = t.Flush()
	}
	if len(p.Flights) == 0 {
		fmt.Fprint(w, "\nNothing is in flight.\n")
		return
	}
	fmt.Fprint(w, "\nIn flight, oldest first. Ages count from when somebody first looked; waiters are goroutines that wait for the same ring.\n\n")
	fmt.Fprintln(t, "age\top\toffset\tbytes\tcontext\tshard\tstate\twaiters\thandler\tfile")
	for _, f := range p.Flights {
		handler := f.Handler
		if handler == "" {
			handler = "-"
		}
		fmt.Fprintf(t, "%v\t%s\t%d\t%d\t%s\t%d\t%s\t%d\t%s\t%s\n",
			f.Age.Round(time.Microsecond), f.Op, f.Off, f.Len, f.In, f.Shard, f.State(), f.Waiting, handler, f.Path)
	}
	_ = t.Flush()
	if p.LeftOff > 0 {
		fmt.Fprintf(w, "and %d more: ?limit=0 lists all\n", p.LeftOff)
	}
}
