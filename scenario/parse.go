// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A token is a word of a line, with its column.
type token struct {
	text string
	pos  Pos
}

// A parser reads one file. Errors are collected; after one, the rest of the
// line is skipped.
type parser struct {
	f      *File
	pos    Pos // of the line
	toks   []token
	rest   string // of the line, from the second word on, for free text
	at     int
	failed bool // the line has an error
	errs   ErrorList

	names  map[string]Pos  // of objects and actors
	once   map[string]Pos  // statements that may come once only
	open   *Actor          // whose steps are indented below
	doubt  map[string]bool // words of lines with an error: what they were to say is not known
	noWord bool            // a line began with a word that is no statement
	asked  bool            // the model is missing, and was asked for
	lines  int
	last   int             // line of the last statement
	wants  []Pos           // of the words in File.Wants
	wrong  map[string]bool // actors with steps that are wrong
	events int             // unnamed actors so far
}

// A statement is what a line may begin with.
type statement struct {
	name, syntax string
	once         bool
	parse        func(p *parser)
}

var statements []statement

func init() { // a table that refers to functions which refer to it
	statements = []statement{
		{"title", "title TEXT", true, func(p *parser) { p.f.Title = p.text() }},
		{"claim", "claim WHO: TEXT", false, (*parser).claim},
		{"note", "note TEXT", false, func(p *parser) { p.f.Notes = append(p.f.Notes, p.text()) }},
		{"slow", "slow", true, func(p *parser) { p.f.Slow = true }},
		{"model", "model taskcomp|callercomp", true, func(p *parser) { p.f.Model = p.oneOf("model", []string{TaskComp, CallerComp}) }},
		{"cpus", "cpus NUMBER", true, func(p *parser) { p.f.CPUs = p.number("number of CPUs", 1, MaxCPUs) }},
		{"offline", "offline CPU...", true, (*parser).offline},
		{"config", "config NAME...|all", true, (*parser).config},
		{"workers", "workers NUMBER", true, func(p *parser) { p.f.Workers = p.number("number of workers", 1, 4) }},
		{"io-workers", "io-workers NUMBER", true, func(p *parser) { p.f.IOWorkers = p.number("number of io-wq workers", 1, 4) }},
		{"memory", "memory short", true, func(p *parser) { p.oneOf("memory", []string{"short"}); p.f.MemoryShort = true }},
		{"timers", "timers housekeeping", true, func(p *parser) { p.oneOf("place of timers", []string{"housekeeping"}); p.f.Housekeeping = true }},
		{"hog-limit", "hog-limit STEPS", true, func(p *parser) { p.f.HogSteps = p.number("number of steps", 1, 1000) }},
		{"restart-limit", "restart-limit RESTARTS", true, func(p *parser) { p.f.MaxRestarts = p.number("number of restarts", 1, 100) }},
		{"pass", "pass HANDLERS", true, func(p *parser) { p.f.Pass = p.number("number of handlers", 1, 64) }},
		{"annotate", "annotate none|class|owner", true, func(p *parser) { p.f.Annotate = p.oneOf("annotation", []string{"none", "class", "owner"}) }},
		{"want", "want PROPERTY...", false, (*parser).want},
		{"bio", "bio NAME [unflagged] [handler HANDLER] [parent BIO]", false, (*parser).bio},
		{"inode", "inode NAME [ext4|xfs]", false, (*parser).inode},
		{"ring", "ring NAME [MODE...|any]", false, (*parser).ring},
		{"mutex", "mutex NAME", false, func(p *parser) { p.f.Mutexes = append(p.f.Mutexes, p.define("mutex")) }},
		{"spinlock", "spinlock NAME", false, func(p *parser) { p.f.Spinlocks = append(p.f.Spinlocks, p.define("spinlock")) }},
		{"rawlock", "rawlock NAME", false, func(p *parser) { p.f.RawLocks = append(p.f.RawLocks, p.define("rawlock")) }},
		{"irq", "irq on cpu N [hard]: STEPS", false, func(p *parser) { p.actor(IRQ) }},
		{"softirq", "softirq on cpu N: STEPS", false, func(p *parser) { p.actor(Softirq) }},
		{"task", "task NAME [on cpu N]: STEPS", false, func(p *parser) { p.actor(Task) }},
		{"hotplug", "hotplug: STEPS", false, func(p *parser) { p.actor("hotplug") }},
		{"expect", "expect VERSION... [in CONFIG...]: holds|fails KIND", false, (*parser).expect},
	}
}

func statementNames() []string {
	var out []string
	for _, s := range statements {
		out = append(out, s.name)
	}
	return out
}

// ReadFile parses the file with that name.
func ReadFile(name string) (*File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(filepath.ToSlash(name), data)
}

// Parse reads a scenario. name is used in errors. The error is an [ErrorList].
func Parse(name string, data []byte) (*File, error) {
	p := &parser{f: &File{Name: name, Configs: []string{"lazy"}}, names: map[string]Pos{}, once: map[string]Pos{}, doubt: map[string]bool{}, wrong: map[string]bool{}}
	p.pos = Pos{name, 1, 1}
	switch {
	case len(data) > MaxBytes:
		p.fail(p.pos, "the file has %d bytes; a scenario has at most %d: is it one?", len(data), MaxBytes)
		return nil, p.errs
	case p.badText(data):
		return nil, p.errs
	}
	// Some editors begin a file with a byte order mark.
	for i, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		p.line(i+1, strings.TrimSuffix(line, "\r"))
		if len(p.errs) >= MaxErrors {
			return nil, p.enough()
		}
	}
	p.finish()
	if len(p.errs) > 0 {
		sort.SliceStable(p.errs, func(i, j int) bool {
			a, b := p.errs[i], p.errs[j]
			return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
		})
		if len(p.errs) > MaxErrors {
			return nil, p.enough()
		}
		return nil, p.errs
	}
	return p.f, nil
}

// enough returns the first errors, and says that others may not be among them.
func (p *parser) enough() ErrorList {
	first := p.errs[:MaxErrors]
	return append(first[:MaxErrors:MaxErrors], &Error{first[MaxErrors-1].Pos, fmt.Sprintf("these are the first %d mistakes: there may be more", MaxErrors)})
}

// badText reports the first byte or character that is no text, and whether there is one. A control character would
// reach the terminal of whoever reads a report, and makes a picture that is no XML.
func (p *parser) badText(data []byte) bool {
	at := Pos{p.f.Name, 1, 1}
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			p.fail(at, "byte 0x%02x is not UTF-8 text", data[0])
			return true
		case r == '\r' && n < len(data) && data[n] != '\n':
			p.fail(at, "a carriage return in the middle of a line: lines end with a line feed, or with both")
			return true
		case unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t':
			p.fail(at, "control character %U is not text", r)
			return true
		}
		if at.Col++; r == '\n' {
			at.Line, at.Col = at.Line+1, 1
		}
		data = data[n:]
	}
	return false
}

func (p *parser) fail(pos Pos, format string, args ...any) {
	p.failed = true
	p.errs = append(p.errs, &Error{pos, fmt.Sprintf(format, args...)})
}

// line parses one line: a statement, or if indented a step of the actor above.
func (p *parser) line(number int, text string) {
	p.pos = Pos{p.f.Name, number, 1}
	p.failed, p.at = false, 0
	indented := text != "" && (text[0] == ' ' || text[0] == '\t')
	p.split(text)
	if len(p.toks) == 0 {
		return
	}
	defer func() {
		if p.failed {
			for _, t := range p.toks {
				p.doubt[t.text] = true
			}
		}
	}()
	p.pos = p.toks[0].pos
	p.last = number
	if p.lines++; p.lines == MaxStatements+1 {
		p.fail(p.pos, "more than %d statements: is this a scenario?", MaxStatements)
	}
	if p.lines > MaxStatements {
		return
	}
	if indented {
		if p.open == nil {
			p.fail(p.pos, "an indented line is a step of the task or interrupt above it, and there is none; write the statement at the beginning of the line")
			return
		}
		p.steps(p.open)
		return
	}
	p.open = nil
	head := p.next("a statement")
	for i := range statements {
		s := &statements[i]
		if s.name != head.text {
			continue
		}
		if first, twice := p.once[s.name]; twice && s.once {
			p.fail(head.pos, "%s is said twice; it was said in line %d", s.name, first.Line)
			return
		}
		p.once[s.name] = head.pos
		s.parse(p)
		p.end(s.syntax)
		return
	}
	p.noWord = true
	p.fail(head.pos, "unknown statement %q%s", head.text, Meant(head.text, statementNames()))
}

// split makes tokens: words, and the signs : ; , on their own. # begins a comment.
func (p *parser) split(line string) {
	p.toks, p.rest = p.toks[:0], ""
	col, start := 0, -1
	var startCol int
	flush := func(end int) {
		if start >= 0 {
			p.toks = append(p.toks, token{line[start:end], Pos{p.f.Name, p.pos.Line, startCol}})
			start = -1
		}
	}
	for i, r := range line {
		col++
		if len(p.toks) == 1 && start < 0 && p.rest == "" && r != ' ' && r != '\t' {
			p.rest = strings.TrimSpace(line[i:])
		}
		switch {
		case r == '#':
			flush(i)
			return
		case r == ' ' || r == '\t':
			flush(i)
		case r == ':' || r == ';' || r == ',':
			flush(i)
			p.toks = append(p.toks, token{string(r), Pos{p.f.Name, p.pos.Line, col}})
		case start < 0:
			start, startCol = i, col
		}
	}
	flush(len(line))
}

// next takes a token; at the end of the line it reports what is missing.
func (p *parser) next(want string) token {
	if p.at < len(p.toks) {
		p.at++
		return p.toks[p.at-1]
	}
	at := p.after(len(p.toks))
	if !p.failed {
		p.fail(at, "%s is missing at the end of the line", want)
	}
	return token{"", at}
}

// peek reports whether the next token is text.
func (p *parser) peek(text string) bool {
	return p.at < len(p.toks) && p.toks[p.at].text == text
}

// more reports whether there is another word before the end of the step or line.
func (p *parser) more() bool {
	return !p.failed && p.at < len(p.toks) && p.toks[p.at].text != ":" && p.toks[p.at].text != ";"
}

// skip takes the next token if it is text.
func (p *parser) skip(text string) bool {
	if p.peek(text) {
		p.at++
		return true
	}
	return false
}

// end reports what is left of the line.
func (p *parser) end(syntax string) {
	if !p.failed && p.at < len(p.toks) {
		t := p.toks[p.at]
		p.fail(t.pos, "%q is not expected here; the statement is: %s", t.text, syntax)
	}
}

// text takes the rest of the line as it is.
func (p *parser) text() string {
	p.next("the text")
	p.at = len(p.toks)
	return p.rest
}

func (p *parser) claim() {
	text := p.text()
	who, what, ok := strings.Cut(text, ":")
	if !ok || strings.TrimSpace(who) == "" || strings.TrimSpace(what) == "" {
		if !p.failed {
			p.fail(p.toks[min(1, len(p.toks)-1)].pos, "a claim is: claim WHO: TEXT")
		}
		return
	}
	p.f.Claims = append(p.f.Claims, Claim{strings.TrimSpace(who), strings.TrimSpace(what)})
}

// oneOf takes a word of a list.
func (p *parser) oneOf(what string, list []string) string {
	t := p.next("the " + what)
	for _, w := range list {
		if w == t.text {
			return w
		}
	}
	if !p.failed {
		p.fail(t.pos, "unknown %s %q%s", what, t.text, Meant(t.text, list))
	}
	return ""
}

// list takes words of a list up to the end of the line or a colon, and returns them and where they stand. Each may be
// named once, and not before. It ends where one is wrong.
func (p *parser) list(what string, list []string, before ...string) (words []string, at []Pos) {
	for {
		w := p.oneOf(what, list)
		if p.failed {
			return words, at
		}
		pos := p.toks[p.at-1].pos
		if slices.Contains(words, w) || slices.Contains(before, w) {
			p.fail(pos, "%s %s is named twice", what, w)
			return words, at
		}
		words, at = append(words, w), append(at, pos)
		if !p.skip(",") && !p.more() {
			return words, at
		}
	}
}

// number takes a number in a range.
func (p *parser) number(what string, low, high int) int {
	t := p.next("the " + what)
	n, err := strconv.Atoi(t.text)
	if p.failed {
		return low
	}
	if err != nil {
		p.fail(t.pos, "the %s is a number, not %q", what, t.text)
		return low
	}
	if n < low || n > high {
		p.fail(t.pos, "the %s is %d to %d, not %d", what, low, high, n)
		return low
	}
	return n
}

// cpu takes the number of a CPU, and returns where it stands; whether there is such a CPU is checked at
// the end, because cpus may come later.
func (p *parser) cpu() (int, Pos) {
	p.skip("cpu")
	if p.at >= len(p.toks) {
		return 0, p.next("the number of the CPU").pos
	}
	at := p.toks[p.at].pos
	return p.number("number of the CPU", 0, 999), at
}

func (p *parser) want() {
	words, at := p.list("property", names(extras), p.f.Wants...)
	p.f.Wants, p.wants = append(p.f.Wants, words...), append(p.wants, at...)
}

func (p *parser) offline() {
	for {
		n, at := p.cpu()
		p.f.Offline, p.f.offlinePos = append(p.f.Offline, n), append(p.f.offlinePos, at)
		if !p.skip(",") && !p.more() {
			return
		}
	}
}

func (p *parser) config() {
	if p.skip("all") {
		p.f.Configs = names(configNames)
		return
	}
	words, at := p.list("configuration", append(names(configNames), "all"))
	p.f.Configs = words
	if i := slices.Index(words, "all"); i >= 0 && !p.failed {
		p.fail(at[i], "all stands alone: write config all, or name configurations")
	}
}

// define takes the name of something new.
func (p *parser) define(what string) string {
	t := p.next("the name of the " + what)
	if p.failed {
		return ""
	}
	p.defineAt(what, t)
	return t.text
}

func (p *parser) defineAt(what string, t token) {
	for i, r := range t.text {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || !(r >= '0' && r <= '9' || r == '_' || r == '-')) {
			p.fail(t.pos, "%q can't be the name of a %s: a name is a letter, then letters, digits, _ and -", t.text, what)
			return
		}
	}
	if len(t.text) > 32 {
		p.fail(t.pos, "the name of the %s is longer than 32 characters", what)
		return
	}
	if first, twice := p.names[t.text]; twice {
		p.fail(t.pos, "there are two things with the name %s; the first is in line %d", t.text, first.Line)
		return
	}
	p.names[t.text] = t.pos
}
