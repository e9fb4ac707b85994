// SPDX-License-Identifier: Apache-2.0

// Command wal is a write-ahead log with group commit: many goroutines append
// records, and each append returns when its record is durable; records that come
// while a commit is under way share the next one, so that a sync pays for many.
//
// It writes a log in the working directory, reads it back, checks that every
// record that was acknowledged is there in order, and removes it:
//
//	go run ./examples/wal
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"endio"
)

// A commit is a multiple of unit bytes, starts with a header, and is written at
// once: its length, and the checksum of all that follows. Records have a length
// each. A commit that a crash has torn does not match its checksum, and ends the
// log.
const (
	unit   = 4096 // no block is larger, so no commit shares one with another
	header = 8
)

// MaxCommit bounds a commit in bytes: what comes meanwhile waits for the next one.
const MaxCommit = 1 << 20

var sums = crc32.MakeTable(crc32.Castagnoli)

// A Log is an append-only file. Any goroutine may append.
type Log struct {
	f  *endio.File
	op endio.Op // the write of the commit under way

	mu      sync.Mutex
	changed sync.Cond // gathering has room again, or durable or err has changed; L is &mu
	gather  []byte    // the next commit; guarded by mu, as all below
	spare   []byte
	seq     uint64 // of the commit that gathers
	durable uint64 // commits below it are on the disk
	writing bool
	size    int64
	commits int
	err     error // for good: after a failed sync nobody knows what is on the disk
}

// New returns a log that appends to f, which has size bytes of it.
func New(e *endio.Engine, f *endio.File, size int64) *Log {
	l := &Log{f: f, size: size, gather: e.AlignedBuffer(MaxCommit)[:header], spare: e.AlignedBuffer(MaxCommit)[:header]}
	l.changed.L = &l.mu
	l.op = endio.Op{File: f, In: endio.Task, Done: l.written}
	return l
}

// Append returns when record is durable.
func (l *Log) Append(e *endio.Engine, record []byte) error {
	if len(record) > MaxCommit/2 {
		return fmt.Errorf("append: a record of %d bytes, want at most %d", len(record), MaxCommit/2)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil && len(l.gather)+4+len(record) > MaxCommit {
		l.changed.Wait()
	}
	if l.err != nil {
		return l.err
	}
	l.gather = binary.LittleEndian.AppendUint32(l.gather, uint32(len(record)))
	l.gather = append(l.gather, record...)
	mine := l.seq
	if !l.writing {
		if err := e.Submit(l.commitLocked()); err != nil {
			return l.failLocked(err)
		}
	}
	for l.err == nil && l.durable <= mine {
		l.changed.Wait()
	}
	return l.err
}

// commitLocked makes what has gathered a write. Records gather anew meanwhile.
func (l *Log) commitLocked() *endio.Op {
	b := l.gather
	binary.LittleEndian.PutUint32(b, uint32(len(b)-header))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[header:], sums))
	n := (len(b) + unit - 1) / unit * unit
	clear(b[len(b):n])
	l.op.Kind, l.op.Buf, l.op.Off = endio.Write, b[:n], l.size
	l.gather, l.spare = l.spare[:header], b
	l.writing = true
	l.seq++
	return &l.op
}

// written is the handler of a commit's write, and then of its sync: a Task, since
// it takes a lock.
func (l *Log) written(c *endio.Context, op *endio.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := op
	switch {
	case op.Err != nil:
		_ = l.failLocked(op.Err)
		return
	case op.Kind == endio.Write:
		l.size += int64(op.N)
		op.Kind = endio.SyncData
	default:
		l.durable = l.seq
		l.commits++
		l.changed.Broadcast()
		if len(l.gather) == header {
			l.writing = false
			return
		}
		next = l.commitLocked()
	}
	if err := c.Submit(next); err != nil {
		_ = l.failLocked(err)
	}
}

func (l *Log) failLocked(err error) error {
	l.err = fmt.Errorf("log: %w", err)
	l.writing = false
	l.changed.Broadcast()
	return l.err
}

// Replay calls fn for each durable record in order and returns the size of the
// log: what is behind it is no commit, or one that was torn.
func Replay(e *endio.Engine, f *endio.File, fn func(record []byte) error) (int64, error) {
	buf := e.AlignedBuffer(MaxCommit)
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return at, err
		}
		if n < header {
			return at, nil
		}
		length := int(binary.LittleEndian.Uint32(buf))
		if length == 0 || length > n-header {
			return at, nil
		}
		body := buf[header : header+length]
		if crc32.Checksum(body, sums) != binary.LittleEndian.Uint32(buf[4:]) {
			return at, nil
		}
		for len(body) >= 4 {
			k := binary.LittleEndian.Uint32(body)
			if int(k) > len(body)-4 {
				return at, errors.New("replay: a record is longer than its commit, whose checksum is right")
			}
			if err := fn(body[4 : 4+k]); err != nil {
				return at, err
			}
			body = body[4+k:]
		}
		at += int64(header+length+unit-1) / unit * unit
	}
}

func main() {
	if err := demo(".", 32, 200); err != nil {
		fmt.Fprintln(os.Stderr, "wal:", err)
		os.Exit(1)
	}
}

// demo has writers append records each, and reads the log back.
func demo(dir string, writers, records int) (err error) {
	e, err := endio.Open(endio.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	tmp, err := os.MkdirTemp(dir, "wal-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	f, err := e.OpenFile(tmp+"/log", os.O_RDWR|os.O_CREATE, 0o666, endio.Direct)
	if errors.Is(err, endio.ErrNoDirect) {
		f, err = e.OpenFile(tmp+"/log", os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		return err
	}
	l := New(e, f, 0)
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range records {
				if errs[w] = l.Append(e, fmt.Appendf(nil, "%d %d", w, i)); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	seen := make([]int, writers)
	total := 0
	size, err := Replay(e, f, func(record []byte) error {
		var w, i int
		if _, err := fmt.Sscanf(string(record), "%d %d", &w, &i); err != nil || w < 0 || w >= writers || seen[w] != i {
			return fmt.Errorf("record %q is not the next one of its writer", record)
		}
		seen[w]++
		total++
		return nil
	})
	if err != nil {
		return err
	}
	if total != writers*records || size != l.size {
		return fmt.Errorf("replayed %d records of %d bytes, want %d of %d", total, size, writers*records, l.size)
	}
	fmt.Printf("%d records in %d commits, all there after replay\n", total, l.commits)
	return nil
}
