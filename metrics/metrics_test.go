// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"bytes"
	"encoding/json"
	"expvar"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"endio"
	"endio/machine/host"
	"endio/metrics"
)

// A logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestStuck keeps a read in flight, and asks everybody about it.
func TestStuck(t *testing.T) {
	log := &logBuffer{}
	e, err := endio.Open(endio.Options{
		Logger: slog.New(slog.NewTextHandler(log, nil)), OldAfter: 5 * time.Millisecond,
		Faults: &host.Faults{Delay: 0.999999, MaxDelay: 3 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stuck")
	f, err := e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	q, err := e.NewQueue(endio.QueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	op := &endio.Op{File: f, Kind: endio.Write, Buf: make([]byte, 512), Off: 8192, Done: func(*endio.Context, *endio.Op) {}}
	if err := q.Submit(op); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(log.String(), "does not complete") { // the watchdog's part
		time.Sleep(time.Millisecond) // sleep: the log has nobody who could be told
	}
	for _, want := range []string{"op=write", "stuck", "offset=8192", "bytes=512", "context=caller", "handler=endio/metrics_test.TestStuck", `state="nobody waits"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	page := httptest.NewRecorder()
	metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
	if text := page.Body.String(); !strings.Contains(text, "8192") || !strings.Contains(text, "nobody waits") || !strings.Contains(text, "TestStuck") || !strings.Contains(text, path) {
		t.Errorf("the page:\n%s", text)
	}
	page = httptest.NewRecorder()
	metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/?format=json", nil))
	var got metrics.Page
	if err := json.Unmarshal(page.Body.Bytes(), &got); err != nil || len(got.Flights) != 1 || got.Flights[0].Age < 5*time.Millisecond || got.Flights[0].Path != path {
		t.Errorf("the page in JSON: %v, %s", err, page.Body)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector(e, prometheus.Labels{"engine": "test"}))
	values := gather(t, registry)
	if values["endio_in_flight_requests"] != 1 || values["endio_open_queues"] != 1 || values["endio_open_files"] != 1 || values["endio_oldest_operation_age_seconds"] < 0.005 || values["endio_watchdog_reports_total/old"] != 1 {
		t.Errorf("with one write in flight: %v", values)
	}
	if err := q.Drain(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "does not complete"); n != 1 {
		t.Errorf("reported %d times, want once", n)
	}
	values = gather(t, registry)
	if values["endio_in_flight_requests"] != 0 || values["endio_handlers_total/caller"] != 1 || values["endio_oldest_operation_age_seconds"] != 0 ||
		values["endio_operations_total/write/op"] != 1 || values["endio_transferred_bytes_total/write"] != 512 {
		t.Errorf("after it: %v", values)
	}
	name := fmt.Sprint("endio-test-", time.Now().UnixNano()) // a name is for ever, and tests may run twice
	metrics.Publish(name, e)
	var stats endio.Stats
	if err := json.Unmarshal([]byte(expvar.Get(name).String()), &stats); err != nil || stats != e.Stats() || stats.Caller != 1 || stats.Write != (endio.KindStats{Ops: 1, Bytes: 512}) {
		t.Errorf("expvar: %v, %+v", err, stats)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// gather returns the values by name, with those of labels (not engine) after it. It wants the names and
// texts to be such as Prometheus wants them.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("names and texts of metrics: %v, %v", problems, err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, l := range m.Label {
				if l.GetName() != "engine" {
					name += "/" + l.GetValue()
				}
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}

// TestPage asks for pages with and without a limit, and for what there is not.
func TestPage(t *testing.T) {
	faults := &host.Faults{}
	e, err := endio.Open(endio.Options{Shards: 1, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	f, err := e.OpenFile(filepath.Join(t.TempDir(), "page"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	get := func(query string) (int, string) {
		t.Helper()
		page := httptest.NewRecorder()
		metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/"+query, nil))
		return page.Code, page.Body.String()
	}
	for _, bad := range []string{"?limit=x", "?limit=-1", "?limit=99999999999999999999", "?format=xml"} {
		if code, text := get(bad); code != 400 || !strings.Contains(text, "want") {
			t.Errorf("%s: %d %q, want 400 and what it may be", bad, code, text)
		}
	}
	if code, text := get(""); code != 200 || !strings.Contains(text, "Nothing is in flight.") {
		t.Errorf("with nothing in flight: %d\n%s", code, text)
	}
	if _, text := get("?format=json"); !strings.Contains(text, `"flights":[]`) {
		t.Errorf("with nothing in flight: %s", text)
	}
	const n = 1500
	faults.Hold()
	var all sync.WaitGroup
	all.Add(n)
	ops := make([]*endio.Op, n)
	for i := range ops {
		ops[i] = &endio.Op{File: f, Kind: endio.Write, In: endio.Task, Buf: make([]byte, 8), Off: int64(i) * 8, Done: func(*endio.Context, *endio.Op) { all.Done() }}
	}
	if err := e.Submit(ops...); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][2]int{"": {1000, 500}, "&limit=3": {3, 1497}, "&limit=0": {n, 0}, "&limit=5000": {n, 0}} {
		_, text := get("?format=json" + query)
		var p metrics.Page
		if err := json.Unmarshal([]byte(text), &p); err != nil || len(p.Flights) != want[0] || p.LeftOff != want[1] {
			t.Errorf("%s: %v, %d listed and %d left off, want %d and %d", query, err, len(p.Flights), p.LeftOff, want[0], want[1])
		}
	}
	if _, text := get("?limit=2"); !strings.Contains(text, "and 1498 more: ?limit=0 lists all") {
		t.Errorf("what is left off is not said:\n%s", text)
	}
	faults.Release()
	all.Wait()
}

// TestHandlers has a Task handler block, and asks for it.
func TestHandlers(t *testing.T) {
	log := &logBuffer{}
	e, err := endio.Open(endio.Options{OldAfter: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	path := filepath.Join(t.TempDir(), "blocks")
	f, err := e.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	begun, release := make(chan struct{}), make(chan struct{})
	err = e.Submit(&endio.Op{File: f, In: endio.Task, Buf: make([]byte, 1), Done: func(*endio.Context, *endio.Op) {
		close(begun)
		<-release
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	for !strings.Contains(log.String(), "does not return") {
		time.Sleep(time.Millisecond) // sleep: the log has nobody who could be told
	}
	page := httptest.NewRecorder()
	metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/?format=json", nil))
	var p metrics.Page
	if err := json.Unmarshal(page.Body.Bytes(), &p); err != nil || len(p.Handlers) != 1 || p.Handlers[0].Path != path ||
		!strings.Contains(p.Handlers[0].Handler, "TestHandlers") || p.Handlers[0].Age < 5*time.Millisecond || p.Stats.Old < 1 { // the operation may have got old before
		t.Errorf("a handler that blocks: %v, %s", err, page.Body)
	}
	page = httptest.NewRecorder()
	metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
	if text := page.Body.String(); !strings.Contains(text, "Task handlers that run") || !strings.Contains(text, path) {
		t.Errorf("the page:\n%s", text)
	}
	close(release)
	if err := f.Drain(); err != nil {
		t.Error(err)
	}
	for len(e.Handlers()) > 0 {
		time.Sleep(time.Millisecond) // sleep: nobody is told when a handler has returned
	}
	if n := strings.Count(log.String(), "does not return"); n != 1 {
		t.Errorf("reported %d times, want once", n)
	}
}
