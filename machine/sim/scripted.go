// SPDX-License-Identifier: Apache-2.0

package sim

// LimitFailures makes only the named hotplug states fail in every operation, for questions about one
// of them; an operation may add some of its own, see [Kernel.CPUDown]. Call it in Init. A name that does not exist fails the execution.
func (k *Kernel) LimitFailures(names []string) {
	for _, s := range k.hp.states {
		s.Fails = false
	}
	for _, n := range names {
		known := false
		for _, s := range k.hp.states {
			if s.Name == n {
				s.Fails, known = true, true
			}
		}
		if !known {
			k.x.Fail(HotplugMisuse, "no hotplug state is called "+n, "")
		}
	}
}

// States calls f for each hotplug state, ascending, with whether it can fail.
func (k *Kernel) States(f func(name string, fails bool)) {
	for _, s := range k.hp.states {
		f(s.Name, s.Fails)
	}
}

// Learn says that the code of c now knows v, which it read from memory of the
// program's own. Without it, [explore.Cached] could take two states for the same
// in which c is about to do different things.
func (c *Context) Learn(v uint64) { c.fold(v) }

// LearnBool is Learn of what is true or false.
func (c *Context) LearnBool(v bool) { c.foldBool(v) }

// FallsAsleep reports whether c is in the middle of [machine.WaitQueue.Sleep]: it is on the queue, and looks once more at
// its condition. A condition that is asked at the head of a loop too can tell the two apart by that.
func (c *Context) FallsAsleep() bool { return c.sleep.wq != nil }

// Migratable reports whether c is a task that may be on another CPU after its next step.
func (c *Context) Migratable() bool { return c.migratable() }

// Context returns the context of t, for lockdep's handle of it. Only t itself may use it for
// anything else.
func (t *Task) Context() *Context { return t.c }
