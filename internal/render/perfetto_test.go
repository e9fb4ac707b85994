// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"endio/explore"
	"endio/internal/decide"
	"endio/scenario"
)

// traceEvents reads a trace in the Trace Event Format as its documentation has it, and knows nothing of what
// wrote it. It returns what is wrong.
//
// Source: "Trace Event Format", N. Duca and D. Sinclair, sections "JSON Object Format", "Complete Events",
// "Instant Events" and "Metadata Events".
func traceEvents(data []byte) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	var file struct {
		TraceEvents     []map[string]any
		DisplayTimeUnit string
		OtherData       map[string]any
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return []string{err.Error()}
	}
	if file.DisplayTimeUnit != "ms" && file.DisplayTimeUnit != "ns" {
		wrong("displayTimeUnit is %q", file.DisplayTimeUnit)
	}
	type track struct{ pid, tid float64 }
	processes, threads := map[float64]string{}, map[track]string{}
	owner := map[float64]float64{} // process of a thread id
	until := map[track]float64{}   // end of the last slice
	last, slices := -1.0, 0
	for i, e := range file.TraceEvents {
		number := func(key string) float64 {
			v, ok := e[key].(float64)
			if !ok {
				wrong("event %d has no number %s", i, key)
			}
			return v
		}
		name, _ := e["name"].(string)
		if name == "" {
			wrong("event %d has no name", i)
		}
		args, _ := e["args"].(map[string]any)
		at := track{pid: number("pid")}
		switch e["ph"] {
		case "M":
			what, _ := args["name"].(string)
			if what == "" {
				wrong("event %d: metadata without a name in its args", i)
			}
			switch name {
			case "process_name":
				processes[at.pid] = what
			case "thread_name":
				at.tid = number("tid")
				if p, ok := owner[at.tid]; ok && p != at.pid {
					wrong("event %d: thread %v is one of process %v already", i, at.tid, p)
				}
				owner[at.tid] = at.pid
				threads[at] = what
			default:
				wrong("event %d: metadata %q is not known", i, name)
			}
		case "X":
			at.tid = number("tid")
			ts, dur := number("ts"), number("dur")
			if threads[at] == "" || processes[at.pid] == "" {
				wrong("event %d is on a track without a name", i)
			}
			if dur <= 0 || ts < 0 || ts < last || ts < until[at] {
				wrong("event %d from %v for %v: after %v, on a track that is taken until %v", i, ts, dur, last, until[at])
			}
			last, until[at] = ts, ts+dur
			slices++
		case "i":
			if s := e["s"]; s != "g" && s != "p" && s != "t" {
				wrong("event %d: an instant of scope %v", i, s)
			}
			if ts := number("ts"); ts < last {
				wrong("event %d at %v is before %v", i, ts, last)
			}
		default:
			wrong("event %d: phase %v is not known", i, e["ph"])
		}
	}
	if slices == 0 {
		wrong("no slice")
	}
	return problems
}

// failing decides a case that fails.
func failing(t *testing.T, name, version, config string) *decide.Answer {
	t.Helper()
	f, err := scenario.ReadFile(filepath.Join("../../scenarios", name+".scn"))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := decide.Select(f, version, config)
	if err != nil || len(cases) != 1 {
		t.Fatalf("%v, %d cases", err, len(cases))
	}
	a, err := decide.Decide(context.Background(), f, cases[0], decide.Options{})
	if err != nil || a.Verdict != explore.Fails {
		t.Fatalf("%v, %v", err, a)
	}
	return a
}

func TestPerfetto(t *testing.T) {
	for _, c := range []struct{ name, version, config string }{
		{"fallocate", "6.6-rc", "full/defer"}, {"two-tasks-two-workers", "6.6-rc", "full/defer"}, {"lockdep-class", "6.6-rc", "rt/default"},
		{"hotplug-rollback", "v6", "rt"}, {"handler-waits", "v6", "none"}, {"rescuer", "v7-down", "rt"}, {"softirq", "v4", "rt"},
	} {
		a := failing(t, c.name, c.version, c.config)
		data, err := Perfetto(a)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range traceEvents(data) {
			t.Errorf("%s, %s, %s: %s", c.name, c.version, c.config, p)
		}
		if n := bytes.Count(data, []byte(`"ph": "X"`)); n != len(a.Trace.Steps)+len(a.Trace.Waits) {
			t.Errorf("%s: %d slices for %d steps and %d waits", c.name, n, len(a.Trace.Steps), len(a.Trace.Waits))
		}
	}
}

// TestTraceEvents breaks a trace in each way that the reader is to find.
func TestTraceEvents(t *testing.T) {
	data, err := Perfetto(failing(t, "fallocate", "6.6-rc", "full/defer"))
	if err != nil {
		t.Fatal(err)
	}
	if p := traceEvents(data); len(p) > 0 {
		t.Fatal(p)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"thread_name"`, `"thread_nam"`, "not known"}, {`"dur": 1000`, `"dur": -1`, "for -1"}, {`"dur": 1000`, `"dur": 1001`, "taken until"},
		{`"ts": 1000`, `"ts": 9000`, "after 9000"}, {`"ph": "X"`, `"ph": "B"`, "phase B"}, {`"s": "g"`, `"s": "x"`, "scope x"},
		{`"pid": 1`, `"pid": "1"`, "no number pid"}, {`"displayTimeUnit": "ms"`, `"displayTimeUnit": "h"`, "displayTimeUnit"}, {`"process_name"`, `"process_labels"`, "not known"},
	} {
		broken := strings.Replace(string(data), c.from, c.to, 1)
		if broken == string(data) {
			t.Errorf("nothing to replace: %s", c.from)
		}
		if got := strings.Join(traceEvents([]byte(broken)), "; "); !strings.Contains(got, c.want) {
			t.Errorf("%s for %s: %q, want %q", c.to, c.from, got, c.want)
		}
	}
}
