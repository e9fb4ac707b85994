// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// watched are the directories whose locks and waits the validator of package lockdep has
// to see: the engine and what drives it.
var watched = []string{".", "batch", "bio", "dio", "fiojob", "internal/jobrun", "internal/verify", "machine", "machine/host", "uring"}

// waiting are the names of package sync that lock or wait, all of which lockdep has too but
// for those that it has no word for.
var waiting = map[string]string{
	"Mutex": "Mutex", "RWMutex": "RWMutex", "WaitGroup": "WaitGroup", "Cond": "Cond", "NewCond": "NewCond", "Once": "Once",
	"Locker": "Mutex", "OnceFunc": "Once", "OnceValue": "Once", "OnceValues": "Once",
}

// Waits checks that the watched directories lock and wait through package lockdep only:
//
//   - no lock, WaitGroup, Cond or Once of package sync,
//   - no channel type: lockdep.Chan, with Send and Recv,
//   - no send or receive outside of select,
//   - no select that only other goroutines can end: it has a default or a timer
//     (a wait for one of several channels is no wait to the validator; see
//     docs/adr/0060),
//   - no loop that sleeps or yields without saying what it waits for, behind
//     // polls:.
func Waits(t *Tree) []Violation {
	var all []Violation
	for _, f := range t.goFiles(false) {
		if f.IsTest() || !slices.Contains(watched, f.Dir()) {
			continue
		}
		w := &waitRule{t: t, f: f}
		ast.Walk(w, f.AST)
		all = append(all, w.found...)
	}
	return all
}

// A waitRule walks one file.
type waitRule struct {
	t     *Tree
	f     *File
	found []Violation

	chosen map[ast.Node]bool // operations that are cases of a select
}

func (w *waitRule) report(n ast.Node, text string) {
	w.found = append(w.found, Violation{w.f.Path, w.line(n), text})
}

func (w *waitRule) line(n ast.Node) int { return w.t.Fset.Position(n.Pos()).Line }

// Visit implements [ast.Visitor].
func (w *waitRule) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.SelectorExpr:
		if name := waiting[n.Sel.Name]; name != "" && isPackage(n.X, "sync") {
			w.report(n, "sync."+n.Sel.Name+": use lockdep."+name+", which the validator sees")
		}
	case *ast.ChanType:
		if x, ok := n.Value.(*ast.SelectorExpr); n.Dir != ast.RECV || !ok || x.Sel.Name != "Time" || !isPackage(x.X, "time") {
			w.report(n, "a channel: use lockdep.Chan, which the validator sees")
		}
	case *ast.SelectStmt:
		w.visitSelect(n)
	case *ast.SendStmt:
		if !w.chosen[n] {
			w.report(n, "a bare send: use Send of lockdep.Chan, which the validator sees")
		}
	case *ast.UnaryExpr:
		if n.Op == token.ARROW && !w.chosen[n] {
			w.report(n, "a bare receive: use Recv of lockdep.Chan, which the validator sees")
		}
	case *ast.RangeStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && calls(call, "C") {
			w.report(n, "range over a channel: use Recv of lockdep.Chan, which the validator sees")
		}
		w.visitLoop(n.Body)
	case *ast.ForStmt:
		w.visitLoop(n.Body)
	}
	return w
}

func isPackage(x ast.Expr, name string) bool {
	id, ok := x.(*ast.Ident)
	return ok && id.Name == name
}

// calls reports whether call is x.name().
func calls(call *ast.CallExpr, name string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == name
}

// visitSelect notes the cases of s, and whether one of them comes by itself.
func (w *waitRule) visitSelect(s *ast.SelectStmt) {
	if w.chosen == nil {
		w.chosen = make(map[ast.Node]bool)
	}
	bounded := false
	for _, c := range s.Body.List {
		comm := c.(*ast.CommClause).Comm
		if comm == nil {
			bounded = true // default
			continue
		}
		w.chosen[comm] = true // a send
		ast.Inspect(comm, func(n ast.Node) bool {
			recv, ok := n.(*ast.UnaryExpr)
			if !ok || recv.Op != token.ARROW {
				return true
			}
			w.chosen[recv] = true
			// ticker.C is a field; C of a lockdep.Chan is a method.
			if sel, ok := recv.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "C" {
				bounded = true
			}
			return true
		})
	}
	if !bounded {
		w.report(s, "a select that only other goroutines end: the validator can't tell which of them; wait for one channel, or give it a timer or a default")
	}
}

// visitLoop looks for polling in the body of a loop.
func (w *waitRule) visitLoop(body *ast.BlockStmt) {
	for _, s := range body.List {
		ast.Inspect(s, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ForStmt, *ast.RangeStmt, *ast.FuncLit:
				return false // has its own turn
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || !(sel.Sel.Name == "Sleep" && isPackage(sel.X, "time") || sel.Sel.Name == "Gosched" && isPackage(sel.X, "runtime")) {
					return true
				}
				if !bytes.Contains(lineOf(w.f.Text, w.line(n)), []byte("// polls: ")) {
					w.report(n, "a loop that waits by polling: tell the validator (lockdep.IOMap), and say why it polls behind // polls:")
				}
			}
			return true
		})
	}
}

// engines are the packages that lock and wait on their own behalf.
var engines = []string{module, module + "/machine/host", module + "/uring", module + "/internal/jobrun"}

// Listening checks that tests which run the engine fail with the reports of the
// validator: a report that nobody counts is only noise in a log.
func Listening(t *Tree) []Violation {
	uses := make(map[string]string) // directory: a test file that runs the engine
	listens := make(map[string]bool)
	for _, f := range t.goFiles(false) {
		if !f.IsTest() {
			continue
		}
		if bytes.Contains(f.Text, []byte("lockdep.RunTests(")) {
			listens[f.Dir()] = true
		}
		for _, s := range t.imports(f) {
			if slices.Contains(engines, s.path) {
				uses[f.Dir()] = f.Path
			}
		}
		if own := path.Join(module, f.Dir()); slices.Contains(engines, own) {
			uses[f.Dir()] = f.Path
		}
	}
	var all []Violation
	for dir, file := range uses {
		if !listens[dir] {
			all = append(all, Violation{file, 0, "its package runs the engine and has no TestMain with lockdep.RunTests: reports of the validator would not fail it"})
		}
	}
	slices.SortFunc(all, func(a, b Violation) int { return strings.Compare(a.Path, b.Path) })
	return all
}
