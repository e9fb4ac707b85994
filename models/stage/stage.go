// SPDX-License-Identifier: Apache-2.0

// Package stage sets up a simulated kernel as a scenario describes it: the
// configuration, the locks, and the steps that all models have in common. What is
// particular to a protocol is in the package of its model.
package stage

import (
	"fmt"

	"endio/explore"
	"endio/machine/sim"
	"endio/scenario"
)

// A Stage is one execution of a scenario in the making.
type Stage struct {
	K *sim.Kernel
	F *scenario.File

	mutexes   map[string]*sim.Mutex
	spinlocks map[string]*sim.Spinlock
	rawlocks  map[string]*sim.RawSpinlock
}

// SkipFrames are the functions that are left out when a trace looks for source
// lines: those of the machine.
var SkipFrames = []string{"endio/machine/sim.", "endio/models/stage."}

// Config returns the configuration of the kernel for a case of f.
func Config(f *scenario.File, c scenario.Config) (sim.Config, error) {
	cfg := sim.Config{CPUs: f.CPUs, Offline: f.Offline, Workers: f.Workers, NoMemory: f.MemoryShort,
		HogSteps: f.HogSteps, Housekeeping: f.Housekeeping, MaxRestarts: f.MaxRestarts}
	switch c.Preempt {
	case "none", "none+count":
		cfg.Preemption = sim.None
	case "voluntary", "voluntary+count":
		cfg.Preemption = sim.Voluntary
	case "full":
		cfg.Preemption = sim.Full
	case "lazy":
		cfg.Preemption = sim.Lazy
	case "rt":
		cfg.Preemption = sim.RT
	default:
		return cfg, fmt.Errorf("configuration %q is not known", c.Preempt)
	}
	cfg.Count = c.Preempt == "none+count" || c.Preempt == "voluntary+count"
	return cfg, nil
}

// New makes the kernel and what the file defines for it. Call it in Init.
func New(x *explore.Exec, f *scenario.File, cfg sim.Config) *Stage {
	s := &Stage{K: sim.New(x, cfg), F: f, mutexes: map[string]*sim.Mutex{},
		spinlocks: map[string]*sim.Spinlock{}, rawlocks: map[string]*sim.RawSpinlock{}}
	for _, n := range f.Mutexes {
		s.mutexes[n] = s.K.NewMutex(nil, n)
	}
	for _, n := range f.Spinlocks {
		s.spinlocks[n] = s.K.NewSpinlock(nil, n)
	}
	for _, n := range f.RawLocks {
		s.rawlocks[n] = s.K.NewRawSpinlock(nil, n)
	}
	s.K.LimitFailures(nil) // what may fail is said of each operation
	return s
}

// Mutex returns the mutex of that name.
func (s *Stage) Mutex(name string) *sim.Mutex { return s.mutexes[name] }

// Step does a step that all models have, and reports whether it was one.
func (s *Stage) Step(c *sim.Context, st *scenario.Step) bool {
	switch st.Verb {
	case "preempt-off":
		c.PreemptDisable()
	case "preempt-on":
		c.PreemptEnable()
	case "irqs-off":
		c.LocalIRQDisable()
	case "irqs-on":
		c.LocalIRQEnable()
	case "rcu-lock":
		c.RCUReadLock()
	case "rcu-unlock":
		c.RCUReadUnlock()
	case "lock":
		s.mutexes[st.Name].Lock(c)
	case "unlock":
		s.mutexes[st.Name].Unlock(c)
	case "spin-lock":
		s.spinlocks[st.Name].Lock(c)
	case "spin-unlock":
		s.spinlocks[st.Name].Unlock(c)
	case "raw-lock":
		s.rawlocks[st.Name].Lock(c)
	case "raw-unlock":
		s.rawlocks[st.Name].Unlock(c)
	default:
		return false
	}
	return true
}
