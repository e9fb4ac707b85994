// SPDX-License-Identifier: Apache-2.0

// Package queue is a bounded lock-free queue for one producer and one consumer,
// written on explore's variables so that every interleaving can be checked.
//
// It is an example: the tests beside it find the fault in the first version and
// prove the second. To use such a queue in a program, replace [explore.Atomic] by
// sync/atomic and [explore.Cell] by a plain variable.
package queue

import (
	"fmt"

	"endio/explore"
)

// A Queue holds up to len(slots) values. One task may push and one may pop.
//
// head and tail count for ever; the slot of counter n is n modulo the size. Only
// the consumer writes head and only the producer writes tail.
type Queue struct {
	head, tail *explore.Atomic[int]
	slots      []*explore.Cell[int]

	// publishFirst plants the fault: Push makes the slot visible before it has
	// written the value. It passes every test that runs on one CPU.
	publishFirst bool
}

// New makes an empty Queue with room for size values.
func New(m explore.Maker, size int, publishFirst bool) *Queue {
	q := &Queue{head: explore.NewAtomic(m, "head", 0), tail: explore.NewAtomic(m, "tail", 0), publishFirst: publishFirst}
	for i := range size {
		q.slots = append(q.slots, explore.NewCell(m, fmt.Sprintf("slot[%d]", i), 0))
	}
	return q
}

// Push appends v. It returns false if the queue is full.
func (q *Queue) Push(t *explore.Task, v int) bool {
	tail := q.tail.Load(t)
	if tail-q.head.Load(t) == len(q.slots) {
		return false
	}
	if q.publishFirst {
		q.tail.Store(t, tail+1)
		q.slots[tail%len(q.slots)].Set(t, v)
		return true
	}
	q.slots[tail%len(q.slots)].Set(t, v)
	q.tail.Store(t, tail+1)
	return true
}

// Pop takes the oldest value. It returns false if the queue is empty.
func (q *Queue) Pop(t *explore.Task) (v int, ok bool) {
	head := q.head.Load(t)
	if head == q.tail.Load(t) {
		return 0, false
	}
	v = q.slots[head%len(q.slots)].Get(t)
	q.head.Store(t, head+1)
	return v, true
}

// Program pushes and pops values through a queue of a size, trying each
// operation a bounded number of times, and checks that what comes out is what
// went in, in order.
func Program(size, values, tries int, publishFirst bool) *explore.Program {
	return &explore.Program{Name: "queue", Init: func(x *explore.Exec) {
		q := New(x, size, publishFirst)
		var pushed, popped []int
		x.Go("producer", func(t *explore.Task) {
			for v := range values {
				for range tries {
					if q.Push(t, v+1) {
						pushed = append(pushed, v+1)
						break
					}
				}
			}
		})
		x.Go("consumer", func(t *explore.Task) {
			for range values + tries {
				if v, ok := q.Pop(t); ok {
					popped = append(popped, v)
					t.Check(v != 0, "popped a value that was never pushed")
				}
			}
		})
		x.OnComplete(func(x *explore.Exec) {
			for i, v := range popped {
				if i >= len(pushed) || v != pushed[i] {
					x.Fail(explore.Assertion, fmt.Sprintf("popped %v, pushed %v", popped, pushed), "")
				}
			}
		})
	}}
}
