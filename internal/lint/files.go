// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

const spdx = "// SPDX-License-Identifier: Apache-2.0\n"

// Headers checks that each source file says its license first.
func Headers(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.Files {
		if (f.AST != nil || path.Ext(f.Path) == ".s") && !bytes.HasPrefix(f.Text, []byte(spdx)) {
			all = append(all, Violation{f.Path, 1, "does not start with " + strings.TrimSpace(spdx)})
		}
	}
	return all
}

// vague are names that say nothing about what is in a package.
var vague = []string{"util", "utils", "common", "helper", "helpers", "base", "types", "misc", "shared"}

// Names checks the names of packages.
func Names(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.goFiles(true) {
		if slices.Contains(vague, f.AST.Name.Name) {
			all = append(all, Violation{f.Path, t.Fset.Position(f.AST.Name.Pos()).Line, "package " + f.AST.Name.Name + " says nothing: name what is in it"})
		}
	}
	return all
}

// Sleeps checks that no test of the root module sleeps: it would hide a race on a
// fast machine and fail on a slow one. Wait for what is to happen, or use
// testing/synctest.
func Sleeps(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.goFiles(false) {
		if !f.IsTest() {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
					line := t.Fset.Position(call.Pos()).Line
					if !bytes.Contains(lineOf(f.Text, line), []byte("// sleep: ")) {
						all = append(all, Violation{f.Path, line, "time.Sleep in a test: wait for what is to happen; where sleeping is the matter itself, say why behind // sleep:"})
					}
				}
			}
			return true
		})
	}
	return all
}

// lineOf returns line n, from 1, of text.
func lineOf(text []byte, n int) []byte {
	lines := bytes.SplitN(text, []byte("\n"), n+1)
	if n > len(lines) {
		return nil
	}
	return lines[n-1]
}

// MaxLines is the length from which on a function wants to be two, and longest
// are those that are over it all the same, with their length. The list only gets
// shorter: a function that grows, or a new one, is a violation.
const MaxLines = 70

// Lengths checks the length of functions outside of tests, against known.
func Lengths(t *Tree, known map[string]int) []Violation {
	var all []Violation
	seen := make(map[string]bool)
	for _, f := range t.goFiles(false) {
		if f.IsTest() {
			continue
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			from, to := t.Fset.Position(fn.Pos()).Line, t.Fset.Position(fn.End()).Line
			name := f.Dir() + "." + funcName(fn)
			n := to - from + 1
			if n > MaxLines && n > known[name] {
				all = append(all, Violation{f.Path, from, fmt.Sprintf("%s has %d lines, want at most %d", name, n, max(MaxLines, known[name]))})
			}
			if n > MaxLines {
				seen[name] = true
			}
		}
	}
	for name := range known {
		if !seen[name] {
			all = append(all, Violation{"internal/lint", 0, name + " is not too long any more: take it off the list"})
		}
	}
	return all
}

// funcName returns Func or Type.Method.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	x := fn.Recv.List[0].Type
	for {
		switch y := x.(type) {
		case *ast.StarExpr:
			x = y.X
		case *ast.IndexExpr:
			x = y.X
		case *ast.IndexListExpr:
			x = y.X
		case *ast.Ident:
			return y.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

// machinePath is a path that exists on one machine only: a home directory, or a
// place where a checkout was.
var machinePath = regexp.MustCompile(`(^|[\s"'(=\x60])/(home|Users|root|work|workspace)/[A-Za-z0-9._-]+`)

// Paths checks that no file names a place of somebody's machine.
func Paths(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.Files {
		for i, line := range bytes.Split(f.Text, []byte("\n")) {
			if m := machinePath.Find(line); m != nil && f.Dir() != "internal/lint" {
				all = append(all, Violation{f.Path, i + 1, fmt.Sprintf("names a path of one machine: %s", bytes.TrimSpace(m))})
			}
		}
	}
	return all
}
