// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"errors"
	"os"
	"strings"
	"testing"
)

const header = "group\tname\tlock_type\tcontext\tsteps\texpected\n"

// FuzzParse feeds anything to the parser, and what it accepts to the validator:
// neither may panic, hang, or accept what it can not run.
func FuzzParse(f *testing.F) {
	table, err := os.ReadFile("testdata/selftest.tsv")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(string(table), "\n")[1:] {
		f.Add(header + line + "\n")
	}
	for _, s := range []string{"", header, "x", header + "\t\t\n", header + "g\tn\tt\tc\tL(spin.A\tFAILURE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := Parse(strings.NewReader(text))
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Line < 1 || se.Column < 1 || se.Msg == "" {
				t.Fatalf("Parse error = %#v, want a SyntaxError with line and column", err)
			}
			return
		}
		r := NewRunner()
		for i := range rows {
			first := r.Run(&rows[i])
			if again := r.Run(&rows[i]); again.Got != first.Got || again.Text != first.Text {
				t.Fatalf("%s: two runs differ:\n%s\n%s", rows[i].Name, first.Text, again.Text)
			}
		}
	})
}
