// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"slices"
	"strings"
)

// finish fills in defaults and checks what only the whole file can tell. Lines with errors are known
// by then: what they were to say is not missed.
func (p *parser) finish() {
	f := p.f
	top := Pos{f.Name, 1, 1}
	if p.lines == 0 {
		p.fail(top, "the file is empty: a scenario has at least a model, a task or interrupt, and an expectation")
		return
	}
	if f.Model == "" {
		if !p.asked && !p.doubt["model"] && !p.noWord {
			p.fail(top, "no model: say what is asked about, with model %s or model %s", TaskComp, CallerComp)
		}
		return
	}
	if f.CPUs == 0 {
		f.CPUs = 2
	}
	if f.Annotate == "" {
		f.Annotate = "none"
	}
	last := Pos{f.Name, p.last, 1}
	if len(f.Actors) == 0 && !p.noWord && !p.anyDoubt("task", "irq", "softirq", "hotplug") {
		p.fail(last, "nothing happens: there is no task and no interrupt; add for example task T: STEPS")
	}
	if len(f.Expects) == 0 && !p.noWord && !p.doubt["expect"] {
		p.fail(last, "no expectation: say what you expect, for example expect %s: holds", VersionNames(f.Model)[0])
	}
	p.checkModel()
	p.checkCPUs()
	p.checkActors()
	p.checkRegistration()
	if f.Model == TaskComp {
		p.checkBios()
	}
	p.checkExpects()
}

func (p *parser) anyDoubt(words ...string) bool {
	for _, w := range words {
		if p.doubt[w] {
			return true
		}
	}
	return false
}

// belong are statements that one model alone has.
var belong = map[string]string{"io-workers": CallerComp, "restart-limit": CallerComp, "annotate": CallerComp, "timers": TaskComp}

// checkModel reports objects and statements of the other model.
func (p *parser) checkModel() {
	f := p.f
	for what, model := range belong {
		if at, said := p.once[what]; said && model != f.Model {
			p.fail(at, "%s is for model %s, and this file asks about %s", what, model, f.Model)
		}
	}
	for i, w := range f.Wants {
		if model := modelOfWant[w]; model != f.Model {
			p.fail(p.wants[i], "property %s is for model %s, and this file asks about %s", w, model, f.Model)
		}
	}
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
	p.checkRings()
}

// checkRings lets rings of which no mode is said follow those that have several, which must be the same ones.
func (p *parser) checkRings() {
	var many *Ring
	for i := range p.f.Rings {
		r := &p.f.Rings[i]
		switch {
		case len(r.Modes) < 2:
		case many == nil:
			many = r
		case !slices.Equal(sorted(r.Modes), sorted(many.Modes)):
			p.fail(r.Pos, "ring %s has other modes than ring %s in line %d: rings with several modes are in the same mode at a time, so give both the same ones, or one of them a single mode",
				r.Name, many.Name, many.Pos.Line)
		}
	}
	for i := range p.f.Rings {
		if r := &p.f.Rings[i]; many != nil && !r.said {
			r.Modes = nil
		}
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func (p *parser) checkCPUs() {
	f := p.f
	if p.doubt["cpus"] {
		return
	}
	there := func(at Pos, cpu int) bool {
		if cpu < f.CPUs {
			return true
		}
		cpus := "CPUs"
		if f.CPUs == 1 {
			cpus = "CPU"
		}
		p.fail(at, "there is no CPU %d: the machine has %d %s, numbered from 0 (statement cpus)", cpu, f.CPUs, cpus)
		return false
	}
	off := map[int]bool{}
	for i, c := range f.Offline {
		off[c] = there(f.offlinePos[i], c) || off[c]
		if n := len(off); off[c] && n >= f.CPUs {
			p.fail(p.once["offline"], "all CPUs are off line: one must run")
		}
	}
	for i := range f.Actors {
		a := &f.Actors[i]
		there(a.cpuPos, a.CPU)
		for _, s := range a.Steps {
			there(s.cpuPos, s.CPU)
			if s.Verb == "down" && f.CPUs == 1 {
				p.fail(s.Pos, "the machine has one CPU, and the last one can not go down: the kernel answers EBUSY (statement cpus)")
			}
		}
	}
	for _, b := range f.Bios {
		there(b.cpuPos, b.CPU)
		if b.Handler == "hotplugs" && f.CPUs == 1 {
			p.fail(b.Pos, "the machine has one CPU, and the last one can not go down: the kernel answers EBUSY (statement cpus)")
		}
	}
}

// checkRegistration wants one step that registers the callbacks, if any.
func (p *parser) checkRegistration() {
	first := 0
	for i := range p.f.Actors {
		for _, s := range p.f.Actors[i].Steps {
			if s.Verb != "register" {
				continue
			}
			if first != 0 {
				p.fail(s.Pos, "the callbacks are registered once, and the step in line %d does it", first)
			}
			first = s.Pos.Line
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
	owed := map[string]int{} // by ring: completions submitted and not waited for
	for i := range f.Actors {
		a := &f.Actors[i]
		if len(a.Steps) == 0 && !p.doubt[a.Name] && !p.wrong[a.Name] {
			p.fail(a.Pos, "%s %s has no steps", a.Kind, a.Name)
		}
		for j := range a.Steps {
			s := &a.Steps[j]
			v := verbOf(s.Verb)
			if v.model != "" && v.model != f.Model {
				if !p.said(s.Pos) {
					p.fail(s.Pos, "%s is a step of model %s, and this file asks about %s", s.Verb, v.model, f.Model)
				}
				continue
			}
			switch args := v.args; {
			case strings.HasPrefix(args, "b"):
				p.refer(s.namePos, "bio", s.Name, bios)
			case strings.HasPrefix(args, "i"), strings.HasPrefix(args, "rq"):
				p.refer(s.namePos, "inode", s.Name, inodes)
			case strings.HasPrefix(args, "m"):
				p.refer(s.namePos, "mutex", s.Name, f.Mutexes)
			case strings.HasPrefix(args, "s"):
				p.refer(s.namePos, "spinlock", s.Name, f.Spinlocks)
			case strings.HasPrefix(args, "w"):
				p.refer(s.namePos, "rawlock", s.Name, f.RawLocks)
			case strings.HasPrefix(args, "t"):
				p.refer(s.namePos, "task", s.Name, tasks)
			}
			if s.Under != "" {
				p.refer(s.underPos, "mutex", s.Under, f.Mutexes)
			}
			if s.Ring != "" {
				p.refer(s.ringPos, "ring", s.Ring, rings)
				if o := owner[s.Ring]; o != "" && o != a.Name {
					p.fail(s.ringPos, "ring %s is used by task %s already: in this model a ring has one submitter", s.Ring, o)
				}
				owner[s.Ring] = a.Name
				if slices.Contains(rings, s.Ring) {
					p.checkOwed(owed, a, s)
				}
			}
			p.checkStep(a, s)
			p.checkLink(a, j)
		}
	}
}

// checkLink reports a link that has nothing to link: what is linked goes into the kernel together.
func (p *parser) checkLink(a *Actor, j int) {
	s := &a.Steps[j]
	if !s.Link || p.wrong[a.Name] || p.doubt[a.Name] {
		return
	}
	if j+1 == len(a.Steps) {
		p.fail(s.linkPos, "link links what is submitted next to ring %s, and task %s ends here", s.Ring, a.Name)
		return
	}
	switch next := &a.Steps[j+1]; {
	case next.Verb != "submit":
		p.fail(s.linkPos, "link links the very next step, which must be a submit %s, and the next step in line %d is %s", s.Ring, next.Pos.Line, next.Verb)
	case next.Ring != s.Ring:
		p.fail(s.linkPos, "link links what is submitted next to the same ring: the next step in line %d submits to ring %s, and not to %s", next.Pos.Line, next.Ring, s.Ring)
	}
}

// checkOwed reports a wait for completions that never come: the task that waits on a ring is the only
// one that submits to it.
func (p *parser) checkOwed(owed map[string]int, a *Actor, s *Step) {
	switch {
	case s.Verb == "submit":
		owed[s.Ring]++
	case s.Verb != "wait" || p.doubt[a.Name] || p.wrong[a.Name]:
	case s.Count > owed[s.Ring]:
		p.fail(s.Pos, "wait %s %d would never end: task %s has by then submitted %d to ring %s that it has not waited for, and nobody else submits to it",
			s.Ring, s.Count, a.Name, owed[s.Ring], s.Ring)
		owed[s.Ring] = 0
	default:
		owed[s.Ring] -= s.Count
	}
}

// said reports whether there is an error at that place already.
func (p *parser) said(at Pos) bool {
	for _, e := range p.errs {
		if e.Pos == at {
			return true
		}
	}
	return false
}

// checkStep reports steps that an interrupt can't take.
func (p *parser) checkStep(a *Actor, s *Step) {
	if a.Kind == Task {
		return
	}
	switch s.Verb {
	case "down", "up", "lock", "unlock", "wait-bio", "register":
		p.fail(s.Pos, "%s %s can't do the step %s: it may not block, and only tasks do", map[ActorKind]string{IRQ: "an", Softirq: "a"}[a.Kind], a.Kind, s.Verb)
	}
}

// refer reports a name that nothing has.
func (p *parser) refer(pos Pos, what, name string, list []string) {
	for _, n := range list {
		if n == name {
			return
		}
	}
	if name == "" {
		return // it is missing, and that was said
	}
	if p.doubt[name] {
		return // a line that could not be read may have defined it
	}
	article := "a"
	if what == "inode" {
		article = "an"
	}
	if first, other := p.names[name]; other {
		p.fail(pos, "%s is not %s %s: line %d makes it something else", name, article, what, first.Line)
		return
	}
	if len(list) == 0 {
		p.fail(pos, "there is no %s %s: none is defined; add a line: %s %s", what, name, what, name)
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
			p.refer(b.argPos, "mutex", b.Arg, f.Mutexes)
		case "waits", "resubmits":
			p.refer(b.argPos, "bio", b.Arg, all)
			if b.Arg == b.Name {
				p.fail(b.argPos, "the handler of bio %s names its own bio", b.Name)
			}
		}
		if b.Parent != "" {
			p.refer(b.parentPos, "bio", b.Parent, all)
			p.checkChain(b)
		}
		if b.Handler == "resubmits" && b.Arg != "" {
			p.completed(by, b.Arg, b.argPos)
		}
	}
	for i := range f.Actors {
		for _, s := range f.Actors[i].Steps {
			if s.Verb == "complete" {
				p.completed(by, s.Name, s.namePos)
			}
		}
	}
	for _, b := range f.Bios {
		if _, ok := by[b.Name]; !ok && b.Name != "" && !p.doubt[b.Name] && !p.noWord {
			p.fail(b.namePos, "nobody completes bio %s: write for example irq on cpu 0: complete %s", b.Name, b.Name)
		}
	}
}

// checkChain goes up from a bio with a parent: it must not come back, nor go far.
func (p *parser) checkChain(b Bio) {
	const far = 8 // who is farther up is looked at from there
	up := 0
	for above := p.f.Bio(b.Parent); above != nil && up <= far; above = p.f.Bio(above.Parent) {
		switch {
		case above.Name != b.Name:
		case up == 0:
			p.fail(b.parentPos, "bio %s is its own parent", b.Name)
			return
		default:
			p.fail(b.parentPos, "bio %s is its own ancestor: its parents go round in a circle", b.Name)
			return
		}
		up++
	}
	if up > 2 && up <= far { // more is a circle above, or a chain that is too long above, and both are reported there
		p.fail(b.parentPos, "chains have at most three bios in a scenario")
	}
}

func (p *parser) completed(by map[string]Pos, name string, pos Pos) {
	if first, twice := by[name]; twice {
		p.fail(pos, "bio %s is completed in line %d already: a bio ends once", name, first.Line)
		return
	}
	by[name] = pos
}

// checkExpects reports configurations that are not checked, and expectations that contradict each other, or of
// which one says nothing new.
func (p *parser) checkExpects() {
	p.checkIn()
	seen := map[Case]*Expect{}
	for i := range p.f.Expects {
		e := &p.f.Expects[i]
		done := false
		for j, v := range e.Versions {
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
				if old == e {
					p.fail(e.versionPos[j], "version %s is named twice in this line", v)
					continue
				}
				how := "contradictory"
				if old.Holds == e.Holds && old.Kind == e.Kind {
					how = "repeated"
				}
				p.fail(e.versionPos[j], "%s expectation: of %s in %s line %d expects that it %s, and this line that it %s",
					how, v, c, old.Pos.Line, old.verdict(), e.verdict())
			}
		}
	}
}

// checkIn reports configurations behind in that the file does not check.
func (p *parser) checkIn() {
	if p.anyDoubt("config", "ring") {
		return
	}
	all := append(names(configNames), names(ringModes)...)
	for i := range p.f.Expects {
		e := &p.f.Expects[i]
		for j, in := range e.In {
			known := false
			for _, c := range p.f.ConfigCases() {
				known = known || c.Matches(in)
			}
			preempt, mode, _ := strings.Cut(in, "/")
			switch {
			case known:
			case has(configNames, in):
				p.fail(e.inPos[j], "the file does not check in %s: add a line config %s, or name it there", in, in)
			case p.ringsDiffer() && (has(ringModes, in) || has(ringModes, mode)):
				p.fail(e.inPos[j], "the rings have different modes, and %s is not said of all: this configuration is called %s", in, p.f.ConfigCases()[0])
			case has(ringModes, in), has(configNames, preempt) && has(ringModes, mode):
				p.fail(e.inPos[j], "the file does not check in %s: name it in its config and ring lines", in)
			default:
				p.fail(e.inPos[j], "unknown configuration %q%s", in, Meant(in, all))
			}
		}
	}
}

// ringsDiffer reports whether the rings have one mode each, and not the same one.
func (p *parser) ringsDiffer() bool {
	c := p.f.ConfigCases()
	return len(c) > 0 && c[0].Rings != "" && c[0].Ring == ""
}

func (e *Expect) verdict() string {
	if e.Holds {
		return "holds"
	}
	return "fails with " + e.Kind
}
