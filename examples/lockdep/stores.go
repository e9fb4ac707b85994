// SPDX-License-Identifier: Apache-2.0

// Command lockdep shows a deadlock that no test run ever meets, and the report
// of it.
//
// Two stores are copied into each other by two goroutines, one after the other, so
// nothing hangs. In production they run at the same time one day, each holds
// one store, and both wait for ever.
//
//	go run ./examples/lockdep                 says nothing, exits with 0
//	go run -tags lockdep ./examples/lockdep   prints the report, exits with 1
package main

import (
	"fmt"
	"os"
	"sync/atomic"

	"endio/lockdep"
)

// A store is a map with a lock.
type store struct {
	mu   lockdep.Mutex
	data map[string]string
}

// The two kinds of stores are two classes of locks.
var (
	cacheClass = lockdep.NewClass("cache.mu")
	diskClass  = lockdep.NewClass("disk.mu")
)

func newStore(class *lockdep.Class) *store {
	s := &store{data: make(map[string]string)}
	lockdep.SetClass(&s.mu, class)
	return s
}

// fill copies what is in from and not in to. It holds both, from first.
func fill(to, from *store) {
	from.mu.Lock()
	defer from.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for k, v := range from.data {
		if _, ok := to.data[k]; !ok {
			to.data[k] = v
		}
	}
}

func main() {
	var faults atomic.Int64
	restore := lockdep.OnReport(func(r *lockdep.Report) {
		faults.Add(1)
		fmt.Fprint(os.Stderr, r.Text)
	})
	defer restore()

	cache, disk := newStore(cacheClass), newStore(diskClass)
	disk.data["answer"] = "42"
	var wg lockdep.WaitGroup
	wg.Go(func() { fill(cache, disk) }) // a reader warms the cache
	wg.Wait()
	wg.Go(func() { fill(disk, cache) }) // later a flush writes it back
	wg.Wait()

	fmt.Println("done; nothing has hung")
	if faults.Load() > 0 {
		os.Exit(1)
	}
}
