// SPDX-License-Identifier: Apache-2.0

package scenario

import "strings"

// finish fills in defaults and checks what only the whole file can tell.
func (p *parser) finish() {
	f := p.f
	top := Pos{f.Name, 1, 1}
	if p.lines == 0 {
		p.fail(top, "the file is empty: a scenario has at least a model, a task or interrupt, and an expectation")
		return
	}
	if f.Model == "" {
		p.fail(top, "no model: say what is asked about, with model %s or model %s", TaskComp, CallerComp)
		return
	}
	if f.CPUs == 0 {
		f.CPUs = 2
	}
	if f.Annotate == "" {
		f.Annotate = "none"
	}
	if len(f.Actors) == 0 {
		p.fail(top, "nothing happens: there is no task and no interrupt")
	}
	if len(f.Expects) == 0 {
		p.fail(top, "no expectation: say what you expect, for example expect %s: holds", VersionNames(f.Model)[0])
	}
	p.checkModel()
	p.checkCPUs()
	p.checkActors()
	if f.Model == TaskComp {
		p.checkBios()
	}
	p.checkExpects()
}

// checkModel reports objects and statements of the other model.
func (p *parser) checkModel() {
	f := p.f
	if f.Model == TaskComp {
		for _, i := range f.Inodes {
			p.fail(i.Pos, "an inode belongs to model %s", CallerComp)
		}
		for _, r := range f.Rings {
			p.fail(r.Pos, "a ring belongs to model %s", CallerComp)
		}
		return
	}
	for _, b := range f.Bios {
		p.fail(b.Pos, "a bio belongs to model %s", TaskComp)
	}
	for i := range f.Actors {
		if a := &f.Actors[i]; a.Kind != Task {
			p.fail(a.Pos, "model %s makes its interrupts by itself, when I/O is submitted; %s is for model %s", CallerComp, a.Kind, TaskComp)
		}
	}
	many := 0
	for _, r := range f.Rings {
		if len(r.Modes) > 1 {
			many++
		}
	}
	if many > 0 && len(f.Rings) > many {
		for i := range f.Rings {
			f.Rings[i].Modes = nil // follow the configuration
		}
	}
}

func (p *parser) checkCPUs() {
	f := p.f
	off := map[int]bool{}
	for _, c := range f.Offline {
		if c >= f.CPUs {
			p.fail(p.once["offline"], "there is no CPU %d: the machine has %d, numbered from 0", c, f.CPUs)
		}
		off[c] = true
	}
	if len(off) >= f.CPUs {
		p.fail(p.once["offline"], "all CPUs are off line: one must run")
	}
	for i := range f.Actors {
		a := &f.Actors[i]
		if a.CPU >= f.CPUs {
			p.fail(a.Pos, "there is no CPU %d: the machine has %d, numbered from 0", a.CPU, f.CPUs)
		}
		for _, s := range a.Steps {
			if s.CPU >= f.CPUs {
				p.fail(s.Pos, "there is no CPU %d: the machine has %d, numbered from 0", s.CPU, f.CPUs)
			}
		}
	}
	for _, b := range f.Bios {
		if b.CPU >= f.CPUs {
			p.fail(b.Pos, "there is no CPU %d: the machine has %d, numbered from 0", b.CPU, f.CPUs)
		}
	}
}

func (p *parser) checkActors() {
	f := p.f
	bios, inodes, rings, tasks := []string{}, []string{}, []string{}, []string{}
	for _, b := range f.Bios {
		bios = append(bios, b.Name)
	}
	for _, i := range f.Inodes {
		inodes = append(inodes, i.Name)
	}
	for _, r := range f.Rings {
		rings = append(rings, r.Name)
	}
	for _, a := range f.Actors {
		if a.Kind == Task {
			tasks = append(tasks, a.Name)
		}
	}
	owner := map[string]string{}
	for i := range f.Actors {
		a := &f.Actors[i]
		if len(a.Steps) == 0 {
			p.fail(a.Pos, "%s %s has no steps", a.Kind, a.Name)
		}
		for j := range a.Steps {
			s := &a.Steps[j]
			switch args := argsOf(s.Verb); {
			case strings.HasPrefix(args, "b"):
				p.refer(s.Pos, "bio", s.Name, bios)
			case strings.HasPrefix(args, "i"), strings.HasPrefix(args, "rq"):
				p.refer(s.Pos, "inode", s.Name, inodes)
			case strings.HasPrefix(args, "m"):
				p.refer(s.Pos, "mutex", s.Name, f.Mutexes)
			case strings.HasPrefix(args, "s"):
				p.refer(s.Pos, "spinlock", s.Name, f.Spinlocks)
			case strings.HasPrefix(args, "w"):
				p.refer(s.Pos, "raw spinlock", s.Name, f.RawLocks)
			case strings.HasPrefix(args, "t"):
				p.refer(s.Pos, "task", s.Name, tasks)
			}
			if s.Under != "" {
				p.refer(s.Pos, "mutex", s.Under, f.Mutexes)
			}
			if s.Ring != "" {
				p.refer(s.Pos, "ring", s.Ring, rings)
				if o := owner[s.Ring]; o != "" && o != a.Name {
					p.fail(s.Pos, "ring %s is used by task %s already: in this model a ring has one submitter", s.Ring, o)
				}
				owner[s.Ring] = a.Name
			}
			p.checkStep(a, s)
		}
	}
}

func argsOf(name string) string {
	for i := range verbs {
		if verbs[i].name == name {
			return verbs[i].args
		}
	}
	return ""
}

// checkStep reports steps that an interrupt can't take.
func (p *parser) checkStep(a *Actor, s *Step) {
	if a.Kind == Task {
		return
	}
	switch s.Verb {
	case "down", "up", "lock", "unlock", "wait-bio":
		p.fail(s.Pos, "%s %s can't %s: it may not block, and only tasks do", map[ActorKind]string{IRQ: "an", Softirq: "a"}[a.Kind], a.Kind, s.Verb)
	}
}

func (p *parser) refer(pos Pos, what, name string, list []string) {
	for _, n := range list {
		if n == name {
			return
		}
	}
	if len(list) == 0 {
		p.fail(pos, "there is no %s %s: none is defined", what, name)
		return
	}
	p.fail(pos, "there is no %s %s%s", what, name, Meant(name, list))
}

// checkBios checks what bios refer to, and that each is completed once.
func (p *parser) checkBios() {
	f := p.f
	var all []string
	by := map[string]Pos{}
	for _, b := range f.Bios {
		all = append(all, b.Name)
	}
	for _, b := range f.Bios {
		switch b.Handler {
		case "locks":
			p.refer(b.Pos, "mutex", b.Arg, f.Mutexes)
		case "waits", "resubmits":
			p.refer(b.Pos, "bio", b.Arg, all)
			if b.Arg == b.Name {
				p.fail(b.Pos, "the handler of bio %s names its own bio", b.Name)
			}
		}
		if b.Parent != "" {
			p.refer(b.Pos, "bio", b.Parent, all)
			if b.Parent == b.Name {
				p.fail(b.Pos, "bio %s is its own parent", b.Name)
			}
			if par := f.Bio(b.Parent); par != nil && par.Parent != "" && f.Bio(par.Parent) != nil && f.Bio(par.Parent).Parent != "" {
				p.fail(b.Pos, "chains have at most three bios in a scenario")
			}
		}
		if b.Handler == "resubmits" {
			p.completed(by, b.Arg, b.Pos)
		}
	}
	for i := range f.Actors {
		for _, s := range f.Actors[i].Steps {
			if s.Verb == "complete" {
				p.completed(by, s.Name, s.Pos)
			}
		}
	}
	for _, b := range f.Bios {
		if _, ok := by[b.Name]; !ok {
			p.fail(b.Pos, "nobody completes bio %s: write for example irq on cpu 0: complete %s", b.Name, b.Name)
		}
	}
}

func (p *parser) completed(by map[string]Pos, name string, pos Pos) {
	if first, twice := by[name]; twice {
		p.fail(pos, "bio %s is completed in line %d already: a bio ends once", name, first.Line)
		return
	}
	by[name] = pos
}

// checkExpects reports expectations that contradict each other, or of which one
// says nothing new.
func (p *parser) checkExpects() {
	seen := map[Case]*Expect{}
	for i := range p.f.Expects {
		e := &p.f.Expects[i]
		done := false
		for _, v := range e.Versions {
			for _, c := range p.f.ConfigCases() {
				if !c.matches(e.In) || done {
					continue
				}
				k := Case{v, c}
				old, ok := seen[k]
				seen[k] = e
				if !ok {
					continue
				}
				done = true
				how := "contradictory"
				if old.Holds == e.Holds && old.Kind == e.Kind {
					how = "repeated"
				}
				p.fail(e.Pos, "%s expectation: of %s in %s line %d expects that it %s, and this line that it %s",
					how, v, c, old.Pos.Line, old.verdict(), e.verdict())
			}
		}
	}
}

func (e *Expect) verdict() string {
	if e.Holds {
		return "holds"
	}
	return "fails with " + e.Kind
}
