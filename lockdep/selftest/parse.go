// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An op is what a step does.
type op int

const (
	opLock op = iota
	opRead
	opUnlock
	opTry
	opInit
	opSync
	opOwe
	opPaid
	opWait
	opHelp
	opHirqEnter
	opHirqEnterHard
	opHirqExit
	opSirqEnter
	opSirqExit
	opHirqOff
	opHirqOn
	opSirqOff
	opSirqOn
	opNofsEnter
	opNofsExit
	opReclaimEnter
	opReclaimExit
	opMightAlloc // flag: may enter the file system
	opNoteName
	opCheckName
	opSetSubclass
	opCtx
	opCtxCopy
	opDone
	opFini
	opSlow
	opSetAcquired
	opSetClassNil
	opSetCtx
	opHeldBy
	opReleases
	opBaseLock // on the base mutex: no context
	opBaseTry
	opBaseUnlock
	opBaseCheck
)

// A step is one operation of a row.
type step struct {
	op      op
	text    string // as in the table
	obj     object
	nest    object // nest_lock, if it has an instance
	ctx     string // wait/wound context
	from    string // context that opCtxCopy copies
	result  string // stated result, "" if none
	number  int    // subclass, or the value that is set
	flag    bool   // later stamp; older ctx; may enter the file system
	queued  bool   // reads are recursive in interrupts only
	objects []object
}

// An object is a lock of a row.
type object struct {
	typ, inst string
}

func (o object) String() string {
	if o.inst == "" {
		return o.typ
	}
	return o.typ + "." + o.inst
}

// class is the name that all instances of one class share.
func (o object) class() string {
	return strings.TrimRight(o.inst, "0123456789")
}

// A lockType is what the notation knows about a type of lock.
type lockType struct {
	write, read bool // has an exclusive and a shared mode
	bare        bool // is written without an instance
}

var lockTypes = map[string]lockType{
	"raw": {write: true}, "spin": {write: true}, "local": {write: true},
	"mutex": {write: true}, "rtmutex": {write: true}, "ww": {write: true},
	"rw": {write: true, read: true}, "rwsem": {write: true, read: true},
	"rcu": {read: true, bare: true}, "rcu_bh": {read: true, bare: true}, "rcu_sched": {read: true, bare: true},
	"wait": {},
}

// A parser turns the steps of one row into a list.
type parser struct {
	text   string
	pos    int // byte offset
	steps  []step
	closes []op              // what ends the open blocks
	known  map[string]string // instance -> type, as used so far
	base   object            // object of "on base mutex of", once seen
	queued bool
}

func parseSteps(text, group string) ([]step, *SyntaxError) {
	p := &parser{text: text, known: make(map[string]string), queued: group == "queued read lock"}
	if i := strings.IndexByte(text, '#'); i >= 0 {
		p.text = text[:i]
	}
	for {
		p.space()
		if p.pos == len(p.text) {
			break
		}
		if err := p.item(); err != nil {
			return nil, err
		}
		if len(p.steps) > MaxSteps {
			return nil, p.errorf(p.pos, "more than %d steps", MaxSteps)
		}
	}
	if len(p.closes) > 0 {
		return nil, p.errorf(p.pos, "a block is not closed: want }")
	}
	if len(p.steps) == 0 {
		return nil, p.errorf(0, "no steps")
	}
	return p.steps, nil
}

// errorf returns an error at byte offset pos; the caller adds the line.
func (p *parser) errorf(pos int, format string, args ...any) *SyntaxError {
	return &SyntaxError{Column: utf8.RuneCountInString(p.text[:pos]) + 1, Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.pos < len(p.text) && p.text[p.pos] == ' ' {
		p.pos++
	}
}

// blocks are the words that open a block, with what opens and closes it.
var blocks = []struct {
	word        string
	enter, exit op
}{
	{"hirq!{", opHirqEnterHard, opHirqExit},
	{"hirq{", opHirqEnter, opHirqExit},
	{"sirq{", opSirqEnter, opSirqExit},
	{"NOFS-scope{", opNofsEnter, opNofsExit},
}

// item parses one block start, block end, separator or step.
func (p *parser) item() *SyntaxError {
	start := p.pos
	rest := p.text[start:]
	switch rest[0] {
	case ';', '|':
		if rest[0] == '|' && len(p.closes) > 0 {
			return p.errorf(start, "another task begins inside a block: want } first")
		}
		p.pos++
		return nil
	case '}':
		if len(p.closes) == 0 {
			return p.errorf(start, "} closes no block")
		}
		p.pos++
		p.add(step{op: p.closes[len(p.closes)-1], text: "}"})
		p.closes = p.closes[:len(p.closes)-1]
		return p.wantSeparator()
	}
	for _, b := range blocks {
		if !strings.HasPrefix(rest, b.word) {
			continue
		}
		if len(p.closes) == maxNesting {
			return p.errorf(start, "more than %d blocks inside each other", maxNesting)
		}
		p.pos += len(b.word)
		p.closes = append(p.closes, b.exit)
		p.add(step{op: b.enter, text: b.word})
		return nil
	}
	end := p.stepEnd()
	p.pos = end
	return p.step(start, strings.TrimRight(p.text[start:end], " "))
}

// wantSeparator checks that after a block comes the end or another item's
// separator.
func (p *parser) wantSeparator() *SyntaxError {
	p.space()
	if p.pos < len(p.text) && !strings.ContainsRune(";|}", rune(p.text[p.pos])) {
		return p.errorf(p.pos, "want ; or | or } after a block")
	}
	return nil
}

// stepEnd returns the offset at which the step at p.pos ends: at a separator
// outside parentheses.
func (p *parser) stepEnd() int {
	depth := 0
	for i := p.pos; i < len(p.text); i++ {
		switch p.text[i] {
		case '(':
			depth++
		case ')':
			depth--
		case ';', '|', '}':
			if depth <= 0 {
				return i
			}
		}
	}
	return len(p.text)
}

func (p *parser) add(s step) {
	s.queued = p.queued
	p.steps = append(p.steps, s)
}

// fixed are the steps that are one phrase.
var fixed = map[string]step{
	"-hirq": {op: opHirqOff}, "+hirq": {op: opHirqOn},
	"-sirq": {op: opSirqOff}, "+sirq": {op: opSirqOn},
	"ENTER(reclaim)": {op: opReclaimEnter}, "EXIT(reclaim)": {op: opReclaimExit},
	"MIGHT_ALLOC(no-fs)": {op: opMightAlloc}, "MIGHT_ALLOC(may-enter-fs)": {op: opMightAlloc, flag: true},
	"check name unchanged":                     {op: opCheckName},
	"ctx field must stay untouched after each": {op: opBaseCheck},
}

// step parses one step that is neither block nor separator.
func (p *parser) step(start int, text string) *SyntaxError {
	if s, ok := fixed[text]; ok {
		if s.op == opBaseCheck && p.base.inst == "" {
			return p.errorf(start, "no base mutex was named before")
		}
		s.text, s.obj = text, p.base
		p.add(s)
		return nil
	}
	const onBase, poisoned = "on base mutex of ", " with a poisoned ctx field:"
	if rest, ok := strings.CutPrefix(text, onBase); ok {
		name, ops, found := strings.Cut(rest, poisoned)
		if !found {
			return p.errorf(start+len(onBase), "want %q after the object", strings.TrimSpace(poisoned))
		}
		obj, err := p.object(start+len(onBase), name, "ww")
		if err != nil {
			return err
		}
		p.base = obj
		p.add(step{op: opSetCtx, text: text, obj: obj, flag: true})
		return p.baseOps(start+len(text)-len(ops), ops)
	}
	if p.base.inst != "" {
		return p.baseOps(start, text)
	}
	if rest, ok := strings.CutPrefix(text, "note name("); ok {
		name, ok := strings.CutSuffix(rest, ")")
		if !ok {
			return p.errorf(start+len(text), "want )")
		}
		obj, err := p.object(start+len("note name("), name, "")
		if err == nil {
			p.add(step{op: opNoteName, text: text, obj: obj})
		}
		return err
	}
	if strings.Contains(text, ":=") {
		return p.assignment(start, text)
	}
	if strings.Contains(text, " held by ") || strings.Contains(text, " releases ") {
		return p.otherTask(start, text)
	}
	return p.call(start, text)
}

// baseOps parses a list such as "L,U" or "L nested-under(t),U".
func (p *parser) baseOps(start int, list string) *SyntaxError {
	at := start
	for _, word := range strings.Split(list, ",") {
		here := at + len(word) - len(strings.TrimLeft(word, " "))
		at += len(word) + 1
		text := strings.TrimSpace(word)
		s := step{text: text, obj: p.base}
		switch text {
		case "L", "L_interruptible", "L_killable":
			s.op = opBaseLock
		case "U":
			s.op = opBaseUnlock
		case "T=true", "T=false":
			s.op, s.result = opBaseTry, text[2:]
		default:
			ctx, opened := strings.CutPrefix(text, "L nested-under(")
			ctx, closed := strings.CutSuffix(ctx, ")")
			if !opened || !closed || !isName(ctx) {
				return p.errorf(min(here, len(p.text)), "unknown operation %q on a base mutex", clip(text))
			}
			s.op, s.ctx = opBaseLock, ctx
		}
		p.add(s)
	}
	return nil
}

// assignment parses t.acquired:=0, t.class:=nil and o.ctx:=t2(stale).
func (p *parser) assignment(start int, text string) *SyntaxError {
	left, right, _ := strings.Cut(text, ":=")
	name, field, ok := strings.Cut(left, ".")
	if !ok || !isName(name) {
		return p.errorf(start, "want name.field:=value")
	}
	s := step{text: text, ctx: name}
	switch field {
	case "acquired":
		n, err := strconv.Atoi(right)
		if err != nil || n < 0 || n > 1<<20 {
			return p.errorf(start+len(left)+2, "acquired is %q, want a small number", clip(right))
		}
		s.op, s.number = opSetAcquired, n
	case "class":
		if right != "nil" {
			return p.errorf(start+len(left)+2, "class is %q, want nil", clip(right))
		}
		s.op = opSetClassNil
	case "ctx":
		ctx := strings.TrimSuffix(right, "(stale)")
		if !isName(ctx) {
			return p.errorf(start+len(left)+2, "want the name of a context")
		}
		obj, err := p.object(start, name, "ww")
		if err != nil {
			return err
		}
		s.op, s.obj, s.ctx = opSetCtx, obj, ctx
	default:
		return p.errorf(start+len(name)+1, "unknown field %q: want acquired, class or ctx", clip(field))
	}
	p.add(s)
	return nil
}

// otherTask parses "o2,o3 held by older ctx t2" and "t2 releases o2".
func (p *parser) otherTask(start int, text string) *SyntaxError {
	if ctx, list, ok := strings.Cut(text, " releases "); ok {
		if !isName(ctx) {
			return p.errorf(start, "want the name of a context before releases")
		}
		objects, err := p.objects(start+len(text)-len(list), list)
		if err == nil {
			p.add(step{op: opReleases, text: text, ctx: ctx, objects: objects})
		}
		return err
	}
	list, who, _ := strings.Cut(text, " held by ")
	words := strings.Fields(who)
	if len(words) != 3 || words[0] != "older" && words[0] != "younger" || words[1] != "ctx" || !isName(words[2]) {
		return p.errorf(start+len(list)+1, "want: held by older ctx NAME, or younger")
	}
	objects, err := p.objects(start, list)
	if err == nil {
		p.add(step{op: opHeldBy, text: text, ctx: words[2], flag: words[0] == "older", objects: objects})
	}
	return err
}

func (p *parser) objects(start int, list string) ([]object, *SyntaxError) {
	var objects []object
	at := start
	for _, word := range strings.Split(list, ",") {
		here := at + len(word) - len(strings.TrimLeft(word, " "))
		at += len(word) + 1
		obj, err := p.object(here, strings.TrimSpace(word), "ww")
		if err != nil {
			return nil, err
		}
		objects = append(objects, obj)
	}
	return objects, nil
}

// calls are the operations written NAME(...).
var calls = map[string]op{
	"L": opLock, "L_interruptible": opLock, "L_killable": opLock, "R": opRead, "U": opUnlock, "T": opTry,
	"INIT": opInit, "SYNC": opSync, "LSLOW": opSlow, "CTX": opCtx, "DONE": opDone, "FINI": opFini,
	"SETSUBCLASS": opSetSubclass, "OWE": opOwe, "PAID": opPaid, "WAIT": opWait, "HELP": opHelp,
}

// call parses NAME(arguments)=result.
func (p *parser) call(start int, text string) *SyntaxError {
	open := strings.IndexByte(text, '(')
	if open < 0 {
		return p.errorf(start, "unknown step %q", clip(text))
	}
	o, ok := calls[text[:open]]
	if !ok {
		return p.errorf(start, "unknown operation %q", clip(text[:open]))
	}
	shut := strings.LastIndexByte(text, ')')
	if shut < open {
		return p.errorf(start+len(text), "want )")
	}
	s := step{op: o, text: text}
	args, tail := text[open+1:shut], text[shut+1:]
	if err := p.tail(start+shut+1, tail, &s); err != nil {
		return err
	}
	at := start + open + 1
	switch o {
	case opCtx, opDone, opFini:
		return p.context(at, args, s)
	}
	return p.operands(at, args, s)
}

// tail parses what follows the parentheses: a result, or a remark that an object is not
// held.
func (p *parser) tail(at int, tail string, s *step) *SyntaxError {
	if result, ok := strings.CutPrefix(tail, "="); ok {
		allowed := []string{"ok", "EALREADY", "EDEADLK"}
		switch s.op {
		case opTry:
			allowed = []string{"true", "false"}
		case opLock, opSlow:
		default:
			return p.errorf(at, "this operation has no result")
		}
		for _, a := range allowed {
			if result == a {
				s.result = result
				return nil
			}
		}
		return p.errorf(at+1, "result %q, want one of %s", clip(result), strings.Join(allowed, ", "))
	}
	if name, ok := strings.CutPrefix(tail, " with "); ok {
		if name, ok = strings.CutSuffix(name, " not held"); ok {
			_, err := p.object(at+len(" with "), name, "ww")
			return err
		}
	}
	if tail != "" {
		return p.errorf(at, "unexpected %q", clip(tail))
	}
	return nil
}

// context parses the argument of CTX, DONE and FINI.
func (p *parser) context(at int, args string, s step) *SyntaxError {
	name, copied, isCopy := strings.Cut(args, " copied from ")
	if !isName(name) {
		return p.errorf(at, "want the name of a context")
	}
	s.ctx = name
	if isCopy {
		from, stamp, ok := strings.Cut(copied, ", ")
		if s.op != opCtx || !ok || !isName(from) || stamp != "later stamp" && stamp != "earlier stamp" {
			return p.errorf(at+len(name)+1, "want: copied from NAME, later stamp (or earlier stamp)")
		}
		s.op, s.from, s.flag = opCtxCopy, from, stamp == "later stamp"
	}
	p.add(s)
	return nil
}

// operands parses the object of an operation and what may follow it.
func (p *parser) operands(at int, args string, s step) *SyntaxError {
	name, second, two := strings.Cut(args, ",")
	name, nest, nested := strings.Cut(name, " nest_lock=")
	obj, err := p.object(at, name, "")
	if err != nil {
		return err
	}
	s.obj = obj
	if err := p.checkMode(at, s); err != nil {
		return err
	}
	if nested {
		if s.op != opLock && s.op != opRead {
			return p.errorf(at+len(name)+1, "only L and R have a nest_lock")
		}
		nestAt := at + len(name) + len(" nest_lock=")
		s.nest, err = p.object(nestAt, strings.TrimSuffix(nest, ".base"), "")
		if err != nil {
			return err
		}
	}
	secondAt := at + len(args) - len(second)
	switch {
	case s.op == opSetSubclass:
		n, err := strconv.Atoi(strings.TrimSpace(second))
		if !two || err != nil || n < -1 || n > 1<<20 {
			return p.errorf(secondAt, "want SETSUBCLASS(object,number)")
		}
		s.number = n
	case two:
		if obj.typ != "ww" || s.op != opLock && s.op != opSlow && s.op != opTry {
			return p.errorf(secondAt, "only L, LSLOW and T of a ww have a context")
		}
		if s.ctx = strings.TrimSpace(second); !isName(s.ctx) {
			return p.errorf(secondAt, "want the name of a context")
		}
	case s.op == opSlow:
		return p.errorf(at+len(args), "want a context: LSLOW(object,context)")
	}
	p.add(s)
	return nil
}

// checkMode refuses an operation that the type of lock does not have.
func (p *parser) checkMode(at int, s step) *SyntaxError {
	t := lockTypes[s.obj.typ]
	waits := s.op == opOwe || s.op == opPaid || s.op == opWait || s.op == opHelp
	switch {
	case waits != (s.obj.typ == "wait") && s.op != opInit:
		return p.errorf(at, "%s: OWE, PAID, WAIT and HELP are for wait maps, and nothing else is", s.obj)
	case s.op == opRead && !t.read:
		return p.errorf(at, "%s has no shared mode", s.obj.typ)
	case (s.op == opLock || s.op == opTry || s.op == opSync) && !t.write:
		return p.errorf(at, "%s has no exclusive mode", s.obj.typ)
	case s.op == opSlow && s.obj.typ != "ww":
		return p.errorf(at, "LSLOW is for ww only")
	case (s.op == opInit || s.op == opSetSubclass) && t.bare:
		return p.errorf(at, "%s can not be initialised", s.obj.typ)
	}
	return nil
}

// object parses type.instance, a bare type, or an instance that was used
// before; one that was not is of type fallback, if there is one.
func (p *parser) object(at int, text, fallback string) (object, *SyntaxError) {
	at = min(at, len(p.text))
	typ, inst, dotted := strings.Cut(text, ".")
	if !dotted {
		if t, ok := lockTypes[text]; ok && t.bare {
			return object{typ: text}, nil
		}
		inst = text
		typ = p.known[inst]
		if typ == "" {
			typ = fallback
		}
		if typ == "" {
			return object{}, p.errorf(at, "unknown object %q: want type.instance", clip(text))
		}
	}
	t, ok := lockTypes[typ]
	if !ok {
		return object{}, p.errorf(at, "unknown lock type %q", clip(typ))
	}
	if !isName(inst) || t.bare {
		return object{}, p.errorf(at, "bad object %q: want type.instance", clip(text))
	}
	if p.known[inst] == "" {
		p.known[inst] = typ
	}
	return object{typ, inst}, nil
}

// isName reports whether s can name an instance or a context.
func isName(s string) bool {
	if s == "" || len(s) > 64 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}
