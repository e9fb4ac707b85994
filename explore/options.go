// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"errors"
	"fmt"
	"time"
)

// Options says how to search. The zero Options are good for small programs.
type Options struct {
	// Strategy is how to search; the zero Strategy is [Optimal].
	Strategy Strategy

	// MaxSteps bounds one execution, in steps; 0 means 10000. An execution
	// that reaches it fails with [StepBound].
	MaxSteps int

	// MaxExecutions bounds the search; 0 means no bound.
	MaxExecutions int64

	// MaxTime bounds the search, and what is done with its result; 0 means no bound. What takes longer is one
	// execution, which is not cut short, and the one that records a trace. What is left out says [Failure] LeftOut.
	MaxTime time.Duration

	// MemoryBytes bounds what the search itself keeps; 0 means 2 GiB. A table
	// of states that is full is not extended, which costs time but no
	// coverage, except of endless executions: see Result.Scope.
	MemoryBytes int64

	// KeepGoing goes on after a failure. A task that fails ends, and the
	// others go on. Result has the first MaxFailures different failures.
	KeepGoing bool

	// MaxFailures bounds Result.Failures with KeepGoing; 0 means 100.
	MaxFailures int

	// Workers is the number of goroutines that search in parallel; 0 means 1.
	Workers int

	// Checkpoint names a file. If the search ends before it has looked at
	// everything, and without a failure, it writes there what is left to do.
	// With [Cached] endless executions may be missed then: see Result.Scope.
	Checkpoint string

	// Resume continues the search that the file of Checkpoint tells of, if the
	// file exists. Program, strategy and MaxSteps must be the same.
	Resume bool

	// Progress, if not nil, is called from time to time, on a goroutine of its
	// own, while the search goes on.
	Progress func(Progress)

	// ProgressEvery is the time between calls of Progress; 0 means 1 s.
	ProgressEvery time.Duration

	// StallTimeout is how long a task may take for one step, in wall-clock
	// time, before the search gives up with [Stalled]; 0 means 10 s.
	StallTimeout time.Duration

	// VerifyStates makes every execution of [Cached] compare the state from which it goes on with
	// what that was when it was found, by another way perhaps; otherwise one in 64 does. It finds
	// programs that do not declare all of their state.
	VerifyStates bool

	// NoMinimise reports the first failure found as it is.
	NoMinimise bool

	depthFirst bool          // Cached: see again
	hole       hole          // for tests: see optimal
	late       bool          // for tests: see stateGraph.choicesLast
	ids        *idTable      // for tests: makes searches agree on ids
	onRun      func(x *Exec) // for tests: called after each execution that counts
}

// complete fills in the defaults.
func (o *Options) complete() error {
	for _, n := range []struct {
		name  string
		value int64
	}{{"MaxSteps", int64(o.MaxSteps)}, {"MaxExecutions", o.MaxExecutions}, {"MaxTime", int64(o.MaxTime)},
		{"MemoryBytes", o.MemoryBytes}, {"MaxFailures", int64(o.MaxFailures)}, {"Workers", int64(o.Workers)},
		{"StallTimeout", int64(o.StallTimeout)},
		{"ProgressEvery", int64(o.ProgressEvery)}} {
		if n.value < 0 {
			return fmt.Errorf("option %s is %d: it must not be negative", n.name, n.value)
		}
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = 10000
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 2 << 30
	}
	if o.MaxFailures == 0 {
		o.MaxFailures = 100
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 10 * time.Second
	}
	if o.ProgressEvery == 0 {
		o.ProgressEvery = time.Second
	}
	if o.Resume && o.Checkpoint == "" {
		return errors.New("option Resume needs the name of a file in Checkpoint")
	}
	if o.Strategy.build == nil {
		o.Strategy = Optimal()
	}
	if o.Strategy.wrong != "" {
		return errors.New("strategy: " + o.Strategy.wrong)
	}
	return nil
}
