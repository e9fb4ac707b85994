// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"fmt"
	"testing"

	"endio/explore"
	"endio/internal/race"
	"endio/scenario"
)

// The expectations in scenario files were written down from verdicts. Here is a second opinion on
// the claims that matter most: transition systems of a page each, written by hand from the facts and not from the
// models, without kernel, contexts, CPUs or reduction, and searched breadth first. Nothing is shared with what
// they are compared with but the names of versions and modes.

// stuck searches all states from s and returns one in which nothing can happen and which is not the
// end, and the number of states.
func stuck[S comparable](s S, next func(S) []S, end func(S) bool) (found *S, states int) {
	seen, queue := map[S]bool{s: true}, []S{s}
	for ; len(queue) > 0; queue = queue[1:] {
		after := next(queue[0])
		if len(after) == 0 && !end(queue[0]) && found == nil {
			found = &queue[0]
		}
		for _, n := range after {
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	return found, len(seen)
}

// A remedy is what of a version of thread 1 matters here: who ends the count of an asynchronous write, and
// whether the wait for the count can be interrupted.
type remedy struct {
	ends          string // "worker", "irq", or "task": the task work of the submitter
	interruptible bool
}

var remedies = map[string]remedy{
	"6.5": {ends: "worker"}, "6.6": {ends: "worker"}, "6.6+interruptible": {"worker", true},
	"6.6-rc": {ends: "task"}, "6.6-rc+tryfreeze": {ends: "task"}, "6.6-rc+interruptible": {"task", true},
	"6.6-rc+split": {ends: "irq"}, "6.6-rc+split-owned": {ends: "irq"}, "6.6-rc+all": {ends: "irq"}, "6.6-rc+both": {"irq", true},
	"6.19": {ends: "irq"}, "6.19+endwrite": {ends: "irq"},
}

var modes = []string{"default", "coop", "sqpoll", "defer"}

// A writer is a task that submits a write, calls fallocate, and waits for the completion.
type writer struct {
	at     string // submit, leave, fallocate, left, wait, end
	issue  bool   // the SQ thread is to issue
	flying bool   // on the device
	work   bool   // on s_dio_done_wq
	tw     bool   // task work is pending
	count  int    // i_dio_count
	cqe    bool
}

func (r remedy) steps(mode string) func(writer) []writer {
	return func(s writer) (out []writer) {
		to := func(f func(n *writer)) { n := s; f(&n); out = append(out, n) }
		run := func(n *writer) {
			n.tw, n.cqe = false, true
			if r.ends == "task" {
				n.count--
			}
		}
		signals := mode == "default" || mode == "coop"
		if s.flying {
			to(func(n *writer) {
				n.flying = false
				n.work, n.tw = r.ends == "worker", r.ends != "worker"
				if r.ends == "irq" {
					n.count--
				}
			})
		}
		if s.work {
			to(func(n *writer) { n.work, n.tw = false, true; n.count-- })
		}
		if s.issue && s.at != "fallocate" { // which holds i_rwsem
			to(func(n *writer) { n.issue, n.flying = false, true; n.count++ })
		}
		if mode == "sqpoll" && s.tw {
			to(run)
		}
		switch {
		case s.at == "submit" && mode == "sqpoll":
			to(func(n *writer) { n.at, n.issue = "leave", true })
		case s.at == "submit":
			to(func(n *writer) { n.at, n.flying = "leave", true; n.count++ })
		case (s.at == "leave" || s.at == "left") && s.tw && signals:
			to(run)
		case s.at == "leave":
			to(func(n *writer) { n.at = "fallocate" })
		case s.at == "fallocate" && s.count == 0:
			to(func(n *writer) { n.at = "left" })
		case s.at == "fallocate" && r.interruptible && s.tw && signals:
			to(func(n *writer) { n.at = "leave" }) // and comes again
		case s.at == "left":
			to(func(n *writer) { n.at = "wait" })
		case s.at == "wait" && s.cqe:
			to(func(n *writer) { n.at = "end" })
		case s.at == "wait" && s.tw && mode != "sqpoll":
			to(run)
		}
		return out
	}
}

func TestIndependentFallocate(t *testing.T) {
	var memo Memo
	f := parse(t, "fallocate.scn")
	for version, r := range remedies {
		for _, mode := range modes {
			s, n := stuck(writer{at: "submit"}, r.steps(mode), func(s writer) bool { return s.at == "end" })
			compare(t, f, &memo, version, "full/"+mode, s != nil, fmt.Sprintf("%d states, stuck in %+v", n, s))
		}
	}
}

// A batch is a task that submits writes to X and perhaps Y, and then something for a worker that drains X:
// a partial write, or fallocate. It waits for all of them in one call.
type batch struct {
	next   int      // to be submitted
	io     [2]uint8 // of the writes
	worker uint8
	issue  [3]bool // by the SQ thread
	asleep bool
	cqes   int
	end    bool
}

const (
	ioNone uint8 = iota
	ioFlying
	ioWork // for the worker: holds i_rwsem and drains
	ioTask // task work is pending
	ioOver
)

// counts reports whether write i has its inode's dio count raised.
func (r remedy) counts(s uint8) bool {
	return s == ioFlying || s == ioWork || s == ioTask && r.ends == "task"
}

// steps of a task with so many plain writes, the first of them to X; partial says that what drains is a write.
func (r remedy) batchSteps(mode string, writes int, partial bool) func(batch) []batch {
	return func(s batch) (out []batch) {
		to := func(f func(n *batch)) { n := s; f(&n); out = append(out, n) }
		issue := func(n *batch, i int) {
			if i == writes {
				n.worker = ioFlying // in the queue of io-wq
			} else {
				n.io[i] = ioFlying
			}
		}
		locked := s.worker == ioWork
		pending := 0
		for i, io := range s.io[:writes] {
			switch io {
			case ioFlying:
				to(func(n *batch) {
					if n.io[i] = ioTask; r.ends == "worker" {
						n.io[i] = ioWork
					}
				})
			case ioWork:
				to(func(n *batch) { n.io[i] = ioTask })
			case ioTask:
				pending++
			}
		}
		switch {
		case s.worker == ioFlying:
			to(func(n *batch) { n.worker = ioWork })
		case s.worker == ioWork && !r.counts(s.io[0]):
			to(func(n *batch) { n.worker = ioTask })
		case s.worker == ioTask:
			pending++
		}
		runAll := func(n *batch) {
			for i := range n.io[:writes] {
				if n.io[i] == ioTask {
					n.io[i] = ioOver
				}
			}
			if n.worker == ioTask {
				n.worker = ioOver
			}
			n.cqes += pending
		}
		if mode == "sqpoll" {
			for i, due := range s.issue[:writes+1] {
				if due && !(i == 0 && locked) {
					to(func(n *batch) { n.issue[i] = false; issue(n, i) })
				}
			}
			if pending > 0 {
				to(runAll)
			}
		}
		all := writes + 1
		switch {
		case s.next < all && mode == "sqpoll" && (s.next < writes || partial): // fallocate goes to io-wq at once
			to(func(n *batch) { n.issue[s.next] = true; n.next++ })
		case s.next < all:
			to(func(n *batch) { issue(n, s.next); n.next++ })
		case s.end:
		case s.asleep && (s.cqes >= all || pending > 0 && s.cqes+pending >= all):
			to(func(n *batch) { n.asleep = false })
		case s.asleep:
		case pending > 0 && mode != "sqpoll":
			to(runAll)
		case s.cqes >= all:
			to(func(n *batch) { n.end = true })
		case mode == "defer": // the wake-up counts to what is waited for
			to(func(n *batch) { n.asleep = true })
		}
		return out
	}
}

func TestIndependentWorkers(t *testing.T) {
	var memo Memo
	for _, q := range []struct {
		file    string
		writes  int
		partial bool
	}{{"unaligned-uring.scn", 1, true}, {"fallocate-uring.scn", 2, false}} {
		if race.Enabled && q.writes > 1 {
			continue
		}
		f := parse(t, q.file)
		for version, r := range remedies {
			for _, mode := range modes {
				s, n := stuck(batch{}, r.batchSteps(mode, q.writes, q.partial), func(s batch) bool { return s.end })
				compare(t, f, &memo, version, "full/"+mode, s != nil, fmt.Sprintf("%d states, stuck in %+v", n, s))
			}
		}
	}
}

// A list is that of CPU 1, with its work item, two bios that end there, and a CPU that goes down or is refused to.
type list struct {
	bios             [2]string // "", "listed", "taken" (by the worker), "over"
	armed, running   bool
	disabled, online bool
	at               string // up, disabled, dead, down, back
}

// steps of a protocol whose online callback requeues, or not, and whose worker gives way when asked to,
// or not.
func listSteps(requeue, givesWay bool) func(list) []list {
	return func(s list) (out []list) {
		to := func(f func(n *list)) { n := s; f(&n); out = append(out, n) }
		has := func(state string) bool { return s.bios[0] == state || s.bios[1] == state }
		move := func(n *list, from, to string) {
			for i := range n.bios {
				if n.bios[i] == from {
					n.bios[i] = to
				}
			}
		}
		for i, b := range s.bios {
			switch {
			case b != "":
			case !s.online: // the interrupt comes to the other CPU, whose list has no trouble
				to(func(n *list) { n.bios[i] = "over" })
			default:
				to(func(n *list) { n.bios[i] = "listed"; n.armed = s.armed || !has("listed") && !s.disabled })
			}
		}
		switch {
		case s.armed && !s.running && s.online:
			to(func(n *list) { n.armed, n.running = false, true })
		case s.running && has("taken"):
			to(func(n *list) { move(n, "taken", "over") })
			if givesWay { // looks at the list, arms if there is something, and leaves
				to(func(n *list) {
					move(n, "taken", "over")
					n.running, n.armed = false, s.armed || has("listed") && !s.disabled
				})
			}
		case s.running && has("listed"):
			to(func(n *list) { move(n, "listed", "taken") })
		case s.running:
			to(func(n *list) { n.running = false })
		}
		switch {
		case s.at == "up" && !s.disabled:
			to(func(n *list) { n.disabled, n.armed = true, false })
		case s.at == "up" && !s.running: // and waits for the worker
			to(func(n *list) { n.at = "disabled" })
		case s.at == "disabled":
			to(func(n *list) { n.at, n.online = "dead", false })
			to(func(n *list) { n.at, n.disabled, n.armed = "back", false, requeue && has("listed") })
		case s.at == "dead":
			to(func(n *list) { n.at = "down"; move(n, "listed", "over") })
		}
		return out
	}
}

func TestIndependentHotplug(t *testing.T) {
	var memo Memo
	f := parse(t, "hotplug-rollback.scn")
	for version, p := range map[string]struct{ requeue, givesWay bool }{
		"v6": {false, true}, "v6+requeue": {true, true}, "v6+fixes": {true, true}, "v7": {true, false}, "v7-requeue": {false, false}, "v7+resched": {true, true},
	} {
		s, n := stuck(list{online: true, at: "up"}, listSteps(p.requeue, p.givesWay), func(s list) bool { return s.bios == [2]string{"over", "over"} })
		compare(t, f, &memo, version, "lazy", s != nil, fmt.Sprintf("%d states, stuck in %+v", n, s))
	}
}

// compare asks the checker, and wants the same answer.
func compare(t *testing.T, f *scenario.File, memo *Memo, version, config string, fails bool, how string) {
	t.Helper()
	cases, err := Select(f, version, config)
	if err != nil || len(cases) != 1 {
		t.Fatalf("%s, %s, %s: %v, %d cases", f.Name, version, config, err, len(cases))
	}
	a, err := Decide(context.Background(), f, cases[0], Options{Memo: memo})
	if err != nil {
		t.Fatal(err)
	}
	if a.Verdict == explore.Unknown || (a.Verdict == explore.Fails) != fails {
		t.Errorf("%s, %s, %s: the checker says that it %s (%s), the model by hand: fails %v (%s)", f.Name, version, config, a.Verdict, a.Problem(), fails, how)
	}
	t.Logf("%-22s %-20s %-12s %-5s  %s", f.Name, version, config, a.Verdict, how)
}
