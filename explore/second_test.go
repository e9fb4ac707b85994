// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
)

// This file is a second implementation that shares nothing with the first: an interpreter that
// makes all schedules of small programs one by one, its own classes of executions and its own vector clocks.
// The programs have what those of TestOracle have not: jumps that depend on data, loops of
// compare-and-swap, read-write locks, channels, wait groups, joins, guards over three objects, choices in Init.

// An ins is an instruction of a program.
type ins struct {
	c    string
	a, v int
}

// An ip is a task of the interpreter, and what a task of the explorer knows.
type ip struct {
	name          string
	body          []ins
	pc, reg, kids int
	tries         int
	daemon        bool
	kid           *ip
	task          *Task // the kid, in the explorer
	fin, ended    bool  // ended: its last step is taken
}

// A twin is the shared state, in the interpreter (plain) and in the explorer (o).
type twin struct {
	atom, cell     [2]int
	owner          *ip
	writer         *ip
	readers        []*ip
	buf            []int
	closed         bool
	wg             int
	tasks          []*ip
	bodies         [][]ins
	fails          []string
	choose         func(n int) int
	born           func(parent, child *ip)
	a              []*Atomic[int]
	c              []*Cell[int]
	m              *Mutex
	rw             *RWMutex
	ch             *Chan[int]
	group          *WaitGroup
	mains, daemon_ int
	join, initial  bool
}

type use struct {
	obj  string
	kind Kind
}

// A twinOp is an instruction that is a step.
type twinOp struct {
	uses  func(i ins) []use
	ready func(s *twin, i ins) bool            // nil: always
	do    func(s *twin, t *ip, i ins) string   // returns the failure
	run   func(s *twin, t *Task, p *ip, i ins) // with the explorer
}

func on(obj string, k Kind) func(ins) []use { return func(ins) []use { return []use{{obj, k}} } }
func atomOf(k Kind) func(ins) []use {
	return func(i ins) []use { return []use{{fmt.Sprintf("a%d", i.a), k}} }
}
func cellOf(k Kind) func(ins) []use {
	return func(i ins) []use { return []use{{fmt.Sprintf("c%d", i.a), k}} }
}
func three(int) []use { return []use{{"a0", Observe}, {"a1", Observe}, {"m", Acquire}} }

var twinOps = map[string]twinOp{
	"load": {atomOf(AtomicRead), nil, func(s *twin, t *ip, i ins) string { t.reg = s.atom[i.a]; return "" },
		func(s *twin, t *Task, p *ip, i ins) { p.reg = s.a[i.a].Load(t) }},
	"store": {atomOf(AtomicWrite), nil, func(s *twin, t *ip, i ins) string { s.atom[i.a] = (t.reg + i.v) % 3; return "" },
		func(s *twin, t *Task, p *ip, i ins) { s.a[i.a].Store(t, (p.reg+i.v)%3) }},
	"cas": {atomOf(AtomicUpdate), nil, func(s *twin, t *ip, i ins) string { // tried twice
		if s.atom[i.a] == t.reg {
			s.atom[i.a], t.tries = i.v, 0
			return ""
		}
		if t.reg = s.atom[i.a]; t.tries == 0 {
			t.tries, t.pc = 1, t.pc-1
		} else {
			t.tries = 0
		}
		return ""
	}, func(s *twin, t *Task, p *ip, i ins) {
		for p.tries = 0; p.tries < 2 && !s.a[i.a].CompareAndSwap(t, p.reg, i.v); p.tries++ {
			p.reg = s.a[i.a].Peek()
		}
		p.tries = 0
	}},
	"add": {atomOf(AtomicUpdate), nil, func(s *twin, t *ip, i ins) string {
		s.atom[i.a] = (s.atom[i.a] + 1) % 3
		t.reg = s.atom[i.a]
		return ""
	},
		func(s *twin, t *Task, p *ip, i ins) {
			p.reg = s.a[i.a].Update(t, func(v int) int { return (v + 1) % 3 })
		}},
	"get": {cellOf(Read), nil, func(s *twin, t *ip, i ins) string { t.reg = s.cell[i.a]; return "" },
		func(s *twin, t *Task, p *ip, i ins) { p.reg = s.c[i.a].Get(t) }},
	"set": {cellOf(Write), nil, func(s *twin, t *ip, i ins) string { s.cell[i.a] = (t.reg + i.v) % 3; return "" },
		func(s *twin, t *Task, p *ip, i ins) { s.c[i.a].Set(t, (p.reg+i.v)%3) }},
	"lock": {on("m", Acquire), func(s *twin, _ ins) bool { return s.owner == nil }, func(s *twin, t *ip, _ ins) string { s.owner = t; return "" },
		func(s *twin, t *Task, _ *ip, _ ins) { s.m.Lock(t) }},
	"unlock": {on("m", Release), nil, func(s *twin, _ *ip, _ ins) string {
		if s.owner == nil {
			return "unlock of m, which is not locked"
		}
		s.owner = nil
		return ""
	}, func(s *twin, t *Task, _ *ip, _ ins) { s.m.Unlock(t) }},
	"try": {on("m", AtomicUpdate), nil, func(s *twin, t *ip, i ins) string {
		if s.owner != nil {
			t.pc += i.v
		} else {
			s.owner = t
		}
		return ""
	}, func(s *twin, t *Task, p *ip, i ins) {
		if !s.m.TryLock(t) {
			p.pc += i.v
		}
	}},
	"rlock": {on("rw", Acquire), func(s *twin, _ ins) bool { return s.writer == nil },
		func(s *twin, t *ip, _ ins) string { s.readers = append(s.readers, t); return "" }, func(s *twin, t *Task, _ *ip, _ ins) { s.rw.RLock(t) }},
	"runlock": {on("rw", Release), nil, func(s *twin, t *ip, _ ins) string {
		k := slices.Index(s.readers, t)
		if k < 0 {
			return "read unlock of rw by a task that does not hold it"
		}
		s.readers = append(s.readers[:k:k], s.readers[k+1:]...)
		return ""
	}, func(s *twin, t *Task, _ *ip, _ ins) { s.rw.RUnlock(t) }},
	"wlock": {on("rw", Acquire), func(s *twin, _ ins) bool { return s.writer == nil && len(s.readers) == 0 },
		func(s *twin, t *ip, _ ins) string { s.writer = t; return "" }, func(s *twin, t *Task, _ *ip, _ ins) { s.rw.Lock(t) }},
	"wunlock": {on("rw", Release), nil, func(s *twin, _ *ip, _ ins) string {
		if s.writer == nil {
			return "unlock of rw, which no writer holds"
		}
		s.writer = nil
		return ""
	},
		func(s *twin, t *Task, _ *ip, _ ins) { s.rw.Unlock(t) }},
	"three": {func(i ins) []use { return three(i.v) }, func(s *twin, i ins) bool { return s.owner == nil && s.atom[0]+s.atom[1] > i.v },
		func(s *twin, t *ip, _ ins) string { s.owner = t; return "" }, func(s *twin, t *Task, _ *ip, i ins) {
			t.Next().On(s.a[0].Object(), Observe).On(s.a[1].Object(), Observe).On(s.m.Object(), Acquire).
				When(GuardFunc(func() bool { return s.m.Owner() == nil && s.a[0].Peek()+s.a[1].Peek() > i.v })).Do()
			s.m.owner = t
		}},
	"move": {func(i ins) []use { return append(atomOf(AtomicUpdate)(i), atomOf(AtomicUpdate)(ins{a: 1 - i.a})...) },
		func(s *twin, i ins) bool { return s.atom[i.a] > 0 }, func(s *twin, _ *ip, i ins) string {
			s.atom[i.a], s.atom[1-i.a] = s.atom[i.a]-1, (s.atom[1-i.a]+1)%3
			return ""
		}, func(s *twin, t *Task, _ *ip, i ins) {
			a, b := s.a[i.a], s.a[1-i.a]
			t.Next().On(a.Object(), AtomicUpdate).On(b.Object(), AtomicUpdate).When(GuardFunc(func() bool { return a.Peek() > 0 })).Do()
			a.value, b.value = a.value-1, (b.value+1)%3
		}},
	"send": {on("ch", AtomicUpdate), func(s *twin, _ ins) bool { return s.closed || len(s.buf) < 1 }, func(s *twin, t *ip, _ ins) string {
		if s.closed {
			return "send on closed channel ch"
		}
		s.buf = append(s.buf, t.reg)
		return ""
	}, func(s *twin, t *Task, p *ip, _ ins) { s.ch.Send(t, p.reg) }},
	"recv": {on("ch", AtomicUpdate), func(s *twin, _ ins) bool { return s.closed || len(s.buf) > 0 }, func(s *twin, t *ip, _ ins) string {
		if t.reg = 0; len(s.buf) > 0 {
			t.reg, s.buf = s.buf[0], nil
		}
		return ""
	}, func(s *twin, t *Task, p *ip, _ ins) { p.reg, _ = s.ch.Recv(t) }},
	"close": {on("ch", AtomicUpdate), nil, func(s *twin, _ *ip, _ ins) string {
		if s.closed {
			return "close of closed channel ch"
		}
		s.closed = true
		return ""
	}, func(s *twin, t *Task, _ *ip, _ ins) { s.ch.Close(t) }},
	"done": {on("wg", AtomicUpdate), nil, func(s *twin, _ *ip, _ ins) string {
		if s.wg--; s.wg < 0 {
			return "negative count of wg"
		}
		return ""
	}, func(s *twin, t *Task, _ *ip, _ ins) { s.group.Done(t) }},
	"wait": {on("wg", AtomicRead), func(s *twin, _ ins) bool { return s.wg == 0 }, func(*twin, *ip, ins) string { return "" },
		func(s *twin, t *Task, _ *ip, _ ins) { s.group.Wait(t) }},
}

// randomTwin makes a random program.
func randomTwin(seed uint64) *twin {
	rng := rand.New(rand.NewPCG(seed, 99))
	s := &twin{mains: 2 + rng.IntN(2), daemon_: rng.IntN(8), join: rng.IntN(2) == 0, initial: rng.IntN(6) == 0}
	codes := []string{"load", "store", "cas", "add", "get", "set", "three", "move", "send", "recv", "close", "done", "wait", "choose", "jump", "check"}
	focus := rng.IntN(len(codes))
	pick := func() ins {
		k := rng.IntN(len(codes))
		if rng.IntN(3) == 0 {
			k = focus
		}
		return ins{codes[k], rng.IntN(2), rng.IntN(3)}
	}
	for k := range s.mains + 1 {
		var body []ins
		for range 1 + rng.IntN(3) {
			switch n := rng.IntN(12); {
			case n == 0:
				body = append(body, ins{"lock", 0, 0}, pick(), ins{"unlock", 0, 0})
			case n == 1:
				body = append(body, ins{"try", 0, 2}, pick(), ins{"unlock", 0, 0})
			case n == 2:
				body = append(body, ins{"rlock", 0, 0}, pick(), ins{"runlock", 0, 0})
			case n == 3:
				body = append(body, ins{"wlock", 0, 0}, ins{"add", 0, 0}, ins{"wunlock", 0, 0})
			case n < 6 && k < s.mains:
				body = append(body, ins{"spawn", 0, rng.IntN(4)}, pick(), ins{"join", 0, 0})
			default:
				body = append(body, pick())
			}
		}
		s.bodies = append(s.bodies, body)
	}
	return s
}

// fork returns a fresh state of the same program.
func (s *twin) fork() *twin {
	return &twin{wg: 1, bodies: s.bodies, mains: s.mains, daemon_: s.daemon_, join: s.join, initial: s.initial}
}

// advance does what comes before the next step of t.
func (s *twin) advance(t *ip) {
	for ; t.pc < len(t.body); t.pc++ {
		switch i := t.body[t.pc]; i.c {
		case "choose":
			t.reg = s.choose(2)
		case "jump":
			if t.reg == i.v {
				t.pc += i.a
			}
		case "check":
			if i.v > 0 && t.reg == i.v {
				s.fails, t.fin = append(s.fails, t.name+" reg"), true
				return
			}
		case "spawn":
			t.kid = &ip{name: fmt.Sprint(t.name, "/", t.kids), body: s.bodies[s.mains], daemon: i.v == 3}
			t.kids++
			s.tasks = append(s.tasks, t.kid)
			s.born(t, t.kid)
			s.advance(t.kid)
		case "join":
			if s.join && t.kid != nil {
				return
			}
		default:
			return
		}
	}
	t.fin = t.fin || !s.join
}

// next returns what the next step of t uses, and whether it can be taken.
func (s *twin) next(t *ip) ([]use, bool) {
	if t.pc >= len(t.body) {
		return []use{{"end of " + t.name, AtomicWrite}}, true
	}
	i := t.body[t.pc]
	if i.c == "join" {
		return []use{{"end of " + t.kid.name, AtomicRead}}, t.kid.ended
	}
	o := twinOps[i.c]
	return o.uses(i), o.ready == nil || o.ready(s, i)
}

// step takes the next step of t.
func (s *twin) step(t *ip) {
	if t.pc >= len(t.body) {
		t.ended, t.fin = true, true
		return
	}
	i := t.body[t.pc]
	t.pc++
	if i.c != "join" {
		if f := twinOps[i.c].do(s, t, i); f != "" {
			s.fails, t.fin, t.tries = append(s.fails, t.name+" "+f), true, 9
			return
		}
	}
	s.advance(t)
}

// key is all that decides the future.
func (s *twin) key() string {
	name := func(t *ip) string {
		if t == nil {
			return "-"
		}
		return t.name
	}
	var ts []string
	for _, t := range s.tasks {
		ts = append(ts, fmt.Sprint(t.name, t.pc, t.reg, t.tries, t.fin, t.ended))
	}
	var rs []string
	for _, t := range s.readers {
		rs = append(rs, t.name)
	}
	sort.Strings(ts)
	sort.Strings(rs)
	return fmt.Sprint(s.atom, s.cell, name(s.owner), name(s.writer), rs, s.buf, s.closed, s.wg, ts)
}

// A twinEvent is a step of an execution.
type twinEvent struct {
	task    string
	uses    []use
	choices []int
}

func textHash(parts ...any) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	return h.Sum64()
}

// twinClass identifies the class of an execution: each event with those that it depends on.
func twinClass(initial []int, events []twinEvent) uint64 {
	last, written, read := map[string]uint64{}, map[string]uint64{}, map[string][]uint64{}
	var all []uint64
	for _, e := range events {
		parts := []any{e.task, last[e.task], e.uses, e.choices}
		for _, u := range e.uses {
			parts = append(parts, "|", written[u.obj])
			if u.kind.modifies() {
				parts = append(parts, slices.Sorted(slices.Values(read[u.obj])))
			}
		}
		k := textHash(parts...)
		for _, u := range e.uses {
			if u.kind.modifies() {
				written[u.obj], read[u.obj] = k, nil
			} else {
				read[u.obj] = append(read[u.obj], k)
			}
		}
		last[e.task] = k
		all = append(all, k)
	}
	slices.Sort(all)
	return textHash(initial, all)
}

// A twinSum is what all executions of a program come to.
type twinSum struct {
	runs                        int
	classes, ends, races, state map[string]bool
}

func newTwinSum() *twinSum {
	return &twinSum{0, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

func (r *twinSum) end(initial []int, events []twinEvent, stuck, fails []string) {
	r.runs++
	sort.Strings(stuck)
	sort.Strings(fails)
	end := fmt.Sprint("waiting ", stuck, " failed ", fails)
	r.ends[end] = true
	r.classes[fmt.Sprintf("%x %s", twinClass(initial, events), end)] = true
}

// clocks finds data races as vector clocks do.
type clocks struct {
	of, released map[string]map[string]int
	plain        map[string][]plainUse
}

type plainUse struct {
	task  string
	at    int
	write bool
}

func join(to, from map[string]int) {
	for k, v := range from {
		to[k] = max(to[k], v)
	}
}

func (c *clocks) step(t string, uses []use, races map[string]bool) {
	now := c.of[t]
	now[t]++
	for _, u := range uses {
		if kindFlags[u.kind]&kindAcquires != 0 {
			join(now, c.released[u.obj])
		}
	}
	for _, u := range uses {
		switch {
		case kindFlags[u.kind]&kindReleases != 0:
			c.released[u.obj] = maps.Clone(now)
		case u.kind == Read || u.kind == Write:
			for _, o := range c.plain[u.obj] {
				if (o.write || u.kind == Write) && now[o.task] < o.at {
					races[fmt.Sprintf("%s: %q %q", u.obj, min(o.task, t), max(o.task, t))] = true
				}
			}
			c.plain[u.obj] = append(c.plain[u.obj], plainUse{t, now[t], u.kind == Write})
		}
	}
}

// once makes one execution of p; choose decides about everything.
func (r *twinSum) once(p *twin, choose func(n int) int) {
	s := p.fork()
	c := &clocks{map[string]map[string]int{}, map[string]map[string]int{}, map[string][]plainUse{}}
	var initial []int
	var events []twinEvent
	s.choose = func(n int) int {
		v := choose(n)
		if k := len(events) - 1; k < 0 {
			initial = append(initial, v)
		} else {
			events[k].choices = append(events[k].choices, v)
		}
		return v
	}
	s.born = func(a, b *ip) { c.of[b.name] = maps.Clone(c.of[a.name]) }
	if s.initial {
		s.atom[0] = s.choose(2)
	}
	for k := range s.mains {
		t := &ip{name: fmt.Sprint("t", k), body: s.bodies[k], daemon: k == s.daemon_}
		c.of[t.name] = map[string]int{}
		s.tasks = append(s.tasks, t)
		s.advance(t)
	}
	for {
		var enabled []*ip
		var stuck []string
		for _, t := range s.tasks {
			if t.fin {
				continue
			}
			if _, ok := s.next(t); ok {
				enabled = append(enabled, t)
			} else if !t.daemon {
				stuck = append(stuck, t.name)
			}
		}
		if len(enabled) == 0 {
			r.end(initial, events, stuck, s.fails)
			return
		}
		r.state[s.key()] = true
		t := enabled[choose(len(enabled))]
		uses, _ := s.next(t)
		c.step(t.name, uses, r.races)
		events = append(events, twinEvent{task: t.name, uses: uses})
		s.step(t)
	}
}

// all makes all executions of p, unless there are more than most.
func (p *twin) all(most int) (*twinSum, bool) {
	type decision struct{ n, v int }
	var made []decision
	for r := newTwinSum(); r.runs < most; {
		at := 0
		r.once(p, func(n int) int {
			if at == len(made) {
				made = append(made, decision{n, 0})
			}
			at++
			return made[at-1].v
		})
		for len(made) > 0 && made[len(made)-1].v+1 == made[len(made)-1].n {
			made = made[:len(made)-1]
		}
		if len(made) == 0 {
			return r, true
		}
		made[len(made)-1].v++
	}
	return nil, false
}

// program is p for the explorer.
func (p *twin) program(state bool) *Program {
	return &Program{Name: "twin", Init: func(x *Exec) {
		s := p.fork()
		for i := range 2 {
			s.a, s.c = append(s.a, NewAtomic(x, fmt.Sprint("a", i), 0)), append(s.c, NewCell(x, fmt.Sprint("c", i), 0))
		}
		s.m, s.rw, s.ch, s.group = NewMutex(x, "m"), NewRWMutex(x, "rw"), NewChan[int](x, "ch", 1), NewWaitGroup(x, "wg", 1)
		if state {
			x.OnState(func(h *Hash) { h.AddString(s.stateOf()) })
		}
		if s.initial {
			s.a[0].value = x.Choose(2)
		}
		for k := range s.mains {
			s.start(x, fmt.Sprint("t", k), k, TaskOptions{Daemon: k == s.daemon_, Joinable: s.join})
		}
	}}
}

// stateOf is the key of a state in the explorer.
func (s *twin) stateOf() string {
	owner := func(t *Task) *ip {
		if t == nil {
			return nil
		}
		return &ip{name: t.name}
	}
	k := *s
	k.atom, k.cell = [2]int{s.a[0].value, s.a[1].value}, [2]int{s.c[0].value, s.c[1].value}
	k.owner, k.writer, k.buf, k.closed, k.wg = owner(s.m.owner), owner(s.rw.writer), s.ch.buf, s.ch.closed, s.group.count
	for _, t := range s.rw.readers {
		k.readers = append(k.readers, owner(t))
	}
	return k.key()
}

func (s *twin) start(m interface {
	GoWith(name string, o TaskOptions, f func(*Task)) *Task
}, name string, body int, o TaskOptions) *Task {
	p := &ip{name: name, body: s.bodies[body]}
	s.tasks = append(s.tasks, p)
	return m.GoWith(name, o, func(t *Task) {
		defer func() { p.fin = true }()
		for ; p.pc < len(p.body); p.pc++ {
			s.one(t, p, p.body[p.pc])
		}
	})
}

func (s *twin) one(t *Task, p *ip, i ins) {
	switch i.c {
	case "choose":
		p.reg = t.Choose(2)
	case "jump":
		if p.reg == i.v {
			p.pc += i.a
		}
	case "check":
		t.Check(i.v == 0 || p.reg != i.v, "reg")
	case "spawn":
		p.kids++
		p.task = s.start(t, fmt.Sprint(p.name, "/", p.kids-1), s.mains, TaskOptions{Daemon: i.v == 3, Joinable: s.join})
	case "join":
		if s.join && p.task != nil {
			t.Join(p.task)
		}
	default:
		twinOps[i.c].run(s, t, p, i)
	}
}

// note adds an execution of the explorer.
func (r *twinSum) note(x *Exec) {
	var initial []int
	var events []twinEvent
	for k := range x.depth {
		e := twinEvent{task: x.tasks[x.hist.events[k].task].name}
		for _, a := range x.hist.accesses(k) {
			e.uses = append(e.uses, use{x.objectName(a.obj), a.kind})
		}
		events = append(events, e)
	}
	for _, c := range x.choices {
		if c.depth == 0 {
			initial = append(initial, int(c.value))
		} else {
			events[c.depth-1].choices = append(events[c.depth-1].choices, int(c.value))
		}
	}
	var stuck, fails []string
	x.Tasks(func(t *Task) {
		if !t.wasDone && !t.daemon {
			stuck = append(stuck, t.name)
		}
	})
	for _, f := range append([]*Failure{x.failure}, x.more...) {
		if f != nil && (f.Kind == Assertion || f.Kind == Panic) {
			fails = append(fails, f.Task+" "+f.Text)
		}
	}
	r.end(initial, events, stuck, fails)
}

// differ says how the sum of a search differs from want, or nothing. Searches of states meet
// all states and ends, others all classes and races.
func (r *twinSum) differ(res *Result, want *twinSum, states bool) string {
	for _, f := range res.Failures {
		if f.Kind == DataRace {
			parts := strings.Fields(strings.ReplaceAll(f.Text, ":", ""))
			r.races[fmt.Sprintf("%s: %s %s", parts[3], parts[5], parts[8])] = true
		}
	}
	switch {
	case states && !maps.Equal(r.ends, want.ends):
		return fmt.Sprintf("ends %v, want %v", r.ends, want.ends)
	case states && res.States > 0 && int(res.States) != len(want.state):
		return fmt.Sprintf("%d states, want %d", res.States, len(want.state))
	case !states && !maps.Equal(r.classes, want.classes):
		return fmt.Sprintf("%d classes, want %d, or others", len(r.classes), len(want.classes))
	case !states && !maps.Equal(r.races, want.races):
		return fmt.Sprintf("races %v, want %v", r.races, want.races)
	}
	return ""
}

// TestTwin compares all exhaustive strategies with the second implementation, and replays failures.
func TestTwin(t *testing.T) {
	compared := 0
	for seed := *oracleSeed; compared < *oraclePrograms/24; seed++ {
		p := randomTwin(seed)
		want, ok := p.all(500)
		if !ok || want.runs < 3 {
			continue
		}
		compared++
		for k, s := range []Strategy{Optimal(), SleepSets(), PreemptionBound(1000), Cached(), PreemptionBound(1000)} {
			states := k > 2
			got, q := newTwinSum(), p.program(states)
			r, err := Explore(context.Background(), q, Options{Strategy: s, KeepGoing: true, MaxFailures: 1000, NoMinimise: true, onRun: got.note})
			if err != nil {
				t.Fatal(err)
			}
			if d := got.differ(r, want, states); d != "" {
				t.Fatalf("seed %d, %s: %s\n%v", seed, s, d, p.bodies)
			}
			for _, f := range r.Failures {
				if seed%8 != 0 { // some are enough
					break
				}
				again, err := Replay(q, f.Token, Options{KeepGoing: true})
				if err != nil || !slices.ContainsFunc(again.Failures, f.same) {
					t.Fatalf("seed %d, %s: replay of %v: %v %v\n%v", seed, s, f, again, err, p.bodies)
				}
			}
		}
	}
}
