// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"

	"endio/explore"
	"endio/lockdep"
	"endio/machine"
)

// A Kind is what a context is.
type Kind uint8

// The contexts, from the lowest. A higher one interrupts a lower one of its CPU.
const (
	InTask Kind = iota
	InSoftirq
	InHardirq
)

// String returns "task", "softirq" or "hardirq".
func (k Kind) String() string { return [...]string{"task", "softirq", "hardirq"}[k] }

// A Context is what code of the kernel runs in, and is passed along to all of it: a
// task, a softirq or a hardirq. It is a [machine.Context]. Only the code that
// it was given to may use it, until that code returns.
type Context struct {
	k    *Kernel
	id   int
	name string
	kind Kind
	cpu  *CPU
	t    *explore.Task
	ld   *lockdep.Task

	any       bool // a task that may run on any active CPU
	irqThread bool // a forced-threaded interrupt handler
	hardIRQ   bool // a hardirq that is never threaded
	want      bool // the step being declared pins cpu
	holds     bool // pins cpu
	declared  *CPU // for which the pending step was declared
	moveTo    *CPU // where the task goes when it can be taken off cpu
	picked    bool // cpu was chosen for the step being declared
	init      bool // of Init: takes no steps
	makes     uint64
	what      string         // see stepOn
	tail      explore.Object // see worker.finish
	entering  bool           // an interrupt that has not arrived yet
	alike     string         // see IRQOptions
	after     *Context       // of those that are alike the one before
	line      explore.Object // stands for their arrival
	dead      bool
	carrier   *Context // whose explorer task runs this one, or nil
	covered   bool     // the running step covers one more operation on cover
	cover     [3]explore.Object
	covers    int

	preempt, rcu, bh, irqsOff, migrate int

	held  []explore.Object // locks whose release is part of the running step
	locks []string         // names of what is held, for reports
	token uint64           // set of sections entered; see Cell

	hist  uint64 // what the kernel told the code since it started
	lone  int    // steps since the last scheduling point
	gate  gate
	sleep sleeper

	worker *worker
	task   *Task
	help   Helper
	helpWq *waitQueue
}

// A condition must be true for a step to happen. ready reads only what belongs
// to objects that the step declares.
type condition interface {
	ready(c *Context) bool
	describe(c *Context, w *explore.Wait)
}

type acc struct {
	o explore.Object
	k explore.Kind
}

func (k *Kernel) newContext(kind Kind, cpu *CPU, name string) *Context {
	c := k.memo.context(len(k.ctxs))
	*c = Context{k: k, id: len(k.ctxs), name: name, kind: kind, cpu: cpu, held: c.held[:0], locks: c.locks[:0]}
	c.gate.c = c
	c.sleep.c = c
	k.ctxs = append(k.ctxs, c)
	k.memo.live = k.ctxs
	if k.memo.val != nil && !k.cfg.NoLockdep {
		c.ld = k.memo.val.NewTask(name, c.id+1)
	}
	return c
}

// bind lets t run c. The number of c, which goes into the state, follows from that of t and not from
// how many contexts there were before, which depends on the way by which the state was reached.
func (c *Context) bind(t *explore.Task) {
	c.t, c.k.cur = t, c
	c.id = t.ID()
	if c.carrier != nil {
		c.id = c.carrier.id + explore.MaxTasks
		c.hist = mix(c.carrier.hist, 3)
	}
}

// born says by whom c was started: what its code has captured follows from what that one
// knew, and two tasks that are alike but for it are different states.
func (c *Context) born(by *Context) {
	if by != nil && by.t != nil {
		c.hist = c.k.newID(by)
	}
}

// bornAs is born for a context that is known by id, unless that is 0.
func (c *Context) bornAs(by *Context, id int) {
	if id == 0 {
		c.born(by)
		return
	}
	c.hist = mix(uint64(id), 0x1d)
}

// InTask reports whether c is a task. It is in_task, and unlike [Context.Atomic] it
// knows, whatever the configuration.
func (c *Context) InTask() bool { return c.kind == InTask }

// Help runs one completion that only the task of c can run; see [Context.SetHelper].
func (c *Context) Help() bool {
	if c.kind != InTask || c.help == nil {
		return false
	}
	history := c.hist
	ran := c.help.RunOne(c)
	c.Keep(history, boolBit(ran))
	return ran
}

// A Helper has completions that one task must run itself. batch.Owner is one.
type Helper interface {
	RunOne(c machine.Context) bool
	Ready(c machine.Context) bool
	Queue() machine.WaitQueue // is woken when Ready becomes true
}

// SetHelper makes h what [Context.Help] runs.
func (c *Context) SetHelper(h Helper) {
	c.help = h
	if q, ok := h.Queue().(*machineQueue); ok {
		c.helpWq = &q.waitQueue
	}
}

// Kind returns what c is.
func (c *Context) Kind() Kind { return c.kind }

// CPUOf returns the CPU that runs c; see [Context.CPU].
func (c *Context) CPUOf() *CPU {
	c.foldCPU()
	return c.cpu
}

// CPU returns the number of the CPU that runs c. It changes at any step of a task
// that may migrate. It is smp_processor_id.
func (c *Context) CPU() machine.CPU {
	c.foldCPU()
	return machine.CPU(c.cpu.id)
}

// foldCPU notes that the code of c knows on which CPU it was.
func (c *Context) foldCPU() {
	if !c.init {
		c.fold(uint64(c.cpu.id) | 1<<40)
	}
}

// Kernel returns the kernel of c.
func (c *Context) Kernel() *Kernel { return c.k }

// Task returns the handle under which lockdep knows c, nil if lockdep is off.
func (c *Context) Task() *lockdep.Task { return c.ld }

// Explorer returns the explorer's task that runs c, for steps of the program's own.
func (c *Context) Explorer() *explore.Task { return c.t }

// Name returns the name of the task or interrupt.
func (c *Context) Name() string { return c.name }

// Atomic is bio_in_atomic: whether c may not block, as far as the configuration
// lets code know.
//
// Source: bio_in_atomic, include/linux/bio.h, Linux 7.3; kernel-semantics.md, B2.
func (c *Context) Atomic() bool {
	cfg := &c.k.cfg
	if cfg.Preemption >= Full && c.rcu > 0 {
		return true
	}
	if !cfg.Count {
		return true
	}
	return c.preemptCount() != 0 || c.irqsOff > 0
}

// preemptCount is preempt_count() as the configuration keeps it.
func (c *Context) preemptCount() int {
	n := c.preempt
	if c.kind != InTask {
		n++
	}
	switch c.k.cfg.Preemption {
	case RT: // bh is counted per task there, and enters RCU
	case Full:
		n += c.bh
	default:
		n += c.bh + c.rcu // rcu_read_lock disables preemption
	}
	return n
}

// mustHold reports whether c can't be taken off its CPU.
func (c *Context) mustHold() bool {
	return c.want || c.kind != InTask || c.k.cfg.Preemption < Full || c.preemptCount() != 0 || c.irqsOff > 0
}

// migratable reports whether c may run on another CPU with its next step.
func (c *Context) migratable() bool { return c.any && !c.holds && c.migrate == 0 }

// A gate is the guard of the steps of a context.
type gate struct {
	c    *Context
	cond condition
	hold bool
}

// Enabled reports whether the context can run and its condition holds.
func (g *gate) Enabled() bool {
	return g.c.canRun(g.hold) && (g.cond == nil || g.cond.ready(g.c))
}

// DescribeWait says what the context waits for.
func (g *gate) DescribeWait(w *explore.Wait) {
	c := g.c
	w.Busy = true
	if g.cond != nil && !g.cond.ready(c) {
		g.cond.describe(c, w)
		switch g.cond.(type) {
		case *worker, *ioWorker, *hasWork, *timerBase:
			w.Busy = false // has nothing to do
		}
		return
	}
	w.For = fmt.Sprintf("cpu %d", c.cpu.id)
	for _, o := range []*Context{c.cpu.pinned, c.cpu.top()} {
		if o != nil && o != c && o.t != nil && o.t != c.t {
			w.Owners = append(w.Owners, o.t)
		}
	}
}

func (c *Context) canRun(hold bool) bool {
	p := c.cpu
	switch {
	case c.entering:
		if !p.online {
			return true // moves to another CPU
		}
		if c.after != nil && c.after.entering {
			return false
		}
		return c.k.cfg.Concurrent || p.irqsOn()
	case c.kind != InTask:
		return c.k.cfg.Concurrent || p.top() == c
	case c.servesNobody():
		return true
	case c.holds:
		return c.k.cfg.Concurrent || p.depth == 0
	case c.k.cfg.Concurrent:
		return true
	case c.cpu != c.declared && !c.migratable():
		return true // was moved: declares its step again
	case c.migratable() && !hold:
		for _, q := range c.k.cpus {
			if q.active && q.tasksRun() {
				return true
			}
		}
		return false
	case c.migratable() && !p.active, c.irqThread && !p.online:
		return true // picks another CPU
	}
	return p.tasksRun()
}

// labelled returns the label of a step with the name of what it is about, in a trace; elsewhere
// nobody reads it.
func (c *Context) labelled(label, what string) string {
	if c.k.tracing {
		return label + what
	}
	return label
}

// stepOn is step with the name of what it is done to, put together only for a
// trace.
func (c *Context) stepOn(label, what string, cond condition, accesses ...acc) {
	c.what = what
	c.step(label, cond, accesses...)
	c.what = ""
}

// step declares the next visible operation of c and returns when it happens:
// when c can run and cond, if any, is true. It is a scheduling point of the
// explorer.
func (c *Context) step(label string, cond condition, accesses ...acc) {
	if c.init {
		return
	}
	if c.dead {
		c.t.Fail(explore.BadProgram, fmt.Sprintf("context %q is used after its code returned", c.name), "")
	}
	for {
		c.declare(label, cond, accesses).Do()
		if c.taken() {
			break
		}
	}
	c.stepped()
}

// declare declares the next step; see step.
func (c *Context) declare(label string, cond condition, accesses []acc) *explore.Step {
	hold := c.mustHold()
	if hold && c.migratable() && c.kind == InTask && !c.picked {
		c.pickCPU()
	}
	s := c.t.Next()
	c.declareCPU(s, hold)
	for i := range accesses {
		s.On(accesses[i].o, accesses[i].k)
	}
	for _, o := range c.held {
		s.On(o, explore.AtomicUpdate)
	}
	c.gate.cond, c.gate.hold = cond, hold
	if cond != nil || !c.k.cfg.Concurrent || c.entering && c.after != nil {
		s.When(&c.gate).Waiting(&c.gate)
	}
	s.State(c.local()).Lane(c.cpu.id)
	if c.k.tracing {
		if c.what != "" {
			label += " " + c.what
		}
		s.Label(label)
	}
	return s
}

// taken is called when the step that c has declared happens. It returns false if c must declare
// it again, on another CPU.
func (c *Context) taken() bool {
	c.k.cur = c
	return c.arrive(c.gate.hold)
}

// stepped ends a step that was taken.
func (c *Context) stepped() {
	c.covered, c.covers, c.tail = false, 0, explore.Object{}
	c.hist = mix(c.hist, 1)
	c.countHog()
	if len(c.locks) > 0 && c.t.Tracing() {
		c.t.Note("holds %v", c.locks)
	}
}

// declareCPU adds to s what c's running depends on.
func (c *Context) declareCPU(s *explore.Step, hold bool) {
	if c.entering && c.alike != "" {
		s.On(c.line, explore.AtomicUpdate)
	}
	if c.k.cfg.Concurrent {
		if c.entering {
			s.On(c.cpu.obj, explore.Observe)
		}
		return
	}
	c.declared = c.cpu
	switch {
	case hold || c.holds:
		s.On(c.cpu.obj, explore.Modify)
		if c.worker != nil && !c.holds { // hotplug may move it
			for _, p := range c.k.cpus {
				s.On(p.obj, explore.Observe)
			}
		}
		if c.entering && !c.cpu.online {
			for _, p := range c.k.cpus {
				s.On(p.obj, explore.Modify)
			}
		}
	case c.any || c.worker != nil:
		for _, p := range c.k.cpus {
			s.On(p.obj, explore.Observe)
		}
	default:
		s.On(c.cpu.obj, explore.Observe)
	}
}

// pickCPU chooses on which CPU a task that may migrate runs next.
func (c *Context) pickCPU() {
	var to [MaxCPUs]*CPU
	n := 0
	for _, p := range c.k.cpus {
		if p.active {
			to[n] = p
			n++
		}
	}
	if n > 0 {
		c.cpu = to[c.t.Choose(n)]
	}
}

// arrive takes note that c runs. It returns false if c must try again, on
// another CPU.
func (c *Context) arrive(hold bool) bool {
	if c.entering {
		if !c.cpu.online {
			c.moved("irq", c.k.firstOnline())
			return c.picked
		}
		c.entering = false
		if !c.k.cfg.Concurrent {
			c.cpu.push(c)
		}
		if c.ld != nil {
			c.ld.HardirqEnter(!c.hardIRQ)
		}
		return true
	}
	if c.kind != InTask || c.holds || c.k.cfg.Concurrent || c.servesNobody() {
		return true
	}
	if c.cpu != c.declared && !c.migratable() {
		return c.picked
	}
	if c.irqThread && !c.cpu.online {
		c.moved("irq thread", c.k.firstOnline())
		return false
	}
	if c.migratable() && !hold && !(c.cpu.active && c.cpu.tasksRun()) {
		for _, p := range c.k.cpus {
			if p.active && p.tasksRun() {
				c.cpu = p
				break
			}
		}
	}
	if hold {
		if c.migratable() && !c.cpu.active {
			return c.picked // then the caller sees to it
		}
		c.holds = true
		c.cpu.pinned = c
	}
	return true
}

// moved sends an interrupt that was meant for a CPU that is off line to another, and the trace says so.
func (c *Context) moved(what string, to *CPU) {
	if c.k.tracing {
		c.t.Retrace(to.id, fmt.Sprintf("%s, sent here: cpu %d is off line", what, c.cpu.id))
	}
	c.cpu = to
}

func (k *Kernel) firstOnline() *CPU {
	for _, p := range k.cpus {
		if p.online {
			return p
		}
	}
	return k.cpus[0]
}

// relax lets others have the CPU if c needs it no more. Called within a step
// that modifies the CPU.
func (c *Context) relax() {
	if c.holds && !c.mustHold() {
		c.unpin()
	}
}

func (c *Context) unpin() {
	if c.holds {
		c.holds = false
		c.cpu.pinned = nil
		if c.moveTo != nil {
			c.cpu, c.moveTo = c.moveTo, nil
		}
	}
	c.lone = 0
}

// countHog finds code that keeps its CPU for too long.
func (c *Context) countHog() {
	if !c.mustHold() {
		c.lone = 0
		return
	}
	c.lone++
	if h := c.k.cfg.HogSteps; h > 0 && c.lone > h {
		c.t.Fail(SoftLockup, fmt.Sprintf("%s %q ran %d steps on its CPU without a scheduling point (%s)", c.kind, c.name, c.lone, c.k.cfg), "")
	}
}

// fold notes what the kernel told the code of c.
func (c *Context) fold(v uint64) { c.hist = mix(c.hist, v+2) }

func (c *Context) foldBool(v bool) bool {
	c.fold(boolBit(v))
	return v
}

// Forget says that the locals of c's code now follow from v and from where it is
// called, and that nothing learned earlier matters: the head of a loop that begins
// anew. It lets [explore.Cached] see that a state is one it has seen.
func (c *Context) Forget(v uint64) { c.hist = mix(v, 0x5eed) }

// History returns what c has learned since it started, for [Context.Keep].
func (c *Context) History() uint64 { return c.hist }

// What [Context.Keep] is told at the end of a function that is called first in another one, which ends with a Keep from the
// same history: with one value for both, the end of the first would be taken for that of the second.
const (
	keepBlock uint64 = 0xb10c00 + iota
	keepSleepLock
	keepDownWrite
	keepDownRead
	keepGrab
	keepQueueSleep
)

// Keep says that of what c learned since it had that history its code keeps v and nothing else: the
// end of a function whose locals are gone, and whose result is v. Memory that others see is
// no concern of it: that is declared.
func (c *Context) Keep(history, v uint64) { c.hist = mix(mix(history, 0xced), v) }

// local returns a hash of the state that only c knows.
func (c *Context) local() uint64 {
	v := mix(c.hist, uint64(c.preempt)|uint64(c.rcu)<<8|uint64(c.bh)<<16|uint64(c.irqsOff)<<24|uint64(c.migrate)<<32|uint64(c.id)<<40)
	v = mix(v, c.token+c.makes<<56)
	if c.k.cfg.HogSteps > 0 {
		v = mix(v, uint64(c.lone))
	}
	if c.carrier != nil {
		v = mix(v, c.carrier.local())
	}
	return v
}

// state returns a hash of what others can see of c.
func (c *Context) state() uint64 {
	v := uint64(c.cpu.id) | uint64(c.id)<<16
	if c.holds {
		v |= 1 << 8
	}
	if c.entering {
		v |= 1 << 10
	}
	if c.any {
		v |= 1 << 7
	}
	if c.moveTo != nil {
		v |= uint64(c.moveTo.id+1) << 4
	}
	if c.declared != nil && c.declared != c.cpu && c.kind == InTask && !c.holds {
		v |= uint64(c.declared.id+1) << 11 // it was moved since it declared its step: see arrive
	}
	return mix(mix(v, c.sleep.state()), 9)
}

// Fail ends the execution with a failure.
func (c *Context) Fail(kind explore.FailKind, format string, args ...any) {
	c.t.Fail(kind, fmt.Sprintf(format, args...), "")
}

// Check fails the execution with an assertion if ok is false.
func (c *Context) Check(ok bool, format string, args ...any) {
	if !ok {
		c.t.Fail(explore.Assertion, fmt.Sprintf(format, args...), "")
	}
}

// Yield is a step that does nothing: others may run before it.
func (c *Context) Yield() { c.step("yield", nil) }

// Choose returns one of 0 to n-1; the explorer tries all. It is part of the running
// step.
func (c *Context) Choose(n int) int {
	i := c.t.Choose(n)
	c.fold(uint64(i))
	return i
}

// Tracing reports whether texts are worth formatting.
func (c *Context) Tracing() bool { return c.t.Tracing() }

// Note adds a remark to the trace.
func (c *Context) Note(format string, args ...any) { c.t.Note(format, args...) }

// MightSleep fails the execution if c may not block: in an interrupt, with
// preemption, softirqs or interrupts off, or in an RCU read section. what names
// the operation, for the report.
//
// Source: might_sleep, include/linux/kernel.h; __might_resched, kernel/sched/core.c, Linux 7.3.
func (c *Context) MightSleep(what string) {
	if why := c.whyAtomic(false); why != "" {
		c.t.Fail(AtomicSleep, fmt.Sprintf("%s in %s: %s %q on cpu %d", what, why, c.kind, c.name, c.cpu.id), "")
	}
}

// whyAtomic says why c may not block, or "". A lock that sleeps on RT only may be
// taken in an RCU read section.
func (c *Context) whyAtomic(rtLock bool) string {
	rt := c.k.cfg.Preemption == RT
	switch {
	case c.kind != InTask:
		return c.kind.String() + " context"
	case c.irqsOff > 0:
		return "a section with interrupts off"
	case c.preempt > 0:
		return "a section with preemption off"
	case c.bh > 0 && !rt:
		return "a section with softirqs off"
	case c.rcu > 0 && !rtLock:
		return "an RCU read section"
	}
	return ""
}

func (c *Context) balanced(irqsOff int) bool {
	return c.preempt|c.rcu|c.bh|c.migrate|len(c.locks) == 0 && c.irqsOff == irqsOff
}

// checkBalance finds counters that were not brought back.
func (c *Context) checkBalance(what string, irqsOff int) {
	if !c.balanced(irqsOff) {
		c.t.Fail(Imbalance, fmt.Sprintf("%s %q ends with preempt %d, rcu %d, bh %d, irqs off %d, migrate %d, locks %v",
			what, c.name, c.preempt, c.rcu, c.bh, c.irqsOff-irqsOff, c.migrate, c.locks), "")
	}
}

func (c *Context) underflow(what string) {
	c.t.Fail(Imbalance, fmt.Sprintf("%s without its opposite in %s %q", what, c.kind, c.name), "")
}

// PreemptDisable keeps c on its CPU, preempt_disable.
func (c *Context) PreemptDisable() {
	c.pin("preempt_disable")
	c.preempt++
}

// PreemptEnable ends a PreemptDisable.
func (c *Context) PreemptEnable() {
	if c.preempt == 0 {
		c.underflow("preempt_enable")
	}
	c.preempt--
	c.relax()
}

// pin makes c hold its CPU from here on, in a step if it does not already.
func (c *Context) pin(label string) {
	if c.kind != InTask || c.holds {
		return
	}
	c.pinStep(label)
}

func (c *Context) pinStep(label string, accesses ...acc) {
	c.want = true
	c.step(label, nil, accesses...)
	c.want = false
}

// RCUReadLock enters an RCU read section.
func (c *Context) RCUReadLock() {
	if c.k.cfg.Preemption != Full && c.k.cfg.Preemption != RT {
		c.pin("rcu_read_lock")
	}
	c.rcu++
}

// RCUReadUnlock leaves it.
func (c *Context) RCUReadUnlock() {
	if c.rcu == 0 {
		c.underflow("rcu_read_unlock")
	}
	c.rcu--
	c.relax()
}

// LocalBHDisable keeps softirqs off this CPU, local_bh_disable. On RT it enters an
// RCU read section and the task stays preemptible.
func (c *Context) LocalBHDisable() {
	if c.k.cfg.Preemption == RT {
		c.bh++
		c.rcu++
		return
	}
	if c.kind == InTask {
		c.pinStep("local_bh_disable") // also if pinned already: softirqs may run before it
	}
	c.bh++
	if c.ld != nil {
		c.ld.SoftirqsOff(c.Site())
	}
}

// LocalBHEnable ends a LocalBHDisable, and runs softirqs that have become pending.
func (c *Context) LocalBHEnable() {
	if c.bh == 0 {
		c.underflow("local_bh_enable")
	}
	c.bh--
	if c.k.cfg.Preemption == RT {
		c.rcu--
		return
	}
	if c.ld != nil && c.bh == 0 {
		c.ld.SoftirqsOn(c.Site())
	}
	if c.bh == 0 && c.irqsOff == 0 && c.kind == InTask && !c.k.cfg.Concurrent {
		c.cpu.runSoftirqs(c)
	}
	c.relax()
}

// LocalIRQDisable turns interrupts of this CPU off; calls nest, as
// local_irq_save does with its flags.
func (c *Context) LocalIRQDisable() {
	if c.irqsOff > 0 {
		c.irqsOff++
		return
	}
	c.pinStep("local_irq_disable")
	c.irqsOff++
	if c.ld != nil {
		c.ld.HardirqsOff(c.Site())
	}
}

// LocalIRQEnable ends a LocalIRQDisable.
func (c *Context) LocalIRQEnable() {
	if c.irqsOff == 0 || c.kind == InHardirq && c.irqsOff == 1 {
		c.underflow("local_irq_enable")
	}
	c.irqsOff--
	if c.irqsOff > 0 {
		return
	}
	if c.ld != nil {
		c.ld.HardirqsOn(c.Site())
	}
	c.relax()
}

// LocalIRQSave and LocalIRQRestore are the same under the names that nest.
func (c *Context) LocalIRQSave() { c.LocalIRQDisable() }

// LocalIRQRestore ends a LocalIRQSave.
func (c *Context) LocalIRQRestore() { c.LocalIRQEnable() }

// MigrateDisable keeps a task on its CPU and leaves it preemptible.
func (c *Context) MigrateDisable() {
	if c.any && c.migrate == 0 && !c.holds {
		c.pickCPU()
	}
	if c.migrate == 0 {
		c.migrateStep("migrate_disable")
	}
	c.migrate++
}

// migrateStep makes it a step when a task that could be moved begins or ends to be tied to its
// CPU: hotplug may wait for it (SCHED_WAIT_EMPTY), so others must see when. Whether
// the CPU is on its way down is not asked: the answer would be read without a step.
func (c *Context) migrateStep(what string) {
	if (c.any || c.irqThread) && c.kind == InTask && !c.init {
		c.step(what, nil, acc{c.cpu.obj, explore.Modify})
	}
}

// MigrateEnable ends a MigrateDisable.
func (c *Context) MigrateEnable() {
	if c.migrate == 0 {
		c.underflow("migrate_enable")
	}
	if c.migrate == 1 {
		c.migrateStep("migrate_enable")
	}
	c.migrate--
}

// CondResched is a scheduling point in the models without preemption, where a
// task of the same CPU may run, and nothing in the others.
func (c *Context) CondResched() {
	c.MightSleep("cond_resched")
	if c.k.cfg.Preemption >= Full || !c.holds {
		return
	}
	c.unpin()
	c.step("cond_resched", nil)
}

// NeedResched reports whether the scheduler wants the CPU for somebody else. With
// preemption it is never seen true, because the code is preempted instead;
// without, it is a choice of the explorer.
//
// Source: kernel-semantics.md, B8.
func (c *Context) NeedResched() bool {
	if c.k.cfg.Preemption >= Full && !c.mustHold() {
		return false
	}
	return c.Choose(2) == 1
}

func (c *Context) ldIRQExit() {
	if c.ld != nil {
		c.ld.HardirqExit()
	}
}

// end checks what a task that ends leaves behind.
func (c *Context) end() {
	c.checkBalance("task", 0)
	c.unpin()
	c.dead = true
}
