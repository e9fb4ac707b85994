// SPDX-License-Identifier: Apache-2.0

package explore

import "fmt"

// cycles are the states that lead to each other: strongly connected components of the states
// and the steps that were made. Depth-first search does not close each fair cycle as such: if two
// tasks spin for ever, it goes round with the one and with the other, and neither is fair.
//
// Source: R. Tarjan, Depth-First Search and Linear Graph Algorithms, 1972, without recursion.
type cycles struct {
	g     *stateGraph
	index []uint32 // when a state was met, from 1 on
	low   []uint32
	edge  []uint32 // the next way to look at
	of    []uint32 // number of the component, or 0
	path  []uint32
	stack []uint32
	met   uint32
	found uint32
}

func (g *stateGraph) cycles() *cycles {
	n := g.nodes.n
	c := &cycles{g: g, index: make([]uint32, n), low: make([]uint32, n), edge: make([]uint32, n), of: make([]uint32, n)}
	for i := range n {
		c.edge[i] = g.nodes.at(i).ways
	}
	return c
}

func (c *cycles) meet(n uint32) {
	c.met++
	c.index[n], c.low[n] = c.met, c.met
	c.path, c.stack = append(c.path, n), append(c.stack, n)
}

// fair calls f for each component in which one can go round for ever, and be fair to all
// tasks. It returns false if stopped said so.
func (c *cycles) fair(stopped func() bool, f func(states []uint32)) bool {
	const often = 1 << 16
	steps := 0
	for root := range c.g.nodes.n {
		if c.index[root] != 0 {
			continue
		}
		for c.meet(root); len(c.path) > 0; steps++ {
			if steps%often == 0 && stopped() {
				return false
			}
			v := c.path[len(c.path)-1]
			if w := c.edge[v]; w != noState {
				c.edge[v] = c.g.ways.at(w).next
				switch to := c.g.ways.at(w).to; {
				case c.index[to] == 0:
					c.meet(to)
				case c.of[to] == 0:
					c.low[v] = min(c.low[v], c.index[to])
				}
				continue
			}
			if c.path = c.path[:len(c.path)-1]; len(c.path) > 0 {
				p := c.path[len(c.path)-1]
				c.low[p] = min(c.low[p], c.low[v])
			}
			if c.low[v] == c.index[v] {
				c.close(v, f)
			}
		}
	}
	return true
}

// close takes the component of v off the stack.
func (c *cycles) close(v uint32, f func(states []uint32)) {
	c.found++
	k := len(c.stack) - 1
	for ; c.stack[k] != v; k-- {
		c.of[c.stack[k]] = c.found
	}
	c.of[v] = c.found
	states := c.stack[k:]
	c.stack = c.stack[:k]
	always, took := ^uint64(0), uint64(0)
	for _, n := range states {
		always &= c.g.nodes.at(n).enabled
		c.inside(n, func(_ uint32, w *way) bool { took |= 1 << w.task; return true })
	}
	if took != 0 && always&^took == 0 {
		f(states)
	}
}

// inside calls f for the ways from n that stay in its component, until it returns false.
func (c *cycles) inside(n uint32, f func(k uint32, w *way) bool) {
	for k := c.g.nodes.at(n).ways; k != noState; k = c.g.ways.at(k).next {
		if w := c.g.ways.at(k); c.of[w.to] == c.of[n] && !f(k, w) {
			return
		}
	}
}

// round returns ways that lead from the first of the states back to it, on which each task takes a step, or
// is disabled somewhere.
func (c *cycles) round(states []uint32) []uint32 {
	var out []uint32
	at, done := states[0], uint64(0)
	walk := func(to uint32) { out, at = append(out, c.lead(at, to)...), to }
	for _, n := range states {
		if fresh := c.g.nodes.at(states[0]).enabled &^ c.g.nodes.at(n).enabled &^ done; fresh != 0 {
			done |= fresh
			walk(n)
		}
		c.inside(n, func(k uint32, w *way) bool {
			if done>>w.task&1 == 0 {
				done |= 1 << w.task
				walk(n)
				out, at = append(out, k), w.to
			}
			return true
		})
	}
	walk(states[0])
	return out
}

// lead returns the fewest ways from one state to another of the same component.
func (c *cycles) lead(from, to uint32) []uint32 {
	by := map[uint32]uint32{from: noState}
	for queue := []uint32{from}; len(queue) > 0 && from != to; queue = queue[1:] {
		c.inside(queue[0], func(k uint32, w *way) bool {
			if _, ok := by[w.to]; !ok {
				by[w.to] = k
				queue = append(queue, w.to)
			}
			return true
		})
		if _, ok := by[to]; ok {
			break
		}
	}
	var out []uint32
	for n := to; n != from; n = c.g.ways.at(by[n]).from {
		out = append([]uint32{by[n]}, out...)
	}
	return out
}

// livelocks reports the fair cycles among the states that x and others have found.
// It returns false if stopped said so before all were looked at.
func (s *searching) livelocks(x *Exec, g *stateGraph, stopped func() bool) (known bool) {
	c := g.cycles()
	over := false
	known = c.fair(func() bool { return over || stopped() }, func(states []uint32) {
		if over {
			return
		}
		_, plan, choices := g.way(states[0], nil, nil, nil)
		for _, k := range c.round(states) {
			w := g.ways.at(k)
			plan = append(plan, w.task)
			for _, ch := range g.choices[w.choice : w.choice+uint32(w.nchoi)] {
				ch.depth = int32(len(plan))
				choices = append(choices, ch)
			}
		}
		over = s.goRound(x, plan, choices)
	})
	return known || over
}

// goRound makes an execution that ends with a cycle of states, and reports whether that ends the search.
func (s *searching) goRound(x *Exec, plan []uint8, choices []choice) (over bool) {
	if len(plan) >= s.o.MaxSteps {
		s.bounded(fmt.Sprintf("%d steps", s.o.MaxSteps)) // it could not be replayed
		return false
	}
	s.worker(func(cur **Exec) {
		y := s.replayer(&script{plan: plan, choices: choices})
		y.ids = x.ids
		*cur = y
		y.run()
		y.coros.stop()
		z := s.replayer(&replay{schedule: y.scheduled(), owing: true})
		*cur = z
		z.run()
		if z.failure != nil { // nil if only daemons go round, and nothing is owed
			over = s.failed(z)
		}
	})
	return over
}
