// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"endio"
	"endio/machine/host"
	"endio/metrics"
)

// begin opens an engine with a file of 64 KiB.
func begin(o endio.Options) (e *endio.Engine, f *endio.File, end func()) {
	dir, err := os.MkdirTemp("", "endio-example-")
	if err != nil {
		log.Fatal(err)
	}
	if e, err = endio.Open(o); err != nil {
		log.Fatal(err)
	}
	if f, err = e.OpenFile(filepath.Join(dir, "data"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		log.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 64<<10), 0); err != nil {
		log.Fatal(err)
	}
	return e, f, func() {
		if err := errors.Join(e.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// A registry with one engine, and the page that Prometheus scrapes.
func ExampleNewCollector() {
	e, f, end := begin(endio.Options{})
	defer end()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(e, prometheus.Labels{"engine": "log"}))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	if _, err := f.ReadAt(make([]byte, 512), 0); err != nil {
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "endio_transferred_bytes_total" {
			for _, m := range family.Metric {
				fmt.Print(family.GetName())
				for _, l := range m.Label {
					fmt.Printf(" %s=%s", l.GetName(), l.GetValue())
				}
				fmt.Println(":", m.GetCounter().GetValue())
			}
		}
	}
	// Output:
	// endio_transferred_bytes_total engine=log kind=read: 512
	// endio_transferred_bytes_total engine=log kind=write: 65536
}

// The counts of an engine at /debug/vars.
func ExamplePublish() {
	e, _, end := begin(endio.Options{})
	defer end()
	name := fmt.Sprint("engine-", time.Now().UnixNano()) // any: each can be used once
	metrics.Publish(name, e)
	var s endio.Stats
	if err := json.Unmarshal([]byte(expvar.Get(name).String()), &s); err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Files, "file,", s.Write.Bytes, "bytes written in", s.Write.Calls, "call")
	// Output: 1 file, 65536 bytes written in 1 call
}

// An operation that a device does not answer, on the debug page in both forms.
func ExampleHandler() {
	faults := &host.Faults{} // in place of a broken device
	e, f, end := begin(endio.Options{Faults: faults})
	defer end()
	mux := http.NewServeMux()
	mux.Handle("/debug/endio", metrics.Handler(e))

	faults.Hold()
	done := make(chan struct{})
	err := e.Submit(&endio.Op{File: f, Kind: endio.Write, In: endio.Task, Buf: make([]byte, 512), Off: 4096, Done: func(*endio.Context, *endio.Op) { close(done) }})
	if err != nil {
		log.Fatal(err)
	}
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest("GET", "/debug/endio?format=json", nil))
	var page metrics.Page
	if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil {
		log.Fatal(err)
	}
	for _, f := range page.Flights {
		fmt.Println(f.Op, f.Len, "bytes at", f.Off, "of", filepath.Base(f.Path), "for", f.In, f.Handler)
	}
	faults.Release()
	<-done
	// Output: write 512 bytes at 4096 of data for task endio/metrics_test.ExampleHandler.func1
}
