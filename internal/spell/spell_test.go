// SPDX-License-Identifier: Apache-2.0

package spell

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	words := []string{"iodepth", "iodepth_batch", "bs", "bssplit"}
	for word, want := range map[string]string{"iodetph": "iodepth", "b": "bs", "bsplit": "bssplit", "IODEPTH_BACH": "iodepth_batch"} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{"iodepth", "iodetph", true}, {"a", "b", true}, {"read", "write", false}, {strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20), false}} {
		if got := Near(c.a, c.b); got != c.want {
			t.Errorf("Near(%.20q, %.20q) = %v", c.a, c.b, got)
		}
	}
}

// TestDistance compares with the definition, spelled out as a recursion.
func TestDistance(t *testing.T) {
	var slow func(a, b string) int
	slow = func(a, b string) int {
		switch {
		case a == "":
			return len(b)
		case b == "":
			return len(a)
		}
		cost := 1
		if a[0] == b[0] {
			cost = 0
		}
		d := min(slow(a[1:], b)+1, slow(a, b[1:])+1, slow(a[1:], b[1:])+cost)
		if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
			d = min(d, slow(a[2:], b[2:])+1)
		}
		return d
	}
	word := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if got, want := distance(a, b), slow(a, b); got != want {
			t.Errorf("distance(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}
