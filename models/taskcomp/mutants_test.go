// SPDX-License-Identifier: Apache-2.0

package taskcomp

import (
	"context"
	"testing"

	"endio/explore"
	"endio/machine/sim"
	"endio/scenario"
)

// mutant decides a scenario of v7 on a model that change has changed.
func mutant(t *testing.T, text string, change func(m *model)) *explore.Result {
	t.Helper()
	f, err := scenario.Parse("mutant.scn", []byte("model taskcomp\n"+text+"expect v7: holds\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := &explore.Program{Name: t.Name(), Init: func(x *explore.Exec) {
		change(start(x, f, sim.Config{CPUs: 2, Preemption: sim.Full}, "v7"))
	}}
	r, err := explore.Explore(context.Background(), p, explore.Options{Strategy: explore.Cached(), MaxSteps: 1000, VerifyStates: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found wants a mutant to fail with one of two kinds, and the model to hold.
func found(t *testing.T, text string, change func(m *model), kinds ...explore.FailKind) {
	t.Helper()
	if r := mutant(t, text, func(*model) {}); r.Verdict != explore.Holds || r.Scope != "exhausted" {
		t.Errorf("the model: %v\n%s", r, text)
	}
	r := mutant(t, text, change)
	if r.Failure == nil {
		t.Fatalf("the mutant holds\n%s", text)
	}
	for _, k := range kinds {
		if r.Failure.Kind == k {
			return
		}
	}
	t.Errorf("the mutant fails with %s, want one of %v\n%s", r.Failure, kinds, text)
}

// TestB12MutantChainTwice: what comes before the integrity hook, and the step to the parent behind it, is done once.
func TestB12MutantChainTwice(t *testing.T) {
	const child = "bio P\nbio C integrity parent P\nirq on cpu 0: complete C\nirq on cpu 1: complete P\n"
	// The hook lets the bio go on as well: the child takes part in its chain twice.
	found(t, child, func(m *model) {
		hook := m.integrityHook
		m.integrityHook = func(c *sim.Context, b *modelBio) bool { hook(c, b); return true }
	}, sim.Imbalance, sim.RunTwice)
	// BIO_CHAIN is still set when the parent, which has integrity data, ends again.
	const parent = "bio P integrity\nbio C parent P\nirq on cpu 0: complete C\nirq on cpu 1: complete P\n"
	found(t, parent, func(m *model) {
		m.again = func(c *sim.Context, b *modelBio) {
			m.state[b.id].chained = b.remaining != nil
			m.bioEndio(c, b)
		}
	}, sim.Imbalance)
}

// TestB12MutantLostError: the first error of a chain reaches the handler, whoever ends last.
func TestB12MutantLostError(t *testing.T) {
	const two = "bio P\nbio C error parent P\nbio D parent P\nirq on cpu 0: complete C; complete P\nirq on cpu 1: complete D\n"
	// The status is copied whether it is an error or not: one that comes after the error undoes it. D has a status in the mutant only.
	found(t, two, func(m *model) {
		m.chainEndio = func(c *sim.Context, b *modelBio) {
			of := 0
			if b.status != nil {
				of = b.status.Load(c)
			}
			b.parent.status.Store(c, of)
		}
	}, lostError)
	// It is not copied.
	found(t, two, func(m *model) { m.chainEndio = func(*sim.Context, *modelBio) {} }, lostError)
	// It is copied from the child's child to the child alone, and not further.
	const three = "bio P\nbio C parent P\nbio D error parent C\nirq on cpu 0: complete D\nirq on cpu 1: complete P; complete C\n"
	found(t, three, func(m *model) {
		m.chainEndio = func(c *sim.Context, b *modelBio) {
			if b.parent.parent != nil {
				m.bioChainEndio(c, b)
			}
		}
	}, lostError)
	// It is copied after the count: whoever ends the parent meanwhile does not see it.
	const late = "bio P\nbio C error parent P\nirq on cpu 0: complete C\nirq on cpu 1: complete P\n"
	found(t, late, func(m *model) {
		m.chainEndio = func(*sim.Context, *modelBio) {}
		end := m.end
		m.end = func(c *sim.Context, b *modelBio) {
			end(c, b)
			if b.parent != nil {
				m.bioChainEndio(c, b)
			}
		}
	}, lostError)
}
