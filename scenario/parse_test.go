// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestParse runs the stories in testdata: text in, an explanation or errors out.
func TestParse(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			f, err := Parse("x.scn", []byte(d.Input))
			if err != nil {
				return err.Error() + "\n"
			}
			if d.Cmd == "cases" {
				var b strings.Builder
				for _, c := range f.Cases() {
					e, _ := f.Expected(c)
					b.WriteString(c.Version + " in " + c.Config.String() + ": " + e.verdict() + "\n")
				}
				return b.String()
			}
			return f.Explain()
		})
	})
}

func TestLargeFile(t *testing.T) {
	_, err := Parse("big.scn", bytes.Repeat([]byte("bio A\n"), 10<<20/6))
	var e *Error
	if !errors.As(err, &e) || e.Line != 1 || !strings.Contains(e.Msg, "at most 1048576") {
		t.Fatalf("10 MB: %v", err)
	}
	_, err = Parse("long.scn", bytes.Repeat([]byte("#\nbio A\n"), 2000))
	if !errors.As(err, &e) {
		t.Fatalf("many statements: %v", err)
	}
}

// TestManyErrors: nobody takes the first mistakes for all of them.
func TestManyErrors(t *testing.T) {
	more := fmt.Sprintf("these are the first %d mistakes: there may be more", MaxErrors)
	const end = "bio Z\nirq on cpu 0: complete Z\nexpect v7: holds\n"
	atEnd := ""
	for i := range MaxErrors + 1 {
		atEnd += fmt.Sprintf("bio A%d handler locks M\n", i)
	}
	for _, c := range []struct {
		name, text string
		errs       int
	}{
		{"few", strings.Repeat("bogus\n", MaxErrors-1), MaxErrors - 1},
		{"found by the line", strings.Repeat("bogus\n", MaxErrors+1), MaxErrors + 1},
		{"found at the end", atEnd, MaxErrors + 1},
		{"in one line", "irq on cpu 0: " + strings.Repeat("bogus; ", MaxErrors+9) + "\n", MaxErrors + 1},
	} {
		var list ErrorList
		_, err := Parse("x.scn", []byte("model taskcomp\n"+c.text+end))
		if !errors.As(err, &list) || len(list) != c.errs {
			t.Fatalf("%s: %d errors, want %d:\n%v", c.name, len(list), c.errs, err)
		}
		if got := list[len(list)-1].Msg == more; got != (c.errs > MaxErrors) {
			t.Errorf("%s ends with %v", c.name, list[len(list)-1])
		}
	}
}

// TestControlCharacters: a title goes to terminals and into pictures, where an escape sequence has no place.
func TestControlCharacters(t *testing.T) {
	const rest = "\nmodel taskcomp\nbio A\nirq on cpu 0: complete A\nexpect v7: holds\n"
	for _, c := range []struct{ text, want string }{
		{"title \x1b[31mred" + rest, "x.scn:1:7: control character U+001B is not text"},
		{"title a\x00b" + rest, "x.scn:1:8: control character U+0000 is not text"},
		{"title é\u009b31m" + rest, "x.scn:1:8: control character U+009B is not text"},
		{"# \x7f" + rest, "x.scn:1:3: control character U+007F is not text"},
		{strings.ReplaceAll(rest, "\n", "\r"), "x.scn:1:1: a carriage return in the middle of a line: lines end with a line feed, or with both"},
		{strings.ReplaceAll("title a\tb"+rest, "\n", "\r\n"), ""},
		{rest + "title a\r", ""},
	} {
		got := ""
		if _, err := Parse("x.scn", []byte(c.text)); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// TestCutLines leaves out the end of each line of each scenario, and each of its words: what is missing is a
// mistake that is told, wherever it is.
func TestCutLines(t *testing.T) {
	names, _ := filepath.Glob("../scenarios/*")
	lines := map[string]bool{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		all := strings.Split(string(data), "\n")
		for i, line := range all {
			words := strings.Fields(strings.NewReplacer(":", " : ", ";", " ; ", ",", " , ").Replace(line))
			if len(words) == 0 || lines[line] || strings.HasPrefix(line, "#") {
				continue
			}
			lines[line] = true
			indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
			for k := range words {
				for _, cut := range [][]string{words[:k], append(slices.Clone(words[:k]), words[k+1:]...)} {
					whole := slices.Clone(all)
					whole[i] = indent + strings.Join(cut, " ")
					noPanic(t, []byte(strings.Join(whole, "\n")))
				}
			}
		}
	}
	if len(lines) < 100 {
		t.Errorf("%d lines were tried", len(lines))
	}
}

// noPanic parses, and shows the text if that panics.
func noPanic(t *testing.T, text []byte) {
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%v in\n%s", p, text)
		}
	}()
	_, err := Parse("x.scn", text)
	var list ErrorList
	if err != nil && (!errors.As(err, &list) || len(list) == 0) {
		t.Errorf("no list of errors, but %v, in\n%s", err, text)
	}
}

// FuzzParse looks for text that makes the parser panic, or that it accepts and
// then can't say.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"testdata/parse", "../scenarios"} {
		files, _ := filepath.Glob(dir + "/*")
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				continue
			}
			for _, part := range strings.Split(string(data), "----") {
				_, text, _ := strings.Cut(part, "\nparse\n")
				f.Add([]byte(text))
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f.scn", data)
		if err != nil {
			var list ErrorList
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("no list of errors: %v", err)
			}
			for _, e := range list {
				if e.Line < 1 || e.Col < 1 {
					t.Fatalf("error without a place: %v", e)
				}
			}
			return
		}
		if file.Explain() == "" {
			t.Fatal("nothing to explain")
		}
		for _, c := range file.Cases() {
			if _, ok := file.Expected(c); !ok {
				t.Fatalf("case %v without expectation", c)
			}
		}
	})
}
