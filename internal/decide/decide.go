// SPDX-License-Identifier: Apache-2.0

// Package decide answers scenarios: it builds the program of each case, lets the
// explorer search it, and says what was found.
//
// A verdict always comes from the search; what the file expects is only compared with
// it afterwards. A case is searched in two stages: a few executions with random
// priorities, which find most faults at once, and then all states. A failure is
// then looked for again with 0, 1 and 2 preemptions, and the shortest trace is kept.
package decide

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"endio/explore"
	"endio/machine/sim"
	"endio/models/callercomp"
	"endio/models/taskcomp"
	"endio/scenario"
)

// Options says how to decide.
type Options struct {
	// Strategy is a name of [Strategies]; "" is auto.
	Strategy string

	// MaxTime bounds each case, with what is done with its failure; 0 means no bound.
	MaxTime time.Duration

	// Workers is the number of goroutines that search one case; 0 means 1.
	Workers int

	// Progress, if not nil, is called every 10 s while a case is searched, on a goroutine of its own.
	Progress func(explore.Progress)

	// Memo, if not nil, lets cases with the same program share one search.
	Memo *Memo
}

// A Memo keeps what was found to hold, by program. The zero Memo is empty.
type Memo struct {
	mu   sync.Mutex
	done map[memoKey]*memoEntry
}

type memoKey struct {
	f    *scenario.File
	same scenario.Case
}

// A memoEntry is locked while the first case of its program is decided.
type memoEntry struct {
	mu sync.Mutex
	a  *Answer
}

// Order returns the order in which n cases of files, which at names, are best decided with a [Memo]: those
// of one file stay together, and of them what others wait for comes first.
func Order(n int, at func(i int) (*scenario.File, scenario.Case)) []int {
	out := make([]int, 0, n)
	for i := 0; i < n; {
		f, _ := at(i)
		var later []int
		for ; i < n; i++ {
			o, c := at(i)
			if o != f {
				break
			}
			if Same(f, c) == c {
				out = append(out, i)
			} else {
				later = append(later, i)
			}
		}
		out = append(out, later...)
	}
	return out
}

func (m *Memo) entry(f *scenario.File, c scenario.Case) *memoEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done == nil {
		m.done = map[memoKey]*memoEntry{}
	}
	k := memoKey{f, c}
	if m.done[k] == nil {
		m.done[k] = &memoEntry{}
	}
	return m.done[k]
}

// An Answer is what was found about one case.
type Answer struct {
	File     *scenario.File
	Case     scenario.Case
	Expected *scenario.Expect // nil: the file expects nothing of the case

	Verdict    explore.Verdict
	Scope      string // exhausted, bounded or sampled
	Bound      string // what bounded the search, or empty
	Executions int64  // complete ones
	States     int64
	Elapsed    time.Duration
	Failure    *explore.Failure
	Trace      *explore.Trace

	// LeftOut says what was left out of the answer for want of time, or is empty.
	LeftOut string

	deadline time.Time // zero: none

	// NotBegun: the request to stop came before the search.
	NotBegun bool

	// Shared is the case that was searched in place of this one, whose program is the same; nil if this one was.
	Shared *scenario.Case
}

// Strategies are the names that Options.Strategy knows.
var Strategies = []string{"auto", "cached", "optimal", "sleepsets", "random", "pct", "bound0", "bound1", "bound2", "bound3"}

// memoryBytes bounds the table of states of one case: 4 million states and more. A case of a slow
// scenario has slowMemoryBytes, and is searched alone.
const (
	memoryBytes     = 768 << 20
	slowMemoryBytes = 6 << 30
)

// probes are the executions of the first stage. Most faults need few orderings.
const probes = 100

// Program returns the program of a case.
func Program(f *scenario.File, c scenario.Case) (*explore.Program, error) {
	if f.Model == scenario.CallerComp {
		return callercomp.Program(f, c)
	}
	return taskcomp.Program(f, c)
}

// Same returns a case of f with the same program as c, the same for all of them.
func Same(f *scenario.File, c scenario.Case) scenario.Case {
	if f.Model == scenario.CallerComp {
		return callercomp.Same(f, c)
	}
	return c
}

// Decide answers one case. Only what holds is shared: a failure has a trace and a token, which have
// the name of the case.
func Decide(ctx context.Context, f *scenario.File, c scenario.Case, o Options) (*Answer, error) {
	if o.Memo == nil {
		return search(ctx, f, c, o)
	}
	e := o.Memo.entry(f, Same(f, c))
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.a == nil {
		a, err := search(ctx, f, c, o)
		if err == nil && a.Verdict == explore.Holds {
			e.a = a
		}
		return a, err
	}
	a := *e.a
	a.Case, a.Shared, a.Elapsed, a.Expected = c, &e.a.Case, 0, nil
	if x, ok := f.Expected(c); ok {
		a.Expected = x
	}
	return &a, nil
}

// search answers one case by a search of its own.
func search(ctx context.Context, f *scenario.File, c scenario.Case, o Options) (*Answer, error) {
	p, err := Program(f, c)
	if err != nil {
		return nil, err
	}
	a := &Answer{File: f, Case: c}
	if e, ok := f.Expected(c); ok {
		a.Expected = e
	}
	if ctx.Err() != nil {
		a.Verdict, a.Scope, a.Bound, a.NotBegun = explore.Unknown, "bounded", "a request to stop", true
		return a, nil
	}
	start := time.Now()
	if o.MaxTime > 0 {
		a.deadline = start.Add(o.MaxTime)
	}
	eo := explore.Options{VerifyStates: true, MaxTime: o.MaxTime, Workers: o.Workers, MemoryBytes: memoryBytes, MaxSteps: 4000}
	if f.Slow {
		eo.MemoryBytes = slowMemoryBytes
	}
	if o.Progress != nil {
		eo.Progress, eo.ProgressEvery = o.Progress, 10*time.Second
	}
	if o.Strategy != "" && o.Strategy != "auto" {
		err = a.explore(ctx, p, eo, strategy(o.Strategy))
	} else {
		err = a.auto(ctx, p, eo)
	}
	a.Elapsed = time.Since(start)
	if a.Failure != nil && a.Failure.LeftOut != "" {
		a.LeftOut = a.Failure.LeftOut
	}
	a.blameChecker()
	return a, err
}

func strategy(name string) explore.Strategy {
	switch name {
	case "optimal":
		return explore.Optimal()
	case "sleepsets":
		return explore.SleepSets()
	case "random":
		return explore.Random(100000, 1)
	case "pct":
		return explore.PCT(100000, 3, 1)
	case "bound0", "bound1", "bound2", "bound3":
		return explore.PreemptionBound(int(name[5] - '0'))
	}
	return explore.Cached()
}

// explore makes one search and adds what it found.
func (a *Answer) explore(ctx context.Context, p *explore.Program, o explore.Options, s explore.Strategy) error {
	o.Strategy = s
	given := o.MaxTime.String()
	if !a.deadline.IsZero() {
		o.MaxTime = max(time.Until(a.deadline), 1)
	}
	r, err := explore.Explore(ctx, p, o)
	if err != nil {
		return err
	}
	a.Executions += r.Executions
	a.States = max(a.States, r.States)
	a.Verdict, a.Failure = r.Verdict, r.Failure
	a.Scope, a.Bound, _ = strings.Cut(r.Scope, " by ")
	if a.Bound == o.MaxTime.String() {
		a.Bound = given // of which this search had the rest
	}
	a.Scope, _, _ = strings.Cut(a.Scope, ",")
	if r.Failure != nil && r.Verdict == explore.Fails {
		a.Scope, a.Trace = "exhausted", r.Failure.Trace // a failing execution is a proof of the failure
	}
	return nil
}

// auto is the search in two stages.
func (a *Answer) auto(ctx context.Context, p *explore.Program, o explore.Options) error {
	probe := o
	probe.Workers = 1
	if err := a.explore(ctx, p, probe, explore.PCT(probes, 3, 1)); err != nil {
		return err
	}
	if a.Verdict != explore.Fails {
		if err := a.explore(ctx, p, o, explore.Cached()); err != nil {
			return err
		}
	}
	if a.Verdict == explore.Fails && !internal(a.Failure.Kind) {
		return a.shorten(ctx, p, o)
	}
	return nil
}

// atFault reports whether a failure is one of the checker, or of a model, for certain: too many steps may be of what was asked.
func (a *Answer) atFault() bool {
	return a.Failure != nil && internal(a.Failure.Kind) && a.Failure.Kind != explore.StepBound
}

// blameChecker makes the verdict of a failure of the checker itself unknown: nothing is known then about what was asked.
func (a *Answer) blameChecker() {
	if a.atFault() {
		a.Verdict, a.Scope, a.Bound = explore.Unknown, "bounded", "a fault of the checker or of its model, which should be reported"
	}
}

// shortenExecutions bounds the search for a shorter trace, for each number of
// preemptions. It is no time, so that the same trace is found on every machine.
const shortenExecutions = 3000

// shorten looks for the same kind of failure with fewer preemptions, and keeps the
// shortest trace.
func (a *Answer) shorten(ctx context.Context, p *explore.Program, o explore.Options) error {
	best := *a
	for n := 0; n <= min(2, best.Failure.Preemptions); n++ {
		if !a.deadline.IsZero() && time.Until(a.deadline) <= 0 {
			best.LeftOut = "no shorter trace was looked for: time"
			break
		}
		o.MaxExecutions, o.Workers = shortenExecutions, 1
		b := Answer{deadline: a.deadline}
		if err := b.explore(ctx, p, o, explore.PreemptionBound(n)); err != nil {
			return err
		}
		best.Executions += b.Executions
		if b.Failure == nil || b.Failure.Kind != a.Failure.Kind || b.Failure.Trace == nil {
			continue
		}
		if best.Trace == nil || len(b.Trace.Steps) < len(best.Trace.Steps) {
			best.Failure, best.Trace = b.Failure, b.Trace
		}
		break
	}
	*a = best
	return nil
}

// Replay makes the execution of a token again.
func Replay(f *scenario.File, c scenario.Case, token string) (*Answer, error) {
	p, err := Program(f, c)
	if err != nil {
		return nil, err
	}
	r, err := explore.Replay(p, token, explore.Options{})
	if err != nil {
		return nil, err
	}
	a := &Answer{File: f, Case: c, Verdict: r.Verdict, Scope: "one execution", Executions: 1, Elapsed: r.Elapsed, Failure: r.Failure, Trace: r.Trace}
	if e, ok := f.Expected(c); ok {
		a.Expected = e
	}
	a.blameChecker()
	return a, nil
}

// kindWords are the words of the scenario language for kinds of failures.
var kindWords = map[explore.FailKind]string{
	explore.Deadlock: "deadlock", explore.LostWork: "lost-work", explore.Livelock: "livelock",
	explore.DataRace: "data-race", explore.StepBound: "livelock",
	sim.NeverRun: "never-run", sim.RunTwice: "run-twice", sim.NilHandler: "nil-handler",
	sim.WrongContext: "wrong-context", sim.AtomicSleep: "atomic-sleep", sim.Lockdep: "lockdep",
	sim.Corruption: "corruption", sim.SoftLockup: "soft-lockup", sim.EndlessDefer: "endless-offload",
	sim.OutOfOrder: "out-of-order", sim.Imbalance: "imbalance", sim.Restarts: "restarts",
	"ineffective": "ineffective", "lost error": "lost-error", "eintr": "eintr", "not drained": "not-drained", "not cancelled": "not-cancelled",
}

// KindWord returns the word for a kind of failure, or the kind itself.
func KindWord(k explore.FailKind) string {
	if w, ok := kindWords[k]; ok {
		return w
	}
	return string(k)
}

// Agrees reports whether the verdict is the one that the file expects. A case of
// which nothing is expected agrees if it was decided.
func (a *Answer) Agrees() bool {
	e := a.Expected
	switch {
	case e == nil:
		return a.Verdict != explore.Unknown
	case e.Holds:
		return a.Verdict == explore.Holds
	case a.Verdict != explore.Fails:
		return false
	}
	got := KindWord(a.Failure.Kind)
	if e.Kind == "hang" {
		return got == "deadlock" || got == "lost-work" || got == "never-run"
	}
	return e.Kind == "any" || e.Kind == got
}

// Problem says in one line what failed, or "".
func (a *Answer) Problem() string {
	if a.Failure == nil {
		return ""
	}
	if a.Verdict == explore.Unknown && a.atFault() {
		return "fault of the checker, no answer (" + string(a.Failure.Kind) + "): " + a.Failure.Text
	}
	return KindWord(a.Failure.Kind) + ": " + a.Failure.Text
}

// knownConfigs are the configurations of which a file can be asked, and the ring modes and both halves
// together if it has rings.
func knownConfigs(f *scenario.File) []string {
	out := scenario.ConfigNames()
	for _, c := range f.ConfigCases() {
		for _, m := range []string{c.Ring, c.Rings} {
			if m != "" && !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	for _, c := range f.ConfigCases() {
		if c.Ring != "" || c.Rings != "" {
			out = append(out, c.String())
		}
	}
	return out
}

// Select returns the cases of f that a version and a configuration leave; "" leaves all. A
// version of which the file expects nothing is taken nevertheless, in all configurations:
// to ask is what a user may.
func Select(f *scenario.File, version, config string) ([]scenario.Case, error) {
	if version != "" && !slices.Contains(scenario.VersionNames(f.Model), version) {
		return nil, nil // of the other model
	}
	all := f.Cases()
	if version != "" {
		all = nil
		for _, c := range f.ConfigCases() {
			all = append(all, scenario.Case{Version: version, Config: c})
		}
	}
	if config == "" {
		return all, nil
	}
	var out []scenario.Case
	for _, c := range all {
		if c.Config.Matches(config) {
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	// A configuration that the file does not list.
	versions := []string{version}
	if version == "" {
		versions = nil
		for _, c := range all {
			if !slices.Contains(versions, c.Version) {
				versions = append(versions, c.Version)
			}
		}
	}
	if !slices.Contains(scenario.ConfigNames(), config) {
		return nil, fmt.Errorf("%s is not checked in configuration %q%s", f.Name, config, scenario.Meant(config, knownConfigs(f)))
	}
	var like scenario.Config // its ring modes
	if len(all) > 0 {
		like = all[0].Config
	}
	like.Preempt = config
	for _, v := range versions {
		out = append(out, scenario.Case{Version: v, Config: like})
	}
	return out, nil
}

// internalKinds are failures of the checker, of a model or of what they promise each other. They say nothing about the protocol
// that was asked about.
var internalKinds = []explore.FailKind{explore.Nondeterminism, explore.Panic, explore.BadProgram, explore.Stalled,
	explore.StrayGoroutine, explore.MemoryLimit, explore.StepBound, sim.HotplugMisuse}

// internal reports whether a failure is one of the checker itself.
func internal(k explore.FailKind) bool { return slices.Contains(internalKinds, k) }
