/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The batch protocol of package batch as a Promela model: 2 CPUs, 3 bios (2 from
 * interrupts, 1 from a preemptible task), one attempt to take CPU 1 down, which may
 * fail above, below or right after the batch's state and is then rolled back.
 * Preemptible kernel.
 *
 * Two grains. By default one statement (or atomic block) is one operation on a
 * shared object: entering a section, appending to the list, taking from it, queueing
 * the work item, each half of an operation that grabs it, calling a handler, a hotplug
 * state; and in an interrupt, append and arm together. That merging was done by hand.
 * With -DFINE each access to memory that contexts share is a step, as the
 * code has them, and only what the hardware makes atomic is: this is the
 * program before anybody has thought about which steps can be merged.
 */

#ifdef FINE
#define SEQ
#else
#define SEQ atomic
#endif

#define NB 3
#define ME (_pid + 1)

chan list0 = [NB] of { byte };
chan list1 = [NB] of { byte };
byte runs[NB];
bool pending[2], queued[2], running[2], grabbed[2], irq[2], off[2], down[2];
bool assoc[2], online[2], isactive[2];
byte depth[2], pin[2];

/* task steps on CPU x: no interrupt is on top, and nobody else holds it */
#define RUN(x) (online[x] && !irq[x] && (pin[x] == 0 || pin[x] == ME))

inline put(c, b) { if :: c == 0 -> list0 ! b :: else -> list1 ! b fi }
inline isempty(c, e) { if :: c == 0 -> e = (len(list0) == 0) :: else -> e = (len(list1) == 0) fi }
inline arm(c, g)
{
	atomic { g = !pending[c]; if :: g -> pending[c] = true :: else fi };
	if
	:: g && depth[c] > 0 -> pending[c] = false
	:: g && depth[c] == 0 -> queued[c] = true
	:: else
	fi
}
inline enter(x) { atomic { RUN(x) && !off[x] -> pin[x] = ME; off[x] = true } }
inline leave(x) { atomic { off[x] = false; pin[x] = 0 } }

proctype interrupt(byte b; byte cpu)
{
	byte c; bool e, g;
	if
	:: atomic { online[cpu] && !irq[cpu] && !off[cpu] -> c = cpu; irq[c] = true }
	:: atomic { !online[cpu] && !irq[0] && !off[0] -> c = 0; irq[c] = true }
	fi;
	SEQ { isempty(c, e); put(c, b); if :: e -> arm(c, g) :: else fi };
	irq[c] = false
}

proctype adder(byte b)
{
	byte c; bool e, g;
	if
	:: atomic { isactive[0] && RUN(0) && pin[0] == 0 -> c = 0; pin[0] = ME }
	:: atomic { isactive[1] && RUN(1) && pin[1] == 0 -> c = 1; pin[1] = ME }
	fi;
	atomic { !irq[c] && !off[c] -> off[c] = true };
	SEQ { isempty(c, e); put(c, b) };
	SEQ { if :: e -> arm(c, g) :: else fi };
	off[c] = false;
	atomic { !irq[c] -> pin[c] = 0 }
}

proctype worker(byte c)
{
	byte b, n, x; bool e, g;
end:	do
	:: atomic { queued[c] && !running[c] &&
		((assoc[c] && RUN(c)) || (!assoc[c] && RUN(0))) ->
			x = (assoc[c] -> c : 0); queued[c] = false; pending[c] = false; running[c] = true; n = 0 };
		do
		:: n < 2 ->
			enter(x);
			SEQ {
				isempty(c, e);
				if :: e :: else -> if :: c == 0 -> list0 ? b :: else -> list1 ? b fi fi };
			leave(x);
			if :: e -> break :: else fi;
			atomic { RUN(x) -> runs[b]++; assert(runs[b] == 1); n++ };
			atomic { RUN(x) -> skip } /* has it stalled? */
		:: else ->
			enter(x);
			SEQ { isempty(c, e); if :: !e -> arm(c, g) :: else fi };
			leave(x);
			break
		od;
		atomic { RUN(x) -> running[c] = false }
	od
}

inline online_callback()
{
	enter(1);
	down[1] = false;
	atomic { !grabbed[1] && (!pending[1] || queued[1]) -> grabbed[1] = true; pending[1] = true; queued[1] = false };
	atomic { assert(depth[1] == 1); depth[1]--; pending[1] = false; grabbed[1] = false };
	SEQ { isempty(1, e); if :: !e -> arm(1, g) :: else fi };
	leave(1)
}

proctype hotplug()
{
	byte b; bool e, g;
	if :: goto out :: skip fi; /* AP_ACTIVE fails */
	isactive[1] = false;
	enter(1);
	down[1] = true;
	leave(1);
	atomic { !grabbed[1] && (!pending[1] || queued[1]) -> grabbed[1] = true; pending[1] = true; queued[1] = false };
	atomic { depth[1]++; pending[1] = false; grabbed[1] = false };
	!running[1];
	if :: goto enable :: skip fi; /* the state below fails */
	assoc[1] = false;
	if :: assoc[1] = true; goto enable :: skip fi; /* one further down fails */
	atomic { pin[1] == 0 && !irq[1] && !off[1] -> online[1] = false };
	do
	:: atomic { len(list1) > 0 -> list1 ? b };
		enter(0);
		SEQ { isempty(0, e); put(0, b) };
		SEQ { if :: e -> arm(0, g) :: else fi };
		leave(0)
	:: len(list1) == 0 -> break
	od;
	goto out;
enable:	online_callback();
	isactive[1] = true;
out:	skip
}

/* at the end every handler has run */
proctype monitor() { timeout -> assert(runs[0] == 1 && runs[1] == 1 && runs[2] == 1) }

init {
	atomic {
		online[0] = true; online[1] = true; isactive[0] = true; isactive[1] = true;
		assoc[0] = true; assoc[1] = true;
		run interrupt(0, 1); run interrupt(1, 1); run adder(2);
		run worker(0); run worker(1); run hotplug(); run monitor()
	}
}
