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

func printSpeed(w io.Writer) error {
	restore := lockdep.OnReport(func(*lockdep.Report) { reports.Add(1) })
	defer restore()
	sasha.Opts.OnPotentialDeadlock = func() { reports.Add(1) }
	linkdata.Opts.WriteLocked(func() { linkdata.Opts.OnPotentialDeadlock = func() { reports.Add(1) } })
	fmt.Fprintf(w, "%s %s/%s, GOMAXPROCS %d; lockdep enabled: %v, linkdata/deadlock enabled: %v\n", runtime.Version(),
		runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), lockdep.Enabled, linkdata.Enabled)
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
		fmt.Fprintf(w, "\ngo-deadlock / Go adapter = %.0f, linkdata / Go adapter = %.0f\n",
			cs[4].median()/cs[2].median(), cs[3].median()/cs[2].median())
	}
	if !lockdep.Enabled {
		printOff(w)
		return nil
	}
	printScaling(w)
	printEdge(w)
	printMemory(w)
	if n := reports.Load(); n != 0 {
		return fmt.Errorf("%d reports during a run without faults", n)
	}
	return nil
}

// printOff shows, in a build without the tag lockdep, what is left of the adapters that are no
// mutexes.
func printOff(w io.Writer) {
	c, wrapped := make(chan int, 1), lockdep.NewChan[int](1)
	var io lockdep.IOMap
	var mu sync.Mutex
	cs := []*contender{
		{name: "chan", run: func(n int) {
			for range n {
				c <- 1
				_, _ = <-c
			}
		}},
		{name: "lockdep.Chan", run: func(n int) {
			for range n {
				wrapped.Send(1)
				_, _ = wrapped.Recv()
			}
		}},
	}
	measure(cs)
	printContenders(w, "Off: a channel", cs)
	cs = []*contender{
		{name: "sync.Mutex", run: func(n int) {
			for range n {
				mu.Lock()
				mu.Unlock()
			}
		}},
		{name: "sync.Mutex and lockdep.IOMap", run: func(n int) {
			for range n {
				io.Owe(nil)
				mu.Lock()
				io.Wait(nil)
				mu.Unlock()
				io.Paid(nil)
			}
		}},
	}
	measure(cs)
	printContenders(w, "Off: I/O map", cs)
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

// printScaling compares one goroutine on its own lock with one on each processor.
func printScaling(w io.Writer) {
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
	fmt.Fprintf(w, "\nScaling: depth 3, each goroutine on locks of its own; %d goroutines do how many times the work of one\n\n", procs)
	fmt.Fprintf(w, "| | 1 goroutine, ns | %d goroutines, ns | work |\n| --- | ---: | ---: | ---: |\n", procs)
	for _, k := range kinds {
		cs := []*contender{{name: "one", run: parallel(1, k.make)}, {name: "all", run: parallel(procs, k.make)}}
		measure(cs)
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.2f |\n", k.name, cs[0].median(), cs[1].median(),
			float64(procs)*cs[0].median()/cs[1].median())
	}
}

// printEdge measures the check of a new edge in front of a chain of 1,000 classes: the
// search has to walk all of them.
func printEdge(w io.Writer) {
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
	fmt.Fprintf(w, "\nNew edge before a chain of %d classes: median %.1f us, 99%% %.1f us, worst of %d %.1f us\n",
		length, us[samples/2], us[samples*99/100], samples, us[samples-1])
}

// printMemory fills all tables of a validator and prints what they take.
func printMemory(w io.Writer) {
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
	fmt.Fprintf(w, "\nMemory of a validator: %.1f MiB empty, %.1f MiB with %d classes, %d edges, %d chains, %d stack words\n",
		empty, full, s.Classes, s.Edges, s.Chains, s.StackWords)
	runtime.KeepAlive(maps)
}
