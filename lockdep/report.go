// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"fmt"
	"runtime"
	"strings"
)

// A Kind is the rule that a [Report] says was broken.
type Kind uint8

// The kinds of reports.
const (
	Recursion    Kind = iota + 1 // possible recursive locking
	Circular                     // possible circular locking dependency
	Inconsistent                 // inconsistent lock state
	Inversion                    // possible irq lock inversion: an old path, a new state
	IRQOrder                     // irq-safe -> irq-unsafe lock order: a new edge, old states
	WaitContext                  // invalid wait context
	Imbalance                    // bad unlock balance
	HeldFreed                    // held lock freed or initialised again
	ClassMisuse                  // use before init, bad subclass, one lock of two classes
	NestNotHeld                  // the nest lock was not taken
	StillHeld                    // a task ended with locks held
	Limit                        // a table is full
)

var kindNames = [...]string{
	Recursion:    "possible recursive locking",
	Circular:     "possible circular locking dependency",
	Inconsistent: "inconsistent lock state",
	Inversion:    "possible irq lock inversion dependency",
	IRQOrder:     "irq-safe to irq-unsafe lock order",
	WaitContext:  "invalid wait context",
	Imbalance:    "bad unlock balance",
	HeldFreed:    "held lock freed",
	ClassMisuse:  "class table misuse",
	NestNotHeld:  "nested lock was not taken",
	StillHeld:    "locks still held at exit",
	Limit:        "table full",
}

// String returns the kind in a few words.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", k)
}

// A Report is one broken rule.
type Report struct {
	Kind    Kind
	Title   string   // the first line, such as "WARNING: inconsistent lock state"
	Text    string   // the whole report in the kernel's layout, with a newline at its end
	Task    string   // name of the task whose operation broke the rule
	TaskID  int      // its number
	Classes []string // names of the classes involved, the one acquired first
	Certain bool     // the operation can never end: the task waits for itself
}

// String returns the whole report.
func (r *Report) String() string { return r.Text }

// A reportKey is what is reported once only.
type reportKey struct {
	kind Kind
	a, b uint32
}

// What is full, as reportKey.a of a [Limit].
type limit uint32

const (
	limitClasses limit = iota
	limitEdges
	limitChains
	limitDepth
	limitStacks
)

// fresh reports whether this kind of report on this pair is the first, and enters it.
// Preconditions: v.mu is held.
func (v *Validator) fresh(k Kind, a, b uint32) bool {
	if v.off.Load() {
		return false
	}
	key := reportKey{k, a, b}
	if _, old := v.reported[key]; old {
		return false
	}
	v.reported[key] = struct{}{}
	return true
}

// emit queues a report for delivery. Preconditions: v.mu is held.
func (v *Validator) emit(r *Report) {
	v.numReports++
	if len(v.lastReports) < maxKeptReports {
		v.lastReports = append(v.lastReports, r)
	}
	v.pending = append(v.pending, r)
	if v.cfg.OneShot {
		v.off.Store(true)
	}
}

// A page is a report being written. Its v.mu is held.
type page struct {
	strings.Builder
	v       *Validator
	t       *Task
	held    []held
	kind    Kind
	title   string
	classes []string
	stack   []string // where the operation is
	certain bool
}

// newPage begins a report: title, ruler, identity, ruler.
func (v *Validator) newPage(t *Task, k Kind, title string, ruler byte) *page {
	p := &page{v: v, t: t, kind: k, title: title}
	if t != nil {
		p.held = t.held
		if t.acquiring {
			p.held = t.held[:len(t.held)-1]
		}
	}
	if v.cfg.Stacks {
		var pcs [maxStackFrames]uintptr
		p.stack = frameTexts(pcs[:runtime.Callers(3, pcs[:])])
	} else if v.opSite != 0 {
		p.stack = []string{v.siteName(v.opSite)}
	}
	bar := strings.Repeat("=", len(title))
	p.line("")
	p.line("%s", bar)
	p.line("%s", title)
	p.line("%s", v.ident())
	p.line("%s", strings.Repeat(string(ruler), len(title)))
	return p
}

func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.Builder, format, args...)
	p.WriteByte('\n')
}

// done ends the report with an empty line and the stack, and queues it.
func (p *page) done() {
	p.line("")
	p.end()
}

// end ends the report with the stack, and queues it.
func (p *page) end() {
	p.backtrace()
	p.emit()
}

func (p *page) backtrace() {
	p.line("stack backtrace:")
	p.stackLines(p.stack, 1)
}

func (p *page) emit() {
	r := &Report{Kind: p.kind, Title: p.title, Text: p.String(), Classes: p.classes, Certain: p.certain}
	if p.t != nil {
		r.Task, r.TaskID = p.t.name, p.t.id
	}
	p.v.emit(r)
}

func (p *page) stackLines(frames []string, indent int) {
	if len(frames) == 0 {
		frames = []string{"(not recorded)"}
	}
	for _, f := range frames {
		p.line("%*s%s", indent, "", f)
	}
}

func (v *Validator) ident() string {
	if v.cfg.Ident != "" {
		return v.cfg.Ident
	}
	return fmt.Sprintf("%s #1 %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// comm is COMM/PID of the page's task.
func (p *page) comm() string {
	if p.t == nil {
		return "?/0"
	}
	return fmt.Sprintf("%s/%d", p.t.name, p.t.id)
}

// name is a class as reports name it: NAME, #n for the n-th of that name, /n for
// a subclass.
func (v *Validator) name(rec *classRec) string {
	s := rec.class.Name
	var seen []*Class
	for _, other := range v.used {
		if other.class.Name == rec.class.Name && !contains(seen, other.class) {
			seen = append(seen, other.class)
			if other.class == rec.class {
				break
			}
		}
	}
	if n := len(seen); n > 1 && seen[n-1] == rec.class {
		s = fmt.Sprintf("%s#%d", s, n)
	}
	if rec.sub != 0 {
		s = fmt.Sprintf("%s/%d", s, rec.sub)
	}
	return s
}

func contains(classes []*Class, c *Class) bool {
	for _, x := range classes {
		if x == c {
			return true
		}
	}
	return false
}

// usageChars are the four characters of a class's interrupt usage.
//
// Source: get_usage_chars, kernel/locking/lockdep.c, Linux v6.12.
func usageChars(u uint32) string {
	var c [4]byte
	for i, bit := range []int{0, usageRead, usageSoftirq, usageSoftirq | usageRead} {
		in, on := u&(1<<bit) != 0, u&(1<<(bit|usageEnabled)) != 0
		switch {
		case in && on:
			c[i] = '?'
		case in:
			c[i] = '-'
		case on:
			c[i] = '+'
		default:
			c[i] = '.'
		}
	}
	return string(c[:])
}

// lockName is LOCKN: ` (NAME){USAGE}-{outer:inner}`.
func (v *Validator) lockName(rec *classRec) string {
	return fmt.Sprintf(" (%s){%s}-{%d:%d}", v.name(rec), usageChars(rec.usage.Load()),
		v.waitNumber(rec.outer), v.waitNumber(rec.inner))
}

// waitNumber is a wait type as the kernel numbers it: without raw nesting there is one less.
func (v *Validator) waitNumber(w WaitType) int {
	if !v.cfg.RawNesting && w > WaitConfig {
		return int(w) - 1
	}
	return int(w)
}

// lock is LOCK: instance, LOCKN and site.
func (p *page) lock(h *held) string {
	return fmt.Sprintf("%s%s, at: %s", p.v.instance(h.m), p.v.lockName(h.rec), p.v.heldSite(h))
}

// instance prints which lock m is: its address if it stands for one in memory,
// or else its number in the order in which locks were reported.
func (v *Validator) instance(m *Map) string {
	if m.addr != 0 {
		return fmt.Sprintf("%016x", m.addr)
	}
	if uint32(m.inst.Load()>>32) != v.epoch {
		v.numInst++
		m.inst.Store(uint64(v.epoch)<<32 | uint64(v.numInst))
	}
	return fmt.Sprintf("%016x", uint32(m.inst.Load()))
}

// heldLocks is HELD.
func (p *page) heldLocks() {
	switch n := len(p.held); n {
	case 0:
		p.line("no locks held by %s.", p.comm())
	case 1:
		p.line("1 lock held by %s:", p.comm())
	default:
		p.line("%d locks held by %s:", n, p.comm())
	}
	for i := range p.held {
		p.line(" #%d: %s", i, p.lock(&p.held[i]))
	}
}

// names enters the classes that the report is about.
func (p *page) names(recs ...*classRec) {
	for _, r := range recs {
		p.classes = append(p.classes, p.v.name(r))
	}
}

// chainExists prints `Chain exists of:` for a path of more than two locks.
func (p *page) chainExists(first, middle, last *classRec) {
	p.line("Chain exists of:")
	p.line("  %s --> %s --> %s", p.v.name(first), p.v.name(middle), p.v.name(last))
	p.line("")
}
