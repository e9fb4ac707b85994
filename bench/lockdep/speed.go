// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"endio/lockdep"

	linkdata "github.com/linkdata/deadlock"
	sasha "github.com/sasha-s/go-deadlock"
)

// rounds is the number of interleaved rounds, and roundTime about how long each contender runs
// in one: shorter than the time slices of a busy machine, so that most rounds are
// not interrupted.
const (
	rounds    = 301
	roundTime = time.Millisecond
)

// apart is how many unused mutexes follow those of a contender, so that two goroutines never
// write to one cache line.
const apart = 64

// A contender does n operations.
type contender struct {
	name string
	run  func(n int)
	n    int       // operations in a round
	ns   []float64 // per operation, by round
}

// measure runs all contenders in turns and leaves their times sorted.
func measure(cs []*contender) {
	for _, c := range cs {
		c.run(100)
		for n := 100; ; n *= 2 {
			if d := timed(c, n); d > roundTime/2 {
				c.n = max(1, int(float64(n)*float64(roundTime)/float64(d)))
				break
			}
		}
		c.ns = c.ns[:0]
	}
	for range rounds {
		for _, c := range cs {
			c.ns = append(c.ns, float64(timed(c, c.n))/float64(c.n))
		}
	}
	for _, c := range cs {
		slices.Sort(c.ns)
	}
}

func timed(c *contender, n int) time.Duration {
	begin := time.Now()
	c.run(n)
	return time.Since(begin)
}

func (c *contender) median() float64 { return c.ns[len(c.ns)/2] }

// spread is the median and, in brackets, the quartiles.
func (c *contender) spread() string {
	format := "%.1f (%.1f to %.1f)"
	if c.median() >= 1000 {
		format = "%.0f (%.0f to %.0f)"
	}
	return fmt.Sprintf(format, c.median(), c.ns[len(c.ns)/4], c.ns[len(c.ns)*3/4])
}

func printContenders(w io.Writer, title string, cs []*contender) {
	fmt.Fprintf(w, "\n%s\n\n| | median ns | quartiles | times %s |\n| --- | ---: | --- | ---: |\n", title, cs[0].name)
	for _, c := range cs {
		fmt.Fprintf(w, "| %s | %.1f | %.1f to %.1f | %.2f |\n", c.name, c.median(),
			c.ns[len(c.ns)/4], c.ns[len(c.ns)*3/4], c.median()/cs[0].median())
	}
}

// nest locks all of ms, and unlocks them in reverse order, n times.
func nest[M sync.Locker](ms []M) func(n int) {
	switch len(ms) {
	case 1:
		a := ms[0]
		return func(n int) {
			for range n {
				a.Lock()
				a.Unlock()
			}
		}
	case 3:
		a, b, c := ms[0], ms[1], ms[2]
		return func(n int) {
			for range n {
				a.Lock()
				b.Lock()
				c.Lock()
				c.Unlock()
				b.Unlock()
				a.Unlock()
			}
		}
	}
	return func(n int) {
		for range n {
			for i := range ms {
				ms[i].Lock()
			}
			for i := len(ms) - 1; i >= 0; i-- {
				ms[i].Unlock()
			}
		}
	}
}

// The mutexes of each kind are used through their own methods and not an interface,
// so that sync.Mutex is inlined as in a program.

func nestSync(depth int) func(int) {
	ms := make([]sync.Mutex, depth+apart)[:depth]
	return func(n int) {
		for range n {
			for i := range ms {
				ms[i].Lock()
			}
			for i := len(ms) - 1; i >= 0; i-- {
				ms[i].Unlock()
			}
		}
	}
}

func nestAdapter(depth int) func(int) {
	ms := make([]lockdep.Mutex, depth+apart)[:depth]
	for i := range ms {
		lockdep.SetClass(&ms[i], lockdep.NewClass(fmt.Sprintf("adapter%d.%d", depth, i)))
	}
	return func(n int) {
		for range n {
			for i := range ms {
				ms[i].Lock()
			}
			for i := len(ms) - 1; i >= 0; i-- {
				ms[i].Unlock()
			}
		}
	}
}

func nestHandle(depth int) func(int) {
	v := lockdep.New(lockdep.Config{OnReport: func(*lockdep.Report) { reports.Add(1) }})
	t := v.NewTask("bench", 1)
	ms := make([]struct {
		mu sync.Mutex
		m  lockdep.Map
	}, depth)
	for i := range ms {
		ms[i].m.Init(lockdep.NewClass(fmt.Sprintf("handle%d", i)))
	}
	return func(n int) {
		for range n {
			for i := range ms {
				t.Acquire(&ms[i].m, lockdep.Exclusive, 0)
				ms[i].mu.Lock()
			}
			for i := len(ms) - 1; i >= 0; i-- {
				t.Release(&ms[i].m, 0)
				ms[i].mu.Unlock()
			}
		}
	}
}

func nestSasha(depth int) func(int) {
	ms := make([]*sasha.Mutex, depth)
	for i := range ms {
		ms[i] = new(sasha.Mutex)
	}
	return nest(ms)
}

func nestLinkdata(depth int) func(int) {
	ms := make([]*linkdata.Mutex, depth)
	for i := range ms {
		ms[i] = new(linkdata.Mutex)
	}
	return nest(ms)
}

// measureSpeed measures nested locking with each contender, and with the tag all else that has
// a limit.
func measureSpeed(w io.Writer) (*page, error) {
	restore := lockdep.OnReport(func(*lockdep.Report) { reports.Add(1) })
	defer restore()
	sasha.Opts.OnPotentialDeadlock = func() { reports.Add(1) }
	linkdata.Opts.WriteLocked(func() { linkdata.Opts.OnPotentialDeadlock = func() { reports.Add(1) } })
	p := newPage()
	p.line("Nanoseconds for a nested Lock..Unlock, medians with quartiles of %d interleaved rounds of a millisecond:\n", rounds)
	p.line("| depth | sync.Mutex | task handle | | Go adapter | | linkdata/deadlock | sasha-s/go-deadlock | go-deadlock / adapter |")
	p.line("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, depth := range []int{1, 3, 6} {
		cs := []*contender{
			{name: "sync.Mutex", run: nestSync(depth)},
			{name: "endio/lockdep, task handle", run: nestHandle(depth)},
			{name: "endio/lockdep, Go adapter", run: nestAdapter(depth)},
			{name: "linkdata/deadlock", run: nestLinkdata(depth)},
			{name: "sasha-s/go-deadlock", run: nestSasha(depth)},
		}
		measure(cs)
		printContenders(w, fmt.Sprintf("Nested Lock..Unlock, depth %d", depth), cs)
		plain, handle, adapter, peer := cs[0], cs[1], cs[2], cs[4]
		p.line("| %d | %s | %s | %.1f times | %s | %.1f times | %s | %s | %.0f |", depth, plain.spread(), handle.spread(), handle.median()/plain.median(),
			adapter.spread(), adapter.median()/plain.median(), cs[3].spread(), peer.spread(), peer.median()/adapter.median())
		p.limit(fmt.Sprintf("adapters, depth %d: at most 5 times sync.Mutex", depth), adapter.median()/plain.median(), "%.1f times", 0, 5)
		p.limit(fmt.Sprintf("task handles, depth %d: at most 3 times sync.Mutex", depth), handle.median()/plain.median(), "%.1f times", 0, 3)
		if depth == 3 {
			p.limit("adapters, depth 3: at least 20 times faster than go-deadlock", peer.median()/adapter.median(), "%.0f times", 20, 1e9)
		}
	}
	scaling(p)
	edge(p)
	memory(p)
	if n := reports.Load(); n != 0 {
		return nil, fmt.Errorf("%d reports during a run without faults", n)
	}
	return p, nil
}

// measureOff shows, in a build without the tag lockdep, what is left of the adapters.
func measureOff() *page {
	p := newPage()
	p.line("Without the tag, nanoseconds, medians with quartiles of %d interleaved rounds:\n", rounds)
	p.line("| | standard library | endio/lockdep | times |")
	p.line("| --- | ---: | ---: | ---: |")
	pair := func(what string, plain, wrapped func(int)) {
		cs := []*contender{{name: "plain", run: plain}, {name: "lockdep", run: wrapped}}
		measure(cs)
		ratio := cs[1].median() / cs[0].median()
		p.line("| %s | %s | %s | %.2f |", what, cs[0].spread(), cs[1].spread(), ratio)
		p.limit(what+": nothing without the tag (noise of 10% allowed)", ratio, "%.2f times", 0, 1.1)
	}
	pair("Mutex, depth 1", nestSync(1), nestAdapter(1))
	pair("Mutex, depth 3", nestSync(3), nestAdapter(3))
	pair("Mutex, depth 6", nestSync(6), nestAdapter(6))
	c, wrapped := make(chan int, 1), lockdep.NewChan[int](1)
	pair("Chan: send and receive", func(n int) {
		for range n {
			c <- 1
			_, _ = <-c
		}
	}, func(n int) {
		for range n {
			wrapped.Send(1)
			_, _ = wrapped.Recv()
		}
	})
	pair("Chan: select with default, empty", func(n int) {
		for range n {
			select {
			case <-c:
			default:
			}
		}
	}, func(n int) {
		for range n {
			wrapped.WaitRecv()
			select {
			case <-wrapped.C():
			default:
			}
		}
	})
	var wg sync.WaitGroup
	var watched lockdep.WaitGroup
	pair("WaitGroup: Add, Done, Wait", func(n int) {
		for range n {
			wg.Add(1)
			wg.Done()
			wg.Wait()
		}
	}, func(n int) {
		for range n {
			watched.Add(1)
			lockdep.Owe(&watched)
			watched.Done()
			watched.Wait()
		}
	})
	var io lockdep.IOMap
	var mu, annotated sync.Mutex
	pair("a Mutex, beside one with an IOMap", func(n int) {
		for range n {
			mu.Lock()
			mu.Unlock()
		}
	}, func(n int) {
		for range n {
			io.Owe(nil)
			annotated.Lock()
			io.Wait(nil)
			annotated.Unlock()
			io.Paid(nil)
		}
	})
	return p
}

// arithmetic returns a loop that touches no memory: what it gains from a second processor is
// what the machine had to give.
func arithmetic() func(int) {
	return func(n int) {
		x := uint64(n)
		for range 20 * n {
			x = x*6364136223846793005 + 1442695040888963407
		}
		sink.Store(x)
	}
}

var sink atomic.Uint64

// scaling compares one goroutine on locks of its own with one on each processor.
func scaling(p *page) {
	procs := runtime.GOMAXPROCS(0)
	parallel := func(workers int, make func() func(int)) func(int) {
		runs := []func(int){}
		for range workers {
			runs = append(runs, make())
		}
		return func(n int) {
			var wg sync.WaitGroup
			for _, run := range runs {
				wg.Go(func() { run(n) })
			}
			wg.Wait()
		}
	}
	kinds := []struct {
		name string
		make func() func(int)
	}{
		{"arithmetic only", arithmetic},
		{"sync.Mutex", func() func(int) { return nestSync(3) }},
		{"endio/lockdep, Go adapter", func() func(int) { return nestAdapter(3) }},
		{"linkdata/deadlock", func() func(int) { return nestLinkdata(3) }},
		{"sasha-s/go-deadlock", func() func(int) { return nestSasha(3) }},
	}
	all := make([]*contender, 0, 2*len(kinds))
	for _, k := range kinds {
		all = append(all, &contender{name: k.name, run: parallel(1, k.make)}, &contender{name: k.name, run: parallel(procs, k.make)})
	}
	measure(all)
	p.line("\nScaling, depth 3, each goroutine on locks of its own, all rows interleaved: how many times the work of one goroutine %d do. Arithmetic without memory says what the machine has to give.\n", procs)
	p.line("| | 1 goroutine, ns | %d goroutines, ns | work |", procs)
	p.line("| --- | ---: | ---: | ---: |")
	work := map[string]float64{}
	for i, k := range kinds {
		one, many := all[2*i], all[2*i+1]
		work[k.name] = float64(procs) * one.median() / many.median()
		p.line("| %s | %s | %s | %.2f times |", k.name, one.spread(), many.spread(), work[k.name])
	}
	p.limit(fmt.Sprintf("%d goroutines on different locks: at least 0.9 of what sync.Mutex gains (%.2f)", procs, work["sync.Mutex"]),
		work["endio/lockdep, Go adapter"], "%.2f times", 0.9*work["sync.Mutex"], 1e9)
	if work["arithmetic only"] < 1.5 {
		p.line("\nThe machine had no second processor to give in this run: the row says only that nothing is lost.")
	}
}

// edge measures the check of a new edge in front of a chain of 1,000 classes: the
// search has to walk all of them.
func edge(p *page) {
	const length, samples = 1000, 200
	v := lockdep.New(lockdep.Config{OnReport: func(*lockdep.Report) { reports.Add(1) }})
	t := v.NewTask("bench", 1)
	chain := make([]lockdep.Map, length)
	for i := range chain {
		chain[i].Init(lockdep.NewClass(fmt.Sprintf("chain%d", i)))
		if i > 0 {
			t.Acquire(&chain[i-1], lockdep.Exclusive, 0)
			t.Acquire(&chain[i], lockdep.Exclusive, 0)
			t.Release(&chain[i], 0)
			t.Release(&chain[i-1], 0)
		}
	}
	us := make([]float64, 0, samples)
	for i := range samples {
		var m lockdep.Map
		m.Init(lockdep.NewClass(fmt.Sprintf("new%d", i)))
		t.Acquire(&m, lockdep.Exclusive, 0)
		begin := time.Now()
		t.Acquire(&chain[0], lockdep.Exclusive, 0) // a new edge: can chain[0] reach m?
		us = append(us, float64(time.Since(begin))/1e3)
		t.Release(&chain[0], 0)
		t.Release(&m, 0)
	}
	slices.Sort(us)
	p.line("\nA new edge in front of a chain of %d classes, all of which the search walks: median %.1f us, 99%% under %.1f us, worst of %d %.1f us.",
		length, us[samples/2], us[samples*99/100], samples, us[samples-1])
	p.limit("new edge, chain of 1,000 classes: under 100 us", us[samples/2], "%.1f us", 0, 100)
}

// memory fills all tables of a validator and says what they take.
func memory(p *page) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := heap()
	v := lockdep.New(lockdep.Config{Stacks: true})
	empty := heap() - before
	t := v.NewTask("bench", 1)
	maps := make([]lockdep.Map, lockdep.DefaultMaxClasses)
	for i := range maps {
		maps[i].Init(lockdep.NewClass("m"))
	}
	withMaps := heap()
	for gap := 1; gap <= 20; gap++ { // edges and chains up to their bounds
		for i := 0; i+gap < len(maps); i++ {
			t.Acquire(&maps[i], lockdep.Exclusive, 0)
			t.Acquire(&maps[i+gap], lockdep.Exclusive, 0)
			t.Release(&maps[i+gap], 0)
			t.Release(&maps[i], 0)
		}
	}
	full := heap() - withMaps + empty
	s := v.Stats()
	p.line("\nMemory of a validator: %.1f MiB empty, %.1f MiB with %d classes, %d pairs of classes, %d chains and %d words of stacks.",
		empty, full, s.Classes, s.Edges, s.Chains, s.StackWords)
	p.limit("memory with all tables full: at most 16 MiB", full, "%.1f MiB", 0, 16)
	runtime.KeepAlive(maps)
}
