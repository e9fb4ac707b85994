/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The batch protocol of package batch as a Promela model: 2 CPUs, 3 bios (2 from
 * interrupts, 1 from a preemptible task), one attempt to take CPU 1 down, which may
 * fail above, below or right after the batch's state and is then rolled back.
 * Preemptible kernel.
 *
 * Two grains. With -DFINE each access to memory that contexts share is a step, as the
 * code has them, and only what the hardware makes atomic is: this is the
 * program before anybody has thought about which steps can be merged.
 *
 * By default one atomic block is one visible step, as machine/sim has them: a section that
 * is entered together with what it protects, one operation on a work item, a hotplug state;
 * an interrupt is one, or with strays too. That merging was done by hand.
 */

#define NB 3
#define ME (_pid + 1)
#define STRAYS 2	/* the batch of the CPUs that are down, and its work item */

chan list0 = [NB] of { byte };
chan list1 = [NB] of { byte };
chan list2 = [NB] of { byte };	/* strays */
chan pool0 = [2] of { byte };	/* work items 0 and 2 */
chan pool1 = [1] of { byte };	/* work item 1 */
byte runs[NB];
bool pending[3], running[3], grabbed, irq[2], off[2], down, slock;
bool assoc[2], online[2], isactive[2];
byte depth, pin[2];	/* depth of work item 1 */

/* task steps on CPU x: no interrupt is on top, and nobody else holds it */
#define RUN(x) (online[x] && !irq[x] && (pin[x] == 0 || pin[x] == ME))

inline put(i, b) { if :: i == 0 -> list0 ! b :: i == 1 -> list1 ! b :: else -> list2 ! b fi }
inline take(i, b) { if :: i == 0 -> list0 ? b :: i == 1 -> list1 ? b :: else -> list2 ? b fi }
inline isempty(i, e)
{
	if
	:: i == 0 -> e = (len(list0) == 0)
	:: i == 1 -> e = (len(list1) == 0)
	:: else -> e = (len(list2) == 0)
	fi
}
inline arm(i, g)
{
	atomic { g = !pending[i]; if :: g -> pending[i] = true :: else fi };
	if
	:: g && i == 1 && depth > 0 -> pending[i] = false
	:: g && i == 1 && depth == 0 -> pool1 ! i
	:: g && i != 1 -> pool0 ! i
	:: else
	fi
}
inline enter(x) { atomic { RUN(x) && !off[x] -> pin[x] = ME; off[x] = true } }
inline leave(x) { atomic { off[x] = false; pin[x] = 0 } }

#ifdef FINE
/* on CPU c, in its section: to its batch, or to the strays */
inline defer(b)
{
	if
	:: c == 1 && down ->
		atomic { !slock -> slock = true };
		isempty(STRAYS, e); put(STRAYS, b); if :: e -> arm(STRAYS, g) :: else fi;
		slock = false
	:: else -> isempty(c, e); put(c, b); if :: e -> arm(c, g) :: else fi
	fi
}
#else
inline defer(b)
{
	if
	:: c == 1 && down -> isempty(STRAYS, e); put(STRAYS, b); if :: e -> arm(STRAYS, g) :: else fi
	:: else -> isempty(c, e); put(c, b); if :: e -> arm(c, g) :: else fi
	fi
}
#endif

proctype interrupt(byte b; byte cpu)
{
	byte c; bool e, g;
#ifdef FINE
	if
	:: atomic { online[cpu] && !irq[cpu] && !off[cpu] -> c = cpu; irq[c] = true }
	:: atomic { !online[cpu] && !irq[0] && !off[0] -> c = 0; irq[c] = true }
	fi;
	defer(b);
	irq[c] = false
#else
	if
	:: atomic { online[cpu] && !off[cpu] && !(down && slock) -> c = cpu; defer(b) }
	:: atomic { !online[cpu] && !off[0] -> c = 0; defer(b) }
	fi
#endif
}

proctype adder(byte b)
{
	byte c; bool e, g;
	if
	:: atomic { isactive[0] && RUN(0) && pin[0] == 0 -> c = 0; pin[0] = ME }
	:: atomic { isactive[1] && RUN(1) && pin[1] == 0 -> c = 1; pin[1] = ME }
	fi;
#ifdef FINE
	atomic { !irq[c] && !off[c] -> off[c] = true };
	defer(b);
	off[c] = false;
	atomic { !irq[c] -> pin[c] = 0 }
#else
	atomic { !(c == 1 && down && slock) -> defer(b); pin[c] = 0 }
#endif
}

proctype worker(byte c)
{
	byte b, n, x, i; bool e, g;
end:	do
	:: atomic { (c == 0 && len(pool0) > 0 || c == 1 && len(pool1) > 0) &&
		((assoc[c] && RUN(c)) || (!assoc[c] && RUN(0))) ->
			if :: c == 0 -> pool0 ? i :: else -> pool1 ? i fi;
			x = (assoc[c] -> c : 0); pending[i] = false; running[i] = true; n = 0 };
#ifdef FINE
		do
		:: n < 2 ->
			if
			:: i == STRAYS -> atomic { RUN(x) && !off[x] -> pin[x] = ME; off[x] = true }; atomic { !slock -> slock = true }
			:: else -> enter(x)
			fi;
			isempty(i, e);
			if :: e :: else -> take(i, b) fi;
			if :: i == STRAYS -> slock = false :: else fi;
			leave(x);
			if :: e -> break :: else fi;
			atomic { RUN(x) -> runs[b]++; assert(runs[b] == 1); n++ };
			atomic { RUN(x) -> skip } /* has it stalled? */
		:: else ->
			if
			:: i == STRAYS -> atomic { RUN(x) && !off[x] -> pin[x] = ME; off[x] = true }; atomic { !slock -> slock = true }
			:: else -> enter(x)
			fi;
			isempty(i, e); if :: !e -> arm(i, g) :: else fi;
			if :: i == STRAYS -> slock = false :: else fi;
			leave(x);
			break
		od;
		atomic { RUN(x) -> running[i] = false }
#else
		do
		:: n < 2 ->
			atomic { RUN(x) && !off[x] && !(i == STRAYS && slock) ->
				isempty(i, e);
				if
				:: e -> running[i] = false; break
				:: else -> take(i, b); runs[b]++; assert(runs[b] == 1); n++
				fi };
			atomic { RUN(x) -> skip } /* has it stalled? */
		:: else ->
			atomic { RUN(x) && !off[x] && !(i == STRAYS && slock) ->
				isempty(i, e); if :: !e -> arm(i, g) :: else fi; running[i] = false; break }
		od
#endif
	od
}

inline grab()
{
	atomic { !grabbed && (!pending[1] || len(pool1) > 0) ->
		grabbed = true; pending[1] = true; if :: len(pool1) > 0 -> pool1 ? b :: else fi }
}

proctype hotplug()
{
	byte b; bool e, g;
	if :: goto out :: skip fi; /* AP_ACTIVE fails */
	isactive[1] = false;
	/* down: to the strays, and disable */
	enter(1);
	down = true;
	if
	:: len(list1) > 0 ->
#ifdef FINE
		atomic { !slock -> slock = true };
		isempty(STRAYS, e);
		do :: len(list1) > 0 -> list1 ? b; list2 ! b :: else -> break od;
		if :: e -> arm(STRAYS, g) :: else fi;
		slock = false
#else
		atomic { !slock -> isempty(STRAYS, e);
			do :: len(list1) > 0 -> list1 ? b; list2 ! b :: else -> break od;
			if :: e -> arm(STRAYS, g) :: else fi }
#endif
	:: else
	fi;
	leave(1);
	grab();
	atomic { depth++; pending[1] = false; grabbed = false };
	!running[1];
	if :: goto enable :: skip fi; /* the state below fails */
	assoc[1] = false;
	if :: assoc[1] = true; goto enable :: skip fi; /* one further down fails */
	atomic { pin[1] == 0 && !irq[1] && !off[1] -> online[1] = false };
	goto out;
enable:	/* online */
	enter(1);
	down = false;
	grab();
	atomic { assert(depth == 1); depth--; pending[1] = false; grabbed = false };
	leave(1);
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
