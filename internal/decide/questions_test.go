// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"testing"
	"time"

	"endio/explore"
	"endio/scenario"
)

// ask decides all cases of a scenario, each of which must be as the text expects.
func ask(t *testing.T, text string) {
	t.Helper()
	f, err := scenario.Parse(t.Name()+".scn", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var memo Memo
	for _, c := range f.Cases() {
		a, err := Decide(context.Background(), f, c, Options{Memo: &memo})
		if err != nil {
			t.Fatal(err)
		}
		if !a.Agrees() {
			t.Errorf("%s in %s: %s (%s)\n%s", c.Version, c.Config, a.Verdict, a.Problem(), text)
		}
	}
}

// TestFailuresBelongToOneOperation: what may fail is said of one hotplug operation, and no other fails.
func TestFailuresBelongToOneOperation(t *testing.T) {
	skipUnderRace(t)
	const head = `model taskcomp
cpus 3
config lazy rt
bio A
bio B
irq on cpu 1: complete A
irq on cpu 1: complete B
`
	ask(t, head+"hotplug: down 1\nhotplug: down 2 may fail at TEARDOWN_CPU\nexpect v6 v7: holds\n")
	ask(t, head+"hotplug: down 1; up 1; down 2 may fail at TEARDOWN_CPU\nexpect v6+fixes v7: holds\n")
	ask(t, head+"hotplug: down 1 may fail at TEARDOWN_CPU\nhotplug: down 2\nexpect v6: fails never-run\nexpect v7: holds\n")
}

// TestStateTellsWaitsApart: how a task came by a lock, at once or after a wait, takes one step or two, and a state has where in
// its code a task is, and not only how many steps it took: programs with waits behind waits ended as not deterministic.
func TestStateTellsWaitsApart(t *testing.T) {
	skipUnderRace(t)
	const head = "model callercomp\nconfig none voluntary lazy\ninode X\nmutex M\n"
	for _, tasks := range []string{
		"task F on cpu 0: freeze; thaw\ntask U on cpu 1: write X unaligned\ntask T on cpu 0: write X\n",
		"task F on cpu 0: freeze; thaw\ntask U on cpu 1: write X unaligned; write X unaligned\ntask T on cpu 0: write X; write X\n",
		"task T: fallocate X under M; clone X\ntask U on cpu 0: freeze; thaw\n",
		"ring R sqpoll\ntask T: freeze; submit R write X; thaw; wait R\ntask U: write X unaligned\n",
	} {
		ask(t, head+tasks+"expect 6.19 6.6-rc: holds\n")
	}
}

// TestFaultsOfTheChecker: what goes wrong in the checker or in a model is no verdict about the protocol, whatever the file
// expects or does not expect.
func TestFaultsOfTheChecker(t *testing.T) {
	runs := 0
	for name, body := range map[string]func(*explore.Task){
		"panics":  func(t *explore.Task) { t.Yield(); panic("broken") },
		"differs": func(t *explore.Task) { runs++; t.Yield(); _ = runs%2 == 0 && t.Choose(2) == 0 },
		"is never at its end": func(t *explore.Task) {
			for {
				t.Yield()
			}
		},
	} {
		p := &explore.Program{Name: name, Init: func(x *explore.Exec) {
			x.OnState(func(*explore.Hash) {})
			x.Go("T", body)
		}}
		for _, e := range []*scenario.Expect{nil, {Holds: true}, {Kind: "any"}} {
			a := &Answer{Expected: e}
			if err := a.auto(context.Background(), p, explore.Options{MaxSteps: 100}); err != nil {
				t.Fatal(err)
			}
			a.blameChecker()
			if a.Agrees() && name != "is never at its end" || a.Scope == "exhausted" && a.Verdict == explore.Unknown {
				t.Errorf("a program that %s: %s, %s, agrees %v with %+v", name, a.Verdict, a.Scope, a.Agrees(), e)
			}
		}
	}
}

// TestNoTimeLeft: what is done with a failure is part of the time that was given.
func TestNoTimeLeft(t *testing.T) {
	f := parse(t, "fallocate.scn")
	c := scenario.Case{Version: "6.6-rc", Config: scenario.Config{Preempt: "full", Ring: "defer"}}
	p, err := Program(f, c)
	if err != nil {
		t.Fatal(err)
	}
	a := &Answer{File: f, Case: c}
	if err := a.explore(context.Background(), p, explore.Options{NoMinimise: true}, explore.SleepSets()); err != nil || a.Verdict != explore.Fails {
		t.Fatal(err, a.Verdict)
	}
	before := a.Executions
	a.deadline = time.Now().Add(-time.Second)
	if err := a.shorten(context.Background(), p, explore.Options{}); err != nil || a.LeftOut == "" || a.Executions != before || a.Verdict != explore.Fails {
		t.Errorf("%v: left out %q, %d executions more, %s", err, a.LeftOut, a.Executions-before, a.Verdict)
	}
	b, err := Decide(context.Background(), f, c, Options{MaxTime: 1})
	if err != nil || b.Verdict != explore.Unknown || b.Bound != "1ns" || b.Agrees() {
		t.Errorf("%v: %s, bounded by %q", err, b.Verdict, b.Bound)
	}
}

// TestEndioIsAsked: endio takes the words that the versions of the kernel take.
func TestEndioIsAsked(t *testing.T) {
	skipUnderRace(t)
	const head = "model callercomp\nconfig full\ninode X\ninode Y\nmutex M\nring R\n"
	// Two tasks wait for each other: one for the mutex with which a call is made, the other with it for what the first has to thaw.
	ask(t, head+"task T: freeze; fallocate X under M; thaw\ntask U: lock M; write X; unlock M\nexpect endio: fails hang\n")
	ask(t, head+"task T: submit R write X; fallocate X under M; wait R\ntask U: truncate X under M\nexpect endio: holds\n")
	// Who has frozen the file system can not write to it himself.
	ask(t, head+"task T: freeze; write X; thaw\nexpect endio 6.5 6.19+endwrite: fails hang\n")
	ask(t, head+"task T: freeze; fallocate X; thaw\nexpect endio 6.5 6.19+endwrite: fails hang\n")
	ask(t, head+"task T: freeze; submit R write X; thaw; wait R\nexpect endio 6.19: holds\n")
	// Nor wait, frozen out, for what it keeps others from: an exclusive section of the engine waits for the thaw.
	ask(t, head+"task T: submit R write X; wait R\ntask U: write X unaligned; fallocate X\ntask F: freeze; thaw\nexpect endio: holds\n")
	// One worker does one thing at a time.
	ask(t, head+"io-workers 1\ntask T: submit R truncate X; freeze; submit R fallocate Y; wait R; thaw; wait R\nexpect endio: fails hang\n")
}
