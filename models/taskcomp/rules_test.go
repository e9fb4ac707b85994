// SPDX-License-Identifier: Apache-2.0

package taskcomp_test

import (
	"fmt"
	"strings"
	"testing"

	"endio/internal/decide/decidetest"
)

// The tests of this file are about what kernel-semantics.md says in B1 (the life of a bio) and B3 (the batches, version by
// version). The versions are models, and so the rules are asked for as users ask: in scenarios.

// ask asks in each configuration of the first argument.
func ask(t *testing.T, configs, text string, want map[string]string) {
	t.Helper()
	decidetest.Ask(t, "model taskcomp\nconfig "+configs+"\n"+text+"expect v7: holds\n", want) // the parser wants some
}

const (
	kernels = "v4 v5 v6 v6+fixes v7"
	flagged = "v6 v6+fixes v7 endio" // those with bio_in_atomic
	all     = "none none+count voluntary voluntary+count full lazy rt"
	counted = "none+count voluntary+count full lazy"
)

// TestB12TheParentEndsLast: bio_remaining_done: the handler runs once, when the parent and all of its children have ended, whoever is the
// last; a chain is followed in a loop, in the context of the last completer.
func TestB12TheParentEndsLast(t *testing.T) {
	for _, order := range []string{
		"irq on cpu 0: complete P\nirq on cpu 1: complete C; complete D\n",
		"irq on cpu 0: complete C\nirq on cpu 1: complete D\ntask T: complete P\n",
	} {
		ask(t, "none full", "bio P unflagged\nbio C parent P\nbio D parent P\n"+order, map[string]string{kernels + " endio": ""})
	}
	// A chain of three, ended from the last child to the first, and from the first to the last.
	const deep = "bio P unflagged\nbio C parent P\nbio D parent C\n"
	ask(t, "none full", deep+"irq on cpu 0: complete D; complete C; complete P\n", map[string]string{kernels: ""})
	ask(t, "none full", deep+"irq on cpu 0: complete P; complete C; complete D\n", map[string]string{kernels: ""})
	// One that is missing keeps the handler from running.
	waits := func(why string) string {
		return fmt.Sprintf("lost work: task \"T\" waits for the handler of bio P (%s), and no task is left that could end the wait", why)
	}
	ask(t, "none full", "bio P unflagged\nbio C parent P\nirq on cpu 0: complete P\ntask T on cpu 1: wait-bio P; complete C\n",
		map[string]string{kernels: waits("bio P has not ended"), "endio": waits("its child C has not ended")})
	// Once its children have ended a bio is no chain any more: a stacked driver ends it again, alone.
	ask(t, "none full", "bio P handler restores\nbio C parent P\nirq on cpu 0: complete C\nirq on cpu 1: complete P\n", map[string]string{"v7 endio": ""})
}

// TestB12TheParentDecides: the child's own flag is never looked at; the parent's decides, in the context of whoever ends last.
func TestB12TheParentDecides(t *testing.T) {
	const end = "irq on cpu 0 hard: complete C\ntask T on cpu 1: complete P\n"
	sleeps := `sleep in atomic context: the handler of bio P in hardirq context: hardirq "irq1" on cpu 0`
	ask(t, all, "bio P unflagged handler sleeps\nbio C parent P\n"+end, map[string]string{"v7 endio": sleeps})
	ask(t, all, "bio P handler sleeps\nbio C unflagged parent P\n"+end, map[string]string{"v7 endio": ""})
}

// TestB12IntegrityComesBack: a read with integrity data ends again from a worker, behind the count of its chain and before the step to its parent; what
// has failed is not verified. Where the context can be told the handler runs in that worker, at once.
func TestB12IntegrityComesBack(t *testing.T) {
	const hard = "irq on cpu 0 hard: complete A\n"
	ask(t, all, "bio A integrity handler sleeps\n"+hard, map[string]string{"v7 v6+fixes endio": ""})
	ask(t, counted+" rt", "bio A unflagged integrity handler sleeps\n"+hard, map[string]string{kernels + " endio": ""})
	failed := `sleep in atomic context: the handler of bio A in hardirq context: hardirq "irq1" on cpu 0`
	ask(t, counted+" rt", "bio A unflagged integrity error handler sleeps\n"+hard, map[string]string{"v7 endio": failed})
	for _, bios := range []string{"bio P\nbio C integrity parent P\n", "bio P integrity\nbio C parent P\n", "bio P integrity\nbio C integrity parent P\n"} {
		for _, order := range []string{"irq on cpu 0: complete C\nirq on cpu 1: complete P\n", "irq on cpu 0: complete P; complete C\n", "irq on cpu 0: complete C; complete P\n"} {
			ask(t, "none full", bios+order, map[string]string{"v6 v7 endio": ""})
		}
	}
	// A task that waits for it is told where it is.
	const waits = "mutex M\nworkers 1\nbio B handler locks M\nbio A integrity\nirq on cpu 0: complete B; complete A\ntask T on cpu 1: lock M; wait-bio A; unlock M\n"
	ask(t, "full", waits, map[string]string{"v7": `deadlock: the handler of bio B never returns: task "kworker/0:0" waits for lock M, held by task "T", ` +
		`which waits for the handler of bio A (work integrity of A is queued on cpu 0, and no worker takes it)`})
}

// TestB12FirstError: a parent has the error of whichever child has failed, in any order, and its own; the handler is told.
func TestB12FirstError(t *testing.T) {
	for _, bios := range []string{"bio P\nbio C error parent P\nbio D parent P\n", "bio P error\nbio C parent P\nbio D parent P\n",
		"bio P\nbio C error parent P\nbio D error parent P\n", "bio P\nbio C parent P\nbio D error parent C\n", "bio P handler restores\nbio C error parent P\nbio D parent P\n"} {
		ask(t, "none full", bios+"irq on cpu 0: complete C; complete P\nirq on cpu 1: complete D\n", map[string]string{"v6 v7 endio": ""})
	}
}

// TestB12DeferOrCall: a flagged bio that ends in an atomic context is deferred, and only then is its handler not tested for NULL; everything else
// calls the handler at once if there is one.
func TestB12DeferOrCall(t *testing.T) {
	null := `nil handler: bio->bi_end_io of bio A is NULL and is called by task "kworker/0:0"`
	ask(t, all, "bio A handler none\nirq on cpu 0 hard: complete A\n", map[string]string{"v7": null, "v7+nullcheck endio": ""})
	ask(t, counted+" rt", "bio A handler none\ntask T on cpu 0: complete A\n", map[string]string{"v6 v7": ""})
	ask(t, "none voluntary", "bio A handler none\ntask T on cpu 0: complete A\n", map[string]string{"v6 v7": null}) // nobody can tell: deferred
	ask(t, all, "bio A unflagged handler none\nirq on cpu 0 hard: complete A\n", map[string]string{kernels: ""})
	ask(t, all, "bio A unflagged handler plain\nirq on cpu 0 hard: complete A\n", map[string]string{kernels + " endio": ""})
}

// TestB11FlagsOfOneLife: a bio that a handler starts again loses what was set in its life before and asks for a task context only if its
// submitter does: the flag "already deferred" of one life must not keep the next from being deferred.
func TestB11FlagsOfOneLife(t *testing.T) {
	ask(t, counted, "bio B unflagged handler dynamic\nbio A handler resubmits B on cpu 1\nirq on cpu 0: complete A\n", map[string]string{"v6 v7 endio": ""})
	ask(t, counted, "bio B unflagged handler sleeps\nbio A handler resubmits B on cpu 1\nirq on cpu 0: complete A\n",
		map[string]string{"v7 endio": `sleep in atomic context: the handler of bio B in hardirq context: hardirq "irq for B" on cpu 1`})
}

// TestB13Contexts: wherever a flagged bio ends, its handler may block: in a hard interrupt, a threaded one, a softirq, a task that polls
// under RCU, one that holds a spinlock or has interrupts off, the submitter's own task, and a kworker.
func TestB13Contexts(t *testing.T) {
	for _, where := range []string{
		"irq on cpu 0 hard: complete A\n",
		"irq on cpu 0: complete A\n",
		"softirq on cpu 0: complete A\n",
		"task T: rcu-lock; complete A; rcu-unlock\n",
		"spinlock S\ntask T: spin-lock S; complete A; spin-unlock S\n",
		"task T: irqs-off; complete A; irqs-on\n",
		"task T: preempt-off; complete A; preempt-on\n",
		"task T: complete A\n",
	} {
		want := map[string]string{"v7 v6+fixes endio": ""}
		if !strings.Contains(where, "hard") && !strings.Contains(where, "-off") && !strings.Contains(where, "softirq") {
			want["v6"] = "" // whose local lock is none for the others on RT
		}
		ask(t, all, "bio A handler sleeps\n"+where, want)
	}
	// A kworker: the handler of B runs there, and ends the stacked bio again.
	ask(t, all, "bio A handler restores\nirq on cpu 0: complete A\n", map[string]string{"v7 endio": ""})
}

// TestB3ContextTest: v4 and v5 ask whether the context is a task, which one with a spinlock or in an RCU section is; bio_in_atomic since v6.
func TestB3ContextTest(t *testing.T) {
	wrong := `wrong context: the handler of bio A was promised a task context and runs in task "T" on cpu 0, which may not block`
	for _, where := range []string{"raw-lock S; complete A; raw-unlock S", "rcu-lock; complete A; rcu-unlock", "preempt-off; complete A; preempt-on"} {
		want := map[string]string{"v4 v5": wrong, "v7 v6+fixes endio": ""}
		ask(t, counted, "rawlock S\nbio A\ntask T on cpu 0: "+where+"\n", want)
	}
}

// TestB3Protection: the list of v4 and v6 is under local_lock, which may not be taken in an interrupt that is not threaded; that of v5 is lock-free,
// and v7 has interrupts off.
func TestB3Protection(t *testing.T) {
	invalid := "lockdep: [ BUG: Invalid wait context ]: bio_complete_batch.lock"
	ask(t, counted+" none", "bio A\nirq on cpu 0 hard: complete A\n", map[string]string{"v4 v6 v6+requeue": invalid, "v5 v6+irqsave v7 endio": ""})
}

// TestB3List: first in, first out, also where the list is a stack that is turned around.
func TestB3List(t *testing.T) {
	ask(t, counted+" none", "want fifo\nbio A\nbio B\nbio C\nirq on cpu 0: complete A; complete B; complete C\n", map[string]string{kernels + " endio": ""})
}

// TestB3Workqueue: since v5 the workqueue has a rescuer; v4's has none and may starve.
func TestB3Workqueue(t *testing.T) {
	starves := "handler never run: bio A has ended and its handler never runs: it is on the list of cpu 0, which holds nothing else, and work bio_complete " +
		"is queued on cpu 0, where memory is short and no worker can be made, and workqueue bio_complete has no rescuer"
	ask(t, "full", "memory short\nbio A\nirq on cpu 0: complete A\n", map[string]string{"v4": starves, "v5 v6 v7 endio": ""})
}

// TestB3Helper: the dynamic helper came with v6, where it defers again and again if nobody can tell the context; since v7 the flag says
// that a bio was deferred already.
func TestB3Helper(t *testing.T) {
	const dynamic = "bio A unflagged handler dynamic\nirq on cpu 0 hard: complete A\n"
	endless := `endless offload: bio A is deferred again (deferral 2), in task "kworker/0:0": nothing ends this`
	ask(t, "none voluntary", dynamic, map[string]string{"v6+irqsave": endless, "v6+fixes v7 endio": ""})
	ask(t, counted, dynamic, map[string]string{"v6+irqsave v6+fixes v7 endio": ""})
}

// TestB3Hotplug: v4 and v5 only drain the list of a dead CPU; v6 disables the work item on the way down and enables it on the way up; v7 queues
// it then for what has gathered.
func TestB3Hotplug(t *testing.T) {
	stranded := "handler never run: bio A has ended and its handler never runs: it is on the list of cpu 1, which holds nothing else, and work bio_complete of cpu 1 is %s"
	const back = "bio A\nirq on cpu 1: complete A\nhotplug: down 1 may fail at TEARDOWN_CPU\n"
	ask(t, "full", back, map[string]string{"v6": fmt.Sprintf(stranded, "idle: nothing queues it again"), "v5 v6+requeue v7 endio": ""})
	const parked = "bio A\nirq on cpu 1: complete A\nhotplug: down 1 to SMPBOOT_THREADS\n"
	ask(t, "full", parked, map[string]string{"v6 v7": fmt.Sprintf(stranded, "disabled"), "v5 endio": ""})
	// A CPU that is off line at the start has its work disabled, and enabled when it comes.
	const up = "offline 1\nbio A\nirq on cpu 1: complete A\nhotplug: up 1\n"
	ask(t, "full", up, map[string]string{"v7 endio": "", "v6": fmt.Sprintf(stranded, "idle: nothing queues it again")})
}

// TestB3NeedResched: v6 leaves between two batches if the scheduler wants the CPU and arms again; v7 runs until the list is empty; the worker of
// endio leaves after a pass.
func TestB3NeedResched(t *testing.T) {
	hog := `soft lockup: task "kworker/0:0" ran 7 steps on its CPU without a scheduling point (none, PREEMPT_COUNT=y)`
	const three = "cpus 1\nhog-limit 6\npass 1\nbio A\nbio B\nbio C\nirq on cpu 0: complete A\nirq on cpu 0: complete B\nirq on cpu 0: complete C\n"
	ask(t, "none+count", three, map[string]string{"v7": hog, "endio": ""})
}
