// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"strings"
)

// place is `dir/file.go: Func` or `dir/file.go: Type.Method` in a document.
var place = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.go): ([A-Za-z0-9_.]+)`")

// goFile is `dir/file.go` in a document.
var goFile = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.go)`")

// link is a relative Markdown link.
var link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)

// Documents checks that the functions, files and links that documents name exist.
func Documents(t *Tree) []Violation {
	funcs := make(map[string]map[string]bool) // by file
	dirs := make(map[string]bool)
	for _, f := range t.Files {
		for d := f.Dir(); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
		funcs[f.Path] = make(map[string]bool)
		if f.AST == nil {
			continue
		}
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				funcs[f.Path][funcName(fn)] = true
			}
		}
	}
	var all []Violation
	for _, f := range t.Files {
		if path.Ext(f.Path) != ".md" {
			continue
		}
		report := func(line int, format string, args ...any) {
			all = append(all, Violation{f.Path, line + 1, fmt.Sprintf(format, args...)})
		}
		for i, line := range bytes.Split(f.Text, []byte("\n")) {
			for _, m := range place.FindAllSubmatch(line, -1) {
				file, fn := string(m[1]), string(m[2])
				if known, ok := funcs[file]; !ok {
					report(i, "names %s, which does not exist", file)
				} else if !known[fn] {
					report(i, "names %s in %s, which has no such function", fn, file)
				}
			}
			for _, m := range goFile.FindAllSubmatch(line, -1) {
				if file := string(m[1]); funcs[file] == nil && strings.Contains(file, "/") {
					report(i, "names %s, which does not exist", file)
				}
			}
			for _, m := range link.FindAllSubmatch(line, -1) {
				to := path.Join(f.Dir(), string(m[1]))
				if funcs[to] == nil && !dirs[to] && path.Ext(to) != "" && path.Ext(to) != ".mod" {
					report(i, "links to %s, which does not exist", to)
				}
			}
		}
	}
	return all
}

// adrName is the name of a decision's page.
var adrName = regexp.MustCompile(`^docs/adr/(\d{4})-[a-z0-9-]+\.md$`)

// Decisions checks the pages in docs/adr: one number each, and the four parts.
func Decisions(t *Tree) []Violation {
	var all []Violation
	byNumber := make(map[string]string)
	for _, f := range t.Files {
		if f.Dir() != "docs/adr" || path.Base(f.Path) == "README.md" {
			continue
		}
		m := adrName.FindStringSubmatch(f.Path)
		if m == nil {
			all = append(all, Violation{f.Path, 0, "want a name like 0001-why-this.md"})
			continue
		}
		if other := byNumber[m[1]]; other != "" {
			all = append(all, Violation{f.Path, 0, "has the number of " + other})
		}
		byNumber[m[1]] = f.Path
		number := strings.TrimLeft(m[1], "0")
		for name, want := range map[string]string{
			"title with its number": `^# 0*` + number + `[.:] `,
			"Status":                `^Status: `,
			"Context":               `^(## Context$|Context: )`,
			"Decision":              `^(## Decision$|Decision: )`,
			"Cost":                  `^(## Cost$|Cost: )`,
		} {
			if !regexp.MustCompile("(?m)" + want).Match(f.Text) {
				all = append(all, Violation{f.Path, 0, "has no " + name})
			}
		}
	}
	return all
}

// fence is a block of Go code in a document.
var fence = regexp.MustCompile("(?s)```go\n(.*?)```")

// Programs checks that the README's program is the one in examples/first, which
// is compiled and tested.
func Programs(t *Tree) []Violation {
	var shown, source []byte
	for _, f := range t.Files {
		switch f.Path {
		case "README.md":
			if m := fence.FindSubmatch(f.Text); m != nil {
				shown = m[1]
			}
		case "examples/first/main.go":
			_, source, _ = bytes.Cut(f.Text, []byte("\n\n"))
		}
	}
	if !bytes.Equal(shown, source) || len(shown) == 0 {
		return []Violation{{"README.md", 0, "its program is not that of examples/first/main.go"}}
	}
	return nil
}
