// SPDX-License-Identifier: Apache-2.0

package explore

import "math/rand/v2"

// walk picks uniformly among the enabled tasks.
type walk struct {
	pcg   *rand.PCG
	rng   *rand.Rand
	left  int64
	total int64
}

func newWalk(n int64, seed, stream uint64) walk {
	pcg := rand.NewPCG(seed, stream)
	return walk{pcg: pcg, rng: rand.New(pcg), left: n, total: n}
}

// part makes the strategy the i-th of n that share the executions.
func (s *walk) part(i, n int64, seed uint64) {
	*s = newWalk(s.total/n+min(1, max(0, s.total%n-i)), seed+uint64(i)<<32, 1)
}

func (s *walk) begin(x *Exec) bool {
	if s.left <= 0 {
		return false
	}
	s.left--
	x.hist.rewind(0)
	return true
}

func (s *walk) choose(_ *Exec, n int) int { return s.rng.IntN(n) }

func (s *walk) pick(x *Exec) int {
	n := s.rng.IntN(count(x.enabled))
	set := x.enabled
	for ; n > 0; n-- {
		set &= set - 1
	}
	return trailing(set)
}

func (s *walk) end(*Exec) {}

// pct picks the enabled task of the highest priority, where priorities are
// random and change at depth-1 random points. A bug that needs depth ordering
// constraints is found in each execution with probability at least
// 1/(tasks * steps^(depth-1)).
//
// Source: Burckhardt, Kothari, Musuvathi, Nagarakatte, A Randomized Scheduler
// with Probabilistic Guarantees of Finding Bugs, ASPLOS 2010.
type pct struct {
	walk
	depth    int
	priority [MaxTasks]int32
	ranked   uint64
	changes  []int
	longest  int
	low      int32
}

func (s *pct) begin(x *Exec) bool {
	if s.left <= 0 {
		return false
	}
	s.left--
	s.ranked = 0
	s.low = 0
	s.changes = s.changes[:0]
	for range s.depth - 1 {
		s.changes = append(s.changes, s.rng.IntN(max(s.longest, 1)))
	}
	x.hist.rewind(0)
	return true
}

func (s *pct) pick(x *Exec) int {
	each(x.enabled&^s.ranked, func(id int) {
		s.ranked |= 1 << id
		s.priority[id] = 1 + int32(s.rng.IntN(1<<30))
	})
	best := s.best(x)
	for _, c := range s.changes {
		if c == x.depth {
			s.low--
			s.priority[best] = s.low
			best = s.best(x)
		}
	}
	return best
}

func (s *pct) best(x *Exec) int {
	best := -1
	for set := x.enabled; set != 0; set &= set - 1 {
		if id := trailing(set); best < 0 || s.priority[id] > s.priority[best] {
			best = id
		}
	}
	return best
}

func (s *pct) end(x *Exec) { s.longest = max(s.longest, x.depth) }
