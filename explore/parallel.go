// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"sync"
	"sync/atomic"
)

// sharedIDs makes several workers agree on the ids of tasks and objects.
type sharedIDs struct {
	mu  sync.Mutex
	ids idTable
}

func (s *sharedIDs) object(maker, k int) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.object(maker, k)
}

func (s *sharedIDs) task(maker, k int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.task(maker, k)
}

// A job is a part of the search tree: everything after a prefix, except what
// begins with a sleeping task.
type job struct {
	Plan    []uint8  // tasks, by stable id
	Choices []choice // made in the prefix
	Sleep   uint64   // at the end of the plan, or before its last step: see shared
}

// A divisible strategy can give away a part of what it has still to do, and take
// over such a part. Both are called between executions.
type divisible interface {
	strategy
	give(x *Exec) (job, bool)
	take(j job)
}

// A jobQueue hands jobs from busy workers to idle ones.
type jobQueue struct {
	hungry atomic.Int32 // idle workers that no job is waiting for

	mu      sync.Mutex
	cond    sync.Cond
	jobs    []job
	working int // workers that have a job
	closed  bool
	left    []job // not begun when the search was stopped
}

func newJobQueue(workers int) *jobQueue {
	q := &jobQueue{working: workers}
	q.cond.L = &q.mu
	return q
}

// put adds a job.
func (q *jobQueue) put(j job) {
	q.mu.Lock()
	if q.closed {
		q.left = append(q.left, j)
	} else {
		q.jobs = append(q.jobs, j)
	}
	q.hungry.Add(-1)
	q.mu.Unlock()
	q.cond.Signal()
}

// get waits for a job. It returns false when no worker has one any more: then
// the search is over.
func (q *jobQueue) get() (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.working--
	q.hungry.Add(1)
	for len(q.jobs) == 0 {
		if q.working == 0 || q.closed {
			q.closed = true
			q.cond.Broadcast()
			return job{}, false
		}
		q.cond.Wait()
	}
	j := q.jobs[0]
	q.jobs = q.jobs[1:]
	q.working++
	return j, true
}

// close ends the search for all workers.
func (q *jobQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.left = append(q.left, q.jobs...)
	q.jobs = nil
	q.mu.Unlock()
	q.cond.Broadcast()
}

// runParallel searches with several workers. The first begins with the whole
// tree; busy workers give parts of it to idle ones.
func (s *searching) runParallel(ctx context.Context, xs []*Exec) {
	if s.divided {
		s.queue = newJobQueue(len(xs))
	}
	var wg sync.WaitGroup
	for i, x := range xs {
		wg.Add(1)
		own(func() {
			defer wg.Done()
			s.worker(func(cur **Exec) {
				*cur = x
				if i > 0 && s.divided && !s.resumed && !s.nextJob(x) {
					return
				}
				s.bounded(s.loop(ctx, x))
				if s.queue != nil {
					s.queue.close()
				}
				if g, ok := x.strat.(*graph); ok {
					g.g.stop() // when one ends, there is nothing left or all shall end
				}
			})
		})
	}
	wg.Wait()
}

// share gives work away, if somebody is idle.
func (s *searching) share(x *Exec) {
	if s.queue == nil || s.queue.hungry.Load() <= 0 {
		return
	}
	x.conclude()
	if j, ok := x.strat.(divisible).give(x); ok {
		s.queue.put(j)
	}
}

// nextJob gets x more work when its part is done. It returns false when the
// search is over.
func (s *searching) nextJob(x *Exec) bool {
	if s.queue == nil {
		return false
	}
	j, ok := s.queue.get()
	if ok {
		x.strat.(divisible).take(j)
		x.hist.rewind(0)
	}
	return ok
}

// give parts with the shallowest branch that is still to be explored: the most
// work for the cost of handing it over.
func (s *dfs) give(x *Exec) (job, bool) {
	if s.over {
		return job{}, false
	}
	for k := s.base; k < len(s.nodes)-1; k++ {
		n := &s.nodes[k]
		todo := n.enabled &^ n.sleep &^ n.done &^ n.given &^ (1 << n.cur)
		if todo == 0 {
			continue
		}
		t := trailing(todo)
		j := job{Sleep: n.sleep | n.done | n.given | 1<<n.cur}
		for i := range k {
			j.Plan = append(j.Plan, s.nodes[i].cur)
		}
		j.Plan = append(j.Plan, uint8(t))
		for _, c := range s.choices {
			if int(c.depth) <= k {
				j.Choices = append(j.Choices, c)
			}
		}
		n.given |= 1 << t
		return j, true
	}
	return job{}, false
}

// take begins the search of a job: all but the last step of its plan is fixed.
func (s *dfs) take(j job) {
	s.over, s.part = false, true
	s.base = len(j.Plan) - 1
	s.nodes = s.nodes[:0]
	for _, id := range j.Plan {
		s.nodes = append(s.nodes, dfsNode{enabled: 1 << id, cur: id})
	}
	s.nodes[s.base].sleep = j.Sleep &^ (1 << j.Plan[s.base])
	s.plan = append(s.plan[:0], j.Plan...)
	s.choices = append(s.choices[:0], j.Choices...)
}

func (s *cached) take(j job) {
	s.dfs.take(j)
	s.way.keys = append(s.way.keys[:0], make([]uint64, len(j.Plan))...)
}
