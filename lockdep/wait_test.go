// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"sync"
	"testing"
)

// TestSelfWait is the deadlock of thread 1: a task begins direct I/O whose completion only it can run, and
// then waits for all direct I/O of the inode under i_rwsem.
func TestSelfWait(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio := newWaitMap("inode")
	rwsem := newMap(NewClass("i_rwsem"))
	tk := v.NewTask("falloc-dio", 502)
	dio.Owe(tk, 0)
	tk.Acquire(rwsem, Exclusive, 0)
	dio.Wait(tk, 0)
	wantKinds(t, kinds(), Recursion)
	wantText(t, v, "WARNING: possible recursive locking detected", "falloc-dio/502 is trying to acquire lock:",
		"(inode)", "2 locks held by falloc-dio/502:", "#1: ", " May be due to missing lock nesting notation")
	if !v.Reports()[0].Certain {
		t.Error("Certain = false, want true")
	}
}

// TestWorkerIssues is the dispute of thread 1: a worker submits and waits, and the completion is the owner's.
// Attributed to the owner it is fine; attributed to the worker it would be a self-wait.
func TestWorkerIssues(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio := newWaitMap("inode")
	owner, worker := v.NewTask("owner", 1), v.NewTask("io-wq", 2)
	dio.Owe(owner, 0) // submitted by the worker, completed by the owner's task work
	dio.Wait(worker, 0)
	wantKinds(t, kinds())
	dio.Wait(owner, 0)
	wantKinds(t, kinds(), Recursion)
}

// TestLockAcrossWait is the transitive form: the payer needs what the waiter holds.
func TestLockAcrossWait(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio, rwsem := newWaitMap("inode"), newMap(NewClass("i_rwsem"))
	payer, waiter := v.NewTask("payer", 1), v.NewTask("waiter", 2)
	dio.Owe(payer, 0)
	payer.Acquire(rwsem, Exclusive, 0)
	payer.Release(rwsem, 0)
	dio.Paid(payer, 0)
	wantKinds(t, kinds())
	waiter.Acquire(rwsem, Exclusive, 0)
	dio.Wait(waiter, 0)
	waiter.Release(rwsem, 0)
	wantKinds(t, kinds(), Circular)
	wantText(t, v, "  sync(inode);")
}

// TestPaidFirst is the order that is safe: the event is brought about before the lock is
// needed.
func TestPaidFirst(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio, rwsem := newWaitMap("inode"), newMap(NewClass("i_rwsem"))
	payer, waiter := v.NewTask("payer", 1), v.NewTask("waiter", 2)
	payer.Acquire(rwsem, Shared, 0) // i_rwsem is held while I/O begins
	dio.Owe(payer, 0)
	payer.Release(rwsem, 0)
	dio.Paid(payer, 0)
	waiter.Acquire(rwsem, Exclusive, 0)
	dio.Wait(waiter, 0)
	waiter.Release(rwsem, 0)
	wantKinds(t, kinds())
}

func TestHandOver(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio := newWaitMap("inode")
	a, b := v.NewTask("a", 1), v.NewTask("b", 2)
	dio.Owe(a, 0)
	dio.Owe(a, 0)
	dio.HandOver(a, b, 0)
	if dio.Owed(a) != 1 || dio.Owed(b) != 1 {
		t.Fatalf("Owed = %d, %d, want 1, 1", dio.Owed(a), dio.Owed(b))
	}
	dio.HandOver(a, b, 0)
	dio.Wait(a, 0) // owes nothing any more
	wantKinds(t, kinds())
	dio.Wait(b, 0)
	wantKinds(t, kinds(), Recursion)
	dio.Paid(b, 0)
	dio.Paid(b, 0)
	dio.Paid(b, 0)
	wantKinds(t, kinds(), Recursion, Imbalance)
	wantText(t, v, "The task does not owe this event.")
}

// TestLateDebt hands a debt to a task that waits for it already: the completion is queued to who
// is asleep.
func TestLateDebt(t *testing.T) {
	for _, serial := range []bool{true, false} {
		v := New(Config{Serial: serial, MaxChains: 64})
		dio := newWaitMap("inode")
		worker, owner := v.NewTask("worker", 1), v.NewTask("owner", 2)
		dio.Owe(worker, 0)
		dio.Wait(owner, 0)
		wantKinds(t, kindsOf(v.Reports()))
		dio.HandOver(worker, owner, 0)
		wantKinds(t, kindsOf(v.Reports()), Recursion)
		wantText(t, v, "owner/2 is trying to acquire lock:")
		dio.Paid(owner, 0)
		dio.Owe(worker, 0)
		owner.Acquire(newMap(NewClass("x")), Exclusive, 0) // the wait is over
		dio.HandOver(worker, owner, 0)
		if n := len(v.Reports()); n != 1 {
			t.Errorf("serial %v: %d reports, want 1", serial, n)
		}
	}
}

// TestWaitHelping is a wait that runs what the waiter owes: its debts do not count, its locks do.
func TestWaitHelping(t *testing.T) {
	v, kinds := newTestValidator(t, Config{})
	dio, other, mu := newWaitMap("inode"), newWaitMap("other"), newMap(NewClass("mu"))
	tk, payer := v.NewTask("t", 1), v.NewTask("payer", 2)
	dio.Owe(tk, 0)
	other.Owe(tk, 0)
	dio.WaitHelping(tk, 0)
	other.WaitHelping(tk, 0)
	wantKinds(t, kinds())
	dio.Owe(payer, 0)
	payer.Acquire(mu, Exclusive, 0) // inode -> mu
	payer.Release(mu, 0)
	tk.Acquire(mu, Exclusive, 0)
	dio.WaitHelping(tk, 0) // mu -> inode, by a lock that is held
	wantKinds(t, kinds(), Circular)
}

// TestDebtInInterrupt books a debt while an interrupt runs on the task: it belongs to the task and
// not to the interrupt.
func TestDebtInInterrupt(t *testing.T) {
	v, kinds := newTestValidator(t, Config{Interrupts: true})
	dio := newWaitMap("inode")
	spin := newMap(&Class{Name: "spin", Outer: WaitSpin, Inner: WaitSpin})
	mu := newMap(NewClass("mu"))
	tk := v.NewTask("t", 1)
	tk.Acquire(mu, Exclusive, 0)
	tk.HardirqEnter(false)
	tk.Acquire(spin, Exclusive, 0)
	dio.Owe(tk, 0)
	tk.Release(spin, 0)
	tk.HardirqExit()
	tk.Release(mu, 0)
	wantKinds(t, kinds())
	dio.Wait(tk, 0)
	wantKinds(t, kinds(), Recursion)
}

// TestConcurrentDebts books from many goroutines to one task while it works.
func TestConcurrentDebts(t *testing.T) {
	v := New(Config{MaxChains: 256})
	dio, mu := newWaitMap("inode"), newMap(NewClass("mu"))
	tk := v.NewTask("owner", 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				dio.Owe(tk, 0)
				dio.Paid(tk, 0)
			}
		})
	}
	for range 1000 {
		tk.Acquire(mu, Exclusive, 0)
		tk.Release(mu, 0)
	}
	wg.Wait()
	if n := dio.Owed(tk); n != 0 {
		t.Errorf("Owed() = %d, want 0", n)
	}
	wantKinds(t, kindsOf(v.Reports()))
	dio.Wait(tk, 0)
	wantKinds(t, kindsOf(v.Reports()))
}
