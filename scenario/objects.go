// SPDX-License-Identifier: Apache-2.0

package scenario

import "fmt"

// bio NAME [unflagged] [handler HANDLER [ARG]] [parent BIO]
func (p *parser) bio() {
	b := Bio{Pos: p.pos, InTask: true, Handler: "plain", CPU: -1}
	b.Name = p.define("bio")
	for p.more() {
		switch {
		case p.skip("unflagged"):
			b.InTask = false
		case p.skip("handler"):
			p.handler(&b)
		case p.skip("parent"):
			b.Parent = p.next("the name of the parent").text
		default:
			t := p.next("")
			p.fail(t.pos, "unknown property of a bio %q%s", t.text, Meant(t.text, []string{"unflagged", "handler", "parent"}))
		}
	}
	p.f.Bios = append(p.f.Bios, b)
}

func (p *parser) handler(b *Bio) {
	t := p.next("the handler")
	if p.failed {
		return
	}
	b.Handler = t.text
	if !has(handlers, t.text) {
		p.fail(t.pos, "there is no handler %q%s", t.text, Meant(t.text, names(handlers)))
		return
	}
	switch t.text {
	case "locks":
		b.Arg = p.next("the mutex that the handler locks").text
	case "waits":
		p.skip("for")
		b.Arg = p.next("the bio that the handler waits for").text
	case "resubmits":
		b.Arg = p.next("the bio that the handler submits").text
		if p.skip("on") {
			b.CPU = p.cpu()
		}
	case "hotplugs":
		b.CPU = p.cpu()
	}
}

// inode NAME [ext4|xfs]
func (p *parser) inode() {
	i := Inode{Pos: p.pos, FS: "ext4"}
	i.Name = p.define("inode")
	if p.more() {
		i.FS = p.oneOf("file system", []string{"ext4", "xfs"})
	}
	p.f.Inodes = append(p.f.Inodes, i)
}

// ring NAME [MODE...|any]
func (p *parser) ring() {
	r := Ring{Pos: p.pos, Modes: []string{"default"}}
	r.Name = p.define("ring")
	switch {
	case p.skip("any"):
		r.Modes = names(ringModes)
	case p.more():
		r.Modes = p.list("ring mode", names(ringModes))
	}
	p.f.Rings = append(p.f.Rings, r)
}

// actor parses the head of a task or interrupt, and its steps if they are on the line.
func (p *parser) actor(kind ActorKind) {
	a := Actor{Kind: kind, Pos: p.pos, CPU: -1}
	switch kind {
	case Task:
		a.Name = p.define("task")
	case "hotplug":
		a.Kind, a.Name, a.CPU = Task, p.unique("hotplug"), 0
		p.names[a.Name] = p.pos
	default:
		p.events++
		a.Name = fmt.Sprintf("%s%d", kind, p.events)
	}
	for p.more() {
		switch {
		case p.skip("on"):
			a.CPU = p.cpu()
		case p.skip("hard"):
			a.Hard = true
		default:
			t := p.next("")
			p.fail(t.pos, "unknown property %q of the %s%s", t.text, kind, Meant(t.text, []string{"on", "hard"}))
		}
	}
	if p.failed {
		return
	}
	if kind != Task && kind != "hotplug" && a.CPU < 0 {
		p.fail(a.Pos, "on which CPU does the %s come? Write: %s on cpu N: STEPS", kind, kind)
		return
	}
	if !p.skip(":") {
		p.next("a colon and the steps")
		if !p.failed {
			p.fail(p.toks[p.at-1].pos, "a colon is missing before the steps")
		}
		return
	}
	if len(p.f.Actors) == MaxActors {
		p.fail(a.Pos, "more than %d tasks and interrupts", MaxActors)
		return
	}
	p.f.Actors = append(p.f.Actors, a)
	p.open = &p.f.Actors[len(p.f.Actors)-1]
	if p.at < len(p.toks) {
		p.steps(p.open)
	}
}

func (p *parser) unique(name string) string {
	n := name
	for i := 2; ; i++ {
		if _, used := p.names[n]; !used {
			return n
		}
		n = fmt.Sprintf("%s%d", name, i)
	}
}

// steps parses steps separated by semicolons.
func (p *parser) steps(a *Actor) {
	for {
		p.step(a)
		if p.failed {
			return
		}
		if !p.skip(";") {
			p.end("STEP; STEP; ...")
			return
		}
		if p.at == len(p.toks) {
			return
		}
	}
}

func (p *parser) step(a *Actor) {
	t := p.next("a step")
	if p.failed {
		return
	}
	if len(a.Steps) == MaxSteps {
		p.fail(t.pos, "more than %d steps in %s %s", MaxSteps, a.Kind, a.Name)
		return
	}
	var all []string
	for i := range verbs {
		v := &verbs[i]
		if v.name != t.text {
			all = append(all, v.name)
			continue
		}
		if p.f.Model != "" && v.model != "" && v.model != p.f.Model {
			p.fail(t.pos, "%s is a step of model %s, and this file asks about %s", v.name, v.model, p.f.Model)
			return
		}
		s := Step{Verb: v.name, Pos: t.pos, CPU: -1, Count: 1}
		p.arguments(&s, v)
		a.Steps = append(a.Steps, s)
		return
	}
	p.fail(t.pos, "unknown step %q%s", t.text, Meant(t.text, all))
}

func (p *parser) arguments(s *Step, v *verb) {
	for i := 0; i < len(v.args) && !p.failed; i++ {
		optional := i+1 < len(v.args) && v.args[i+1] == '?'
		if optional && !p.more() {
			return
		}
		switch v.args[i] {
		case 'b', 'i', 'm', 's', 'w', 't':
			s.Name = p.next("the name of the " + argumentNames[v.args[i]]).text
		case 'r':
			s.Ring = p.next("the name of the ring").text
		case 'n':
			s.Count = p.number("number of completions", 1, 16)
		case 'c':
			s.CPU = p.cpu()
		case 'S':
			p.hotplugWay(s)
		case 'U':
			if !p.skip("under") {
				t := p.next("")
				p.fail(t.pos, "%q is not expected here; what can follow is: under MUTEX", t.text)
				return
			}
			s.Under = p.next("the name of the mutex").text
		case 'q':
			s.Request = p.oneOf("request", names(requests))
			s.Name = p.next("the name of the inode").text
			p.writeFlags(s, s.Request == "write")
		case 'u':
			p.writeFlags(s, true)
		}
		if optional {
			i++
		}
	}
}

var argumentNames = map[byte]string{'b': "bio", 'i': "inode", 'm': "mutex", 's': "spinlock", 'w': "raw spinlock", 't': "task"}

func (p *parser) writeFlags(s *Step, write bool) {
	for p.more() {
		switch {
		case write && p.skip("unaligned"):
			s.Unaligned = true
		case write && p.skip("extending"):
			s.Extending = true
		case write && p.skip("shared"):
			s.Shared = true
		case write && p.skip("aligned"):
		default:
			t := p.next("")
			known := []string{"aligned", "unaligned", "extending", "shared"}
			if !write {
				p.fail(t.pos, "%q is not expected here: only writes have properties", t.text)
				return
			}
			p.fail(t.pos, "unknown property of a write %q%s", t.text, Meant(t.text, known))
		}
	}
}

// hotplugWay parses: [to STATE] [may fail at STATE...]
func (p *parser) hotplugWay(s *Step) {
	var all, fail []string
	for _, st := range states {
		all = append(all, st.name)
		if st.fails {
			fail = append(fail, st.name)
		}
	}
	if p.skip("to") {
		s.State = p.oneOf("hotplug state", all)
	}
	if !p.more() {
		return
	}
	if !p.skip("may") || !p.skip("fail") || !p.skip("at") {
		t := p.toks[min(p.at, len(p.toks)-1)]
		p.fail(t.pos, "after %s CPU comes: [to STATE] [may fail at STATE...]", s.Verb)
		return
	}
	if p.skip("any") {
		s.Fails = fail
		return
	}
	for {
		t := p.next("the state that may fail")
		if p.failed {
			return
		}
		known := false
		for _, st := range states {
			known = known || st.name == t.text
			if st.name == t.text && !st.fails {
				p.fail(t.pos, "hotplug state %s can not fail (these can: %v)", t.text, fail)
				return
			}
		}
		if !known {
			p.fail(t.pos, "unknown hotplug state %q%s", t.text, Meant(t.text, fail))
			return
		}
		s.Fails = append(s.Fails, t.text)
		if !p.skip(",") && !p.more() {
			return
		}
	}
}

// expect VERSION... [in CONFIG...]: holds|fails KIND
func (p *parser) expect() {
	e := Expect{Pos: p.pos}
	if p.f.Model == "" {
		p.fail(p.pos, "say which model is asked about first: model %s or model %s", TaskComp, CallerComp)
		return
	}
	known := VersionNames(p.f.Model)
	if p.skip("all") {
		e.Versions = known
	}
	for len(e.Versions) == 0 || p.more() && !p.peek("in") {
		e.Versions = append(e.Versions, p.oneOf("version of "+p.f.Model, known))
		p.skip(",")
		if p.failed {
			return
		}
	}
	if p.skip("in") {
		p.expectIn(&e)
	}
	if !p.failed && !p.skip(":") {
		p.next("a colon and the verdict")
		if !p.failed {
			p.fail(p.toks[p.at-1].pos, "a colon is missing before the verdict")
		}
	}
	if p.failed {
		return
	}
	if p.oneOf("verdict", []string{"holds", "fails"}) == "holds" {
		e.Holds = true
	} else if !p.failed {
		e.Kind = p.oneOf("kind of failure", names(kinds))
	}
	p.f.Expects = append(p.f.Expects, e)
}

func (p *parser) expectIn(e *Expect) {
	for p.more() || len(e.In) == 0 {
		t := p.next("a configuration")
		if p.failed {
			return
		}
		known := false
		for _, c := range p.f.ConfigCases() {
			known = known || c.Matches(t.text)
		}
		switch all := append(names(configNames), names(ringModes)...); {
		case known:
		case has(configNames, t.text) || has(ringModes, t.text):
			p.fail(t.pos, "the file does not check in %s: name it in config or ring, above", t.text)
		default:
			p.fail(t.pos, "unknown configuration %q%s", t.text, Meant(t.text, all))
		}
		e.In = append(e.In, t.text)
		p.skip(",")
	}
}
