// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"endio/explore"
)

// TestFaultFound: publishing the slot before the value is a data race, found in
// the first execution.
func TestFaultFound(t *testing.T) {
	r, err := explore.Explore(context.Background(), Program(2, 2, 2, true), explore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `data race on slot[1]: task "consumer" and task "producer" access it without synchronisation, at least one writes`
	if r.Failure == nil || r.Failure.Kind != explore.DataRace || r.Failure.Text != want {
		t.Fatalf("%v: failure = %v, want %s", r, r.Failure, want)
	}
	t.Logf("%v\n%s\n%s", r, r.Failure.Token, r.Failure.Trace)
	again, err := explore.Replay(Program(2, 2, 2, true), r.Failure.Token, explore.Options{})
	if err != nil || again.Failure == nil || again.Failure.Text != want {
		t.Errorf("replay: %v, %v", again, err)
	}
}

// TestFixedHolds: with the order of the two writes put right, all interleavings
// hold.
func TestFixedHolds(t *testing.T) {
	for _, size := range []int{1, 2} {
		r, err := explore.Explore(context.Background(), Program(size, 2, 2, false), explore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != explore.Holds || r.Scope != "exhausted" {
			t.Errorf("%v (failure %v), want holds, exhausted", r, r.Failure)
		}
		t.Log(r)
	}
}

func Example() {
	r, err := explore.Explore(context.Background(), Program(2, 2, 2, true), explore.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Verdict)
	fmt.Println(strings.SplitN(r.Failure.Error(), ":", 2)[0])
	// Output:
	// fails
	// data race
}
