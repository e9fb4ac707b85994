// SPDX-License-Identifier: Apache-2.0

// Package decidetest asks a model questions in its tests, as users ask them: in scenarios.
package decidetest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"endio/internal/decide"
	"endio/scenario"
)

// Ask decides a scenario in each of its configurations, and wants of each version a failure with that text, or that the
// scenario holds, exhausted, where the text is empty. The keys of want are versions with spaces between them. Where more than one failure is
// there to be found first, their texts have the line "or" between them.
func Ask(t *testing.T, text string, want map[string]string) {
	t.Helper()
	f, err := scenario.Parse(t.Name()+".scn", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for versions, failure := range want {
		for _, v := range strings.Fields(versions) {
			for _, c := range f.ConfigCases() {
				a, err := decide.Decide(context.Background(), f, scenario.Case{Version: v, Config: c}, decide.Options{})
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				if a.Failure != nil {
					got = a.Failure.Error()
				}
				if !slices.Contains(strings.Split(failure, "\nor\n"), got) || a.Failure == nil && a.Scope != "exhausted" {
					t.Fatalf("%s in %s: scope %s\n  got  %q\n  want %q\n%s", v, c, a.Scope, got, failure, text)
				}
			}
		}
	}
}
