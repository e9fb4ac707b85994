// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"endio/explore"
	"endio/internal/race"
	"endio/scenario"
)

var (
	randomFiles = flag.Int("decide.files", perBuild(60, 10), "random scenarios for TestRandomScenarios, about five a second")
	randomTime  = flag.Duration("decide.time", 2*time.Second, "for each of their searches")
	randomWith  = flag.String("decide.with", "", "only those with all of these words, separated by commas")
	randomSeed  = flag.Uint64("decide.seed", 1, "the first of their seeds")
)

// perBuild returns how many of something are tried without and with the race detector.
func perBuild(n, withRace int) int {
	if race.Enabled {
		return withRace
	}
	return n
}

// skipUnderRace skips tests that search for a minute or more then. Other tests look for races of searches.
func skipUnderRace(t *testing.T) {
	if race.Enabled {
		t.Skip("a minute of searches under the race detector: TestReductions and TestRandomScenarios do for it")
	}
}

// A generator writes scenarios that parse. They are small: most are exhausted in a few thousand states.
type generator struct {
	*rand.Rand
	b     strings.Builder
	model string
	cpus  int
	rings []string
	steps int // to be written yet
}

func (g *generator) say(format string, args ...any) { fmt.Fprintf(&g.b, format+"\n", args...) }

func (g *generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *generator) maybe(percent int, text string) string {
	if g.IntN(100) < percent {
		return text
	}
	return ""
}

// randomScenario writes the scenario of a seed, with one version and configuration.
func randomScenario(seed uint64) string {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7)), cpus: 2, steps: 5}
	g.model = g.one(scenario.CallerComp, scenario.TaskComp)
	g.say("model %s", g.model)
	if g.IntN(4) == 0 {
		g.cpus = 1 + g.IntN(3)
		g.say("cpus %d", g.cpus)
	}
	g.say("config %s", g.one(scenario.ConfigNames()...))
	if g.IntN(6) == 0 {
		g.say("workers %d", 1+g.IntN(2))
	}
	if g.IntN(10) == 0 {
		g.say("memory short")
	}
	g.say("mutex M\nspinlock S\nrawlock W")
	if g.model == scenario.CallerComp {
		g.callerComp()
	} else {
		g.taskComp()
	}
	g.say("expect %s: holds", g.one(scenario.VersionNames(g.model)...))
	return g.b.String()
}

func (g *generator) callerComp() {
	if g.IntN(8) == 0 {
		g.say("io-workers %d", 1+g.IntN(2))
	}
	if g.IntN(6) == 0 {
		g.say("annotate %s", g.one("class", "owner"))
	}
	g.say("inode X %s", g.one("ext4", "xfs"))
	g.say("inode Y %s", g.one("ext4", "xfs"))
	mode := g.one("default", "coop", "sqpoll", "defer", "sqpoll")
	for _, r := range []string{"R", "Q"}[:g.IntN(3)] {
		g.say("ring %s %s", r, mode)
		g.rings = append(g.rings, r)
	}
	names := []string{"T", "U", "F"}[:1+g.IntN(3)]
	for i, name := range names {
		ring := ""
		if i < len(g.rings) {
			ring = g.rings[i]
		}
		steps := g.calls(ring, 1+g.IntN(max(1, g.steps-1)), names)
		g.say("task %s%s: %s", name, g.maybe(50, fmt.Sprintf(" on cpu %d", g.IntN(g.cpus))), strings.Join(steps, "; "))
	}
}

func (g *generator) inode() string { return g.one("X", "X", "X", "Y") }

func (g *generator) properties() string {
	return g.maybe(20, " unaligned") + g.maybe(15, " extending") + g.maybe(15, " shared") + g.direct()
}

// direct are the properties of a direct read or write.
func (g *generator) direct() string { return g.maybe(20, " bios 2") + g.maybe(15, " error") }

// submit is a step that submits, and sometimes a chain of two.
func (g *generator) submit(ring string) []string {
	one := func(link string) string {
		return "submit " + ring + " " + g.one("write "+g.inode()+g.properties(), "write "+g.inode(), "read "+g.inode()+g.direct(), "fallocate "+g.inode(), "truncate "+g.inode()) + link
	}
	if g.steps == 0 || g.IntN(4) > 0 {
		return []string{one("")}
	}
	g.steps--
	return []string{one(" link"), one("")}
}

// calls are the steps of a task of model callercomp.
func (g *generator) calls(ring string, n int, tasks []string) (out []string) {
	asked, frozen := 0, false
	for ; n > 0 && g.steps > 0; n-- {
		g.steps--
		switch k := g.IntN(20); {
		case k < 8 && ring != "":
			steps := g.submit(ring)
			asked += len(steps)
			out = append(out, steps...)
		case k < 11:
			out = append(out, g.one("write "+g.inode()+g.properties(), "read "+g.inode()+g.direct()))
		case k < 14:
			out = append(out, g.one("fallocate", "truncate", "clone")+" "+g.inode()+g.maybe(30, " under M"))
		case k < 18 && !frozen:
			frozen = true
			out = append(out, "freeze")
		case k < 18:
			frozen = false
			out = append(out, "thaw")
		case k == 18:
			out = append(out, "signal "+g.one(tasks...))
		default:
			out = append(out, g.one("lock M; unlock M", "preempt-off; preempt-on", "spin-lock S; spin-unlock S"))
		}
		if asked > 0 && g.IntN(3) == 0 {
			out = append(out, fmt.Sprintf("wait %s %d", ring, asked))
			asked = 0
		}
	}
	if frozen && g.IntN(5) > 0 {
		out = append(out, "thaw")
	}
	if asked > 0 {
		out = append(out, fmt.Sprintf("wait %s %d", ring, asked))
	}
	if len(out) == 0 {
		out = append(out, "read X")
	}
	return out
}

func (g *generator) taskComp() {
	names := []string{"A", "B", "C"}[:1+g.IntN(3)]
	resubmitted := ""
	for i, n := range names {
		h := g.one("plain", "plain", "none", "sleeps", "dynamic", "locks M", "waits", "resubmits", "restores", "writeback", "hotplugs")
		switch other := names[(i+1)%len(names)]; {
		case h == "waits" && len(names) > 1:
			h = "waits for " + other
		case h == "resubmits" && len(names) > 1 && resubmitted == "" && i+1 < len(names):
			h, resubmitted = "resubmits "+other+g.maybe(50, fmt.Sprintf(" on cpu %d", g.IntN(g.cpus))), other
		case h == "hotplugs" && g.cpus > 1:
			h = fmt.Sprintf("hotplugs cpu %d", g.cpus-1)
		case h == "waits" || h == "resubmits" || h == "hotplugs":
			h = "plain"
		}
		g.say("bio %s%s handler %s%s", n, g.maybe(20, " unflagged"), h, g.maybe(10*i, " parent "+names[0]))
	}
	for i, n := range names {
		if n == resubmitted {
			continue
		}
		section := g.one("%s", "%s", "%s", "preempt-off; %s; preempt-on", "spin-lock S; %s; spin-unlock S", "raw-lock W; %s; raw-unlock W", "irqs-off; %s; irqs-on", "rcu-lock; %s; rcu-unlock")
		steps := fmt.Sprintf(section, "complete "+n)
		switch g.IntN(5) {
		case 0:
			g.say("task T%d%s: %s", i, g.maybe(50, fmt.Sprintf(" on cpu %d", g.IntN(g.cpus))), steps)
		case 1:
			g.say("softirq on cpu %d: %s", g.IntN(g.cpus), steps)
		default:
			g.say("irq on cpu %d%s: %s", g.IntN(g.cpus), g.maybe(20, " hard"), steps)
		}
	}
	if g.cpus == 1 {
		return // no hotplug
	}
	switch g.IntN(3) {
	case 0:
		g.say("hotplug: down %d%s%s", g.cpus-1, g.maybe(60, g.one(" may fail at any", " may fail at TEARDOWN_CPU", " to TEARDOWN_CPU")),
			g.maybe(50, fmt.Sprintf("; up %d", g.cpus-1)))
	case 1:
		g.say("task L: lock M; %s; unlock M", g.one("wait-bio A", fmt.Sprintf("down %d", g.cpus-1)))
	}
}

func hasAll(text, words string) bool {
	for _, w := range strings.Split(words, ",") {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// TestRandomScenarios asks random questions. None may end in a failure of the checker itself, and the verdict over states
// must be that over executions, which knows nothing of states, where both are exhausted.
func TestRandomScenarios(t *testing.T) {
	asked, decided, compared := 0, 0, 0
	for seed := *randomSeed; seed < *randomSeed+uint64(*randomFiles); seed++ {
		text := randomScenario(seed)
		if !hasAll(text, *randomWith) {
			continue
		}
		asked++
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f, err := scenario.Parse(fmt.Sprintf("random-%d.scn", seed), []byte(text))
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			c := f.Cases()[0]
			p, err := Program(f, c)
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, text)
			}
			states, err := Decide(context.Background(), f, c, Options{MaxTime: *randomTime})
			if err != nil {
				t.Fatal(err)
			}
			if states.Verdict != explore.Unknown {
				decided++
			}
			if states.Failure != nil && internal(states.Failure.Kind) {
				t.Errorf("seed %d, %s, %s: %v\n%s\n%s", seed, c.Version, c.Config, states.Failure, states.Failure.Details, text)
				return
			}
			if states.Verdict == explore.Holds && states.States > 3000 {
				return
			}
			all, err := explore.Explore(context.Background(), p, explore.Options{MaxExecutions: 2000, MaxTime: *randomTime, MaxSteps: 2000, NoMinimise: true})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case all.Failure != nil && all.Failure.Kind == explore.StepBound && c.Version == "6.6-rc+nowait":
				// Its workers try again and again, and executions do not see whether somebody else had his turn meanwhile.
			case all.Failure != nil && internal(all.Failure.Kind):
				t.Errorf("seed %d, %s, %s: over executions %v\n%s", seed, c.Version, c.Config, all.Failure, text)
			case all.Verdict == explore.Unknown || states.Verdict == explore.Unknown:
			case all.Verdict != states.Verdict:
				t.Errorf("seed %d, %s, %s: %s over states (%s), over executions %s\n%s", seed, c.Version, c.Config, states.Verdict, states.Problem(), all, text)
			default:
				compared++
			}
		})
	}
	t.Logf("%d scenarios: %d decided over states, %d of them over executions too", asked, decided, compared)
	if !race.Enabled && (decided*2 < asked || compared*4 < asked) {
		t.Error("too few are decided: the generator is not worth much")
	}
}
