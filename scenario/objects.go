// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The properties of a bio.
var ofBios = []string{"unflagged", "integrity", "error", "handler", "parent"}

// bio NAME [unflagged] [integrity] [error] [handler HANDLER [ARG]] [parent BIO]
func (p *parser) bio() {
	b := Bio{Pos: p.pos, InTask: true, Handler: "plain", CPU: -1}
	b.namePos = p.here()
	b.Name = p.define("bio")
	for p.more() {
		switch {
		case p.skip("unflagged"):
			b.InTask = false
		case p.skip("integrity"):
			b.Integrity = true
		case p.skip("error"):
			b.Error = true
		case p.skip("handler"):
			p.handler(&b)
		case p.skip("parent"):
			b.Parent, b.parentPos = p.word("the name of the parent")
		default:
			t := p.next("")
			p.fail(t.pos, "unknown property of a bio %q%s", t.text, Meant(t.text, ofBios))
		}
	}
	p.f.Bios = append(p.f.Bios, b)
}

func (p *parser) handler(b *Bio) {
	t := p.next("the handler")
	if p.failed {
		return
	}
	b.Handler, b.argPos = t.text, t.pos
	if !has(handlers, t.text) {
		p.fail(t.pos, "there is no handler %q%s", t.text, Meant(t.text, names(handlers)))
		return
	}
	switch t.text {
	case "locks":
		b.Arg, b.argPos = p.word("the mutex that the handler locks")
	case "waits":
		p.skip("for")
		b.Arg, b.argPos = p.word("the bio that the handler waits for")
	case "resubmits":
		b.Arg, b.argPos = p.word("the bio that the handler submits")
		if p.skip("on") {
			b.CPU, b.cpuPos = p.cpu()
		}
	case "hotplugs":
		b.CPU, b.cpuPos = p.cpu()
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
		r.Modes, r.said = names(ringModes), true
	case p.more():
		r.Modes, _ = p.list("ring mode", names(ringModes))
		r.said = true
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
			a.CPU, a.cpuPos = p.cpu()
		case kind == IRQ && p.skip("hard"):
			a.Hard = true
		default:
			t := p.next("")
			known := []string{"on"}
			if kind == IRQ {
				known = append(known, "hard")
			}
			if verbOf(t.text) != nil {
				p.fail(t.pos, "a colon is missing before the step %s: write %s: %s ...", t.text, p.upTo(t), t.text)
				return
			}
			p.fail(t.pos, "unknown property %q of the %s%s", t.text, kind, Meant(t.text, known))
		}
	}
	if p.failed {
		return
	}
	if kind != Task && kind != "hotplug" && a.CPU < 0 {
		p.fail(p.after(p.at), "on which CPU does the %s come? Write: %s on cpu N: STEPS", kind, kind)
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

// steps parses steps separated by semicolons. One that is wrong is left out.
func (p *parser) steps(a *Actor) {
	wrong := false
	defer func() { p.failed = p.failed || wrong }()
	for {
		p.step(a)
		if p.failed {
			wrong, p.failed, p.wrong[a.Name] = true, false, true
			for p.at < len(p.toks) && !p.peek(";") {
				p.at++
			}
			if p.at == len(p.toks) {
				return
			}
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
	v := verbOf(t.text)
	if v == nil {
		p.fail(t.pos, "unknown step %q%s", t.text, Meant(t.text, verbNames()))
		return
	}
	if p.f.Model != "" && v.model != "" && v.model != p.f.Model {
		p.fail(t.pos, "%s is a step of model %s, and this file asks about %s", v.name, v.model, p.f.Model)
		return
	}
	s := Step{Verb: v.name, Pos: t.pos, CPU: -1, Count: 1, Bios: 1}
	p.arguments(&s, v)
	if p.failed {
		return
	}
	a.Steps = append(a.Steps, s)
}

func (p *parser) arguments(s *Step, v *verb) {
	for i := 0; i < len(v.args) && !p.failed; i++ {
		optional := i+1 < len(v.args) && v.args[i+1] == '?'
		if optional && !p.more() {
			return
		}
		switch v.args[i] {
		case 'b', 'i', 'm', 's', 'w', 't':
			s.Name, s.namePos = p.word("the name of the " + argumentNames[v.args[i]])
		case 'r':
			s.Ring, s.ringPos = p.word("the name of the ring")
		case 'n':
			s.Count = p.number("number of completions", 1, 16)
		case 'c':
			s.CPU, s.cpuPos = p.cpu()
		case 'S':
			p.hotplugWay(s)
		case 'U':
			if !p.skip("under") {
				t := p.next("")
				p.fail(t.pos, "%q is not expected here; what can follow is: under MUTEX", t.text)
				return
			}
			s.Under, s.underPos = p.word("the name of the mutex")
		case 'q':
			s.Request = p.oneOf("request", names(requests))
			s.Name, s.namePos = p.word("the name of the inode")
			p.ioFlags(s, true)
		case 'u':
			p.ioFlags(s, false)
		}
		if optional {
			i++
		}
	}
}

var argumentNames = map[byte]string{'b': "bio", 'i': "inode", 'm': "mutex", 's': "spinlock", 'w': "raw spinlock", 't': "task"}

// The properties of a step that does I/O, by what it must be: a write, direct I/O, submitted through a ring.
var (
	ofWrites  = []string{"aligned", "unaligned", "extending", "shared"}
	ofDirect  = []string{"bios", "error"}
	ofSubmits = []string{"link"}
)

func (p *parser) ioFlags(s *Step, submit bool) {
	what := s.Request
	if what == "" {
		what = s.Verb
	}
	for p.more() {
		t := p.next("")
		known := []string{}
		if s.Writes() {
			known = append(known, ofWrites...)
		}
		if s.Direct() {
			known = append(known, ofDirect...)
		}
		if submit {
			known = append(known, ofSubmits...)
		}
		switch {
		case slices.Contains(known, t.text):
			p.ioFlag(s, t)
		case slices.Contains(ofWrites, t.text):
			p.fail(t.pos, "%s is a property of writes, and this is a %s", t.text, what)
		case slices.Contains(ofDirect, t.text):
			p.fail(t.pos, "%s is a property of direct reads and writes, and this is a %s", t.text, what)
		case slices.Contains(ofSubmits, t.text):
			p.fail(t.pos, "%s is a property of what is submitted through a ring, and this is a plain system call", t.text)
		default:
			p.fail(t.pos, "unknown property of a %s %q%s", what, t.text, Meant(t.text, known))
		}
	}
}

func (p *parser) ioFlag(s *Step, t token) {
	switch t.text {
	case "unaligned":
		s.Unaligned = true
	case "extending":
		s.Extending = true
	case "shared":
		s.Shared = true
	case "bios":
		s.Bios = p.number("number of bios", 1, MaxBios)
	case "error":
		s.Error = true
	case "link":
		s.Link, s.linkPos = true, t.pos
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
		p.fail(t.pos, "%q is not expected here; after %s CPU comes: [to STATE] [may fail at STATE...]", t.text, s.Verb)
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
		p.askModel()
		return
	}
	known := VersionNames(p.f.Model)
	if at := p.here(); p.skip("all") {
		e.Versions = known
		for range known {
			e.versionPos = append(e.versionPos, at)
		}
	}
	for (len(e.Versions) == 0 || p.more() && !p.peek("in")) && !p.noColon() {
		t := p.next("the version")
		if p.failed {
			return
		}
		if !has(versions[p.f.Model], t.text) {
			p.fail(t.pos, "%s", UnknownVersion(p.f.Model, t.text))
			return
		}
		e.Versions, e.versionPos = append(e.Versions, t.text), append(e.versionPos, t.pos)
		p.skip(",")
	}
	if p.skip("in") {
		for !p.noColon() && (p.more() || len(e.In) == 0 && !p.failed) {
			t := p.next("a configuration")
			e.In, e.inPos = append(e.In, t.text), append(e.inPos, t.pos)
			p.skip(",")
		}
	}
	if !p.failed && !p.skip(":") {
		p.next("a colon and the verdict, holds or fails KIND,")
	}
	if p.failed {
		return
	}
	if p.at == len(p.toks) {
		p.next("the verdict, holds or fails KIND,")
		return
	}
	if p.oneOf("verdict", []string{"holds", "fails"}) == "holds" {
		e.Holds = true
	} else if !p.failed && p.at == len(p.toks) {
		p.next("the kind of failure (" + strings.Join(names(kinds), ", ") + "; hang is all ways to get stuck)")
	} else if !p.failed {
		e.Kind = p.oneOf("kind of failure", names(kinds))
	}
	if p.failed {
		return
	}
	p.f.Expects = append(p.f.Expects, e)
}

// noColon reports an error if the verdict comes before the colon.
func (p *parser) noColon() bool {
	if p.failed {
		return true
	}
	if !p.peek("holds") && !p.peek("fails") {
		return false
	}
	t := p.toks[p.at]
	p.fail(t.pos, "a colon is missing before %s: write %s: %s", t.text, p.upTo(t), t.text)
	return true
}

// askModel reports, once, that the file does not say its model above.
func (p *parser) askModel() {
	_, said := p.once["model"]
	if !p.asked && !said && !p.noWord {
		p.fail(p.pos, "say which model is asked about first: model %s or model %s", TaskComp, CallerComp)
	}
	p.asked, p.failed = true, true
}

// word takes a word, and returns where it stands.
func (p *parser) word(what string) (string, Pos) {
	t := p.next(what)
	return t.text, t.pos
}

// here is where the next word stands, or would.
func (p *parser) here() Pos {
	if p.at < len(p.toks) {
		return p.toks[p.at].pos
	}
	return p.after(p.at)
}

// after is the place behind the first n words of the line.
func (p *parser) after(n int) Pos {
	at := p.pos
	if n > 0 {
		at = p.toks[n-1].pos
		at.Col += utf8.RuneCountInString(p.toks[n-1].text)
	}
	return at
}

// upTo is the line as far as before a word.
func (p *parser) upTo(t token) string {
	var words []string
	for _, o := range p.toks {
		if o.pos == t.pos {
			break
		}
		words = append(words, o.text)
	}
	return strings.ReplaceAll(strings.Join(words, " "), " ,", ",")
}
