// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// known are the functions that are longer than MaxLines, with their length.
var known = map[string]int{}

var rules = []struct {
	name string
	find func(*Tree) []Violation

	// A tree that breaks the rule: path, content, and what is found in it.
	files map[string]string
	want  []string
}{
	{"imports", Imports, map[string]string{
		"bio/bio.go":         "package bio\nimport (\n\t_ \"sync\"\n\t_ \"endio/machine/host\"\n\t_ \"endio/machine\"\n)",
		"bio/bio_test.go":    "package bio\nimport _ \"sync\"",
		"dio/dio.go":         "package dio\nimport _ \"time\"",
		"explore/explore.go": "package explore\nimport _ \"endio/machine/sim\"",
		"lockdep/lockdep.go": "package lockdep\nimport _ \"golang.org/x/sys/unix\"",
	}, []string{
		"bio/bio.go:3: imports sync: completion code",
		"bio/bio.go:4: imports endio/machine/host: completion code",
		"dio/dio.go:2: imports time: completion code",
		"explore/explore.go:2: imports endio/machine/sim: the search",
		"lockdep/lockdep.go:2: imports golang.org/x/sys/unix: the validator",
	}},
	{"unsafe", Unsafe, map[string]string{
		"a.go":               "package endio\nimport _ \"unsafe\"",
		"a_unsafe.go":        "package endio\nimport _ \"unsafe\"",
		"uring/b_unsafe.go":  "package uring\nimport _ \"unsafe\"",
		"uring/c.go":         "package uring\n//go:linkname x y\nfunc x()",
		"bio/d.s":            "TEXT",
		"bench/x/go.mod":     "module x",
		"bench/x/e.go":       "package main\nimport _ \"unsafe\"",
		"uring/f_unsafe.txt": "",
	}, []string{
		"a.go:2: imports unsafe", "a_unsafe.go:2: imports unsafe", "bio/d.s: assembly", "uring/c.go:2: linkname",
	}},
	{"headers", Headers, map[string]string{
		"a.go": spdx + "package endio", "b.go": "package endio", "c.s": "TEXT", "d.md": "",
	}, []string{"b.go:1: does not start", "c.s:1: does not start"}},
	{"names", Names, map[string]string{"x/a.go": "package utils", "y/b.go": "package bio"}, []string{"x/a.go:1: package utils"}},
	{"sleeps", Sleeps, map[string]string{
		"a_test.go": "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }",
		"b_test.go": "package a\nimport \"time\"\nfunc f() { time.Sleep(1) } // sleep: the subject",
		"c.go":      "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }",
	}, []string{"a_test.go:3: time.Sleep in a test"}},
	{"lengths", func(t *Tree) []Violation {
		return Lengths(t, map[string]int{"a.old": 72, "a.gone": 90, "a.T.grown": 71})
	}, map[string]string{
		"a/a.go": "package a\ntype T int\nfunc old() {" + strings.Repeat("\n", 71) + "}\nfunc (*T) grown() {" + strings.Repeat("\n", 71) +
			"}\nfunc fits() {" + strings.Repeat("\n", 69) + "}\nfunc new() {" + strings.Repeat("\n", 70) + "}",
	}, []string{
		"a/a.go:75: a.T.grown has 72 lines, want at most 71",
		"a/a.go:217: a.new has 71 lines, want at most 70",
		"internal/lint: a.gone is not too long any more",
	}},
	{"paths", Paths, map[string]string{
		"a.md": "see /home/me/x", "b.go": "package b // in testdata/home/x", "c.md": "`/work/x`", "d.md": "a/work/b, /root/ and /homes/x",
	}, []string{"a.md:1: names a path of one machine: /home/me", "c.md:1: names a path of one machine: `/work/x"}},
	{"documents", Documents, map[string]string{
		"bio/bio.go": "package bio\ntype B int\nfunc (b *B) End() {}\nfunc Run() {}",
		"docs/a.md":  "`bio/bio.go: B.End` `bio/bio.go: Run` `bio/bio.go: End` `bio/no.go: Run`\n`bio/gone.go`\n[x](b.svg) [y](../bio/bio.go) [z](../bio) [w](https://x.org/y.md)",
	}, []string{
		"docs/a.md:1: names End in bio/bio.go", "docs/a.md:1: names bio/no.go", "docs/a.md:2: names bio/gone.go", "docs/a.md:3: links to docs/b.svg",
	}},
	{"waits", Waits, map[string]string{
		"a.go":       "package endio\nimport \"sync\"\nvar a sync.Mutex\nvar b sync.Pool\nvar c = sync.OnceFunc(nil)",
		"batch/b.go": "package batch\nfunc f(c chan int) {\n\tc <- 1\n\t<-c\n\tselect {\n\tcase c <- 1:\n\tdefault:\n\t}\n\tselect {\n\tcase c <- 1:\n\tcase <-c:\n\t\t<-c\n\t}\n}",
		"machine/host/c.go": "package host\nfunc f() {\n\tvar x <-chan time.Time\n\tselect {\n\tcase <-tick.C:\n\tcase <-l.C():\n\t}\n" +
			"\tselect {\n\tcase y := <-l.C():\n\t}\n\tfor range l.C() {\n\t}\n}",
		"dio/d.go": "package dio\nfunc f() {\n\tfor x() {\n\t\truntime.Gosched()\n\t}\n\tfor {\n\t\tif x() {\n\t\t\ttime.Sleep(1)\n\t\t}\n" +
			"\t\ttime.Sleep(1) // polls: a page that another process writes\n\t}\n\truntime.Gosched()\n}",
		"a_test.go":    "package endio\nvar c chan int",
		"explore/e.go": "package explore\nvar c chan int",
	}, []string{
		"a.go:3: sync.Mutex", "a.go:5: sync.OnceFunc: use lockdep.Once",
		"batch/b.go:2: a channel", "batch/b.go:3: a bare send", "batch/b.go:4: a bare receive", "batch/b.go:9: a select", "batch/b.go:12: a bare receive",
		"dio/d.go:4: a loop", "dio/d.go:8: a loop",
		"machine/host/c.go:8: a select", "machine/host/c.go:11: range over",
	}},
	{"listening", Listening, map[string]string{
		"a/a_test.go": "package a\nimport \"endio\"", "a/b_test.go": "package a\nimport \"endio/machine/host\"",
		"b/a_test.go": "package b\nimport \"endio\"\nfunc f() { lockdep.RunTests(m) }", "c/a_test.go": "package c\nimport \"endio/explore\"",
		"uring/u_test.go": "package uring",
	}, []string{"a/b_test.go: its package runs the engine", "uring/u_test.go: its package"}},
	{"programs", Programs, map[string]string{
		"README.md": "x\n```go\npackage a\n```", "examples/first/main.go": spdx + "\npackage b\n",
	}, []string{"README.md: its program"}},
	{"decisions", Decisions, map[string]string{
		"docs/adr/0001-a.md": "# 0001: a\nStatus: x\n## Context\n## Decision\n## Cost",
		"docs/adr/0001-b.md": "# 0002: a\nStatus: x\n## Context\n## Decision\nCost: none",
		"docs/adr/c.md":      "",
	}, []string{"docs/adr/0001-b.md: has the number of docs/adr/0001-a.md", "docs/adr/0001-b.md: has no title with its number", "docs/adr/c.md: want a name"}},
}

// TestRulesFind tries each rule on a tree that breaks it.
func TestRulesFind(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			fsys := make(fstest.MapFS)
			for p, text := range r.files {
				fsys[p] = &fstest.MapFile{Data: []byte(text)}
			}
			tree, err := ReadTree(fsys)
			if err != nil {
				t.Fatal(err)
			}
			got := r.find(tree)
			for i := range max(len(got), len(r.want)) {
				switch {
				case i >= len(r.want):
					t.Errorf("found also: %v", got[i])
				case i >= len(got):
					t.Errorf("not found: %s", r.want[i])
				case !strings.HasPrefix(got[i].String(), r.want[i]):
					t.Errorf("found %v, want %s", got[i], r.want[i])
				}
			}
		})
	}
}

// TestRepository applies the rules to this repository.
func TestRepository(t *testing.T) {
	tree, err := ReadTree(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Files) < 100 {
		t.Fatalf("the tree has %d files only: looked in the wrong place?", len(tree.Files))
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			find := r.find
			if r.name == "lengths" {
				find = func(t *Tree) []Violation { return Lengths(t, known) }
			}
			for _, v := range find(tree) {
				t.Error(v)
			}
		})
	}
}
