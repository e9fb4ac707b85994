// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"strings"
)

// A Pos is a place in a scenario file. Line and Col count from 1, Col in characters.
type Pos struct {
	File string
	Line int
	Col  int
}

// String returns file:line:col, the form that editors jump to.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col) }

// A File is one question to the checker. [Parse] makes it; it must not be changed.
type File struct {
	Name   string // as given to Parse
	Title  string
	Claims []Claim
	Notes  []string // paragraphs about the failure or the proof
	Model  string   // TaskComp or CallerComp
	Slow   bool     // too large for `endio check all`

	CPUs         int
	Offline      []int
	Configs      []string // preemption configurations to check in
	Workers      int      // of each CPU's pool
	IOWorkers    int      // io-wq workers
	MemoryShort  bool     // pools may get no memory for workers
	Housekeeping bool     // pinned timers go to the first CPU
	HogSteps     int      // 0: no limit
	MaxRestarts  int      // of one system call; 0: no limit
	Pass         int      // handlers after which endio's worker yields; 0: its default
	Annotate     string   // lockdep annotation of the dio count: none, class or owner
	Wants        []string // extra properties

	Bios      []Bio
	Inodes    []Inode
	Rings     []Ring
	Mutexes   []string
	Spinlocks []string
	RawLocks  []string
	Actors    []Actor
	Expects   []Expect

	offlinePos []Pos
}

// A Claim is what somebody said.
type Claim struct{ Who, Text string }

// A Bio is one I/O of thread 2.
type Bio struct {
	Name    string
	InTask  bool   // flagged BIO_COMPLETE_IN_TASK by its submitter
	Handler string // a word of the table of handlers
	Arg     string // bio or mutex named after the handler
	CPU     int    // CPU named after the handler
	Parent  string // chained to it
	Pos     Pos

	Integrity bool // a read with integrity data, which a worker verifies
	Error     bool // it fails

	namePos, argPos, cpuPos, parentPos Pos
}

// An Inode is a file of thread 1.
type Inode struct {
	Name string
	FS   string // ext4 or xfs
	Pos  Pos
}

// A Ring is an io_uring of thread 1.
type Ring struct {
	Name  string
	Modes []string // more than one: each is checked; none: that of the configuration
	Pos   Pos

	said bool // the file gives it a mode
}

// mode returns in which mode the ring is where those with several modes are in that one.
func (r *Ring) mode(of string) string {
	if len(r.Modes) == 1 {
		return r.Modes[0]
	}
	return of
}

// An ActorKind is what runs steps.
type ActorKind string

// The kinds of actors.
const (
	IRQ     ActorKind = "irq"
	Softirq ActorKind = "softirq"
	Task    ActorKind = "task"
)

// An Actor is a task or an interrupt and what it does.
type Actor struct {
	Kind  ActorKind
	Name  string
	CPU   int  // -1: any
	Hard  bool // never threaded (IRQF_NO_THREAD)
	Steps []Step
	Pos   Pos

	cpuPos Pos
}

// A Step is one thing that an actor does.
type Step struct {
	Verb      string
	Name      string   // bio, inode, lock or task
	Ring      string   // of submit and wait
	Request   string   // of submit
	CPU       int      // of down and up
	State     string   // target of down and up, "" is all the way
	Fails     []string // states that may fail on the way
	Count     int      // of wait
	Bios      int      // of direct I/O: how many it is split into
	Unaligned bool
	Extending bool
	Under     string // mutex that the call holds around its drain
	Shared    bool   // extents shared with another file: copied on write
	Error     bool   // the device fails it: the bio that is submitted last
	Link      bool   // what is submitted next begins when it has ended (IOSQE_IO_LINK)
	Pos       Pos

	namePos, ringPos, cpuPos, underPos, linkPos Pos
}

// An Expect is a verdict that the file expects.
type Expect struct {
	Versions []string
	In       []string // configurations or ring modes; empty: all
	Holds    bool
	Kind     string // of the failure
	Pos      Pos

	versionPos, inPos []Pos
}

// A Config is one configuration to check in.
type Config struct {
	Preempt string // a name of ConfigNames
	Ring    string // ring mode of the rings that have several, or of all; "" if the file has no ring
	Rings   string // the modes of all rings, in their order, if they differ: default+sqpoll
}

// String returns the name, for example "lazy" or "full/defer".
func (c Config) String() string {
	switch {
	case c.Rings != "":
		return c.Preempt + "/" + c.Rings
	case c.Ring != "":
		return c.Preempt + "/" + c.Ring
	}
	return c.Preempt
}

func (c Config) matches(in []string) bool {
	if len(in) == 0 {
		return true
	}
	for _, s := range in {
		if s == c.Preempt || s == c.Ring || s == c.Rings && s != "" || s == c.String() {
			return true
		}
	}
	return false
}

// Matches reports whether name is the configuration or one half of it.
func (c Config) Matches(name string) bool { return c.matches([]string{name}) }

// A Case is one thing to check: a version in a configuration.
type Case struct {
	Version string
	Config  Config
}

// ConfigCases returns the configurations of the file.
func (f *File) ConfigCases() []Config {
	modes := []string{""}
	for _, r := range f.Rings {
		if len(r.Modes) > 1 {
			modes = r.Modes
			break
		}
	}
	var out []Config
	for _, p := range f.Configs {
		for _, m := range modes {
			out = append(out, f.config(p, m))
		}
	}
	return out
}

// config returns the configuration in which the rings with several modes, if there are any, are in that mode.
func (f *File) config(preempt, mode string) Config {
	c := Config{Preempt: preempt, Ring: mode}
	var all []string
	differ := false
	for i := range f.Rings {
		all = append(all, f.Rings[i].mode(mode))
		differ = differ || all[i] != all[0]
	}
	if differ {
		c.Rings = strings.Join(all, "+")
	} else if len(all) > 0 {
		c.Ring = all[0]
	}
	return c
}

// Cases returns what the file asks: each version that it expects something of, in
// each configuration for which it does.
func (f *File) Cases() []Case {
	var out []Case
	for _, v := range VersionNames(f.Model) {
		for _, c := range f.ConfigCases() {
			if _, ok := f.Expected(Case{v, c}); ok {
				out = append(out, Case{v, c})
			}
		}
	}
	return out
}

// Expected returns what the file expects of a case; ok is false if it expects
// nothing.
func (f *File) Expected(c Case) (e *Expect, ok bool) {
	for i := range f.Expects {
		e := &f.Expects[i]
		if !c.Config.matches(e.In) {
			continue
		}
		for _, v := range e.Versions {
			if v == c.Version {
				return e, true
			}
		}
	}
	return nil, false
}

// Writes reports whether the step writes data, by a plain call or through a ring.
func (s *Step) Writes() bool { return s.Verb == "write" || s.Request == "write" }

// Direct reports whether the step does direct I/O, by a plain call or through a ring.
func (s *Step) Direct() bool { return s.Writes() || s.Verb == "read" || s.Request == "read" }

// Uses reports whether an actor has a step with that verb.
func (f *File) Uses(verb string) bool {
	for i := range f.Actors {
		for j := range f.Actors[i].Steps {
			if f.Actors[i].Steps[j].Verb == verb {
				return true
			}
		}
	}
	return false
}

// Wanted reports whether the file wants an extra property.
func (f *File) Wanted(name string) bool {
	for _, w := range f.Wants {
		if w == name {
			return true
		}
	}
	return false
}

// Bio returns the bio of that name, or nil.
func (f *File) Bio(name string) *Bio {
	for i := range f.Bios {
		if f.Bios[i].Name == name {
			return &f.Bios[i]
		}
	}
	return nil
}

// An Error says what is wrong at one place of a scenario file.
type Error struct {
	Pos
	Msg string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Msg }

// An ErrorList is what [Parse] returns for a file that can not be used: at least
// one error, in the order of lines for each kind of check.
type ErrorList []*Error

// Error returns the errors, one a line.
func (l ErrorList) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As reach each [Error].
func (l ErrorList) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}
