// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"context"
	"fmt"
	"testing"
)

// The programs of Abdulla, Aronis, Jonsson, Sagonas, POPL 2014, Table 2.

func readers(n int) *Program {
	return &Program{Name: fmt.Sprintf("readers(%d)", n), Init: func(x *Exec) {
		v := NewAtomic(x, "x", 0)
		own := NewAtomics(x, "own", n, 0)
		x.Go("writer", func(t *Task) { v.Store(t, 1) })
		for i := range n {
			x.Go("reader", func(t *Task) {
				own[i].Load(t)
				v.Load(t)
			})
		}
	}}
}

func lastzero(n int) *Program {
	return &Program{Name: fmt.Sprintf("lastzero(%d)", n), Init: func(x *Exec) {
		a := NewAtomics(x, "a", n+1, 0)
		x.Go("searcher", func(t *Task) {
			for i := n; a[i].Load(t) != 0; i-- {
			}
		})
		for j := 1; j <= n; j++ {
			x.Go("writer", func(t *Task) { a[j].Store(t, a[j-1].Load(t)+1) })
		}
	}}
}

func indexer(n int) *Program {
	return &Program{Name: fmt.Sprintf("indexer(%d)", n), Init: func(x *Exec) {
		table := NewAtomics(x, "table", 128, 0)
		for id := range n {
			x.Go("thread", func(t *Task) {
				for m := 1; m <= 4; m++ {
					w := 11*m + id
					for h := 7 * w % 128; !table[h].CompareAndSwap(t, 0, w); h = (h + 1) % 128 {
					}
				}
			})
		}
	}}
}

func filesystem(n int) *Program {
	return &Program{Name: fmt.Sprintf("filesystem(%d)", n), Init: func(x *Exec) {
		locki, lockb := NewMutexes(x, "locki", 32), NewMutexes(x, "lockb", 26)
		inode := NewAtomics(x, "inode", 32, 0)
		busy := NewAtomics(x, "busy", 26, false)
		for id := range n {
			x.Go("thread", func(t *Task) {
				i := id % 32
				locki[i].Lock(t)
				if inode[i].Load(t) == 0 {
					for b, found := 2*i%26, false; !found; b = (b + 1) % 26 {
						lockb[b].Lock(t)
						if !busy[b].Load(t) {
							busy[b].Store(t, true)
							inode[i].Store(t, b+1)
							found = true
						}
						lockb[b].Unlock(t)
					}
				}
				locki[i].Unlock(t)
			})
		}
	}}
}

// TestPublishedCounts: the executions explored by optimal DPOR, POPL 2014,
// Table 2, and none abandoned.
func TestPublishedCounts(t *testing.T) {
	for _, tt := range []struct {
		p    *Program
		want int64
	}{
		{filesystem(14), 2},
		{filesystem(16), 8},
		{indexer(12), 8},
		{readers(2), 4},
		{readers(8), 256},
		{lastzero(5), 64},
		{lastzero(10), 3328},
	} {
		r, err := Explore(context.Background(), tt.p, Options{Strategy: Optimal()})
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != Holds || r.Executions != tt.want || r.Pruned != 0 {
			t.Errorf("%v, want %d executions, 0 pruned (failure %v)", r, tt.want, r.Failure)
		}
	}
}
