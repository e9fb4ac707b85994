// SPDX-License-Identifier: Apache-2.0

package host

import (
	"runtime"

	"endio/lockdep"
)

// A batchRest is what is left of a batch of completions with Inline handlers. It
// outlives the goroutine that has begun with it: a handler may end that.
type batchRest struct {
	requests [reapBatch]*Request
	n, i     int // how many there are, and how many of them are done
	over     bool
}

// completeInline completes the batch in p.rest, Inline handlers and all. reapMu is
// held.
//
// A handler that calls runtime.Goexit, as FailNow of a test does, ends the goroutine
// that runs it, and nothing can keep that. A member of a shard is expendable: another
// one takes its place. Whoever else reaps waits for something of his own, in the
// middle of a call, and lets a goroutine of the port's run the handlers meanwhile:
// that costs some 0.5 µs a batch. Either way a new goroutine goes on with the rest.
func (p *Port) completeInline(expendable bool) {
	if expendable {
		defer p.handOver() // does nothing, unless a handler has ended the goroutine
		p.completeRest()
		return
	}
	p.handOver()
}

// handOver has other goroutines complete what is left, one after the other while
// handlers end them, and waits for that.
func (p *Port) handOver() {
	for !p.rest.over {
		var done lockdep.WaitGroup
		done.Add(1)
		go func() {
			lockdep.Owe(&done)
			defer done.Done()
			p.completeRest()
		}()
		done.Wait()
	}
}

// completeRest completes what is left of the batch, or what comes before a handler that
// ends the goroutine, and that one.
func (p *Port) completeRest() {
	b := &p.rest
	defer func() {
		if v := recover(); v != nil {
			b.over = true // a fault of the engine: handlers are recovered one by one
			panic(v)
		}
		if p.thread != 0 {
			p.thread = 0
			p.m.inline.Add(-1)
			// Locked, the thread would end with the goroutine, and the kernel's workers for
			// what the thread has submitted with it.
			runtime.UnlockOSThread()
		}
	}()
	for b.i < b.n {
		r, res := b.requests[b.i], p.res[b.i]
		b.requests[b.i] = nil
		b.i++
		p.complete(r, res)
	}
	p.inFlight.Add(-int64(b.n))
	b.over = true
}
