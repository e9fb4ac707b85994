// SPDX-License-Identifier: Apache-2.0

package taskcomp

import (
	"fmt"
	"path/filepath"

	"endio/explore"
	"endio/machine/sim"
	"endio/models/stage"
	"endio/scenario"
)

// A protocol is one version of the patch.
type protocol interface {
	// inAtomic is the version's test of the context in bio_endio.
	inAtomic(c *sim.Context) bool
	// add defers a bio: __bio_complete_in_task.
	add(c *sim.Context, b *modelBio)
	// completeInTask is the dynamic helper, for versions where hasHelper.
	completeInTask(c *sim.Context, b *modelBio) bool
	hasHelper() bool
	// peek returns the length of a list, -1 if there are none, and workOf the item that is to run the handler of a bio that was put off, or
	// nil; for reports.
	peek(cpu int) int
	workOf(b *modelBio) *sim.Work
}

// A model is one execution of a scenario.
type model struct {
	stage *stage.Stage
	cfg   sim.Config
	file  *scenario.File
	proto protocol
	end   func(c *sim.Context, b *modelBio) // what the driver calls at the end of an I/O
	again func(c *sim.Context, b *modelBio) // what the integrity work calls
	bios  []*modelBio
	fifo  bool

	late []string // hotplug states that the step register registers, in this order
	held bool     // the step register ends a section of the hotplug lock that began before all else

	engine *engine // of version endio

	kintegrityd *sim.Workqueue // nil if no bio has integrity data

	// What tests put mutants in place of: bio_chain_endio and bio_integrity_endio.
	chainEndio    func(c *sim.Context, b *modelBio)
	integrityHook func(c *sim.Context, b *modelBio) bool

	running []*sim.Context // by bio: who runs the handler; for reports only

	state []bioState
	added []int // bios in the order in which they were put on lists
}

// Program returns the program that a case of f asks for. The error says why there
// is none.
func Program(f *scenario.File, c scenario.Case) (*explore.Program, error) {
	cfg, err := stage.Config(f, c.Config)
	if err != nil {
		return nil, err
	}
	if _, ok := makers[c.Version]; !ok {
		return nil, fmt.Errorf("model taskcomp has no version %q", c.Version)
	}
	if len(f.Bios) > maxBios {
		return nil, fmt.Errorf("model taskcomp takes at most %d bios, not %d", maxBios, len(f.Bios))
	}
	skip := stage.SkipFrames
	if c.Version == "endio" {
		skip = append([]string{"endio/models/taskcomp."}, skip...)
	}
	return &explore.Program{
		Name:       fmt.Sprintf("%s, %s, %s", filepath.Base(f.Name), c.Version, c.Config), // wherever the file is: tokens name it
		SkipFrames: skip,
		Init:       func(x *explore.Exec) { start(x, f, cfg, c.Version) },
	}, nil
}

// makers makes the protocol of each version.
var makers = map[string]func(m *model) protocol{
	"v4":              func(m *model) protocol { return newV4(m) },
	"v5":              func(m *model) protocol { return newV5(m) },
	"v6":              func(m *model) protocol { return newV6(m, v6Fixes{}) },
	"v6+irqsave":      func(m *model) protocol { return newV6(m, v6Fixes{irqsave: true}) },
	"v6+requeue":      func(m *model) protocol { return newV6(m, v6Fixes{requeue: true}) },
	"v6+sentinel":     func(m *model) protocol { return newV6(m, v6Fixes{sentinel: true}) },
	"v6+fixes":        func(m *model) protocol { return newV6(m, v6Fixes{true, true, true}) },
	"v7":              func(m *model) protocol { return newV7(m, v7Change{}) },
	"v7+nullcheck":    func(m *model) protocol { return newV7(m, v7Change{nullCheck: true}) },
	"v7+requeue-dead": func(m *model) protocol { return newV7(m, v7Change{requeueDead: true}) },
	"v7-down":         func(m *model) protocol { return newV7(m, v7Change{noDown: true}) },
	"v7-requeue":      func(m *model) protocol { return newV7(m, v7Change{noRequeue: true}) },
	"v7+armin":        func(m *model) protocol { return newV7(m, v7Change{armInside: true}) },
	"v7+cpuslocked":   func(m *model) protocol { return newV7(m, v7Change{cpusLocked: true}) },
	"v7+condresched":  func(m *model) protocol { return newV7(m, v7Change{condResched: true}) },
	"v7+rawlock":      func(m *model) protocol { return newV7(m, v7Change{rawLock: true}) },
	"v7+biowork":      func(m *model) protocol { return newBioWork(m) },
	"v7+resched":      func(m *model) protocol { return newV7(m, v7Change{resched: true}) },
	"endio":           func(m *model) protocol { return newEngine(m) },
}

// start builds one execution.
func start(x *explore.Exec, f *scenario.File, cfg sim.Config, version string) *model {
	m := &model{stage: stage.New(x, f, cfg), file: f, fifo: f.Wanted("fifo")}
	k := m.stage.K
	m.cfg = k.Config()
	m.state = make([]bioState, len(f.Bios))
	m.running = make([]*sim.Context, len(f.Bios))
	for i := range f.Bios {
		d := &f.Bios[i]
		b := &modelBio{id: i, def: d, done: k.NewCompletion(nil, "handler of "+d.Name)}
		b.done.Tell(func(w *explore.Wait) { m.tell(b, w) })
		m.bios = append(m.bios, b)
		m.state[i].stacked = d.Handler == "restores"
		m.state[i].cached = d.Handler == "writeback"
		if d.InTask {
			m.state[i].flags = completeInTask
		}
	}
	m.end, m.again, m.chainEndio, m.integrityHook = m.driverEnd, m.bioEndio, m.bioChainEndio, m.integrityEndio
	m.integrity()
	m.proto = makers[version](m)
	if version != "endio" {
		m.chain()
	}
	k.Root(&m.state)
	k.Root(&m.added)
	k.AtEnd(func(*sim.Kernel) { m.atEnd(x) })
	for i := range f.Actors {
		m.actor(&f.Actors[i])
	}
	return m
}

// chain is bio_chain for each bio with a parent.
func (m *model) chain() {
	count := make([]int, len(m.bios))
	for _, b := range m.bios {
		if b.def.Parent != "" {
			b.parent = m.bio(b.def.Parent)
			count[b.parent.id]++
		}
	}
	for i, n := range count {
		if n > 0 {
			m.state[i].chained = true
			m.bios[i].remaining = sim.NewAtomic(m.stage.K, nil, "__bi_remaining of "+m.bios[i].def.Name, n+1)
		}
	}
	for _, b := range m.bios {
		for up := b; b.def.Error && up != nil && up.status == nil; up = up.parent {
			up.status = sim.NewAtomic(m.stage.K, nil, "bi_status of "+up.def.Name, 0)
		}
	}
}

// integrity makes the work items of bios with integrity data. The kernel has them in a pool of each CPU for high priority; here there is one pool.
func (m *model) integrity() {
	for _, b := range m.bios {
		if !b.def.Integrity {
			continue
		}
		if m.kintegrityd == nil {
			m.kintegrityd = m.stage.K.AllocWorkqueue("kintegrityd", sim.MemReclaim)
		}
		b.verify = m.stage.K.NewWork(nil, "integrity of "+b.def.Name, 0, func(c *sim.Context) { m.verifyFn(c, b) })
	}
}

// bio returns the bio of that name, nil for "".
func (m *model) bio(name string) *modelBio {
	if name == "" {
		return nil
	}
	for _, b := range m.bios {
		if b.def.Name == name {
			return b
		}
	}
	panic("taskcomp: no bio " + name + ": the parser lets none through")
}

// actor starts a task or lets an interrupt come.
func (m *model) actor(a *scenario.Actor) {
	k := m.stage.K
	run := func(c *sim.Context) {
		for i := range a.Steps {
			m.step(c, &a.Steps[i])
		}
	}
	switch a.Kind {
	case scenario.IRQ:
		k.Interrupt(nil, a.CPU, a.Name, sim.IRQOptions{Hard: a.Hard}, run)
	case scenario.Softirq:
		k.Interrupt(nil, a.CPU, a.Name, sim.IRQOptions{Hard: true}, func(c *sim.Context) { c.RaiseSoftirq(a.Name, run) })
	default:
		o := sim.TaskOptions{}
		if a.CPU >= 0 {
			o.CPU = sim.OnCPU(a.CPU)
		}
		k.Go(nil, a.Name, o, run)
	}
}

func (m *model) step(c *sim.Context, st *scenario.Step) {
	if m.stage.Step(c, st) {
		return
	}
	switch st.Verb {
	case "complete":
		m.end(c, m.bio(st.Name))
	case "wait-bio":
		m.bio(st.Name).done.Wait(c)
	case "down":
		_ = m.stage.K.CPUDown(c, st.CPU, st.State, st.Fails...)
	case "up":
		_ = m.stage.K.CPUUp(c, st.CPU, st.State, st.Fails...)
	case "register":
		m.register(c)
	default:
		c.Fail(explore.BadProgram, "model taskcomp has no step %q", st.Verb)
	}
}

// addState gives the kernel the callbacks of a version: before all else, or in the step register if the scenario has one.
func (m *model) addState(after string, s sim.HotplugState) {
	if m.file.Uses("register") && !m.held {
		s.Late = true
		m.late = append(m.late, s.Name)
	}
	m.stage.K.AddState(after, s)
}

// holdHotplug keeps CPUs from coming and going until the step register, if there is one.
func (m *model) holdHotplug() {
	if m.file.Uses("register") {
		m.held = true
		m.stage.K.HoldHotplug()
	}
}

// register is the end of init_bio: the calls of cpuhp_setup_state_nocalls, of which each takes the hotplug lock for itself.
func (m *model) register(c *sim.Context) {
	if m.held {
		m.stage.K.LetHotplug(c)
	}
	for _, name := range m.late {
		m.stage.K.Register(c, name)
	}
}

// noteAdd is called under the protection of the list.
func (m *model) noteAdd(b *modelBio, cpu int) {
	m.state[b.id].cpu = cpu
	if !m.fifo {
		return // the order would only tell states apart
	}
	for _, id := range m.added {
		if id == b.id {
			return
		}
	}
	m.added = append(m.added, b.id)
}

// atEnd looks at what was to happen and has not, when nothing can go on.
func (m *model) atEnd(x *explore.Exec) {
	for i, st := range m.state {
		name := m.bios[i].def.Name
		if st.started > st.runs {
			text := "the handler of bio " + name + " never returns"
			if c := m.running[i]; c != nil {
				text += ": " + x.Chain(c.Explorer())
			}
			x.Fail(explore.Deadlock, text, x.Waits())
			return
		}
	}
	stuck := false
	x.Tasks(func(t *explore.Task) { stuck = stuck || !t.Finished() && !t.Daemon() })
	if stuck {
		return // the explorer says who waits for whom
	}
	for i, st := range m.state {
		d := m.bios[i].def
		if st.verifying {
			x.Fail(sim.NeverRun, fmt.Sprintf("bio %s has ended and is never verified: %s", d.Name, m.bios[i].verify.Fate()), x.Waits())
			return
		}
		if st.ended > 0 && st.runs == 0 && d.Handler != "none" {
			x.Fail(sim.NeverRun, fmt.Sprintf("bio %s has ended and its handler never runs: %s", d.Name, m.whyNot(i)), x.Waits())
			return
		}
		if m.file.Wanted("dropbehind") && st.cached && st.runs > 0 {
			x.Fail(ineffective, "the folio of bio "+d.Name+" stays in the cache: its handler ran in an interrupt", "")
			return
		}
	}
}

// whyNot says why nothing runs the handler of a bio that has ended.
func (m *model) whyNot(i int) string {
	cpu := m.state[i].cpu
	w := m.proto.workOf(m.bios[i])
	if w == nil {
		return "it was put off, and nothing will run it"
	}
	held := "which holds nothing else"
	switch n := m.proto.peek(cpu); n {
	case -1:
		return w.Fate()
	case 0:
		return fmt.Sprintf("it was taken off the list of cpu %d, and %s", cpu, w.Fate())
	case 1:
	default:
		held = fmt.Sprintf("which holds %d", n)
	}
	return fmt.Sprintf("it is on the list of cpu %d, %s, and %s", cpu, held, w.Fate())
}

// tell says what a wait for the handler of b is for, and who ends it.
func (m *model) tell(b *modelBio, w *explore.Wait) {
	st := &m.state[b.id]
	w.For = "the handler of bio " + b.def.Name
	switch {
	case st.started > st.runs:
		w.By = "run by"
		if c := m.running[b.id]; c != nil {
			w.Owners = append(w.Owners, c.Explorer())
		}
	case st.verifying:
		w.By, w.Owners, w.Why = "to be run by", append(w.Owners, b.verify.Runners()...), b.verify.Fate()
	case st.ended == 0:
		w.Why = "bio " + b.def.Name + " has not ended"
	case m.engine != nil:
		m.engine.awaits(b, w)
	case m.proto.workOf(b) != nil:
		work := m.proto.workOf(b)
		w.By, w.Owners, w.Why = "to be run by", append(w.Owners, work.Runners()...), m.whyNot(b.id)
	}
}

const (
	ineffective explore.FailKind = "ineffective"
	lostError   explore.FailKind = "lost error"
)

// noteList remarks in a trace that b was put on a list.
func (m *model) noteList(c *sim.Context, b *modelBio, cpu int, wasEmpty bool) {
	if !c.Tracing() {
		return
	}
	then := "which is not empty: nothing is armed"
	if wasEmpty {
		then = "which was empty"
	}
	c.Note("bio %s is put on the list of cpu %d, %s", b.def.Name, cpu, then)
}

// noteRefused remarks that a work item could not be armed.
func noteRefused(c *sim.Context, w *sim.Work) {
	if c.Tracing() && w.Depth() > 0 {
		c.Note("refused: the work is disabled")
	}
}
