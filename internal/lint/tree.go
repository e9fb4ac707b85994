// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Violation is one place that breaks a rule.
type Violation struct {
	Path string // in the tree, with slashes
	Line int    // 0: the file as a whole
	Text string // what is wrong and what to do
}

func (v Violation) String() string {
	if v.Line == 0 {
		return v.Path + ": " + v.Text
	}
	return fmt.Sprintf("%s:%d: %s", v.Path, v.Line, v.Text)
}

// A Tree is the source of a repository.
type Tree struct {
	Fset    *token.FileSet
	Files   []*File
	Modules []string // directories below the root that have a go.mod of their own
}

// A File is one text file of a Tree.
type File struct {
	Path string
	Text []byte
	AST  *ast.File // of a .go file; else nil
}

// Dir returns the directory of f; "." is the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// IsTest reports whether f is compiled for tests only.
func (f *File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// A spec is one import of a file.
type spec struct {
	path string
	line int
}

func (t *Tree) imports(f *File) []spec {
	var all []spec
	for _, s := range f.AST.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			continue // the parser has accepted it
		}
		all = append(all, spec{p, t.Fset.Position(s.Pos()).Line})
	}
	return all
}

// kinds are the files that a Tree holds, by extension.
var kinds = []string{".go", ".s", ".md", ".fio", ".txt", ".tsv", ".yml", ".sh", ".svg", ".scn"}

// ReadTree reads the repository in fsys. Directories whose name starts with a dot
// (but for .ci), or that tests make, are left out.
func ReadTree(fsys fs.FS) (*Tree, error) {
	t := &Tree{Fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(name, ".") && name != ".ci" || strings.HasPrefix(name, "testdata-tmp-") || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if name == "go.mod" && path.Dir(p) != "." {
			t.Modules = append(t.Modules, path.Dir(p))
		}
		if !slices.Contains(kinds, path.Ext(name)) && name != "Makefile" && p != ".ci/run" {
			return nil
		}
		f := &File{Path: p}
		if f.Text, err = fs.ReadFile(fsys, p); err != nil {
			return err
		}
		if path.Ext(name) == ".go" && !slices.Contains(strings.Split(path.Dir(p), "/"), "testdata") {
			if f.AST, err = parser.ParseFile(t.Fset, p, f.Text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
				return err
			}
		}
		t.Files = append(t.Files, f)
		return nil
	})
	return t, err
}

// goFiles returns the Go files of the root module, or of all modules.
func (t *Tree) goFiles(allModules bool) []*File {
	var fs []*File
	for _, f := range t.Files {
		if f.AST != nil && (allModules || !t.inModule(f)) {
			fs = append(fs, f)
		}
	}
	return fs
}

// inModule reports whether f is in a module other than the root.
func (t *Tree) inModule(f *File) bool {
	return slices.ContainsFunc(t.Modules, func(dir string) bool { return strings.HasPrefix(f.Path, dir+"/") })
}
