// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"endio/explore"
)

// ErrHotplug is the error of a hotplug operation that was refused and rolled back.
var ErrHotplug = errors.New("cpu hotplug: a state failed, rolled back")

// A Section says on which CPU the callbacks of a hotplug state run.
type Section uint8

// The sections, ascending.
const (
	Prepare  Section = iota // control task, the CPU is not running
	Starting                // on the CPU, interrupts off, must not fail
	OnlineAP                // on the CPU, in its cpuhp thread
)

// A HotplugState is one step of a CPU's way up or down: enum cpuhp_state.
// Startup runs on the way up and Teardown on the way down; nil ones are skipped.
type HotplugState struct {
	Name     string
	Section  Section
	Startup  func(c *Context, cpu *CPU) error
	Teardown func(c *Context, cpu *CPU) error

	// Fails lets the explorer make the state fail, before its callback, on its way
	// down or up, in all operations: the kernel's fault injection, or what may fail by itself.
	Fails bool

	// Late: the callbacks are not there before [Kernel.Register].
	Late bool

	absent bool // Late, and not registered yet

	canFail bool // in an operation that says so; Fails at first

	visible bool // has an effect of its own that others see
}

// The names of the built-in states at which dynamic ones are put in.
//
// Source: include/linux/cpuhotplug.h, Linux 7.3; kernel-semantics.md, B6.1.
const (
	StatePrepareDyn = "BP_PREPARE_DYN"
	StateOnlineDyn  = "AP_ONLINE_DYN"
)

type hotplug struct {
	states  []*HotplugState
	lock    bool // cpus_write_lock
	readers int  // cpus_read_lock
	obj     explore.Object
	at      []int    // by CPU: number of the state that it has reached
	base    uint64   // what the control task knows besides
	fails   []string // states that may fail in the operation under way, beside those that always may
	holder  *Context
	offered bool // failing here is the same as failing a little earlier, which was tried
}

func (h *hotplug) ready(*Context) bool { return !h.lock && h.readers == 0 }
func (h *hotplug) describe(_ *Context, w *explore.Wait) {
	w.For = "lock cpu_hotplug_lock"
	if h.readers > 0 && !h.lock {
		w.By = "held for reading since the start, until it is let go"
		return
	}
	if h.holder != nil && h.holder.t != nil {
		w.Owners = append(w.Owners, h.holder.t)
	}
}

// hotplugReader is a wait of cpus_read_lock, for which other readers are no reason.
type hotplugReader hotplug

func (h *hotplugReader) ready(*Context) bool                  { return !h.lock }
func (h *hotplugReader) describe(c *Context, w *explore.Wait) { (*hotplug)(h).describe(c, w) }

func (k *Kernel) hashHotplug(h *explore.Hash) {
	v := uint64(0)
	if k.hp.lock {
		v = 1
	}
	if k.timersMoved { // decides what operations on work items declare
		v |= 2
	}
	if k.hp.readers > 0 {
		v |= 4
	}
	for _, s := range k.hp.at {
		v = v<<8 | uint64(s)
	}
	h.Add(v)
	for i, s := range k.hp.states {
		if s.absent {
			h.Add(uint64(i))
		}
	}
}

type hotplugPart struct{ k *Kernel }

func (p hotplugPart) hash(h *explore.Hash) { p.k.hashHotplug(h) }

// builtinStates are the states that every kernel has, in their order. A kernel has copies.
var builtinStates = sync.OnceValue(func() []HotplugState {
	ok := func(f func(c *Context, p *CPU)) func(*Context, *CPU) error {
		return func(c *Context, p *CPU) error { f(c, p); return nil }
	}
	return []HotplugState{
		{Name: "OFFLINE"},
		{Name: "BLOCK_SOFTIRQ_DEAD", Teardown: ok(blockSoftirqDead)},
		{Name: "BIO_DEAD"},
		{Name: "BLK_MQ_DEAD"},
		{Name: "WORKQUEUE_PREP", Fails: true},
		{Name: "RCUTREE_PREP", Fails: true},
		{Name: "TIMERS_PREPARE", Teardown: ok(timersDead), visible: true},
		{Name: StatePrepareDyn},
		{Name: "BRINGUP_CPU", Startup: ok(bringUp), Fails: true, visible: true},
		{Name: "SCHED_STARTING", Section: Starting},
		{Name: "RCUTREE_DYING", Section: Starting},
		{Name: "TICK_DYING", Section: Starting},
		{Name: "TEARDOWN_CPU", Section: Prepare, Teardown: takeDown, Fails: true, visible: true},
		{Name: "SCHED_WAIT_EMPTY", Section: OnlineAP, Teardown: ok(waitEmpty), visible: true},
		{Name: "SMPBOOT_THREADS", Section: OnlineAP, Fails: true},
		{Name: "IRQ_AFFINITY_ONLINE", Section: OnlineAP, Fails: true},
		{Name: "BLK_MQ_ONLINE", Section: OnlineAP, Teardown: ok(blkMQOffline), Fails: true},
		{Name: "WORKQUEUE_ONLINE", Section: OnlineAP, Startup: ok(workqueueOnline), Teardown: ok(workqueueOffline), Fails: true, visible: true},
		{Name: "RCUTREE_ONLINE", Section: OnlineAP, Fails: true},
		{Name: StateOnlineDyn, Section: OnlineAP},
		{Name: "AP_ACTIVE", Section: OnlineAP, Startup: ok(activate), Teardown: ok(deactivate), Fails: true, visible: true},
		{Name: "ONLINE", Section: OnlineAP},
	}
})

// initHotplug puts every CPU into its state.
func (k *Kernel) initHotplug() {
	k.memo.builtin = append(k.memo.builtin[:0], builtinStates()...)
	k.memo.states = k.memo.states[:0]
	for i := range k.memo.builtin {
		k.memo.builtin[i].canFail = k.memo.builtin[i].Fails
		k.memo.states = append(k.memo.states, &k.memo.builtin[i])
	}
	k.hp.states = k.memo.states
	k.hp.obj = k.x.NewObject("cpu_hotplug_lock", -1)
	k.memo.at = append(k.memo.at[:0], make([]int, len(k.cpus))...)
	k.hp.at = k.memo.at
	k.add(hotplugPart{k})
	k.placeCPUs()
}

// placeCPUs sets the state of each CPU to the top or the bottom.
func (k *Kernel) placeCPUs() {
	for i, p := range k.cpus {
		k.hp.at[i] = 0
		if p.online {
			k.hp.at[i] = len(k.hp.states) - 1
		}
	}
}

// AddState puts a dynamic state after those that were put in at the same place, which
// is StateOnlineDyn or StatePrepareDyn: it starts later and is torn down earlier. No
// callback is called for the state that the CPUs have (cpuhp_setup_state_nocalls).
// Call it in Init.
func (k *Kernel) AddState(after string, s HotplugState) {
	at := -1
	for i, o := range k.hp.states {
		if o.Name == after {
			at = i
			s.Section = o.Section
		}
	}
	if at < 0 {
		k.x.Fail(HotplugMisuse, "no dynamic hotplug state is called "+after, "")
	}
	for at+1 < len(k.hp.states) && k.hp.states[at+1].visible && k.hp.states[at+1].dynamic() {
		at++
	}
	s.visible, s.canFail, s.absent = true, s.Fails, s.Late
	k.hp.states = slices.Insert(k.hp.states, at+1, &s)
	k.memo.states = k.hp.states
	k.placeCPUs()
}

func (s *HotplugState) dynamic() bool { return len(s.Name) > 4 && s.Name[:4] == "dyn:" }

// Register makes the callbacks of the states of that name known, which were Late. It waits for the
// hotplug operation under way, and calls none: CPUs that have passed the state have passed it.
//
// Source: __cpuhp_setup_state with invoke false, which takes the hotplug lock for reading, kernel/cpu.c, Linux 7.3; kernel-semantics.md, B6.4.
func (k *Kernel) Register(c *Context, name string) {
	s := k.hp.states[k.stateIndex(c, name, 0)]
	c.MightSleep("register hotplug callbacks")
	c.block("register "+name, (*hotplugReader)(&k.hp), Uninterruptible, acc{k.hp.obj, explore.AtomicUpdate})
	s.absent = false
}

// HoldHotplug takes the hotplug lock for reading in Init, so that no operation begins before
// [Kernel.LetHotplug] (cpus_read_lock).
func (k *Kernel) HoldHotplug() { k.hp.readers++ }

// LetHotplug ends what HoldHotplug began (cpus_read_unlock).
func (k *Kernel) LetHotplug(c *Context) {
	c.step("cpus_read_unlock", nil, acc{k.hp.obj, explore.AtomicUpdate})
	k.hp.readers--
}

// CPUDown takes a CPU off line, down to the named state or, for "", all the way. A
// state that fails turns it back: then it returns [ErrHotplug]. States that are named in fails may
// fail in this operation only; see also [Kernel.LimitFailures]. The task that calls
// it must not run on that CPU alone.
func (k *Kernel) CPUDown(c *Context, cpu int, target string, fails ...string) error {
	return k.move(c, cpu, k.stateIndex(c, target, 0), fails)
}

// CPUUp brings a CPU on line, up to the named state or, for "", all the way. For fails see [Kernel.CPUDown].
func (k *Kernel) CPUUp(c *Context, cpu int, target string, fails ...string) error {
	return k.move(c, cpu, k.stateIndex(c, target, len(k.hp.states)-1), fails)
}

func (k *Kernel) stateIndex(c *Context, name string, def int) int {
	if name == "" {
		return def
	}
	for i, s := range k.hp.states {
		if s.Name == name {
			return i
		}
	}
	c.t.Fail(HotplugMisuse, "no hotplug state is called "+name, "")
	return 0
}

// StateOf returns the name of the state that a CPU has reached.
func (k *Kernel) StateOf(cpu int) string { return k.hp.states[k.hp.at[cpu]].Name }

// move brings a CPU to a state, and back if one on the way fails.
//
// Source: cpu_down, cpu_up, cpuhp_invoke_callback_range, kernel/cpu.c, Linux 7.3;
// kernel-semantics.md, B6.4.
func (k *Kernel) move(c *Context, cpu, target int, fails []string) error {
	for _, n := range fails {
		if i := k.stateIndex(c, n, 0); !k.hp.states[i].canFail {
			c.t.Fail(HotplugMisuse, "hotplug state "+n+" can not fail", "")
		} else {
			c.fold(uint64(i)) // the way of the control task depends on it
		}
	}
	c.MightSleep("cpu hotplug")
	if target < k.hp.at[cpu] && k.onlyOnline(cpu) {
		return fmt.Errorf("%w: it is the last CPU", ErrHotplug)
	}
	if c.any {
		c.any = false // the control task runs on a CPU that stays
		defer func() { c.any = true }()
	}
	if c.cpu.id == cpu {
		c.rehome(cpu)
	}
	c.block("cpus_write_lock", &k.hp, Uninterruptible, acc{k.hp.obj, explore.AtomicUpdate})
	k.hp.lock, k.hp.holder = true, c
	c.hold(k.hp.obj, "cpu_hotplug_lock")
	from := k.hp.at[cpu]
	k.hp.base, k.hp.fails = c.hist, fails
	err := k.walk(c, k.cpus[cpu], target, true)
	if err != nil {
		_ = k.walk(c, k.cpus[cpu], from, false)
	}
	k.hp.lock = false
	c.unhold(k.hp.obj, "cpu_hotplug_lock")
	c.foldBool(err != nil)
	return err
}

// rehome moves the control task off the CPU that it takes down.
func (c *Context) rehome(not int) {
	c.unpin()
	for _, p := range c.k.cpus {
		if p.id != not && p.active {
			c.cpu = p
			return
		}
	}
}

func (k *Kernel) onlyOnline(cpu int) bool {
	for i, p := range k.cpus {
		if i != cpu && p.online {
			return false
		}
	}
	return true
}

// walk calls the callbacks between the state of p and target, one after the
// other. mayFail is false on the way back.
func (k *Kernel) walk(c *Context, p *CPU, target int, mayFail bool) error {
	// Where the control task is follows from the state of p and from these.
	base := mix(k.hp.base, uint64(target)<<1)
	if mayFail {
		base++
	}
	k.hp.offered = false
	for k.hp.at[p.id] < target {
		c.hist = base
		if err := k.invoke(c, p, k.hp.states[k.hp.at[p.id]+1], true, mayFail); err != nil {
			return err
		}
		k.hp.at[p.id]++
	}
	for k.hp.at[p.id] > target {
		c.hist = base
		// A state that fails on the way down was not left: its startup is
		// not called on the way back.
		if err := k.invoke(c, p, k.hp.states[k.hp.at[p.id]], false, mayFail); err != nil {
			return err
		}
		k.hp.at[p.id]--
	}
	return nil
}

func (k *Kernel) invoke(c *Context, p *CPU, s *HotplugState, up, mayFail bool) error {
	fn := s.Teardown
	if up {
		fn = s.Startup
	}
	if mayFail && (s.Fails || slices.Contains(k.hp.fails, s.Name)) && s.mayFail(p, up) && k.failHere(c) {
		return fmt.Errorf("%w (%s)", ErrHotplug, s.Name)
	}
	if fn == nil || s.absent {
		return nil
	}
	k.hp.offered = false
	run := c
	if s.Section == OnlineAP {
		run = k.cpuhp(c, p)
	}
	err := fn(run, p)
	if run != c {
		run.checkBalance("hotplug callback "+s.Name, 0)
		run.unpin()
		run.dead = true
		k.cur = c
	}
	return err
}

// mayFail reports whether s, which can fail, can do so in that direction: a CPU that runs can be
// refused to be stopped (TEARDOWN_CPU), but one that is up has passed that; and
// what is behind it on the way down can't be refused any more.
func (s *HotplugState) mayFail(p *CPU, up bool) bool {
	if up {
		return s.Name != "TEARDOWN_CPU"
	}
	return p.online && s.Name != "BRINGUP_CPU"
}

// failHere lets the explorer decide whether a state fails. Of states next to each
// other between which nobody can tell where the CPU is, one stands for all.
func (k *Kernel) failHere(c *Context) bool {
	if k.hp.offered {
		return false
	}
	k.hp.offered = true
	return c.t.Choose(2) == 1
}

// cpuhp returns a context of the thread cpuhp/p, in which the control task c has
// callbacks run while it waits.
func (k *Kernel) cpuhp(c *Context, p *CPU) *Context {
	c.unpin()
	n := k.newContext(InTask, p, k.memo.name("cpuhp/", p.id))
	n.carrier = c
	n.bind(c.t)
	n.held = append(n.held, c.held...)
	return n
}

func bringUp(c *Context, p *CPU) {
	c.step("bring up", nil, acc{p.obj, explore.Modify}, acc{p.wq, explore.AtomicUpdate})
	p.online = true
	c.t.Mark(p.id, "on line")
}

// takeDown stops the machine for a moment and takes p off line: from then on
// nothing runs there.
func takeDown(c *Context, p *CPU) error {
	c.step("take cpu down", (*cpuQuiet)(p), acc{p.obj, explore.Modify}, acc{p.wq, explore.AtomicUpdate})
	p.online = false
	c.t.Mark(p.id, "off line")
	return nil
}

type cpuQuiet CPU

func (p *cpuQuiet) ready(*Context) bool {
	if p.depth > 0 || p.pinned != nil || p.serving {
		return false
	}
	for _, o := range p.k.ctxs {
		if o.irqThread && !o.dead && o.cpu == (*CPU)(p) && o.migrate > 0 {
			return false // can't be moved away
		}
	}
	return true
}
func (p *cpuQuiet) describe(_ *Context, w *explore.Wait) {
	w.For = fmt.Sprintf("cpu %d to be free, to stop it", p.id)
	if p.pinned != nil && p.pinned.t != nil {
		w.Owners = append(w.Owners, p.pinned.t)
	}
	if p.serving {
		w.Owners = append(w.Owners, p.ksoftirqd.t)
	}
	for _, o := range p.k.ctxs {
		if o.irqThread && !o.dead && o.cpu == (*CPU)(p) && o.migrate > 0 && o.t != nil {
			w.Owners = append(w.Owners, o.t)
		}
	}
}

func deactivate(c *Context, p *CPU) {
	c.step("cpu not active", nil, acc{p.obj, explore.Modify})
	p.active = false
}

func activate(c *Context, p *CPU) {
	c.step("cpu active", nil, acc{p.obj, explore.Modify})
	p.active = true
}

// waitEmpty waits until tasks that can't migrate have left p.
func waitEmpty(c *Context, p *CPU) {
	for _, o := range c.k.ctxs {
		if o != c && o.kind == InTask && !o.dead && o.cpu == p && (o.any || o.irqThread) && (o.migrate > 0) {
			c.block("wait until the cpu is empty", (*cpuEmpty)(p), Uninterruptible, acc{p.obj, explore.Modify})
			return
		}
	}
}

type cpuEmpty CPU

func (p *cpuEmpty) ready(c *Context) bool {
	for _, o := range p.k.ctxs {
		if o != c && o.kind == InTask && !o.dead && o.cpu == (*CPU)(p) && (o.any || o.irqThread) && o.migrate > 0 {
			return false
		}
	}
	return true
}

func (p *cpuEmpty) describe(c *Context, w *explore.Wait) {
	w.For, w.By = fmt.Sprintf("tasks that can't leave cpu %d", p.id), "among them"
	for _, o := range p.k.ctxs {
		if o != c && o.kind == InTask && !o.dead && o.cpu == (*CPU)(p) && (o.any || o.irqThread) && o.migrate > 0 && o.t != nil {
			w.Owners = append(w.Owners, o.t)
		}
	}
}

func workqueueOffline(c *Context, p *CPU) {
	c.step("workqueue offline", nil, acc{p.wq, explore.AtomicUpdate}, acc{p.obj, explore.Modify})
	p.pool.associated = false
	for _, w := range p.pool.workers {
		w.uncount()
		w.c.any = true
	}
	p.pool.nrRunning = 0
}

func workqueueOnline(c *Context, p *CPU) {
	c.step("workqueue online", nil, acc{p.wq, explore.AtomicUpdate}, acc{p.obj, explore.Modify})
	p.pool.associated = true
	for _, w := range p.pool.workers {
		w.c.any = false
		if w.c.holds && w.c.cpu != p {
			w.c.moveTo = p // when its CPU can let it go
		} else {
			w.c.cpu = p
		}
	}
}

func timersDead(c *Context, p *CPU) {
	to := &c.k.firstOnline().base
	if len(p.base.armed) == 0 {
		return
	}
	var a []acc
	for _, q := range c.k.cpus {
		a = append(a, acc{q.wq, explore.AtomicUpdate})
	}
	c.step("migrate timers", nil, a...)
	p.base.migrate(to)
}

// blockSoftirqDead takes what softirqs the dead CPU left, and runs them on the control CPU. With that there is nothing
// left for ksoftirqd of the dead one.
func blockSoftirqDead(c *Context, p *CPU) {
	if len(p.pending) == 0 {
		return
	}
	c.step("take softirqs of the dead cpu", nil, acc{p.obj, explore.Modify})
	left := p.pending
	p.pending = nil
	c.fold(uint64(len(left)))
	for _, s := range left {
		c.fold(s.id)
	}
	for _, s := range left {
		c.LocalBHDisable()
		s.fn(c)
		c.LocalBHEnable()
	}
}
