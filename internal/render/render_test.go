// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"
	"testing"
	"unicode/utf8"

	"endio/explore"
	"endio/internal/decide"
	"endio/scenario"
)

// TestNoSteps renders the trace of what fails before its first step, or of a token that has none.
func TestNoSteps(t *testing.T) {
	for _, f := range []*explore.Failure{nil, {Kind: explore.BadProgram, Text: "too many tasks"}} {
		a := &decide.Answer{File: &scenario.File{Name: "x.scn"}, Trace: &explore.Trace{}, Failure: f}
		if svg, err := SVG(a); err != nil || !strings.Contains(svg, "0 steps") {
			t.Errorf("SVG: %v\n%s", err, svg)
		}
		if _, err := Perfetto(a); err != nil {
			t.Errorf("Perfetto: %v", err)
		}
		if text := Text(a); !strings.HasSuffix(text, "source\n") {
			t.Errorf("Text: %q", text)
		}
	}
}

// TestWrap breaks text without spaces: never within a character, or a picture is no XML.
func TestWrap(t *testing.T) {
	for _, s := range []string{strings.Repeat("磁", 100), strings.Repeat("é", 101), "a" + strings.Repeat("é", 101), "aa bb " + strings.Repeat("é", 101), strings.Repeat("x", 99)} {
		for chars := 4; chars < 50; chars++ {
			lines := wrap(s, chars)
			if strings.ReplaceAll(strings.Join(lines, ""), " ", "") != strings.ReplaceAll(s, " ", "") {
				t.Errorf("%d: %q became %q", chars, s, lines)
			}
			for _, l := range lines {
				if !utf8.ValidString(l) || len(l) > chars {
					t.Fatalf("%d: line %q of %q", chars, l, s)
				}
			}
		}
	}
}

// TestColumns renders a trace made by hand: what is held, a CPU that goes down, and the end.
func TestColumns(t *testing.T) {
	tr := &explore.Trace{Lanes: 2, Steps: []explore.TraceStep{
		{Task: "T", Label: "lock M", Notes: []string{"holds [M batch.local[0]]"}},
		{Task: "hotplug", Label: "take cpu down", Preempts: true, Marks: []explore.TraceMark{{Lane: 1, Text: "off line"}}},
	}, Waits: []explore.TraceWait{{Task: "T", Step: "lock N", For: "lock N", By: "held by", Owners: []string{"U"}, Why: "U sleeps", File: "a/b.go", Line: 7}}}
	want := `step  CPU 0                 CPU 1                  source
                            --- off line ---
      [T]
   1    lock M
        - holds M batch.local[0]
      [hotplug]
  2*    take cpu down
                            --- off line ---
      [T]
 end    lock N                                     a/b.go:7
        - waits for lock N, held by task "U": U sleeps
`
	if got := Columns(tr, []int{1}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !strings.Contains(Legend, "end:") || !strings.Contains(Legend, "*:") {
		t.Error("the legend does not explain the marks")
	}
}
