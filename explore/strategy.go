// SPDX-License-Identifier: Apache-2.0

package explore

import "fmt"

// A Strategy says which executions a search makes. Build one with the functions
// of this package.
type Strategy struct {
	name    string
	scope   string // what is left out, or empty
	sampled bool
	seed    uint64
	wrong   string // what is wrong with its arguments, or empty
	build   func(o *Options) strategy
}

// String returns the name, for example "sleep sets".
func (s Strategy) String() string { return s.name }

// Naive explores every schedule, equivalent ones included. It is for
// comparison and for very small programs.
func Naive() Strategy {
	return Strategy{name: "all schedules", build: func(*Options) strategy { return &dfs{} }}
}

// SleepSets explores one execution of each class, and abandons many others on
// the way. It needs no more memory than the stack of one execution.
func SleepSets() Strategy {
	return Strategy{name: "sleep sets", build: func(*Options) strategy { return &dfs{useSleep: true} }}
}

// Optimal explores one execution of each class, with few or none abandoned: see
// the type optimal for the algorithm. It is the default.
func Optimal() Strategy {
	return Strategy{name: "optimal reduction", build: func(o *Options) strategy {
		s := newOptimal()
		s.hole = o.hole
		return s
	}}
}

// Cached explores every state once, or a few times. The program must declare its
// state with [Exec.OnState]; what it declares is compared as a 64-bit hash. Data
// races are looked for only in the executions made, and may be missed.
func Cached() Strategy {
	return Strategy{name: "state caching", build: func(o *Options) strategy {
		if o.Checkpoint != "" || o.depthFirst {
			return newCached(o.MemoryBytes)
		}
		g := newStateGraph(o.MemoryBytes, o.VerifyStates)
		g.hole, g.choicesLast = o.hole, o.late
		return &graph{g: g}
	}}
}

// PreemptionBound explores the executions with at most n preemptions, beginning
// with none. A preemption is a switch from a task that could have gone on, and
// whose next step is not [Step.Voluntary].
func PreemptionBound(n int) Strategy {
	limit := fmt.Sprintf("%d preemptions", n)
	if n == 1 {
		limit = "1 preemption"
	}
	return Strategy{name: "at most " + limit, scope: limit, wrong: below("preemptions", n, 0),
		build: func(o *Options) strategy { return newBounded(n, o.MemoryBytes) }}
}

// Random makes n executions in which each step is taken by any of the enabled
// tasks with equal probability.
func Random(n int64, seed uint64) Strategy {
	return Strategy{name: fmt.Sprintf("random, seed %d", seed), sampled: true, seed: seed, wrong: below("executions", n, 1),
		build: func(*Options) strategy {
			w := newWalk(n, seed, 1)
			return &w
		}}
}

// PCT makes n executions with random priorities that change depth-1 times. It
// finds faults that need few orderings faster than [Random]; depth 3 is a good
// start.
func PCT(n int64, depth int, seed uint64) Strategy {
	wrong := below("executions", n, 1)
	if wrong == "" {
		wrong = below("depth", depth, 1)
	}
	return Strategy{name: fmt.Sprintf("random priorities (PCT), depth %d, seed %d", depth, seed), sampled: true, seed: seed, wrong: wrong,
		build: func(*Options) strategy {
			return &pct{walk: newWalk(n, seed, 2), depth: depth}
		}}
}

// below says that an argument is less than it may be, or nothing.
func below[T int | int64](name string, value, least T) string {
	if value >= least {
		return ""
	}
	return fmt.Sprintf("%s: %d, must be at least %d", name, value, least)
}
