// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"errors"
	"fmt"
	"path/filepath"

	"endio/explore"
	"endio/lockdep"
	"endio/machine/sim"
	"endio/models/stage"
	"endio/scenario"
)

// A policy says who completes an asynchronous direct write.
type policy int

const (
	workqueue policy = iota // always s_dio_done_wq (6.5, 6.6)
	caller                  // the task that submitted, where the write qualifies (6.6-rc)
	inline                  // the interrupt, for pure overwrites (6.19)
	toWaiter                // no version's policy: the submitter of a synchronous one, which waits for it
)

// A version is a row of switches.
type version struct {
	policy        policy
	interruptible bool // inode_dio_wait returns -ERESTARTSYS on a signal
	split         bool // inode_dio_end in the completion hook, the rest in the caller
	extentsToWork bool // writes whose end changes extents never go to the caller
	tryFreeze     bool // under NOWAIT sb_writers is only tried
	nowaitWorkers bool // io-wq workers issue writes with NOWAIT too, and try again
	marksFailed   bool // the task work marks a request whose I/O has failed, as the hook does
	endInHook     bool // sb_writers ends in the completion hook, not in the task work
}

var versions = map[string]version{
	"6.5":                  {policy: workqueue},
	"6.6-rc":               {policy: caller},
	"6.6":                  {policy: workqueue},
	"6.6-rc+nowait":        {policy: caller, nowaitWorkers: true},
	"6.6-rc+interruptible": {policy: caller, interruptible: true},
	"6.6-rc+split":         {policy: caller, split: true},
	"6.6-rc+split-owned":   {policy: caller, split: true, extentsToWork: true},
	"6.19":                 {policy: inline, extentsToWork: true, tryFreeze: true},

	// Remedies combined, and the one that closes what 6.19 leaves open.
	"6.6+interruptible": {policy: workqueue, interruptible: true},
	"6.6-rc+both":       {policy: caller, interruptible: true, split: true},
	"6.6-rc+tryfreeze":  {policy: caller, tryFreeze: true},
	"6.19+endwrite":     {policy: inline, extentsToWork: true, tryFreeze: true, endInHook: true},
	"6.6-rc+all":        {policy: caller, split: true, extentsToWork: true, tryFreeze: true, endInHook: true},
	"6.6-rc+markfailed": {policy: caller, split: true, extentsToWork: true, tryFreeze: true, endInHook: true, marksFailed: true},
}

// A model is one execution of a scenario on a kernel version.
type model struct {
	stage  *stage.Stage
	k      *sim.Kernel
	file   *scenario.File
	v      version
	sb     *sim.SuperBlock
	dioWq  *sim.Workqueue // s_dio_done_wq
	ioWq   *sim.IOWorkQueue
	inodes map[string]*inode
	rings  map[string]*ring
	tasks  map[string]*sim.Task

	reqs  []*request
	state []reqState
	bios  int // of all requests
}

// An inode is one with what the model keeps beside.
type inode struct {
	*sim.Inode
	name string
	xfs  bool
	dep  lockdep.Map // annotation of the dio count
}

type ring struct {
	*sim.Ring
	name string
	mode sim.RingMode
	reap int // CQEs asked for so far by wait
}

// A request is one I/O: a step of a task that begins one.
type request struct {
	id    int
	step  *scenario.Step
	ino   *inode
	ring  *ring // nil for a plain system call
	owner *sim.Task
	done  *sim.Completion // of synchronous I/O
	ref   *sim.Ref        // dio->ref
	irq   int             // by which the interrupt of its first bio is known
	work  *sim.Work       // on s_dio_done_wq

	next, prev *request // linked behind it, and to which it is linked

	at place        // for reports only, like by, sb and ender
	by *sim.Context // who issues it
	sb bool         // counted by sb_writers
	// Who has lowered the dio count for it.
	ender string

	extents   *sim.Atomic[bool] // end_io has changed the extents, as it must; or nil
	annotated *sim.Context
}

// reqState is what of a request changes: its flags, and what the checks look at.
type reqState struct {
	begun, ended, cqe bool
	callerComp        bool // IOCB_DIO_CALLER_COMP is still set
	dioSlot           bool // kiocb.dio_complete is set
}

// What the functions of a request know follows from the request and its state, whoever runs them: the
// numbers of its task works and of its interrupt make that known to the search.
const (
	workIssue uint64 = iota
	workWrite
	workDone
	workNext
	workCancel
	workKinds
)

func (r *request) workID(kind uint64) uint64 { return 1 + uint64(r.id)*workKinds + kind }

// dioClass is the lock class that the thread proposes for the dio count.
var dioClass = &lockdep.Class{Name: "inode", Outer: lockdep.WaitSleep, Inner: lockdep.WaitSleep, Type: lockdep.Normal}

var ringModes = map[string]sim.RingMode{"default": sim.RingDefault, "coop": sim.RingCoop, "sqpoll": sim.RingSQPoll, "defer": sim.RingDefer}

// The kinds of failures of this model.
const (
	interrupted  explore.FailKind = "eintr"
	notDrained   explore.FailKind = "not drained"
	notCancelled explore.FailKind = "not cancelled"
)

// Program returns the program that a case of f asks for. The error says why there
// is none.
func Program(f *scenario.File, c scenario.Case) (*explore.Program, error) {
	cfg, err := stage.Config(f, c.Config)
	if err != nil {
		return nil, err
	}
	p := &explore.Program{Name: fmt.Sprintf("%s, %s, %s", filepath.Base(f.Name), c.Version, c.Config), SkipFrames: stage.SkipFrames}
	if c.Version == "endio" {
		p.SkipFrames = append([]string{"endio/models/callercomp."}, p.SkipFrames...)
		p.Init = func(x *explore.Exec) { startEngine(x, f, cfg) }
		return p, nil
	}
	v, ok := versions[c.Version]
	if !ok {
		return nil, fmt.Errorf("model callercomp has no version %q", c.Version)
	}
	p.Init = func(x *explore.Exec) { _ = start(x, f, cfg, v, c.Config) }
	return p, nil
}

// start builds one execution.
func start(x *explore.Exec, f *scenario.File, cfg sim.Config, v version, conf scenario.Config) *model {
	s := stage.New(x, f, cfg)
	m := &model{stage: s, k: s.K, file: f, v: v, sb: s.K.NewSuperBlock(nil), inodes: map[string]*inode{},
		rings: map[string]*ring{}, tasks: map[string]*sim.Task{}}
	m.dioWq = m.k.AllocWorkqueue("dio", sim.MemReclaim)
	for _, d := range f.Inodes {
		n := &inode{Inode: m.k.NewInode(nil, d.Name), name: d.Name, xfs: d.FS == "xfs"}
		n.dep.Init(dioClass)
		n.Tell(func(w *explore.Wait) { m.tellInode(n, w) })
		m.inodes[d.Name] = n
	}
	workers := f.IOWorkers
	if workers == 0 {
		workers = 2
	}
	if len(f.Rings) > 0 {
		m.ioWq = m.k.NewIOWorkQueue(nil, workers)
	}
	for i := range f.Actors {
		m.actor(&f.Actors[i], conf)
	}
	if !f.Uses("freeze") {
		m.sb.NeverFrozen()
	}
	m.sb.Tell(func(w *explore.Wait) { m.tellWriters(w) })
	m.k.Root(&m.state)
	m.k.AtEnd(func(*sim.Kernel) { m.atEnd(x) })
	return m
}

// actor starts a task, with its rings and the requests that it will make.
func (m *model) actor(a *scenario.Actor, conf scenario.Config) {
	o := sim.TaskOptions{}
	if a.CPU >= 0 {
		o.CPU = sim.OnCPU(a.CPU)
	}
	reqs := make([]*request, len(a.Steps))
	for i := range a.Steps {
		st := &a.Steps[i]
		o.Daemon = o.Daemon || st.Verb == "spin"
		if st.Verb == "submit" || st.Verb == "write" || st.Verb == "read" {
			reqs[i] = &request{id: len(m.reqs), step: st, ino: m.inodes[st.Name], irq: m.bios + 1}
			m.bios += st.Bios
			if i > 0 && a.Steps[i-1].Link {
				reqs[i].prev, reqs[i-1].next = reqs[i-1], reqs[i]
			}
			m.reqs = append(m.reqs, reqs[i])
			m.state = append(m.state, reqState{})
		}
	}
	t := m.k.Go(nil, a.Name, o, func(c *sim.Context) {
		c.Yield() // what comes before the first step happens before rings exist
		for i := range a.Steps {
			h := c.History()
			m.step(c, &a.Steps[i], reqs[i])
			c.Keep(h, 0)
		}
		c.Exit()
	})
	m.tasks[a.Name] = t
	for i, r := range reqs {
		if r == nil {
			continue
		}
		r.owner = t
		if (r.step.Shared || r.step.Extending) && !r.step.Error { // of what has failed no extents are changed
			r.extents = sim.NewAtomic(m.k, nil, "extents", false)
		}
		r.done = m.k.NewCompletion(nil, fmt.Sprintf("I/O %d", r.id+1))
		r.done.Tell(func(w *explore.Wait) { m.tellSync(r, w) })
		r.ref = m.k.NewRef(nil, fmt.Sprintf("the reference on dio %d", r.id+1))
		r.work = m.k.NewWork(nil, fmt.Sprintf("dio %d", r.id+1), 0, func(c *sim.Context) { m.iomapDioCompleteWork(c, r) })
		if name := a.Steps[i].Ring; name != "" {
			r.ring = m.ring(name, t, conf)
		}
	}
	for i := range a.Steps { // a ring that is only waited on
		if name := a.Steps[i].Ring; name != "" {
			m.ring(name, t, conf)
		}
	}
}

func (m *model) ring(name string, t *sim.Task, conf scenario.Config) *ring {
	if r := m.rings[name]; r != nil {
		return r
	}
	mode := conf.Ring
	for _, r := range m.file.Rings {
		if r.Name == name && len(r.Modes) == 1 {
			mode = r.Modes[0]
		}
	}
	r := &ring{name: name, mode: ringModes[mode]}
	r.Ring = m.k.NewRing(nil, t, r.mode)
	r.Ring.Tell(func(w *explore.Wait) { m.tellRing(r, w) })
	m.rings[name] = r
	return r
}

// step does one step of a task.
func (m *model) step(c *sim.Context, st *scenario.Step, r *request) {
	if m.stage.Step(c, st) {
		return
	}
	var err error
	switch st.Verb {
	case "submit":
		if r.prev == nil { // else it was submitted together with that one
			m.submit(c, r)
		}
	case "wait":
		rg := m.rings[st.Ring]
		rg.reap += st.Count
		if err := rg.Enter(c, rg.reap); err != nil {
			rg.reap -= st.Count // user space comes back for the rest
			m.again(c, rg, st.Count)
		}
	case "fallocate", "truncate", "clone":
		err = c.Syscall(st.Verb, func(c *sim.Context) error { return m.under(c, st) })
	case "write":
		err = c.Syscall("pwrite", func(c *sim.Context) error { return m.syncWrite(c, r) })
	case "read":
		err = c.Syscall("pread", func(c *sim.Context) error { return m.syncRead(c, r) })
	case "freeze":
		err = c.Syscall("freeze", func(c *sim.Context) error { m.sb.Freeze(c); return nil })
	case "thaw":
		err = c.Syscall("thaw", func(c *sim.Context) error { m.sb.Thaw(c); return nil })
	case "signal":
		m.tasks[st.Name].Signal(c, sim.Signal{})
	case "spin":
		c.UserWait("the end of an endless loop", func() bool { return false })
	default:
		c.Fail(explore.BadProgram, "model callercomp has no step %q", st.Verb)
	}
	if errors.Is(err, sim.ErrInterrupted) && m.file.Wanted("no-eintr") {
		c.Fail(interrupted, "%s of %q returns EINTR, which it never did before", st.Verb, c.Name())
	}
}

// again waits for CQEs after a signal ended the wait.
func (m *model) again(c *sim.Context, rg *ring, n int) {
	rg.reap += n
	for rg.Enter(c, rg.reap) != nil {
		c.CondResched()
	}
}

// atEnd looks for I/O that has not ended, and for requests that got no CQE, whether their task waits for it or not.
func (m *model) atEnd(x *explore.Exec) {
	stuck := false
	x.Tasks(func(t *explore.Task) { stuck = stuck || !t.Finished() && !t.Daemon() })
	if stuck {
		return // the explorer says who waits for whom
	}
	for i, r := range m.reqs {
		st := m.state[i]
		what := "never ends"
		switch {
		case st.begun && !st.ended:
		case r.ring != nil && r.at != nowhere && !st.cqe && !r.owner.Context().Explorer().Daemon(): // one that spins may never be told
			what = "never gets its CQE"
		default:
			continue
		}
		var w explore.Wait
		m.blame(r, &w, nil)
		x.Fail(sim.NeverRun, fmt.Sprintf("%s %s: %s", r, what, w.Why), x.Waits())
	}
}

// under makes the call of a step, holding the mutex that the step names.
func (m *model) under(c *sim.Context, st *scenario.Step) error {
	if st.Under == "" {
		return m.exclusiveCall(c, st.Verb, m.inodes[st.Name])
	}
	mu := m.stage.Mutex(st.Under)
	mu.Lock(c)
	err := m.exclusiveCall(c, st.Verb, m.inodes[st.Name])
	mu.Unlock(c)
	return err
}
