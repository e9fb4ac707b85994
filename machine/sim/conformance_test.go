// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"testing"

	"endio/explore"
	"endio/machine"
	"endio/machine/machinetest"
	"endio/machine/sim"
)

// simEnv runs the conformance suite on the simulated kernel.
type simEnv struct {
	k *sim.Kernel
	m *sim.Machine
}

func (e *simEnv) Machine() machine.Machine { return e.m }
func (e *simEnv) Init() machine.Context    { return e.m.InitContext() }

func (e *simEnv) Task(name string, h machinetest.Helper, fn func(machine.Context)) {
	e.k.Go(nil, name, sim.TaskOptions{}, func(c *sim.Context) {
		c.Yield()
		if h != nil {
			c.SetHelper(h)
		}
		fn(c)
	})
}

func (e *simEnv) Atomic(cpu machine.CPU, name string, fn func(machine.Context)) {
	e.k.Interrupt(nil, int(cpu), name, sim.IRQOptions{Hard: true}, func(c *sim.Context) { fn(c) })
}

func (e *simEnv) SetOnline(mc machine.Context, cpu machine.CPU, online bool) error {
	if online {
		return e.k.CPUUp(mc.(*sim.Context), int(cpu), "")
	}
	return e.k.CPUDown(mc.(*sim.Context), int(cpu), "")
}

func (e *simEnv) State(p any) { e.k.Root(p) }

func (e *simEnv) Finally(what string, cond func() bool) {
	e.k.AtEnd(func(k *sim.Kernel) {
		if !cond() {
			k.Fail(explore.Assertion, "in the end not true: "+what)
		}
	})
}

func (e *simEnv) Failf(mc machine.Context, format string, args ...any) {
	mc.(*sim.Context).Fail(explore.Assertion, format, args...)
}

// TestConformance explores the cases that every machine must pass.
func TestConformance(t *testing.T) {
	for _, k := range machinetest.Cases() {
		t.Run(k.Name, func(t *testing.T) {
			for _, cfg := range append(sim.Configs(), sim.Config{Preemption: sim.Full, Concurrent: true}) {
				cfg.Timers = true
				holds(t, cfg, func(k2 *sim.Kernel) { k.Setup(&simEnv{k: k2, m: sim.NewMachine(k2)}) })
			}
		})
	}
}
