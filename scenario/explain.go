// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"slices"
	"strings"
)

// Explain says the file in words.
func (f *File) Explain() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if f.Title != "" {
		say("%s", f.Title)
		say("")
	}
	for _, c := range f.Claims {
		say("%s says: %s", c.Who, c.Text)
	}
	if len(f.Claims) > 0 {
		say("")
	}
	f.explainMachine(say)
	f.explainObjects(say)
	for i := range f.Actors {
		f.Actors[i].explain(f, say)
	}
	say("All of this happens in any order in which it can: every interleaving counts.")
	if len(f.Wants) > 0 {
		for _, w := range f.Wants {
			say("It must also hold that %s.", meaning(extras, w))
		}
	}
	for _, text := range f.ignored() {
		say("Note that %s.", text)
	}
	say("")
	for i := range f.Expects {
		f.Expects[i].explain(f, say)
	}
	return b.String()
}

// Counted returns a number of things in words, singular or plural.
func Counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (f *File) explainMachine(say func(string, ...any)) {
	about := "the completion of bios in task context (thread 2)"
	if f.Model == CallerComp {
		about = "the completion of direct I/O by its caller (thread 1)"
	}
	say("The question is about %s.", about)
	cpus := "CPUs"
	if f.CPUs == 1 {
		cpus = "CPU"
	}
	say("The machine has %d %s, numbered from 0.", f.CPUs, cpus)
	for _, c := range f.Offline {
		say("CPU %d is off line at the start.", c)
	}
	for _, c := range f.Configs {
		say("It is checked with %s (%s).", meaning(configNames, c), c)
	}
	if f.Workers > 0 {
		say("Each CPU's pool has %s.", Counted(f.Workers, "kworker"))
	}
	if f.IOWorkers > 0 {
		say("The process has %s.", Counted(f.IOWorkers, "io-wq worker"))
	}
	if f.MemoryShort {
		say("Memory is short: any pool may be unable to make workers, and then the rescuer runs its items.")
	}
	if f.Housekeeping {
		say("Pinned timers go to the first CPU that is on line (timer housekeeping).")
	}
	if f.HogSteps > 0 {
		say("Code that keeps its CPU for more than %s is a soft lockup.", Counted(f.HogSteps, "step"))
	}
	if f.MaxRestarts > 0 {
		say("A system call that is begun anew more than %s fails the check.", Counted(f.MaxRestarts, "time"))
	}
	if f.Pass > 0 {
		say("The worker of version endio lets others run after %s.", Counted(f.Pass, "handler"))
	}
	if f.Annotate != "none" {
		say("Lockdep knows of the dio count (annotation %s).", f.Annotate)
	}
	say("")
}

func (f *File) explainObjects(say func(string, ...any)) {
	for i := range f.Bios {
		b := &f.Bios[i]
		flag := "wants its handler in task context"
		if !b.InTask {
			flag = "does not ask for task context"
		}
		means := meaning(handlers, b.Handler)
		if b.Arg != "" {
			means += " (" + b.Arg + ")"
		}
		if b.CPU >= 0 {
			means += fmt.Sprintf(" (CPU %d)", b.CPU)
		}
		chained := ""
		if b.Integrity {
			chained += "; it is a read with integrity data, which a worker verifies before the bio ends, unless it has failed"
		}
		if b.Error {
			chained += "; it fails"
		}
		if b.Parent != "" {
			chained += "; it is chained to " + b.Parent
		}
		say("Bio %s %s; its handler %s%s.", b.Name, flag, strings.TrimPrefix(means, "its handler "), chained)
	}
	for _, i := range f.Inodes {
		say("Inode %s is on %s.", i.Name, i.FS)
	}
	for _, r := range f.Rings {
		modes := r.Modes
		if len(modes) == 0 {
			modes = []string{"as configured"}
		}
		say("Ring %s is set up as: %s.", r.Name, strings.Join(modes, ", and as "))
	}
	for _, kind := range []struct {
		what  string
		names []string
	}{{"mutex", f.Mutexes}, {"spinlock", f.Spinlocks}, {"raw spinlock", f.RawLocks}} {
		for _, n := range kind.names {
			say("%s is a %s.", n, kind.what)
		}
	}
}

func (a *Actor) explain(f *File, say func(string, ...any)) {
	where := "on any CPU"
	if a.CPU >= 0 {
		where = fmt.Sprintf("on CPU %d", a.CPU)
	}
	head := "Task " + a.Name + ", " + where + ":"
	if a.Kind != Task {
		kind := map[ActorKind]string{IRQ: "hard interrupt", Softirq: "softirq"}[a.Kind]
		hard := ""
		if a.Hard {
			hard = " that is never threaded"
		} else if a.Kind == IRQ && slices.Contains(f.Configs, "rt") {
			hard = ", with PREEMPT_RT in a thread of its own,"
		}
		head = fmt.Sprintf("A %s%s comes %s:", kind, hard, where)
	}
	say("%s", head)
	for i := range a.Steps {
		say("  - it %s", a.Steps[i].words())
	}
}

// words says a step in words.
func (s *Step) words() string {
	v := verbOf(s.Verb)
	flags := ""
	if s.Unaligned {
		flags += ", unaligned"
	}
	if s.Extending {
		flags += ", beyond the end of the file"
	}
	if s.Shared {
		flags += ", to shared extents"
	}
	if s.Bios > 1 {
		flags += fmt.Sprintf(", in %d bios", s.Bios)
	}
	if s.Error {
		flags += ", which the device fails"
	}
	if s.Link {
		flags += "; what it submits next is linked to it"
	}
	switch s.Verb {
	case "submit":
		return fmt.Sprintf(v.means, s.Ring, meaning(requests, s.Request)+" on inode "+s.Name+flags)
	case "wait":
		if s.Count == 1 {
			return fmt.Sprintf("waits on ring %s for a completion", s.Ring)
		}
		return fmt.Sprintf(v.means, s.Ring, fmt.Sprint(s.Count))
	case "fallocate", "truncate", "clone":
		under := ""
		if s.Under != "" {
			under = ", holding mutex " + s.Under
		}
		return fmt.Sprintf(v.means, s.Name, under)
	case "write", "read":
		return fmt.Sprintf(v.means, s.Name, flags)
	case "down", "up":
		way := ""
		if s.State != "" {
			way = " as far as " + s.State
		}
		if len(s.Fails) > 0 {
			way += "; on the way " + strings.Join(s.Fails, " or ") + " may fail, which turns it back"
		}
		return fmt.Sprintf(v.means, fmt.Sprint(s.CPU), way)
	}
	if strings.Contains(v.means, "%s") {
		return fmt.Sprintf(v.means, s.Name)
	}
	return v.means
}

func (e *Expect) explain(f *File, say func(string, ...any)) {
	in := ""
	if len(e.In) > 0 {
		in = " in " + strings.Join(e.In, ", ")
	}
	verdict := "to hold"
	if !e.Holds {
		verdict = fmt.Sprintf("to fail: %s", meaning(kinds, e.Kind))
	}
	for _, v := range e.Versions {
		say("Version %s (%s) is expected%s %s.", v, MeaningOf(f.Model, v), in, verdict)
	}
}
