// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"bytes"
	"encoding/json"
	"expvar"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	for _, want := range []string{"op=write", "stuck", "offset=8192", "bytes=512", "context=caller"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	page := httptest.NewRecorder()
	metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
	if text := page.Body.String(); !strings.Contains(text, "8192") || !strings.Contains(text, "nobody waits") || !strings.Contains(text, path) {
		t.Errorf("the page:\n%s", text)
	}
	page = httptest.NewRecorder()
	metrics.Handler(e).ServeHTTP(page, httptest.NewRequest("GET", "/?format=json", nil))
	var got struct{ Flights []endio.Flight }
	if err := json.Unmarshal(page.Body.Bytes(), &got); err != nil || len(got.Flights) != 1 || got.Flights[0].Age < 5*time.Millisecond || got.Flights[0].Path != path {
		t.Errorf("the page in JSON: %v, %s", err, page.Body)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector(e, prometheus.Labels{"engine": "test"}))
	values := gather(t, registry)
	if values["endio_in_flight"] != 1 || values["endio_queues"] != 1 || values["endio_files"] != 1 || values["endio_oldest_seconds"] < 0.005 {
		t.Errorf("with one write in flight: %v", values)
	}
	if err := q.Drain(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "does not complete"); n != 1 {
		t.Errorf("reported %d times, want once", n)
	}
	values = gather(t, registry)
	if values["endio_in_flight"] != 0 || values["endio_handlers_total/caller"] != 1 || values["endio_oldest_seconds"] != 0 {
		t.Errorf("after it: %v", values)
	}
	metrics.Publish("endio-test", e)
	var stats endio.Stats
	if err := json.Unmarshal([]byte(expvar.Get("endio-test").String()), &stats); err != nil || stats.Caller != 1 {
		t.Errorf("expvar: %v, %+v", err, stats)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// gather returns the values by name, and by name/context where there is one.
func gather(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			name := family.GetName()
			for _, l := range m.Label {
				if l.GetName() == "context" {
					name += "/" + l.GetValue()
				}
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}
