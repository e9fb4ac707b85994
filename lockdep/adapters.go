// SPDX-License-Identifier: Apache-2.0

package lockdep

// annotated is every adapter that has one class; a [Chan] has methods instead.
type annotated interface {
	*Mutex | *RWMutex | *WaitGroup | *Cond | *Once | *IOMap
}

// ownable is every adapter that one goroutine holds and another may release.
type ownable interface {
	*Mutex | *RWMutex
}

// owable is every adapter that is waited for and that somebody brings about.
type owable interface {
	*WaitGroup | *Cond
}

// A TB is what [FailTests] needs of a *testing.T, *testing.B or *testing.F.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Cleanup(func())
}
