// SPDX-License-Identifier: Apache-2.0

// Package fsxlog reads the operation logs that fsx writes with --record-ops, and
// runs them on an engine, verifying every read and every size against a model of
// the file in memory.
//
// # Format
//
// One operation a line: a name, numbers in C notation, flags. "#" starts a comment
// line. It is what logdump and read_op of ltp/fsx.c (xfstests) write and read:
//
//	write 0x1000 0x200 0x0            offset, length, size of the file before
//	truncate 0x0 0x800 0x1200         unused, new size, size before
//	copy_range 0x0 0x200 0x400 0x800  offset, length, destination, size before
//	skip read 0x0 0x10 0x0            not performed
//	fallocate 0x0 0x10 0x0 keep_size close_open *
//
// "*" marks what fsx suspected; it means nothing here. The size before is not
// verified where it is 0: fsx --replay-ops ignores it, and edited logs have no use
// for it.
package fsxlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Kind is what an operation does.
type Kind uint8

// Kinds of operations, in the order of fsx.
const (
	Read Kind = iota
	Write
	MapRead
	MapWrite
	Truncate
	Fallocate
	PunchHole
	ZeroRange
	CollapseRange
	InsertRange
	CloneRange
	DedupeRange
	CopyRange
	Fsync
)

var kindNames = [...]string{"read", "write", "mapread", "mapwrite", "truncate", "fallocate", "punch_hole", "zero_range",
	"collapse_range", "insert_range", "clone_range", "dedupe_range", "copy_range", "fsync"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// An Op is one line of a log.
type Op struct {
	Line      int // in the file, from 1
	Kind      Kind
	Skip      bool // was not performed
	Off, Len  int64
	Dest      int64 // of CloneRange, DedupeRange and CopyRange
	Size      int64 // of the file before, in bytes; 0: not known
	KeepSize  bool
	CloseOpen bool // the file is closed and opened after it
	Unshare   bool
}

// Limits of a log; fsx itself keeps the last million operations, on files that
// fit into memory twice.
const (
	MaxBytes = 1 << 30 // end of any operation in the file
	MaxOps   = 10_000_000
	maxLine  = 4096
)

// ErrSyntax is found in all errors of [Parse] that are about the text.
var ErrSyntax = errors.New("not an fsx operation log")

// Parse reads a log.
func Parse(r io.Reader) ([]Op, error) {
	var ops []Op
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1024), maxLine)
	n := 0
	for lines.Scan() {
		n++
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		op, err := parseLine(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w: %w", n, ErrSyntax, err)
		}
		op.Line = n
		if len(ops) == MaxOps {
			return nil, fmt.Errorf("line %d: %w: more than %d operations", n, ErrSyntax, MaxOps)
		}
		ops = append(ops, op)
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("line %d: %w: longer than %d bytes", n+1, ErrSyntax, maxLine)
		}
		return nil, err
	}
	return ops, nil
}

func parseLine(words []string) (op Op, err error) {
	if words[0] == "skip" {
		op.Skip, words = true, words[1:]
		if len(words) == 0 {
			return op, errors.New("an operation is missing after skip")
		}
	}
	found := false
	for i, name := range kindNames {
		if name == words[0] {
			op.Kind, found = Kind(i), true
		}
	}
	if !found {
		return op, fmt.Errorf("operation %q: want one of %s", words[0], strings.Join(kindNames[:], ", "))
	}
	args, count := []*int64{&op.Off, &op.Len, &op.Size}, 3
	if op.Kind == CloneRange || op.Kind == DedupeRange || op.Kind == CopyRange {
		args, count = []*int64{&op.Off, &op.Len, &op.Dest, &op.Size}, 4
	}
	if len(words)-1 < count {
		return op, fmt.Errorf("%v has %d numbers: want %d", op.Kind, len(words)-1, count)
	}
	for i, p := range args {
		if *p, err = strconv.ParseInt(words[1+i], 0, 64); err != nil || *p < 0 || *p > MaxBytes {
			return op, fmt.Errorf("%q: want a number from 0 to %#x", words[1+i], MaxBytes)
		}
	}
	if op.Off+op.Len > MaxBytes || op.Dest+op.Len > MaxBytes {
		return op, fmt.Errorf("%v ends beyond %#x", op.Kind, MaxBytes)
	}
	for _, flag := range words[1+count:] {
		switch flag {
		case "keep_size":
			op.KeepSize = true
		case "close_open":
			op.CloseOpen = true
		case "unshare":
			op.Unshare = true
		case "*":
		default:
			return op, fmt.Errorf("flag %q: want keep_size, close_open, unshare or *", flag)
		}
	}
	return op, nil
}

// String returns the line that [Parse] reads as op.
func (op Op) String() string {
	var b strings.Builder
	if op.Skip {
		b.WriteString("skip ")
	}
	fmt.Fprintf(&b, "%v %#x %#x", op.Kind, op.Off, op.Len)
	if op.Kind == CloneRange || op.Kind == DedupeRange || op.Kind == CopyRange {
		fmt.Fprintf(&b, " %#x", op.Dest)
	}
	fmt.Fprintf(&b, " %#x", op.Size)
	for _, f := range []struct {
		set  bool
		name string
	}{{op.KeepSize, "keep_size"}, {op.CloseOpen, "close_open"}, {op.Unshare, "unshare"}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	return b.String()
}
