// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"

	"endio/internal/decide"
)

// An event is one of the Trace Event Format, which the Perfetto UI and
// chrome://tracing open.
type event struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"`
	Time  int            `json:"ts"`            // microseconds; a step is stepTime
	Dur   int            `json:"dur,omitempty"` // microseconds
	PID   int            `json:"pid"`
	TID   int            `json:"tid"`
	Scope string         `json:"s,omitempty"`
	Args  map[string]any `json:"args,omitempty"`
}

const stepTime = 1000

// Perfetto is the trace of a failure in the Trace Event Format: a process a CPU, a
// thread each context, a slice each step.
func Perfetto(a *decide.Answer) ([]byte, error) {
	if a.Trace == nil {
		return nil, fmt.Errorf("%s, %s, %s: there is no trace: nothing failed", a.File.Name, a.Case.Version, a.Case.Config)
	}
	var events []event
	seen := map[[2]int]bool{}
	type track struct {
		pid  int
		task string
	}
	tids := map[track]int{}
	for _, r := range rows(a.Trace, a.File.Offline) {
		pid := r.lane + 1
		if r.mark {
			events = append(events, event{Name: fmt.Sprintf("CPU %d is %s", r.lane, r.what), Phase: "i", Scope: "p", Time: r.number * stepTime, PID: pid})
			continue
		}
		tid, ok := tids[track{pid, r.task}]
		if !ok {
			// A thread id belongs to one process in the whole trace; that of the process itself is its main thread.
			tid = 100 + len(tids)
			tids[track{pid, r.task}] = tid
		}
		if !seen[[2]int{pid, 0}] {
			seen[[2]int{pid, 0}] = true
			events = append(events, event{Name: "process_name", Phase: "M", PID: pid, Args: map[string]any{"name": fmt.Sprintf("CPU %d", r.lane)}})
		}
		if !seen[[2]int{pid, tid}] {
			seen[[2]int{pid, tid}] = true
			events = append(events, event{Name: "thread_name", Phase: "M", PID: pid, TID: tid, Args: map[string]any{"name": r.task}})
		}
		args := map[string]any{"step": r.number, "context": r.task}
		if r.wait {
			args["step"] = "end"
			args["about to"] = r.what
			r.what = r.notes[0]
			r.notes = nil
		}
		for k, v := range map[string]string{"source": r.where, "holds": r.holds} {
			if v != "" {
				args[k] = v
			}
		}
		if len(r.notes) > 0 {
			args["notes"] = r.notes
		}
		events = append(events, event{Name: r.what, Phase: "X", Time: (r.number - 1) * stepTime, Dur: stepTime, PID: pid, TID: tid, Args: args})
	}
	if f := a.Failure; f != nil {
		events = append(events, event{Name: a.Problem(), Phase: "i", Scope: "g", Time: len(a.Trace.Steps) * stepTime, PID: 1, // where the waits begin
			Args: map[string]any{"details": f.Details, "replay": f.Token}})
	}
	return json.MarshalIndent(map[string]any{"traceEvents": events, "displayTimeUnit": "ms",
		"otherData": map[string]string{"scenario": a.File.Name, "version": a.Case.Version, "config": a.Case.Config.String()}}, "", " ")
}
