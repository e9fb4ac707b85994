// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"path"
	"slices"
	"strings"
)

const module = "endio"

// A room says what the files of one directory may import. Tests may import more:
// they put rooms together.
type room struct {
	dir  string
	own  []string // packages of this module, by directory; below a directory counts too
	std  []string // packages of the standard library; nil: all
	more bool     // packages of other modules
	why  string
}

// pure is the part of the standard library in which nothing waits, looks at a
// clock, or asks the system.
var pure = []string{"cmp", "errors", "fmt", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings"}

const whyPure = "completion code runs on every machine, so it reaches the system only through package machine"

// rooms are the import rules. A directory that is not listed may import all.
var rooms = []room{
	{dir: "machine", own: []string{"lockdep"}, std: pure, why: "package machine is the seam: interfaces and nothing behind them"},
	{dir: "bio", own: []string{"machine", "lockdep"}, std: pure, why: whyPure},
	{dir: "batch", own: []string{"bio", "machine", "lockdep"}, std: pure, why: whyPure},
	{dir: "dio", own: []string{"bio", "machine", "lockdep"}, std: pure, why: whyPure},
	{dir: "lockdep", why: "the validator watches everything else, so it imports the standard library only"},
	{dir: "uring", own: []string{"lockdep"}, more: true, why: "the ring knows the kernel and no other room of this module"},
	{dir: "explore", own: []string{"explore"}, more: true, why: "the search knows nothing of I/O, of the simulated kernel, or of models"},
	{dir: "fiojob", own: []string{"internal/spell"}, more: true, why: "the job file format is independent of what runs it"},
	{dir: "machine/host", own: []string{"machine", "uring", "lockdep", "internal/cgroup"}, more: true, why: "the host implements machine and knows no completion code"},
}

// Imports checks the import rules.
func Imports(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.goFiles(false) {
		if f.IsTest() {
			continue
		}
		i := slices.IndexFunc(rooms, func(r room) bool { return r.dir == f.Dir() })
		if i < 0 {
			continue
		}
		for _, s := range t.imports(f) {
			if !rooms[i].allows(s.path) {
				all = append(all, Violation{f.Path, s.line, "imports " + s.path + ": " + rooms[i].why})
			}
		}
	}
	return all
}

func (r room) allows(pkg string) bool {
	first, rest, _ := strings.Cut(pkg, "/")
	switch {
	case first == module:
		// machine itself is allowed, machine/host with it is not.
		return slices.Contains(r.own, rest)
	case strings.Contains(first, "."):
		return r.more
	case pkg == "unsafe":
		return true // Unsafe has the rule
	default:
		return r.std == nil || slices.Contains(r.std, pkg)
	}
}

// fenced are the directories that may have unsafe code and assembly.
var fenced = []string{"uring", "observe", "lockdep", "machine/sim"}

// Unsafe checks that unsafe code is where it can be found: in files named
// *_unsafe.go, assembly and linkname too, of few packages.
func Unsafe(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.Files {
		if t.inModule(f) {
			continue
		}
		fence := slices.Contains(fenced, f.Dir())
		if path.Ext(f.Path) == ".s" && !fence {
			all = append(all, Violation{f.Path, 0, "assembly outside of " + strings.Join(fenced, ", ")})
		}
		if f.AST == nil {
			continue
		}
		fence = fence && strings.Contains(path.Base(f.Path), "_unsafe")
		for _, s := range t.imports(f) {
			if s.path == "unsafe" && !fence {
				all = append(all, Violation{f.Path, s.line, "imports unsafe outside of a file *_unsafe.go in " + strings.Join(fenced, ", ")})
			}
		}
		for _, g := range f.AST.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "//go:linkname") && !fence {
					all = append(all, Violation{f.Path, t.Fset.Position(c.Pos()).Line, "linkname outside of a file *_unsafe.go"})
				}
			}
		}
	}
	return all
}
