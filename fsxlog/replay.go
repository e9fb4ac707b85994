// SPDX-License-Identifier: Apache-2.0

package fsxlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"endio"
)

// Ways in which a replay reads and writes.
const (
	ByCall   = "call" // ReadAt and WriteAt
	ByInline = "inline"
	ByTask   = "task"
	ByCaller = "caller"
	ByAll    = "all" // each operation in the way after the last one's
)

// Options say how to replay.
type Options struct {
	Path  string // of the file, which is created, or truncated if it exists
	By    string // one of the ways; "" means ByAll
	Flags []endio.FileOption
}

// A Result counts what a replay has done.
type Result struct {
	Ops         int   `json:"ops"` // performed
	Skipped     int   `json:"skipped"`
	Unsupported int   `json:"unsupported"` // by the file system: collapse_range and its like
	Reads       int   `json:"reads"`       // verified
	ReadBytes   int64 `json:"read_bytes"`  // verified
	Sizes       int   `json:"sizes"`       // verified
}

// A Mismatch is a difference between the file and the model.
type Mismatch struct {
	Op   Op
	What string
}

func (m *Mismatch) Error() string { return fmt.Sprintf("line %d: %v: %s", m.Op.Line, m.Op, m.What) }

// Replay performs ops on a file of engine e, one after the other. After each it
// verifies what was read, and the size; at the end, all that the file holds, read
// with plain system calls. A *[Mismatch] says what differs; other errors are those
// of operations.
//
// mapread and mapwrite are done as read and write, and clone_range and copy_range
// by reading and writing: the engine has neither. dedupe_range must not change the
// content, so it is not performed, only verified to be in the file.
//
// When ctx ends the operation under way is the last, and the error is that of ctx.
func Replay(ctx context.Context, e *endio.Engine, ops []Op, o Options) (Result, error) {
	r := &replay{e: e, o: o}
	if err := r.open(os.O_CREATE | os.O_TRUNC); err != nil {
		return r.res, err
	}
	q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
	if err != nil {
		return r.res, errors.Join(err, r.f.Close())
	}
	r.q = q
	for _, op := range ops {
		if err = ctx.Err(); err != nil {
			break
		}
		if err = r.one(op); err != nil {
			break
		}
	}
	err = errors.Join(err, q.Close())
	if r.f != nil { // else it could not be opened again
		err = errors.Join(err, r.f.Close())
	}
	if err == nil {
		err = r.last(ops)
	}
	return r.res, err
}

type replay struct {
	e   *endio.Engine
	q   *endio.Queue
	f   *endio.File
	o   Options
	res Result

	good []byte // what the file must hold
	turn int    // of the ways
	seed byte   // of what is written
}

func (r *replay) open(flags int) (err error) {
	r.f, err = r.e.OpenFile(r.o.Path, os.O_RDWR|flags, 0o600, r.o.Flags...)
	return err
}

// one performs and verifies one operation.
func (r *replay) one(op Op) error {
	if op.Skip {
		r.res.Skipped++
		return nil
	}
	if op.Size != 0 && op.Size != int64(len(r.good)) {
		return &Mismatch{op, fmt.Sprintf("the log says the file has %#x bytes before it, the model has %#x", op.Size, len(r.good))}
	}
	err := r.perform(op)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		r.res.Unsupported++
		return fmt.Errorf("line %d: %v: %w: this file system can't replay the log", op.Line, op, err)
	}
	var m *Mismatch
	if errors.As(err, &m) {
		return err // says where
	}
	if err != nil {
		return fmt.Errorf("line %d: %v: %w", op.Line, op, err)
	}
	r.res.Ops++
	if op.CloseOpen {
		if err := errors.Join(r.f.Close(), r.open(0)); err != nil {
			return fmt.Errorf("line %d: %v: %w", op.Line, op, err)
		}
	}
	size, err := r.f.Size()
	if err != nil {
		return fmt.Errorf("line %d: %v: %w", op.Line, op, err)
	}
	r.res.Sizes++
	if size != int64(len(r.good)) {
		return &Mismatch{op, fmt.Sprintf("the file has %#x bytes, want %#x", size, len(r.good))}
	}
	return nil
}

func (r *replay) perform(op Op) error {
	end := op.Off + op.Len
	switch op.Kind {
	case Read, MapRead:
		_, err := r.read(op, op.Off)
		return err
	case Write, MapWrite:
		return r.write(r.fresh(op.Len), op.Off)
	case Truncate:
		r.grow(op.Len)
		r.good = r.good[:op.Len]
		return r.f.Truncate(op.Len)
	case Fsync:
		return r.f.Sync()
	case CloneRange, CopyRange:
		if end > int64(len(r.good)) {
			return &Mismatch{op, "the source ends beyond the end of the file"}
		}
		buf, err := r.read(op, op.Off)
		if err != nil {
			return err
		}
		return r.write(buf, op.Dest)
	case DedupeRange:
		_, err := r.read(op, op.Off)
		return err
	}
	if op.Len == 0 {
		return nil // fsx skips it
	}
	return r.fallocate(op, end)
}

// fallocate does the modes of fallocate(2), first to the model.
func (r *replay) fallocate(op Op, end int64) error {
	size := int64(len(r.good))
	mode := endio.FallocAllocate
	switch op.Kind {
	case PunchHole:
		mode = endio.FallocPunchHole | endio.FallocKeepSize
		clear(r.good[min(op.Off, size):min(end, size)])
	case ZeroRange:
		mode = endio.FallocZeroRange
		clear(r.good[min(op.Off, size):min(end, size)])
	case CollapseRange:
		mode = endio.FallocCollapseRange
		if end >= size {
			return &Mismatch{op, "the range reaches the end of the file, which fsx never does"}
		}
		r.good = append(r.good[:op.Off], r.good[end:]...)
	case InsertRange:
		mode = endio.FallocInsertRange
		if op.Off >= size || size+op.Len > MaxBytes {
			return &Mismatch{op, "the range is inserted beyond the end of the file, or makes it too large"}
		}
		tail := bytes.Clone(r.good[op.Off:])
		r.good = append(r.good[:op.Off], make([]byte, op.Len)...)
		r.good = append(r.good, tail...)
	}
	if op.Kind == Fallocate || op.Kind == ZeroRange {
		if op.KeepSize {
			mode |= endio.FallocKeepSize
		} else {
			r.grow(end)
		}
		if op.Unshare {
			mode |= endio.FallocUnshare
		}
	}
	return r.f.Fallocate(mode, op.Off, op.Len)
}

// grow makes the model at least size bytes long.
func (r *replay) grow(size int64) {
	if n := size - int64(len(r.good)); n > 0 {
		r.good = append(r.good, make([]byte, n)...)
	}
}

// fresh returns n bytes that no earlier write has written in this place.
func (r *replay) fresh(n int64) []byte {
	r.seed++
	buf := make([]byte, n)
	for i := range buf {
		buf[i] = byte(i>>8) ^ byte(i) + r.seed
	}
	return buf
}

// read reads what op reads and compares it.
func (r *replay) read(op Op, off int64) ([]byte, error) {
	buf := bytes.Repeat([]byte{0xA5}, int(op.Len)) // what is not read shows
	n, err := r.transfer(endio.Read, buf, off)
	if err != nil && err != io.EOF {
		return nil, err
	}
	want := r.good[min(off, int64(len(r.good))):min(off+op.Len, int64(len(r.good)))]
	if n != len(want) {
		return nil, &Mismatch{op, fmt.Sprintf("%#x bytes were read, want %#x", n, len(want))}
	}
	for i := range want {
		if buf[i] != want[i] {
			return nil, &Mismatch{op, fmt.Sprintf("byte at %#x is %#02x, want %#02x", off+int64(i), buf[i], want[i])}
		}
	}
	r.res.Reads++
	r.res.ReadBytes += int64(n)
	return buf[:n], nil
}

func (r *replay) write(buf []byte, off int64) error {
	if len(buf) == 0 {
		return nil
	}
	if _, err := r.transfer(endio.Write, buf, off); err != nil {
		return err
	}
	r.grow(off + int64(len(buf)))
	copy(r.good[off:], buf)
	return nil
}

// transfer does one read or write in the way that is asked for.
func (r *replay) transfer(kind endio.Kind, buf []byte, off int64) (int, error) {
	by := r.o.By
	if by == "" || by == ByAll {
		by = []string{ByCall, ByInline, ByTask, ByCaller}[r.turn%4]
		r.turn++
	}
	op := &endio.Op{File: r.f, Kind: kind, Buf: buf, Off: off}
	switch by {
	case ByCaller:
		op.Done = func(*endio.Context, *endio.Op) {}
		if err := errors.Join(r.q.Submit(op), r.q.Drain()); err != nil {
			return 0, err
		}
		return op.N, op.Err
	case ByInline, ByTask:
		if by == ByTask {
			op.In = endio.Task
		}
		done := make(chan struct{})
		op.Done = func(*endio.Context, *endio.Op) { close(done) }
		if err := r.e.Submit(op); err != nil {
			return 0, err
		}
		<-done
		return op.N, op.Err
	}
	if kind == endio.Write {
		return r.f.WriteAt(buf, off)
	}
	return r.f.ReadAt(buf, off)
}

// last compares the whole file, read without the engine, with the model.
func (r *replay) last(ops []Op) error {
	var op Op
	if len(ops) > 0 {
		op = ops[len(ops)-1]
	}
	data, err := os.ReadFile(r.o.Path)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, r.good) {
		return &Mismatch{op, "the file at the end is not what was written"}
	}
	return nil
}
