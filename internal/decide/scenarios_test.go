// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"endio/explore"
	"endio/internal/race"
	"endio/machine/sim"
	"endio/scenario"
)

func parse(t *testing.T, name string) *scenario.File {
	t.Helper()
	f, err := scenario.ReadFile(filepath.Join("../../scenarios", name))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestReductions compares the verdict over states with the one over classes of
// executions, found without any notion of state, on scenarios small enough for both.
func TestReductions(t *testing.T) {
	few := map[string]bool{"6.5": true, "6.6-rc": true, "6.6-rc+split": true, "6.19": true, "v5": true, "v6": true, "v7": true}
	for _, name := range []string{"fallocate.scn", "null-handler.scn", "shared-extents.scn"} {
		f := parse(t, name)
		for _, c := range f.Cases() {
			if c.Config.Ring == "sqpoll" || c.Version == "endio" {
				continue // many classes
			}
			if p := c.Config.Preempt; p != "full" && p != "lazy" && p != "none" || race.Enabled && p == "none" || !few[c.Version] {
				continue // the same classes again, or too slow
			}
			a, err := Decide(context.Background(), f, c, Options{Strategy: "cached"})
			if err != nil {
				t.Fatal(err)
			}
			p, err := Program(f, c)
			if err != nil {
				t.Fatal(err)
			}
			r, err := explore.Explore(context.Background(), p, explore.Options{MaxExecutions: 20000})
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != a.Verdict && r.Verdict != explore.Unknown {
				t.Errorf("%s, %s, %s: %s over states, %s over executions", name, c.Version, c.Config, a.Verdict, r)
			}
		}
	}
}

// TestEveryFileParses parses all scenarios: `endio check all` is for the verdicts.
func TestEveryFileParses(t *testing.T) {
	names, err := filepath.Glob("../../scenarios/*.scn")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d scenarios, %v", len(names), err)
	}
	for _, n := range names {
		f := parse(t, filepath.Base(n))
		if f.Title == "" {
			t.Errorf("%s has no title", n)
		}
		for _, c := range f.Cases() {
			if _, err := Program(f, c); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestDocs parses the scenarios in the reference and in the README.
func TestDocs(t *testing.T) {
	for _, name := range []string{"../../docs/scenario.md", "../../README.md"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)\n```\n((?:title |model |# ).*?)```\n").FindAllSubmatch(data, -1)
		for _, b := range blocks {
			f, err := scenario.Parse(name, b[1])
			if err != nil {
				t.Errorf("%v\n%s", err, b[1])
				continue
			}
			if _, err := Program(f, f.Cases()[0]); err != nil {
				t.Error(err)
			}
		}
		if len(blocks) == 0 {
			t.Errorf("%s: no scenario found", name)
		}
	}
}

// TestStates compares the hotplug states of the language with those of the machine.
func TestStates(t *testing.T) {
	type state struct {
		name  string
		fails bool
	}
	var said, real []state
	scenario.StateCanFail(func(n string, f bool) { said = append(said, state{n, f}) })
	p := &explore.Program{Name: "states", Init: func(x *explore.Exec) {
		real = nil
		sim.New(x, sim.Config{}).States(func(n string, f bool) { real = append(real, state{n, f}) })
	}}
	if _, err := explore.Explore(context.Background(), p, explore.Options{MaxExecutions: 1}); err != nil {
		t.Fatal(err)
	}
	if len(said) != len(real) {
		t.Fatalf("the language has %d states, the machine %d", len(said), len(real))
	}
	for i := range said {
		if said[i] != real[i] {
			t.Errorf("state %d: the language says %v, the machine %v", i, said[i], real[i])
		}
	}
}

// TestKindsAreDocumented wants a row of the reference for each kind of failure of the language.
func TestKindsAreDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/scenario.md")
	if err != nil {
		t.Fatal(err)
	}
	_, err = scenario.Parse("x", []byte("model taskcomp\nirq on cpu 0: preempt-off\nexpect v7: fails nothing\n"))
	list := regexp.MustCompile(`known: ([^)]*)\)`).FindStringSubmatch(fmt.Sprint(err))
	if list == nil {
		t.Fatalf("no list of kinds in %v", err)
	}
	kinds := strings.Split(list[1], ", ")
	for _, k := range kinds {
		if !regexp.MustCompile("(?m)^\\| `" + k + "` \\| .{10,} \\|").Match(data) {
			t.Errorf("kind %s has no row in docs/scenario.md", k)
		}
	}
	if len(kinds) < 20 {
		t.Errorf("%d kinds", len(kinds))
	}
}
