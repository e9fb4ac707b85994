// SPDX-License-Identifier: Apache-2.0

package host

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

// A plainBacklog is what a backlog does, said plainly: lines in the order of their turns.
type plainBacklog [][]*Request

func (b *plainBacklog) push(r *Request) {
	for i, l := range *b {
		if l[0].File == r.File {
			(*b)[i] = append(l, r)
			return
		}
	}
	*b = append(*b, []*Request{r})
}

func (b *plainBacklog) pop() *Request {
	l := (*b)[0]
	*b = (*b)[1:]
	if len(l) > 1 {
		*b = append(*b, l[1:])
	}
	return l[0]
}

func (b *plainBacklog) remove(r *Request) bool {
	for i, l := range *b {
		if at := slices.Index(l, r); at >= 0 {
			if (*b)[i] = slices.Delete(l, at, at+1); len((*b)[i]) == 0 {
				*b = slices.Delete(*b, i, i+1)
			}
			return true
		}
	}
	return false
}

func (b plainBacklog) all() (all []*Request) { return slices.Concat(b...) }

// TestBacklog compares a backlog with a plain one: what is next, what is in, and what
// was taken out of the middle.
func TestBacklog(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	files := []*File{{}, {}, {}, nil}
	requests := make([]Request, 12)
	var b backlog
	var plain plainBacklog
	for step := range 20000 {
		r := &requests[rng.IntN(len(requests))]
		in := slices.Contains(plain.all(), r)
		switch rng.IntN(5) {
		case 0, 1:
			if !in {
				r.File = files[rng.IntN(len(files))]
				b.push(r)
				plain.push(r)
			}
		case 2:
			if got, want := b.remove(r), plain.remove(r); got != want || want != in {
				t.Fatalf("step %d: remove = %v, want %v", step, got, want)
			}
		default:
			if b.empty() {
				break
			}
			got := b.peek()
			next := got.next
			got.next = &requests[0] // whoever has it links it as he likes
			b.pop(next)
			got.next = nil
			if want := plain.pop(); got != want {
				t.Fatalf("step %d: another request is next", step)
			}
		}
		var all []*Request
		b.each(func(r *Request) bool { all = append(all, r); return true })
		if !slices.Equal(all, plain.all()) || b.empty() != (len(all) == 0) || len(b.lines) != len(plain) {
			t.Fatalf("step %d: %d requests in %d lines, want %d in %d, or another order", step, len(all), len(b.lines), len(plain.all()), len(plain))
		}
	}
}

// TestCancelInPool has all goroutines of a port wait, and cancels a request that none of
// them has: it completes nevertheless.
func TestCancelInPool(t *testing.T) {
	m, err := New(Config{Shards: 1, MaxShards: 1, UseThreads: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := newPort(m, 0, newThreads(m), 2*maxThreads)
	m.gate.enter()
	results := make(map[*Request]int32)
	requests := make([]Request, maxThreads+3)
	for i := range requests {
		requests[i] = Request{Op: OpNop, File: &File{}, Complete: func(_ *Context, r *Request, res int32) { results[r] = res }}
		p.Submit(true, &requests[i])
	}
	last := []*Request{&requests[maxThreads+1], &requests[maxThreads+2], &requests[maxThreads]}
	for i, r := range last {
		p.Cancel(r)
		if p.Reap(); len(results) != i+1 || results[r] != -int32(syscall.ECANCELED) {
			t.Errorf("%d requests have completed, want %d cancelled ones: %v", len(results), i+1, results)
		}
	}
	m.gate.leave()
	m.Quiesce(p)
	if len(results) != len(requests) {
		t.Errorf("%d requests have completed, want %d", len(results), len(requests))
	}
	if err := m.ClosePort(p); err != nil {
		t.Error(err)
	}
}
