// SPDX-License-Identifier: Apache-2.0

// Package selftest runs tables of locking cases against a lockdep validator: each
// row is a sequence of steps, and a verdict that the validator must reach.
//
// # Table
//
// A table is tab-separated text with the columns group, name, lock_type, context, steps,
// expected, and a first line that names them. The verdict FAILURE means that
// the validator must report something, SUCCESS that it must stay silent.
//
// # Steps
//
//	;                 then
//	|                 another task: what was held is released by now
//	# ...             a comment, to the end of the steps
//	L(o) R(o) U(o)    lock o exclusively, shared; release it
//	T(o)              try to lock o; T(o)=true or T(o)=false states the result
//	INIT(o)           initialise o again
//	SYNC(o)           wait for the holders of o without taking it
//	L(o nest_lock=p)  lock o, serialised against others of its class by p
//	hirq{ } hirq!{ }  in a hardirq handler, threaded and not
//	sirq{ }           in a softirq handler
//	-hirq +hirq       disable, enable hardirqs; -sirq and +sirq for softirqs
//	OWE(w) PAID(w)    owe an event of wait map w, and bring it about
//	WAIT(w) HELP(w)   wait for w; wait for w while running what is owed
//
// An object is type.instance. Instances that differ only in the digits at their
// end are of one class. The types, with their wait types: raw (spin), spin,
// rw, local (config), mutex, rwsem, rtmutex, ww, wait (sleep), rcu and rcu_bh
// (outer free, inner config), rcu_sched (outer free, inner spin). A type may be
// left out where the instance was used before in the row.
//
// R(rw) is a recursive read, but in the group "queued read lock" it is one only inside
// hirq and sirq. R(rwsem) is a shared read. R(rcu) is recursive and not checked against
// itself.
//
// Wait/wound mutexes (of a wait-die class) have a model of their own, since their
// rules are more than lock order:
//
//	CTX(t) DONE(t) FINI(t)          begin an acquire context, end its acquire phase, end it
//	CTX(u copied from t, later stamp)
//	L(ww.o,t)=R LSLOW(ww.o,t)=R     lock in a context; R is ok, EALREADY or EDEADLK
//	o2 held by older ctx t2         another task has it (older or younger than all others)
//	t2 releases o2
//	t.acquired:=0  t.class:=nil  o.ctx:=t2(stale)
//	on base mutex of ww.o with a poisoned ctx field: L,U; T=true,U; ...
//	ctx field must stay untouched after each
//
// And the rest: ENTER(reclaim), EXIT(reclaim), MIGHT_ALLOC(no-fs),
// MIGHT_ALLOC(may-enter-fs), NOFS-scope{ }, note name(o), SETSUBCLASS(o,n), check name
// unchanged.
package selftest
