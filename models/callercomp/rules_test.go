// SPDX-License-Identifier: Apache-2.0

package callercomp_test

import (
	"strings"
	"testing"

	"endio/internal/decide/decidetest"
	"endio/internal/race"
)

// The tests of this file are about what kernel-semantics.md says in A1 (io_uring) and A2 (iomap direct I/O), version by version. The
// versions are models, and so the rules are asked for as users ask: in scenarios.

// ask asks without preemption and with it, in each mode of the rings.
func ask(t *testing.T, text string, want map[string]string) {
	t.Helper()
	configs := "none full"
	if race.Enabled {
		configs = "full" // the other has more states
	}
	decidetest.Ask(t, "model callercomp\nconfig "+configs+"\n"+text+"expect 6.19: holds\n", want) // the parser wants some
}

const kernels = "6.5 6.6-rc 6.6 6.6-rc+interruptible 6.6-rc+split 6.19 6.6-rc+all"

// oneRing is a ring in the default mode, whose task is on CPU 0.
const oneRing = "inode X\nring R default\n"

// TestA11Punt: what would block is not done inline but handed to io-wq, whose workers block for it: an unaligned write that drains, one that
// meets a lock that is held, and what always blocks; the task goes on meanwhile. All post their CQE to the task that submitted.
func TestA11Punt(t *testing.T) {
	for _, what := range []string{
		"task T on cpu 0: submit R write X; submit R write X unaligned; wait R 2\n",
		"task T on cpu 0: submit R write X; submit R fallocate X; wait R 2\n",
		"task T on cpu 0: submit R write X; wait R\ntask U on cpu 1: fallocate X\n",
		"task T on cpu 0: submit R write X extending; wait R\ntask U on cpu 1: write X\n",
	} {
		if strings.Contains(what, "U on cpu 1: fallocate") {
			ask(t, "inode X\nring R any\n"+what, map[string]string{kernels + " endio": ""})
			continue
		}
		ask(t, oneRing+what, map[string]string{kernels + " endio": ""})
	}
}

// TestA11ForceAsync: fallocate through a ring is never tried inline: a worker is in its drain, also where only the task could end what it
// waits for, which is not woken for one completion when it wants two (A1.3).
func TestA11ForceAsync(t *testing.T) {
	worker := `deadlock: task "T" waits for CQE 2, posted only by task "iou-wrk-0" (it works on I/O 2 [T: fallocate X]), which waits for the` +
		` direct I/O in flight on X, ended only by task "T" (the last step of I/O 1 [T: write X] is task work of T)`
	ask(t, "inode X\nring R defer\ntask T on cpu 0: submit R write X; submit R fallocate X; wait R 2\n", map[string]string{"6.6-rc": worker, "6.6 6.19": ""})
}

// TestA11WorkersAreThreads: a worker that drains in inode_dio_wait is asleep in the middle of its request, and only another one issues the
// next; requests that were submitted before it need none.
func TestA11WorkersAreThreads(t *testing.T) {
	// The unaligned write waits for the aligned one, which ends in the task's own work: not while the task waits for the mutex that is never
	// given back. With the write ended in the interrupt or on the workqueue the worker goes on.
	const held = "io-workers 1\n" + oneRing + "mutex M\ntask T on cpu 0: submit R write X; submit R write X unaligned; lock M; unlock M; wait R 2\n" +
		"task U on cpu 1: fallocate X under M\n"
	ask(t, held, map[string]string{
		"6.6-rc": `deadlock: task "T" waits for lock M, held by task "U", which waits for lock i_rwsem, held by task "iou-wrk-0", which waits for the direct I/O in flight on X,` +
			` ended only by task "T" (the last step of I/O 1 [T: write X] is task work of T)` + "\nor\n" +
			`deadlock: task "T" waits for lock M, held by task "U", which waits for the direct I/O in flight on X,` +
			` ended only by task "T" (the last step of I/O 1 [T: write X] is task work of T)`,
		"6.5 6.6 6.19 6.6-rc+all endio": "",
	})
}

// TestA12TheOwnerPosts: the completion hook of a request that a worker has issued gives it to the task that submitted it: a task that stays in user
// mode gets it if the mode interrupts it, and otherwise never, whoever issued.
func TestA12TheOwnerPosts(t *testing.T) {
	never := `handler never run: I/O 1 [T: write X] never ends: the last step of I/O 1 [T: write X] is task work of T`
	spin := func(mode, step string) string {
		return "inode X\nring R " + mode + "\ntask T on cpu 0: submit R write X" + step + "; spin\n"
	}
	ask(t, spin("default", ""), map[string]string{"6.6-rc 6.6 6.19": ""})
	ask(t, spin("coop", ""), map[string]string{"6.6-rc": never, "6.6 6.19": ""}) // only the CQE is missing there, which nothing waits for
	ask(t, spin("sqpoll", ""), map[string]string{"6.6-rc 6.6 6.19": ""})
	ask(t, spin("coop", " unaligned"), map[string]string{"6.6-rc 6.6 6.19": ""}) // it was synchronous
}

// TestA14WhoIsAsked: in 6.6-rc every write through a ring asks for caller completion, and a plain system call and a read never do.
func TestA14WhoIsAsked(t *testing.T) {
	self := `deadlock: task "T" waits for the direct I/O in flight on X, ended only by task "T" itself (the last step of I/O 1 [T: write X] is task work of T)`
	ask(t, oneRing+"task T on cpu 0: submit R write X; fallocate X; wait R\n", map[string]string{"6.6-rc": self, "6.5 6.6 6.6-rc+interruptible 6.19 endio": ""})
	ask(t, oneRing+"task T on cpu 0: submit R read X; fallocate X; wait R\n", map[string]string{kernels + " endio": ""})
	ask(t, oneRing+"task T on cpu 0: write X; fallocate X\n", map[string]string{kernels + " endio": ""})
	ask(t, oneRing+"task T on cpu 0: write X unaligned; read X; truncate X\n", map[string]string{kernels + " endio": ""})
}

// TestA22LocksEndWithSubmission: i_rwsem is dropped when a write was submitted, and not when it ends; the count goes up before. So an exclusive
// holder sees what is in flight and waits for it, and the next write needs no end of the one before.
func TestA22LocksEndWithSubmission(t *testing.T) {
	ask(t, oneRing+"task T on cpu 0: submit R write X; submit R write X; wait R 2\ntask U on cpu 1: truncate X\n", map[string]string{"6.5 6.6 6.19 endio": ""})
}

// TestA22Synchronous: whoever waits for its own I/O completes it itself, after the interrupt: also what changes extents, which may block.
func TestA22Synchronous(t *testing.T) {
	ask(t, "inode X xfs\ntask T on cpu 0: write X shared; write X extending; read X\ntask U on cpu 1: clone X\n", map[string]string{kernels + " endio": ""})
}

// TestA23WhereWritesEnd: the end of a write that changes extents may block, so it is on the workqueue or in the caller, and never in the
// interrupt; that of a pure overwrite is in the interrupt since 6.19.
func TestA23WhereWritesEnd(t *testing.T) {
	for _, kind := range []string{"shared", "extending"} {
		ask(t, "inode X xfs\nring R default\ntask T on cpu 0: submit R write X "+kind+"; wait R\n", map[string]string{kernels + " endio": ""})
	}
	// Without memory for a worker, and with one CPU of which the pool is, the write still ends: s_dio_done_wq has a rescuer.
	ask(t, "memory short\n"+oneRing+"task T on cpu 0: submit R write X extending; wait R\n", map[string]string{kernels: ""})
}

// TestA23EndIOComesBeforeTheCount: the file system's end_io has run when a drain returns, in every version that does not split the two.
func TestA23EndIOComesBeforeTheCount(t *testing.T) {
	early := `not drained: "U" has drained inode X, and the end_io of I/O 1 [T: write X], which changes extents, has not run`
	const shared = "inode X xfs\nring R default\ntask T on cpu 0: submit R write X shared; wait R\ntask U on cpu 1: truncate X\n"
	ask(t, shared, map[string]string{"6.5 6.6-rc 6.6 6.6-rc+interruptible 6.6-rc+split-owned 6.19": "", "6.6-rc+split": early})
}

// TestA24WhatQualifies: what extends the file is not left to the caller, so that a drain by the caller itself ends; what only goes to shared
// extents is, until 6.19.
func TestA24WhatQualifies(t *testing.T) {
	drain := func(kind string) string {
		return "inode X xfs\nring R default\ntask T on cpu 0: submit R write X " + kind + "; fallocate X; wait R\n"
	}
	ask(t, drain("extending"), map[string]string{"6.6-rc 6.6 6.19": ""})
	self := `deadlock: task "T" waits for the direct I/O in flight on X, ended only by task "T" itself (the last step of I/O 1 [T: write X] is task work of T)`
	ask(t, drain("shared"), map[string]string{"6.6-rc": self, "6.6-rc+split-owned 6.6 6.19": ""})
}

// TestA22SeveralBios: the count goes up and down once for all bios of an I/O, so that a drain waits for all of them and no longer.
func TestA22SeveralBios(t *testing.T) {
	self := `deadlock: task "T" waits for the direct I/O in flight on X, ended only by task "T" itself (the last step of I/O 1 [T: write X] is task work of T)`
	ask(t, oneRing+"task T on cpu 0: submit R write X bios 3; fallocate X; wait R\n", map[string]string{"6.6-rc": self, "6.5 6.6 6.6-rc+interruptible 6.6-rc+split 6.19 6.6-rc+all endio": ""})
	ask(t, oneRing+"task T on cpu 0: submit R read X bios 2; fallocate X; wait R\n", map[string]string{kernels + " endio": ""})
	ask(t, oneRing+"task T on cpu 0: write X bios 2; read X bios 2; write X unaligned bios 2\ntask U on cpu 1: truncate X\n", map[string]string{kernels + " endio": ""})
}

// TestA22TheSubmitterCompletesInItsSection: who completes at the end of submission still has i_rwsem, and changes the extents with it: no
// drain is early, and nobody waits for ever.
func TestA22TheSubmitterCompletesInItsSection(t *testing.T) {
	for _, kind := range []string{"shared", "extending"} {
		ask(t, "inode X xfs\nring R default\ntask T on cpu 0: submit R write X bios 2 "+kind+"; wait R\ntask U on cpu 1: truncate X\n",
			map[string]string{"6.5 6.6-rc 6.6 6.6-rc+interruptible 6.6-rc+split-owned 6.19 6.6-rc+all endio": ""})
	}
}

// TestA23Errors: a failed write is handed to the caller by 6.6-rc like any other, and a failed read is not, until 6.19 has the workqueue
// end both; a CQE comes of each. What has failed changes no extents, so that a drain can not miss that.
func TestA23Errors(t *testing.T) {
	self := `deadlock: task "T" waits for the direct I/O in flight on X, ended only by task "T" itself (the last step of I/O 1 [T: write X] is task work of T)`
	ask(t, oneRing+"task T on cpu 0: submit R write X error; fallocate X; wait R\n", map[string]string{"6.6-rc": self, "6.5 6.6 6.6-rc+interruptible 6.6-rc+split 6.19 6.6-rc+all endio": ""})
	ask(t, "memory short\n"+oneRing+"task T on cpu 0: submit R read X error; fallocate X; wait R\n", map[string]string{kernels: ""})
	ask(t, "inode X xfs\nring R default\ntask T on cpu 0: submit R write X shared error; wait R\ntask U on cpu 1: truncate X\n", map[string]string{kernels + " endio": ""})
}

// TestA13Links: what is linked is issued when the one before it has ended: inline by the task work of the submitter, or by a worker. The completion
// before it wakes a submitter that waits for more, which that of a request without a link does not.
func TestA13Links(t *testing.T) {
	const anyRing = "inode X\ninode Y\nring R any\n"
	for _, steps := range []string{
		"submit R write X link; submit R fallocate X; wait R 2", "submit R fallocate X link; submit R write X; wait R 2",
		"submit R write X link; submit R write X unaligned; wait R 2", "submit R write X unaligned link; submit R write X; wait R 2",
		"submit R read Y link; submit R write X link; submit R truncate X; wait R 3",
		"submit R write X link; submit R write X", // of which the last is cancelled if the task has gone
	} {
		ask(t, anyRing+"task T on cpu 0: "+steps+"\n", map[string]string{kernels + " endio": ""})
	}
	// Without a link the worker's drain begins before the write has ended (TestA11ForceAsync), and so it does where the write is
	// not in the chain: then nobody runs its task work, for which no wait was ended.
	worker := `deadlock: task "T" waits for CQE 3, posted only by task "iou-wrk-0" (it works on I/O 2 [T: fallocate X]; I/O 3 [T: read Y] is linked to I/O 2 [T: fallocate X]),` +
		` which waits for the direct I/O in flight on X, ended only by task "T" (the last step of I/O 1 [T: write X] is task work of T)`
	ask(t, "inode X\ninode Y\nring R defer\ntask T on cpu 0: submit R write X; submit R fallocate X link; submit R read Y; wait R 3\n", map[string]string{"6.6-rc": worker, "6.6 6.19 endio": ""})
}

// TestA13LinksBreak: what is linked to a request that has failed is cancelled, and its CQE posted, and so on along the chain. The caller completion of 6.6-rc stores the
// error in the CQE only, so that the chain goes on.
func TestA13LinksBreak(t *testing.T) {
	on := `not cancelled: I/O 2 [T: fallocate X] is issued although I/O 1 [T: write X], to which it is linked, has failed`
	const chain = "inode X\nring R any\ntask T on cpu 0: submit R write X error link; submit R fallocate X link; submit R read X; wait R 3\n"
	ask(t, chain, map[string]string{"6.5 6.6 6.19 6.19+endwrite endio": "", "6.6-rc 6.6-rc+split 6.6-rc+all": on})
	ask(t, strings.Replace(chain, "write X error", "read X error", 1), map[string]string{kernels + " endio": ""})
	ask(t, strings.Replace(chain, "write X error", "write X unaligned error", 1), map[string]string{kernels + " endio": ""})
}
