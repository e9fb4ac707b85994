// SPDX-License-Identifier: Apache-2.0

package explore

import (
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// checkpointVersion changes when old files can't be read any more.
const checkpointVersion = 2

// A checkpoint is a search that was stopped, as it is written to a file, with a checksum behind it.
type checkpoint struct {
	Version  int
	Program  string
	Strategy string
	MaxSteps int

	Executions, Pruned, Steps int64
	Elapsed                   time.Duration

	Objs  [][]int32 // the ids of objects and tasks, which plans refer to
	Kids  [][]uint8
	NObjs int32
	NKids int

	Divided bool // workers shared the tree, now or before

	Parts []savedPart // what was left to each worker
	Jobs  []savedJob  // what was waiting for a worker
	Keys  []uint64    // the states seen, with the tasks that slept there
	Slept []uint64
}

// A savedPart is the state of one strategy.
type savedPart struct {
	Over    bool
	Plan    []uint8
	Choices []savedChoice
	Base    int
	Part    bool
	Nodes   []savedNode
	Round   int   // of a preemption bound
	Cut     bool  // so it is a part even if it is over: that of what was left out
	Loops   bool  // of strategies that match states
	Left    int64 // of a random strategy
	Longest int
	PCG     []byte
	Branch  bool
}

type savedNode struct {
	Enabled, Done, Given, Sleep uint64
	Cur                         uint8
	Key                         uint64 // of the state
	Free, Class                 uint64
	Used                        int
	Asleep, Wut                 []savedWake
	Planned                     []savedWake // none or one
}

type savedChoice struct{ Depth, Value, N, First int32 }

type savedJob struct {
	Plan    []uint8
	Choices []savedChoice
	Sleep   uint64
}

type savedWake struct {
	Task    uint8
	Spec    bool
	Obj     []int32
	Kind    []Kind
	Choices []int32
	Kids    []savedWake
}

// A saver is a strategy that can be stopped and resumed. Both are called between
// executions.
type saver interface {
	save() savedPart
	load(p savedPart)
}

func saveChoices(cs []choice) []savedChoice {
	var out []savedChoice
	for _, c := range cs {
		out = append(out, savedChoice{c.depth, c.value, c.n, c.first})
	}
	return out
}

func loadChoices(cs []savedChoice) []choice {
	var out []choice
	for _, c := range cs {
		out = append(out, choice{depth: c.Depth, value: c.Value, n: c.N, first: c.First})
	}
	return out
}

func saveWake(w *wake) savedWake {
	s := savedWake{Task: w.task, Spec: w.spec, Choices: w.choices, Kids: saveWakes(w.kids)}
	for _, a := range w.acc {
		s.Obj, s.Kind = append(s.Obj, a.obj), append(s.Kind, a.kind)
	}
	return s
}

func saveWakes(ws wakeList) []savedWake {
	var out []savedWake
	for w := ws.head; w != nil; w = w.next {
		out = append(out, saveWake(w))
	}
	return out
}

func loadWake(s savedWake) *wake {
	w := &wake{task: s.Task, spec: s.Spec, choices: s.Choices, kids: loadWakes(s.Kids)}
	for i := range s.Obj {
		w.acc = append(w.acc, access{s.Obj[i], s.Kind[i]})
	}
	return w
}

func loadWakes(ws []savedWake) wakeList {
	var out wakeList
	for _, s := range ws {
		out.push(loadWake(s))
	}
	return out
}

func (s *dfs) save() savedPart {
	p := savedPart{Over: s.over, Plan: s.plan, Choices: saveChoices(s.choices), Base: s.base, Part: s.part}
	for _, n := range s.nodes {
		p.Nodes = append(p.Nodes, savedNode{Enabled: n.enabled, Done: n.done, Given: n.given, Sleep: n.sleep, Cur: n.cur})
	}
	return p
}

func (s *dfs) load(p savedPart) {
	s.over, s.plan, s.choices, s.base, s.part = p.Over, p.Plan, loadChoices(p.Choices), p.Base, p.Part
	s.nodes = s.nodes[:0]
	for _, n := range p.Nodes {
		s.nodes = append(s.nodes, dfsNode{enabled: n.Enabled, done: n.Done, given: n.Given, sleep: n.Sleep, cur: n.Cur})
	}
}

// save adds the states to the nodes that they are of.
func (w *statePath) save(p *savedPart) {
	p.Loops = w.loops
	for i := range p.Nodes {
		p.Nodes[i].Key = w.keys[i]
	}
}

func (w *statePath) load(p savedPart) {
	w.loops, w.keys = w.loops || p.Loops, w.keys[:0]
	for _, n := range p.Nodes {
		w.keys = append(w.keys, n.Key)
	}
}

func (s *cached) save() savedPart {
	p := s.dfs.save()
	s.way.save(&p)
	return p
}

func (s *cached) load(p savedPart) {
	s.dfs.load(p)
	s.way.load(p)
}

func (s *bounded) save() savedPart {
	if s.over && s.cut && s.round < s.limit { // between two rounds
		return savedPart{Round: s.round + 1, Loops: s.way.loops}
	}
	p := s.dfs.save()
	s.way.save(&p)
	p.Round, p.Cut = s.round, s.cut
	for i := range p.Nodes {
		b := s.path[i]
		p.Nodes[i].Free, p.Nodes[i].Used, p.Nodes[i].Class = b.free, b.used, b.class
	}
	return p
}

func (s *bounded) load(p savedPart) {
	s.dfs.load(p)
	s.way.load(p)
	s.round, s.cut = p.Round, p.Cut
	s.path = s.path[:0]
	for _, n := range p.Nodes {
		s.path = append(s.path, boundNode{free: n.Free, used: n.Used, class: n.Class})
	}
}

func (s *optimal) save() savedPart {
	p := savedPart{Over: s.over, Plan: s.plan, Choices: saveChoices(s.choices), Branch: s.branching}
	for i := range s.nodes {
		n := &s.nodes[i]
		sn := savedNode{Sleep: n.sleep, Cur: n.cur, Wut: saveWakes(n.wut), Used: n.done}
		for _, w := range n.part {
			sn.Asleep = append(sn.Asleep, saveWake(w))
		}
		if n.planned != nil {
			sn.Planned = []savedWake{saveWake(n.planned)}
		}
		p.Nodes = append(p.Nodes, sn)
	}
	return p
}

func (s *optimal) load(p savedPart) {
	s.over, s.plan, s.choices, s.branching = p.Over, p.Plan, loadChoices(p.Choices), p.Branch
	s.nodes = s.nodes[:0]
	for _, n := range p.Nodes {
		m := node{sleep: n.Sleep, cur: n.Cur, wut: loadWakes(n.Wut), done: n.Used}
		for _, w := range n.Asleep { // each node has copies of its own, so it lends none
			m.part = append(m.part, loadWake(w))
		}
		if len(n.Planned) == 1 {
			m.planned = loadWake(n.Planned[0])
		}
		s.nodes = append(s.nodes, m)
	}
}

func (s *walk) save() savedPart {
	b, _ := s.pcg.MarshalBinary() // never fails
	return savedPart{Left: s.left, PCG: b}
}

func (s *walk) load(p savedPart) {
	s.left = p.Left
	_ = s.pcg.UnmarshalBinary(p.PCG) // checked by the decoder of the file
}

func (s *pct) save() savedPart {
	p := s.walk.save()
	p.Longest = s.longest
	return p
}

func (s *pct) load(p savedPart) {
	s.walk.load(p)
	s.longest = p.Longest
}

// writeCheckpoint saves what is left of the search.
func (s *searching) writeCheckpoint(xs []*Exec) error {
	c := checkpoint{Version: checkpointVersion, Program: s.prog.Name, Strategy: s.o.Strategy.name, MaxSteps: s.o.MaxSteps,
		Executions: s.executions.Load(), Pruned: s.pruned.Load(), Steps: s.steps.Load(),
		Elapsed: s.before + time.Since(s.start), Divided: s.divided || s.apart}
	ids := xs[0].ids
	if ids.share != nil {
		ids = &ids.share.ids
	}
	c.Objs, c.Kids, c.NObjs, c.NKids = ids.objs, ids.kids, ids.nObjs, ids.nKids
	for _, x := range xs {
		x.conclude()
		if p := x.strat.(saver).save(); !p.Over || p.Cut {
			c.Parts = append(c.Parts, p)
		}
	}
	c.Parts = append(c.Parts, s.parts...)
	jobs := s.jobs
	if s.queue != nil {
		jobs = append(jobs, s.queue.left...)
	}
	for _, j := range jobs {
		c.Jobs = append(c.Jobs, savedJob{j.Plan, saveChoices(j.Choices), j.Sleep})
	}
	if t, ok := xs[0].strat.(*cached); ok {
		c.Keys, c.Slept = t.seen.dump()
	}
	return c.write(s.o.Checkpoint)
}

// write replaces the file in one step, so that a crash leaves the old or the new.
func (c *checkpoint) write(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	sum := crc32.New(castagnoli)
	err = gob.NewEncoder(io.MultiWriter(f, sum)).Encode(c)
	if err == nil {
		err = binary.Write(f, binary.LittleEndian, sum.Sum32())
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unchanged returns nil if the file is as it was written, and goes back to its start. What
// is in it must fit together, or the search would panic, or leave something out.
func unchanged(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum, want := crc32.New(castagnoli), uint32(0)
	if _, err := io.CopyN(sum, f, info.Size()-4); err != nil {
		return err
	}
	if err := binary.Read(f, binary.LittleEndian, &want); err != nil {
		return err
	}
	if sum.Sum32() != want {
		return errors.New("its checksum is wrong")
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// readCheckpoint reads the file of an earlier search. It returns nil if there is
// none.
func (s *searching) readCheckpoint() (*checkpoint, error) {
	path := s.o.Checkpoint
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	defer f.Close()
	c := &checkpoint{}
	err = unchanged(f)
	if err == nil {
		err = gob.NewDecoder(f).Decode(c)
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %s: damaged, or not a checkpoint: %w", path, err)
	}
	for _, m := range []struct {
		what      string
		got, want any
	}{{"version", c.Version, checkpointVersion}, {"program", c.Program, s.prog.Name},
		{"strategy", c.Strategy, s.o.Strategy.name}, {"MaxSteps", c.MaxSteps, s.o.MaxSteps}} {
		if m.got != m.want {
			return nil, fmt.Errorf("read checkpoint %s: made with %s %v, and this search has %v: remove the file to start anew", path, m.what, m.got, m.want)
		}
	}
	for _, p := range c.Parts {
		if p.PCG != nil && new(rand.PCG).UnmarshalBinary(p.PCG) != nil {
			return nil, fmt.Errorf("read checkpoint %s: damaged state of the random numbers", path)
		}
	}
	return c, nil
}

// resume gives the parts of a checkpoint to the workers. What is more than there
// are workers waits in s.parts.
func (s *searching) resume(c *checkpoint, xs []*Exec) {
	s.executions.Store(c.Executions)
	s.pruned.Store(c.Pruned)
	s.steps.Store(c.Steps)
	s.before = c.Elapsed
	s.resumed = true
	for _, x := range xs {
		ids := x.ids
		if ids.share != nil {
			ids = &ids.share.ids
		}
		ids.objs, ids.kids, ids.nObjs, ids.nKids = c.Objs, c.Kids, c.NObjs, c.NKids
		x.strat.(saver).load(savedPart{Over: true})
	}
	s.apart = c.Divided
	for i, p := range c.Parts {
		if i < len(xs) {
			xs[i].strat.(saver).load(p)
		} else {
			s.parts = append(s.parts, p)
		}
	}
	for _, j := range c.Jobs {
		s.jobs = append(s.jobs, job{j.Plan, loadChoices(j.Choices), j.Sleep})
	}
	if t, ok := xs[0].strat.(*cached); ok {
		for i, k := range c.Keys {
			t.seen.lookup(k, c.Slept[i])
		}
	}
}

// nextPart takes over a part of a checkpoint, if one is left.
func (s *searching) nextPart(x *Exec) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.parts) > 0:
		x.strat.(saver).load(s.parts[0])
		s.parts = s.parts[1:]
	case len(s.jobs) > 0:
		x.strat.(divisible).take(s.jobs[0])
		s.jobs = s.jobs[1:]
	default:
		return false
	}
	x.hist.rewind(0)
	return true
}
