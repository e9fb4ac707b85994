// SPDX-License-Identifier: Apache-2.0

package fscheck

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"endio"
)

// The file of a history is small, so that operations meet. Of each block the model
// knows one byte, the first: the kernel promises no more than single bytes, as
// buffered reads and writes of a page may be torn against each other.
const (
	cellBytes = 4096
	cells     = 8
)

// A fileState is the model's file.
type fileState struct {
	size  int64
	first [cells]byte // 0 beyond size
}

// An action is one step of an operation that has to be atomic. A read or write of
// several blocks is several.
type action struct {
	kind actionKind
	cell int
	n    int64 // new size, least size, or cells
	tag  byte
}

type actionKind uint8

const (
	readCell   actionKind = iota // output: tag, or -1 beyond the end
	writeCell                    // and grow to n
	growTo                       // at least n
	truncateTo                   // exactly n
	zeroCells                    // n cells from cell, within the size
	zeroGrow                     // the same, and grow
	collapse                     // n cells from cell; output: whether it was done
)

func (s fileState) grow(n int64) fileState {
	s.size = max(s.size, n)
	return s
}

// step is the exact behaviour of a file.
func step(state, input, output any) (bool, any) {
	s, a := state.(fileState), input.(action)
	at := int64(a.cell) * cellBytes
	switch a.kind {
	case readCell:
		want := -1
		if at < s.size {
			want = int(s.first[a.cell])
		}
		return output.(int) == want, s
	case writeCell:
		s = s.grow(a.n)
		s.first[a.cell] = a.tag
	case growTo:
		s = s.grow(a.n)
	case truncateTo:
		s.size = a.n
		for i := range s.first {
			if int64(i)*cellBytes >= s.size {
				s.first[i] = 0
			}
		}
	case zeroCells, zeroGrow:
		for i := a.cell; i < a.cell+int(a.n); i++ {
			s.first[i] = 0
		}
		if a.kind == zeroGrow {
			s = s.grow(at + a.n*cellBytes)
		}
	case collapse:
		done := at+a.n*cellBytes < s.size // else EINVAL
		if done {
			copy(s.first[a.cell:], s.first[a.cell+int(a.n):])
			clear(s.first[cells-int(a.n):])
			s.size -= a.n * cellBytes
		}
		return output.(int) == b2i(done), s
	}
	return true, s
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

var fileModel = porcupine.Model{
	Init:              func() any { return fileState{} },
	Step:              step,
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %v", in, out) },
}

// A client does random operations on a file and records them.
type client struct {
	t      *testing.T
	e      *endio.Engine
	q      *endio.Queue
	path   string
	opts   []endio.FileOption
	f      *endio.File
	rng    *rand.Rand
	id     int
	start  time.Time
	shifts bool // collapse range, which not all file systems have

	history []porcupine.Operation
	tag     byte
}

func (c *client) now() int64 { return int64(time.Since(c.start)) }

func (c *client) record(call int64, a action, out int) {
	c.history = append(c.history, porcupine.Operation{ClientId: c.id, Input: a, Call: call, Output: out, Return: c.now()})
}

func (c *client) direct() bool { return len(c.opts) > 0 && c.opts[0] == endio.Direct }

// one does one operation.
func (c *client) one() error {
	switch c.rng.IntN(16) {
	case 0:
		n := c.rng.Int64N(cells*cellBytes + 1)
		n = n / c.unit() * c.unit()
		call := c.now()
		err := c.f.Truncate(n)
		c.record(call, action{kind: truncateTo, n: n}, 0)
		return err
	case 1, 2, 3:
		return c.fallocate()
	case 4:
		if c.rng.IntN(2) == 0 {
			return c.f.Sync()
		}
		return c.f.SyncData()
	case 5:
		err := c.f.Close()
		if err != nil {
			return err
		}
		c.f, err = c.e.OpenFile(c.path, os.O_RDWR, 0, c.opts...)
		return err
	case 6, 7, 8, 9:
		return c.write()
	default:
		return c.read()
	}
}

func (c *client) fallocate() error {
	at := c.rng.IntN(cells)
	n := 1 + c.rng.IntN(cells-at)
	off, size := int64(at)*cellBytes, int64(n)*cellBytes
	call := c.now()
	switch c.rng.IntN(7) {
	case 0:
		err := c.f.PunchHole(off, size)
		c.record(call, action{kind: zeroCells, cell: at, n: int64(n)}, 0)
		return err
	case 1:
		err := c.f.Fallocate(endio.FallocAllocate, off, size)
		c.record(call, action{kind: growTo, n: off + size}, 0)
		return err
	case 2:
		return c.f.Fallocate(endio.FallocKeepSize, off, size)
	case 3:
		err := c.f.Fallocate(endio.FallocZeroRange|endio.FallocKeepSize, off, size)
		c.record(call, action{kind: zeroCells, cell: at, n: int64(n)}, 0)
		return err
	case 4:
		err := c.f.Fallocate(endio.FallocZeroRange, off, size)
		c.record(call, action{kind: zeroGrow, cell: at, n: int64(n)}, 0)
		return err
	case 5:
		err := c.f.Fallocate(endio.FallocUnshare|endio.FallocKeepSize, off, size)
		if errors.Is(err, syscall.EOPNOTSUPP) {
			err = nil // only file systems that share extents have it
		}
		return err
	}
	if !c.shifts {
		return nil
	}
	// Insert would move the last cells out of the model's sight, so only collapse.
	err := c.f.Fallocate(endio.FallocCollapseRange, off, size)
	done := err == nil
	if errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	c.record(call, action{kind: collapse, cell: at, n: int64(n)}, b2i(done))
	return err
}

// unit returns how offsets and lengths are aligned: as direct I/O wants it, and for one of
// two operations to whole blocks, since direct writes of parts have the file to themselves.
func (c *client) unit() int64 {
	if c.direct() && c.rng.IntN(2) == 0 {
		return cellBytes
	}
	return int64(c.f.Align().Offset)
}

// span draws a range, aligned for direct I/O, and any other.
func (c *client) span() (off, n int64) {
	if c.direct() {
		unit := c.unit()
		off = c.rng.Int64N(cells*cellBytes/unit) * unit
		return off, (1 + c.rng.Int64N(min(3*cellBytes, cells*cellBytes-off)/unit)) * unit
	}
	off = c.rng.Int64N(cells*cellBytes - 1)
	if c.rng.IntN(2) == 0 {
		off = off / cellBytes * cellBytes
	}
	return off, 1 + c.rng.Int64N(min(2*cellBytes, cells*cellBytes-off))
}

// firsts returns the cells whose first byte lies in [off, off+n).
func firsts(off, n int64) (from, to int) {
	return int((off + cellBytes - 1) / cellBytes), int((off + n + cellBytes - 1) / cellBytes)
}

func (c *client) write() error {
	off, n := c.span()
	c.tag++
	tag := byte(c.id+1)<<6 | c.tag%64
	buf := c.e.AlignedBuffer(int(n))
	for i := range buf {
		buf[i] = tag
	}
	call := c.now()
	got, err := c.transfer(endio.Write, buf, off)
	for _, a := range writeActions(off, n, tag) {
		c.record(call, a, 0)
	}
	if err == nil && int64(got) != n {
		return fmt.Errorf("%d of %d bytes were written without an error", got, n)
	}
	return err
}

// writeActions returns the steps of a write. A buffered one grows the file page by page: a read
// beside it finds the end after any of them, also after one whose first byte it left alone.
func writeActions(off, n int64, tag byte) []action {
	var steps []action
	from, to := firsts(off, n)
	if head := int64(from) * cellBytes; off < head && head < off+n {
		steps = append(steps, action{kind: growTo, n: head})
	}
	for i := from; i < to; i++ {
		steps = append(steps, action{kind: writeCell, cell: i, n: min(int64(i+1)*cellBytes, off+n), tag: tag})
	}
	return append(steps, action{kind: growTo, n: off + n})
}

func (c *client) read() error {
	off, n := c.span()
	buf := c.e.AlignedBuffer(int(n))
	call := c.now()
	got, err := c.transfer(endio.Read, buf, off)
	from, to := firsts(off, n)
	for i := from; i < to; i++ {
		out := -1
		if at := int64(i)*cellBytes - off; at < int64(got) {
			out = int(buf[at])
		}
		c.record(call, action{kind: readCell, cell: i}, out)
	}
	if err == io.EOF {
		err = nil
	}
	return err
}

// transfer reads or writes in one of the four ways.
func (c *client) transfer(kind endio.Kind, buf []byte, off int64) (int, error) {
	op := &endio.Op{File: c.f, Kind: kind, Buf: buf, Off: off}
	switch c.rng.IntN(4) {
	case 0:
		if kind == endio.Read {
			return c.f.ReadAt(buf, off)
		}
		return c.f.WriteAt(buf, off)
	case 1:
		op.Done = func(*endio.Context, *endio.Op) {}
		err := errors.Join(c.q.Submit(op), c.q.Drain())
		return op.N, errors.Join(err, notEOF(op.Err))
	case 2:
		op.In = endio.Task
	}
	done := make(chan struct{})
	op.Done = func(*endio.Context, *endio.Op) { close(done) }
	if err := c.e.Submit(op); err != nil {
		return 0, err
	}
	<-done
	return op.N, notEOF(op.Err)
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// TestLinearizable runs random operations of several goroutines on one file, and
// asks for each history whether one order explains all that was seen. The number
// of histories for each file system, backend and mode is ENDIO_HISTORIES, or 15.
func TestLinearizable(t *testing.T) {
	histories := 15
	if n, err := strconv.Atoi(os.Getenv("ENDIO_HISTORIES")); err == nil {
		histories = n
	}
	eachFS(t, func(t *testing.T, m *mount, b endio.Backend) {
		e := openEngine(t, endio.Options{Backend: b, Shards: 2, Depth: 8})
		for name, opts := range map[string][]endio.FileOption{"buffered": nil, "direct": {endio.Direct}, "uncached": {endio.Uncached}} {
			t.Run(name, func(t *testing.T) {
				for seed := range histories {
					checkHistory(t, e, m, opts, uint64(seed))
				}
			})
		}
	})
}

func checkHistory(t *testing.T, e *endio.Engine, m *mount, opts []endio.FileOption, seed uint64) {
	path := filepath.Join(m.dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shifts := canShift(t, e, path)
	const clients, ops = 3, 14
	start := time.Now()
	all := make([]*client, clients)
	var wg sync.WaitGroup
	for i := range all {
		f, err := e.OpenFile(path, os.O_RDWR, 0, opts...)
		if err != nil {
			t.Skip(err)
		}
		q, err := e.NewQueue(endio.QueueOptions{Depth: 2})
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, e: e, q: q, f: f, path: path, opts: opts, rng: rand.New(rand.NewPCG(seed, uint64(i))), id: i, start: start, shifts: shifts}
		all[i] = c
		wg.Go(func() {
			for range ops {
				if err := c.one(); err != nil {
					t.Errorf("seed %d, client %d: %v", seed, c.id, err)
					return
				}
			}
		})
	}
	wg.Wait()
	var history []porcupine.Operation
	for _, c := range all {
		history = append(history, c.history...)
		if err := errors.Join(c.f.Close(), c.q.Close()); err != nil {
			t.Error(err)
		}
	}
	res, _ := porcupine.CheckOperationsVerbose(fileModel, history, 20*time.Second)
	switch res {
	case porcupine.Illegal:
		for _, op := range history {
			t.Logf("%8d %8d client %d %+v -> %v", op.Call, op.Return, op.ClientId, op.Input, op.Output)
		}
		t.Fatalf("seed %d: no order explains the history", seed)
	case porcupine.Unknown:
		t.Logf("seed %d: the check took too long", seed)
	}
}

// canShift reports whether the file system can collapse ranges.
func canShift(t *testing.T, e *endio.Engine, path string) bool {
	f, err := e.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(4 * cellBytes); err != nil {
		t.Fatal(err)
	}
	shifts := f.Fallocate(endio.FallocCollapseRange, 0, cellBytes) == nil
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	return shifts
}

// TestModelDetects feeds the check histories that no file can have.
func TestModelDetects(t *testing.T) {
	write := action{kind: writeCell, cell: 1, n: 2 * cellBytes, tag: 7}
	for name, tt := range map[string]struct {
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"read after write":  {[]porcupine.Operation{{Input: write, Call: 0, Return: 1, Output: 0}, {Input: action{cell: 1}, Call: 2, Return: 3, Output: 7}}, porcupine.Ok},
		"lost write":        {[]porcupine.Operation{{Input: write, Call: 0, Return: 1, Output: 0}, {Input: action{cell: 1}, Call: 2, Return: 3, Output: 0}}, porcupine.Illegal},
		"not yet":           {[]porcupine.Operation{{Input: write, Call: 0, Return: 3, Output: 0}, {Input: action{cell: 1}, Call: 1, Return: 2, Output: -1}}, porcupine.Ok},
		"back in time":      {[]porcupine.Operation{{Input: write, Call: 0, Return: 9, Output: 0}, {Input: action{cell: 1}, Call: 1, Return: 2, Output: 7}, {Input: action{cell: 1}, Call: 3, Return: 4, Output: -1}}, porcupine.Illegal},
		"truncated":         {[]porcupine.Operation{{Input: write, Call: 0, Return: 1, Output: 0}, {Input: action{kind: truncateTo, n: 4096}, Call: 2, Return: 3, Output: 0}, {Input: action{cell: 1}, Call: 4, Return: 5, Output: 7}}, porcupine.Illegal},
		"hole before write": {[]porcupine.Operation{{Input: write, Call: 0, Return: 1, Output: 0}, {Input: action{cell: 0}, Call: 2, Return: 3, Output: 0}}, porcupine.Ok},
	} {
		if got := porcupine.CheckOperations(fileModel, tt.history); got != (tt.want == porcupine.Ok) {
			t.Errorf("%s: linearizable: %v, want %v", name, got, tt.want)
		}
	}
}

// TestGrowsByPage reads beside a write that starts within the page before the one where it ends.
func TestGrowsByPage(t *testing.T) {
	for name, tt := range map[string]struct {
		seen []int // cells 0 to 2, by one who reads them in turn during the write
		want bool
	}{
		"nothing":    {[]int{-1, -1, -1}, true},
		"first page": {[]int{0, -1, -1}, true},
		"both":       {[]int{0, 7, -1}, true},
		"more":       {[]int{0, 7, 7}, false},
		"no data":    {[]int{0, 0, -1}, true}, // grown, and not written yet: as the model of writes has it
		"grows":      {[]int{-1, 7, -1}, true},
		"other data": {[]int{0, 3, -1}, false},
	} {
		var history []porcupine.Operation
		for _, a := range writeActions(100, 2*cellBytes-200, 7) {
			history = append(history, porcupine.Operation{Input: a, Call: 0, Return: 100, Output: 0})
		}
		for cell, out := range tt.seen {
			at := int64(2*cell + 1)
			history = append(history, porcupine.Operation{ClientId: 1, Input: action{cell: cell}, Call: at, Return: at + 1, Output: out})
		}
		if got := porcupine.CheckOperations(fileModel, history); got != tt.want {
			t.Errorf("%s: linearizable: %v, want %v", name, got, tt.want)
		}
	}
}
