// SPDX-License-Identifier: Apache-2.0

package scenario

// Limits of a file. A scenario for the explorer is small; more is a mistake.
const (
	MaxBytes      = 1 << 20 // bytes of a file
	MaxStatements = 1000    // lines that are neither empty nor comments
	MaxActors     = 16      // tasks, interrupts and the like
	MaxSteps      = 64      // steps of one actor
	MaxCPUs       = 4
	MaxBios       = 4  // of one I/O
	MaxErrors     = 20 // reported for one file
)

// The models.
const (
	TaskComp   = "taskcomp"   // thread 2: bios completed in task context
	CallerComp = "callercomp" // thread 1: direct I/O completed by its caller
)

// A word of the language and what it means.
type word struct{ name, means string }

// versions lists, by model, which versions there are, oldest first.
var versions = map[string][]word{
	TaskComp: {
		{"v4", "per-CPU list under local_lock, plain work, drained when the CPU is dead"},
		{"v5", "lock-free per-CPU list, delayed work, drained when the CPU is dead"},
		{"v6", "per-CPU list under local_lock, delayed work that is disabled while the CPU is down"},
		{"v6+irqsave", "v6 with local_irq_save in place of local_lock (answer to question 3)"},
		{"v6+requeue", "v6 that requeues the work when a CPU comes on line with a list that is not empty (answer to question 4)"},
		{"v6+sentinel", "v6 whose helper takes the flag as already deferred (answer to question 7)"},
		{"v6+fixes", "v6 with the three fixes that its author accepted"},
		{"v7", "what landed for 7.3: the three fixes, no delay, no test of need_resched"},
		{"v7+nullcheck", "v7 whose worker and drain test for a handler before calling it"},
		{"v7+requeue-dead", "v7 whose dead callback requeues on a living CPU and does not run handlers itself"},
		{"v7-down", "mutant: v7 whose work is neither disabled when a CPU goes down nor enabled when one comes up"},
		{"v7-requeue", "mutant: v7 without the requeue when a CPU comes on line"},
		{"v7+cpuslocked", "v7 that holds the hotplug lock from the set-up of its batches to its last registration"},
		{"v7+condresched", "v7 whose worker and drain give way after each handler where code is not preempted (what question 2 asks for)"},
		{"v7+rawlock", "v7 with a raw spinlock for each list, whose work may run anywhere and has no hotplug callbacks"},
		{"v7+biowork", "v7 with a work item in each bio in place of the batches, whose function tests for a handler"},
		{"v7+armin", "variant: v7 that arms the work with interrupts still off"},
		{"v7+resched", "variant: v7 with the need_resched test of v6 in its worker"},
		{"endio", "this project's own batch package"},
	},
	CallerComp: {
		{"6.5", "every asynchronous direct write ends on the workqueue"},
		{"6.6-rc", "caller completion: the dio ends in the task work of its submitter"},
		{"6.6", "caller completion switched off in io_uring"},
		{"6.6-rc+nowait", "caller completion, and io-wq workers that issue reads and writes with NOWAIT, again and again until it does"},
		{"6.6-rc+interruptible", "caller completion, and inode_dio_wait that a signal or task work interrupts"},
		{"6.6-rc+split", "caller completion that lowers the dio count at once and leaves the rest to the caller"},
		{"6.6-rc+split-owned", "the same, but writes whose end changes extents go to the workqueue"},
		{"6.19", "caller completion removed, pure overwrites end in the interrupt, freeze lock tried under NOWAIT"},
		{"6.6+interruptible", "both remedies: switched off, and the interruptible wait"},
		{"6.6-rc+both", "both remedies: the interruptible wait, and the count lowered at once"},
		{"6.6-rc+tryfreeze", "caller completion, and the freeze lock tried under NOWAIT"},
		{"6.19+endwrite", "6.19 whose completion hook also ends sb_writers"},
		{"6.6-rc+all", "caller completion of the notification only: 6.6-rc+split-owned, freeze lock tried, sb_writers ended in the hook"},
		{"6.6-rc+markfailed", "6.6-rc+all whose task work also marks a request as failed when its I/O has failed"},
		{"endio", "this project's own dio package"},
	},
}

// configNames are the preemption configurations.
var configNames = []word{
	{"none", "no preemption, PREEMPT_COUNT=n"},
	{"none+count", "no preemption, PREEMPT_COUNT=y"},
	{"voluntary", "voluntary preemption, PREEMPT_COUNT=n"},
	{"voluntary+count", "voluntary preemption, PREEMPT_COUNT=y"},
	{"full", "full preemption"},
	{"lazy", "lazy preemption"},
	{"rt", "PREEMPT_RT"},
}

var ringModes = []word{
	{"default", "task work with a signal notification"},
	{"coop", "COOP_TASKRUN: task work without an interrupt of user space"},
	{"sqpoll", "SQPOLL: a kernel thread submits and runs the task work"},
	{"defer", "DEFER_TASKRUN: task work only in the wait for completions"},
}

var handlers = []word{
	{"plain", "does not block"},
	{"none", "there is no handler: the pointer is NULL"},
	{"sleeps", "may sleep, for example for memory"},
	{"dynamic", "calls bio_complete_in_task first"},
	{"locks", "takes the mutex named after it"},
	{"waits", "waits until the bio named after it has been completed"},
	{"resubmits", "submits the bio named after it, which an interrupt on the CPU named after that completes"},
	{"restores", "puts the original handler back and calls bio_endio again"},
	{"writeback", "ends uncached writeback: removes the folio from the cache if it may"},
	{"hotplugs", "takes the CPU named after it down"},
}

// kinds are the ways to fail, by the word that expectations use.
var kinds = []word{
	{"deadlock", "tasks wait for each other"},
	{"lost-work", "a task waits, and nobody is left to end the wait"},
	{"never-run", "a completion is lost: its handler never runs"},
	{"run-twice", "a handler runs twice"},
	{"nil-handler", "a handler that does not exist is called"},
	{"wrong-context", "a handler runs where it may not block"},
	{"atomic-sleep", "something sleeps in atomic context"},
	{"lockdep", "the lock validator reports"},
	{"corruption", "data is used without the protection that others rely on"},
	{"data-race", "two unordered accesses to plain memory"},
	{"soft-lockup", "code keeps its CPU for too long"},
	{"endless-offload", "a completion is deferred again and again"},
	{"out-of-order", "handlers of one CPU run in another order than their completions"},
	{"imbalance", "a counter is not brought back"},
	{"livelock", "steps repeat for ever and a task never finishes"},
	{"restarts", "a system call is begun anew more often than the file allows"},
	{"eintr", "a system call that never failed so returns EINTR"},
	{"not-drained", "a drain returned while an earlier write was in flight"},
	{"lost-error", "a handler is not told that its bio, or one chained to it, has failed"},
	{"not-cancelled", "a request is issued although the one to which it was linked has failed"},
	{"ineffective", "an uncached folio stays in the cache"},
	{"hang", "somebody waits for ever (deadlock, lost-work or never-run)"},
	{"any", "some failure"},
}

// extras are properties that are checked only if the file wants them.
var extras = []word{
	{"fifo", "handlers of one CPU run in the order of their completions"},
	{"dropbehind", "each uncached folio leaves the cache"},
	{"no-eintr", "a signal does not make fallocate and its like fail"},
}

// modelOfWant is the model that has a property.
var modelOfWant = map[string]string{"fifo": TaskComp, "dropbehind": TaskComp, "no-eintr": CallerComp}

// states are the hotplug states that a file may name, ascending, and whether
// they can fail. They are those of machine/sim, checked by a test there.
var states = []struct {
	name  string
	fails bool
}{
	{"OFFLINE", false}, {"BLOCK_SOFTIRQ_DEAD", false}, {"BIO_DEAD", false}, {"BLK_MQ_DEAD", false},
	{"WORKQUEUE_PREP", true}, {"RCUTREE_PREP", true}, {"TIMERS_PREPARE", false}, {"BP_PREPARE_DYN", false},
	{"BRINGUP_CPU", true}, {"SCHED_STARTING", false}, {"RCUTREE_DYING", false}, {"TICK_DYING", false},
	{"TEARDOWN_CPU", true}, {"SCHED_WAIT_EMPTY", false}, {"SMPBOOT_THREADS", true},
	{"IRQ_AFFINITY_ONLINE", true}, {"BLK_MQ_ONLINE", true}, {"WORKQUEUE_ONLINE", true},
	{"RCUTREE_ONLINE", true}, {"AP_ONLINE_DYN", false}, {"AP_ACTIVE", true}, {"ONLINE", false},
}

// A verb is a step that an actor can do.
type verb struct {
	name  string
	args  string // what follows, in the notation of argument
	model string // "" is both
	means string // with %s for the arguments in order
}

// Arguments: b bio, i inode, r ring, m mutex, s spinlock, w raw spinlock, c CPU,
// n number, t task, q request with its inode and properties, u properties of I/O, S "to STATE", U "under MUTEX"; a trailing ? is for what may be left out.
var verbs = []verb{
	{"complete", "b", TaskComp, "completes bio %s (bio_endio)"},
	{"wait-bio", "b", TaskComp, "waits until the handler of bio %s has run"},
	{"preempt-off", "", "", "disables preemption"},
	{"preempt-on", "", "", "enables preemption"},
	{"irqs-off", "", "", "turns interrupts off"},
	{"irqs-on", "", "", "turns interrupts on"},
	{"rcu-lock", "", "", "enters an RCU read section"},
	{"rcu-unlock", "", "", "leaves the RCU read section"},
	{"lock", "m", "", "locks mutex %s"},
	{"unlock", "m", "", "unlocks mutex %s"},
	{"spin-lock", "s", "", "locks spinlock %s"},
	{"spin-unlock", "s", "", "unlocks spinlock %s"},
	{"raw-lock", "w", "", "locks raw spinlock %s"},
	{"raw-unlock", "w", "", "unlocks raw spinlock %s"},
	{"down", "cS?", TaskComp, "takes CPU %s down%s"},
	{"up", "cS?", TaskComp, "brings CPU %s up%s"},
	{"register", "", TaskComp, "registers the hotplug callbacks of the patch, one after the other, without calling any"},
	{"submit", "rq", CallerComp, "submits through ring %s: %s"},
	{"wait", "rn?", CallerComp, "waits on ring %s for %s completions"},
	{"fallocate", "iU?", CallerComp, "calls fallocate on inode %s%s"},
	{"truncate", "iU?", CallerComp, "truncates inode %s%s"},
	{"clone", "iU?", CallerComp, "clones inode %s%s"},
	{"write", "iu?", CallerComp, "writes to inode %s with a plain system call%s"},
	{"read", "iu?", CallerComp, "reads inode %s with a plain system call%s"},
	{"freeze", "", CallerComp, "freezes the file system"},
	{"thaw", "", CallerComp, "thaws the file system"},
	{"signal", "t", CallerComp, "sends a signal to task %s"},
	{"spin", "", CallerComp, "stays in user space for ever"},
}

// requests are what can be submitted through a ring.
var requests = []word{
	{"write", "a direct write"}, {"read", "a direct read"},
	{"fallocate", "a fallocate"}, {"truncate", "a truncate"},
}

// VersionNames returns the versions of a model, oldest first.
func VersionNames(model string) []string { return names(versions[model]) }

// ConfigNames returns the preemption configurations.
func ConfigNames() []string { return names(configNames) }

// StateCanFail reports, for each hotplug state, in ascending order, whether it
// can fail.
func StateCanFail(f func(name string, fails bool)) {
	for _, s := range states {
		f(s.name, s.fails)
	}
}

// MeaningOf returns what a version of a model is, in words, or "".
func MeaningOf(model, version string) string { return meaning(versions[model], version) }

// verbOf returns the step of that name, or nil.
func verbOf(name string) *verb {
	for i := range verbs {
		if verbs[i].name == name {
			return &verbs[i]
		}
	}
	return nil
}

func verbNames() []string {
	out := make([]string, 0, len(verbs))
	for i := range verbs {
		out = append(out, verbs[i].name)
	}
	return out
}

func names(ws []word) []string {
	out := make([]string, 0, len(ws))
	for _, w := range ws {
		out = append(out, w.name)
	}
	return out
}

func meaning(ws []word, name string) string {
	for _, w := range ws {
		if w.name == name {
			return w.means
		}
	}
	return ""
}

func has(ws []word, name string) bool { return meaning(ws, name) != "" }
