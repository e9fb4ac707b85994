// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func parseFile(t *testing.T, name string) []Row {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows
}

// TestKernelTable runs the cases of the kernel's own self-test of its validator.
func TestKernelTable(t *testing.T) {
	rows := parseFile(t, "testdata/selftest.tsv")
	if len(rows) != 333 {
		t.Fatalf("rows = %d, want 333", len(rows))
	}
	r := NewRunner()
	for i := range rows {
		if res := r.Run(&rows[i]); !res.Agrees() {
			t.Errorf("%s (line %d) = %s (%s), want %s\n%s", rows[i].Name, rows[i].Line, res.Got, res.Reason, rows[i].Expected, res.Text)
		}
	}
}

// TestMoreRows runs cases of the same shapes that the shared table leaves out, and of what this
// project adds. Each verdict is argued in the file.
func TestMoreRows(t *testing.T) {
	rows := parseFile(t, "testdata/more.tsv")
	r := NewRunner()
	for i := range rows {
		if res := r.Run(&rows[i]); !res.Agrees() {
			t.Errorf("%s (line %d) = %s (%s), want %s\n%s", rows[i].Name, rows[i].Line, res.Got, res.Reason, rows[i].Expected, res.Text)
		}
	}
}

// TestFlippedRows turns every verdict of the table round: a runner that agrees with these too does
// not look.
func TestFlippedRows(t *testing.T) {
	r := NewRunner()
	for _, row := range parseFile(t, "testdata/selftest.tsv") {
		if row.Expected == Success {
			row.Expected = Failure
		} else {
			row.Expected = Success
		}
		if res := r.Run(&row); res.Agrees() {
			t.Errorf("%s agrees with the flipped verdict %s", row.Name, row.Expected)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	row := func(steps string) string { return header + "g\tn\tspin\ttask\t" + steps + "\tFAILURE\n" }
	const at = len("g\tn\tspin\ttask\t") + 1 // column of the first step
	for _, tt := range []struct {
		name, text   string
		line, column int
		msg          string
	}{
		{"empty", "", 1, 1, "the table is empty"},
		{"header", "group\tnome\n", 1, 7, `column 2 is "nome", want "name"`},
		{"short header", "group\tname\n", 1, 12, `want column "lock_type"`},
		{"fields", header + "a\tb\n", 2, 4, "2 fields, want 6"},
		{"no name", header + "g\t\tt\tc\tL(spin.A)\tFAILURE\n", 2, 3, "the row has no name"},
		{"verdict", header + "g\tn\tt\tc\tL(spin.A)\tMAYBE\n", 2, 19, `verdict "MAYBE", want FAILURE or SUCCESS`},
		{"twice", row("L(spin.A)") + "g\tn\tspin\ttask\tL(spin.A)\tFAILURE\n", 3, 3, `name "n" is taken by line 2`},
		{"no steps", row(""), 2, at, "no steps"},
		{"unknown operation", row("L(spin.A); X(spin.A)"), 2, at + 11, `unknown operation "X"`},
		{"unknown type", row("L(spun.A)"), 2, at + 2, `unknown lock type "spun"`},
		{"unknown object", row("L(A)"), 2, at + 2, `unknown object "A"`},
		{"no shared mode", row("R(mutex.A)"), 2, at + 2, "mutex has no shared mode"},
		{"not closed", row("hirq{ L(spin.A)"), 2, at + 15, "a block is not closed"},
		{"closes nothing", row("L(spin.A) }"), 2, at + 10, "} closes no block"},
		{"task in a block", row("hirq{ L(spin.A) | U(spin.A) }"), 2, at + 16, "another task begins inside a block"},
		{"result", row("T(spin.A)=maybe"), 2, at + 10, `result "maybe", want one of true, false`},
		{"no result", row("U(spin.A)=ok"), 2, at + 9, "this operation has no result"},
		{"context", row("L(spin.A,t)"), 2, at + 9, "only L, LSLOW and T of a ww have a context"},
		{"field", row("t.colour:=nil"), 2, at + 2, `unknown field "colour"`},
		{"not text", header + "g\tn\tspin\ttask\tL(spin.\xff)\tFAILURE\n", 2, at + 7, "not text"},
		{"unicode", row("L(spin.A); Ä(spin.A)"), 2, at + 11, `unknown operation "Ä"`},
		{"parenthesis", row("L(spin.A"), 2, at + 8, "want )"},
	} {
		_, err := Parse(strings.NewReader(tt.text))
		var se *SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%s: Parse() = %v, want a SyntaxError", tt.name, err)
			continue
		}
		if se.Line != tt.line || se.Column != tt.column || !strings.Contains(se.Msg, tt.msg) {
			t.Errorf("%s: Parse() = %v, want line %d, column %d: %s", tt.name, se, tt.line, tt.column, tt.msg)
		}
	}
}

// TestManyClasses runs rows with more classes than a validator holds.
func TestManyClasses(t *testing.T) {
	var text strings.Builder
	text.WriteString(header)
	for i := range 10000 {
		fmt.Fprintf(&text, "g\tn%d\tspin\ttask\tL(spin.c%dx1); L(spin.c%dx2)\tFAILURE\n", i, i, i)
	}
	rows, err := Parse(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	r := NewRunner()
	for i := range rows {
		if res := r.Run(&rows[i]); !res.Agrees() || !strings.Contains(res.Reason, "recursive") {
			t.Fatalf("%s = %s (%s), want %s", rows[i].Name, res.Got, res.Reason, rows[i].Expected)
		}
	}
}
