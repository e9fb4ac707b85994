// SPDX-License-Identifier: Apache-2.0

// Command copyfile copies a file with 64 reads and writes in flight, from one
// goroutine:
//
//	go run ./examples/copyfile FROM TO
//
// Without arguments it makes a file of 64 MiB in the working directory, copies
// it, compares the two, and removes both.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"endio"
)

const (
	depth = 64
	piece = 128 << 10 // bytes a transfer: large enough for a disk, a multiple of every block
)

func main() {
	var err error
	switch len(os.Args) {
	case 1:
		err = demo(".", 64<<20+12345)
	case 3:
		err = copyFile(os.Args[1], os.Args[2])
	default:
		err = errors.New("usage: copyfile [FROM TO]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "copyfile:", err)
		os.Exit(1)
	}
}

// copyFile copies from to a new file to. Whatever goes wrong, no half copy stays.
func copyFile(from, to string) (err error) {
	e, err := endio.Open(endio.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	src, err := open(e, from, os.O_RDONLY)
	if err != nil {
		return err
	}
	dst, err := open(e, to, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(to))
		}
	}()
	size, err := src.Size()
	if err != nil {
		return err
	}
	c := &copier{src: src, dst: dst, size: size}
	if c.q, err = e.NewQueue(endio.QueueOptions{Depth: depth}); err != nil {
		return err
	}
	for range depth {
		c.next(&endio.Op{Buf: e.AlignedBuffer(piece), Done: c.done})
	}
	if err := errors.Join(c.q.Close(), c.err); err != nil {
		return err
	}
	// The last write of a direct file was a whole block.
	return errors.Join(dst.Truncate(size), dst.Sync(), src.Close(), dst.Close())
}

// open opens a file for direct I/O, or through the page cache where the file
// system has no direct I/O.
func open(e *endio.Engine, name string, flag int) (*endio.File, error) {
	f, err := e.OpenFile(name, flag, 0o666, endio.Direct)
	if errors.Is(err, endio.ErrNoDirect) {
		f, err = e.OpenFile(name, flag&^os.O_EXCL, 0o666)
	}
	return f, err
}

// A copier has one Op for each transfer in flight: it reads a piece, then writes
// the same piece, then goes on with another one. All handlers run in the goroutine
// that owns q, so nothing here needs a lock.
type copier struct {
	q        *endio.Queue
	src, dst *endio.File
	size     int64
	at       int64 // next piece to read
	err      error // the first
}

// next has op read the next piece, if there is one.
func (c *copier) next(op *endio.Op) {
	if c.at >= c.size || c.err != nil {
		return
	}
	op.File, op.Kind, op.Off, op.Buf = c.src, endio.Read, c.at, op.Buf[:piece]
	c.at += piece
	c.err = c.q.Submit(op)
}

// done is the handler of reads and writes.
func (c *copier) done(_ *endio.Context, op *endio.Op) {
	switch {
	case op.Err != nil && !(op.Kind == endio.Read && op.Err == io.EOF):
		c.err = errors.Join(c.err, op.Err)
	case op.Kind == endio.Write:
		c.next(op)
	case op.N > 0:
		// The end of the file may be anywhere: write up to the end of its block.
		unit := c.dst.Align().Offset
		n := (op.N + unit - 1) / unit * unit
		clear(op.Buf[op.N:n])
		op.File, op.Kind, op.Buf = c.dst, endio.Write, op.Buf[:n]
		if err := c.q.Submit(op); err != nil {
			c.err = errors.Join(c.err, err)
		}
	}
}

// demo copies a file of size random bytes in dir and compares.
func demo(dir string, size int) error {
	tmp, err := os.MkdirTemp(dir, "copyfile-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{1})
	if _, err := rng.Read(data); err != nil {
		return err
	}
	from, to := tmp+"/from", tmp+"/to"
	if err := os.WriteFile(from, data, 0o666); err != nil {
		return err
	}
	if err := copyFile(from, to); err != nil {
		return err
	}
	got, err := os.ReadFile(to)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("the copy of %d bytes has %d bytes, or others", len(data), len(got))
	}
	fmt.Printf("copied %d bytes, and they are equal\n", size)
	return nil
}
