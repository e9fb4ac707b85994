// SPDX-License-Identifier: Apache-2.0

package host

import (
	"sync"
	"testing"
	"time"

	"endio/machine"
	"endio/machine/machinetest"
)

// hostEnv runs one case of the conformance suite on threads.
type hostEnv struct {
	t     *testing.T
	m     *Machine
	start []func()
	end   []ending
}

type ending struct {
	what string
	cond func() bool
}

func (e *hostEnv) Machine() machine.Machine { return e.m }
func (e *hostEnv) Init() machine.Context    { return e.m.Anyone() }

func (e *hostEnv) Task(_ string, h machinetest.Helper, fn func(machine.Context)) {
	cpu := machine.CPU(len(e.start) % e.m.CPUs())
	e.start = append(e.start, func() {
		if h == nil {
			fn(e.m.NewContext(cpu, nil, nil))
			return
		}
		fn(e.m.NewContext(cpu, h, nil))
	})
}

func (e *hostEnv) Atomic(cpu machine.CPU, _ string, fn func(machine.Context)) {
	e.start = append(e.start, func() { fn(&Context{m: e.m, cpu: cpu, atomic: true}) })
}

func (e *hostEnv) SetOnline(_ machine.Context, cpu machine.CPU, online bool) error {
	return e.m.SetOnline(cpu, online)
}

func (e *hostEnv) State(any) {}

func (e *hostEnv) Finally(what string, cond func() bool) {
	e.end = append(e.end, ending{what, cond})
}

func (e *hostEnv) Failf(_ machine.Context, format string, args ...any) {
	e.t.Helper()
	e.t.Errorf(format, args...)
}

// finish waits for what must be true in the end: long, because a machine may be slow. A
// time in which the process as a whole stood still counts as no more than one look.
func (e *hostEnv) finish() {
	for _, end := range e.end {
		patience := 30 * time.Second
		for !end.cond() {
			if patience < 0 {
				e.t.Fatalf("in the end not true: %s", end.what)
			}
			since := time.Now()
			time.Sleep(50 * time.Microsecond) // sleep: looks at intervals
			patience -= min(time.Since(since), 10*time.Millisecond)
		}
	}
}

// TestStallsWhileItRuns lets an instance get to its end as soon as it is told to stall:
// it has not ended while it is being told.
func TestStallsWhileItRuns(t *testing.T) {
	m, err := New(Config{Shards: 1, MaxShards: 1, UseThreads: true})
	if err != nil {
		t.Fatal(err)
	}
	m.Start()
	release, told := make(chan struct{}), make(chan bool)
	var w *work
	w = m.NewWork("t.work", 0, func(machine.Context) { <-release }, func(machine.Context) {
		close(release)
		ended := false
		for range 50 {
			time.Sleep(100 * time.Microsecond) // sleep: long enough for an instance that would end
			w.s.mu.Lock()
			ended = ended || !w.running
			w.s.mu.Unlock()
		}
		told <- ended
	}).(*work)
	w.Queue(m.Anyone())
	if <-told {
		t.Error("an instance ended while it was told that it stalls")
	}
	w.Disable(m.Anyone())
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestConformance runs the cases that every machine must pass, each many times, on threads
// and on rings: there whoever reaps sits in the ring, and is woken through it.
func TestConformance(t *testing.T) {
	for _, threads := range []bool{true, false} {
		t.Run(map[bool]string{true: "threads", false: "rings"}[threads], func(t *testing.T) { conformAll(t, threads) })
	}
}

func conformAll(t *testing.T, threads bool) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	for _, k := range machinetest.Cases() {
		t.Run(k.Name, func(t *testing.T) {
			for range rounds {
				conform(t, k, threads)
				if t.Failed() {
					return
				}
			}
		})
	}
}

func conform(t *testing.T, k machinetest.Case, threads bool) {
	t.Helper()
	m, err := New(Config{Shards: 2, MaxShards: 2, UseThreads: threads})
	if err != nil {
		t.Fatal(err)
	}
	if rings, reason := m.Backend(); !threads && !rings {
		m.Close()
		t.Skip("no rings: " + reason)
	}
	m.Start()
	e := &hostEnv{t: t, m: m}
	k.Setup(e)
	var wg sync.WaitGroup
	for _, f := range e.start {
		wg.Go(f)
	}
	wg.Wait()
	e.finish()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
