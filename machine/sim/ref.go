// SPDX-License-Identifier: Apache-2.0

package sim

import "endio/explore"

// A Ref is a count of users of something: whoever drops the last one is the one that goes on with it
// (atomic_dec_and_test).
type Ref struct {
	name string
	obj  explore.Object
	n    int
}

// NewRef makes one that nobody uses. c is nil in Init.
func (k *Kernel) NewRef(c *Context, name string) *Ref {
	r := &Ref{name: name, obj: newObject(k.maker(c), name, -1)}
	k.add(r)
	return r
}

func (r *Ref) hash(h *explore.Hash) { h.Add(uint64(r.n)) }

// Set gives it n users, before anybody else knows of it: that is no step.
func (r *Ref) Set(n int) { r.n = n }

// Count returns the number of users without a step.
func (r *Ref) Count() int { return r.n }

// Get adds a user, by one who is a user itself.
func (r *Ref) Get(c *Context) {
	c.stepOn("get", r.name, nil, acc{r.obj, explore.AtomicUpdate})
	r.n++
}

// Put drops a user, and reports whether it was the last one. What the last one does first, an operation on then if that is given, is part
// of the same step: nobody else has the count any more, so that to drop it moves right up to that operation.
func (r *Ref) Put(c *Context, then ...explore.Object) bool {
	accs := [2]acc{{r.obj, explore.AtomicUpdate}}
	for _, o := range then {
		accs[1] = acc{o, explore.AtomicUpdate}
	}
	c.stepOn("put", r.name, nil, accs[:1+len(then)]...)
	if r.n--; r.n < 0 {
		c.Fail(Imbalance, "%s is put more often than got", r.name)
	}
	last := c.foldBool(r.n == 0)
	if last && len(then) > 0 {
		c.covering(then[0])
	}
	return last
}
