// SPDX-License-Identifier: Apache-2.0

// Command server is a store of fixed-size values whose server is one goroutine
// with one Caller queue: it takes requests, has many of them in flight, and
// answers in its handlers, without a lock and without a goroutine for each
// request. Nineteen of twenty requests read.
//
// It serves clients of its own for a while, each of which checks what it reads,
// from a file in the working directory that it removes:
//
//	go run ./examples/server
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"endio"
)

// valueBytes is the size of a value, and of the block that it has in the file.
const valueBytes = 4096

// A Request reads or writes the value of Key.
type Request struct {
	Key   int
	Write bool
	Value []byte // read into, or written from; aligned, valueBytes long
	Done  chan error
}

// A Server owns a file of values. Requests comes from any goroutine; all else is
// the loop's.
type Server struct {
	Requests chan *Request

	f    *endio.File
	q    *endio.Queue
	free []*endio.Op // not in flight

	// A write of a key waits until no read or write of it is in flight, and so do
	// the requests behind it: each key sees its requests in order.
	busy    map[int]int // reads in flight; -1 is a write
	waiting map[int][]*Request
}

// depth is how many requests are in flight at a time; further ones stay in the
// channel, and so hold back those who send.
const depth = 64

// NewServer returns a server of the values in f.
func NewServer(e *endio.Engine, f *endio.File) (*Server, error) {
	q, err := e.NewQueue(endio.QueueOptions{Depth: depth})
	if err != nil {
		return nil, err
	}
	s := &Server{Requests: make(chan *Request, depth), f: f, q: q, busy: make(map[int]int), waiting: make(map[int][]*Request)}
	for range depth {
		s.free = append(s.free, &endio.Op{File: f, Done: s.done})
	}
	return s, nil
}

// Serve runs the loop until Requests is closed and all of them are answered.
func (s *Server) Serve() error {
	open := true
	for open || s.q.InFlight() > 0 {
		// With nothing in flight, wait for a request; else take what is there.
		if s.q.InFlight() == 0 {
			r, ok := <-s.Requests
			if !ok {
				break
			}
			s.accept(r)
		}
		for open && len(s.free) > 0 {
			select {
			case r, ok := <-s.Requests:
				if open = ok; ok {
					s.accept(r)
				}
				continue
			default:
			}
			break
		}
		if _, err := s.q.Reap(1); err != nil {
			return err
		}
	}
	return s.q.Close()
}

// accept starts r or has it wait for those before it on its key.
func (s *Server) accept(r *Request) {
	if len(s.waiting[r.Key]) > 0 || len(s.free) == 0 || !s.start(r) {
		s.waiting[r.Key] = append(s.waiting[r.Key], r)
	}
}

// start submits r and reports true, unless what is in flight on its key must be
// over first.
func (s *Server) start(r *Request) bool {
	n := s.busy[r.Key]
	if n < 0 || r.Write && n > 0 {
		return false
	}
	op := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	op.Kind, op.Buf, op.Off, op.User = endio.Read, r.Value, int64(r.Key)*valueBytes, r
	s.busy[r.Key] = n + 1
	if r.Write {
		op.Kind = endio.Write
		s.busy[r.Key] = -1
	}
	if err := s.q.Submit(op); err != nil {
		s.over(op, err)
	}
	return true
}

// done is the handler of every operation. It runs in the loop's goroutine.
func (s *Server) done(_ *endio.Context, op *endio.Op) { s.over(op, op.Err) }

// over answers the request of op and starts those that waited for it.
func (s *Server) over(op *endio.Op, err error) {
	r := op.User.(*Request)
	op.User = nil
	s.free = append(s.free, op)
	if s.busy[r.Key]--; r.Write || s.busy[r.Key] == 0 {
		delete(s.busy, r.Key)
	}
	key := r.Key
	r.Done <- err // has room: a client has one request at a time
	for w := s.waiting[key]; len(w) > 0 && len(s.free) > 0 && s.start(w[0]); w = s.waiting[key] {
		if s.waiting[key] = w[1:]; len(w) == 1 {
			delete(s.waiting, key)
		}
	}
}

func main() {
	if err := demo(".", 16, 2000, 256); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// demo serves clients that make requests each, on keys values.
func demo(dir string, clients, requests, keys int) (err error) {
	e, err := endio.Open(endio.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	tmp, err := os.MkdirTemp(dir, "server-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	f, err := e.OpenFile(tmp+"/values", os.O_RDWR|os.O_CREATE, 0o666, endio.Direct)
	if errors.Is(err, endio.ErrNoDirect) {
		f, err = e.OpenFile(tmp+"/values", os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		return err
	}
	if err := f.Truncate(int64(keys) * valueBytes); err != nil {
		return err
	}
	s, err := NewServer(e, f)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		wg.Go(func() { errs[i] = client(e, s, uint64(i), requests, keys) })
	}
	go func() {
		wg.Wait()
		close(s.Requests)
	}()
	if err := errors.Join(s.Serve(), errors.Join(errs...)); err != nil {
		return err
	}
	fmt.Printf("%d requests of %d clients answered, and every value was whole\n", clients*requests, clients)
	return nil
}

// client makes requests. A value that it writes consists of one number, over and
// over; one that it reads must too, and must not be older than what it knows.
func client(e *endio.Engine, s *Server, id uint64, requests, keys int) error {
	rng := rand.New(rand.NewPCG(id, 1))
	r := &Request{Value: e.AlignedBuffer(valueBytes), Done: make(chan error, 1)}
	written := make(map[int]uint64) // by this client
	for i := range requests {
		r.Key, r.Write = rng.IntN(keys), rng.IntN(20) == 0
		if r.Write {
			n := uint64(i+1)<<16 | id
			written[r.Key] = n
			for j := 0; j < valueBytes; j += 8 {
				binary.LittleEndian.PutUint64(r.Value[j:], n)
			}
		}
		s.Requests <- r
		if err := <-r.Done; err != nil {
			return fmt.Errorf("client %d: key %d: %w", id, r.Key, err)
		}
		if r.Write {
			continue
		}
		first := binary.LittleEndian.Uint64(r.Value)
		for j := 0; j < valueBytes; j += 8 {
			if n := binary.LittleEndian.Uint64(r.Value[j:]); n != first {
				return fmt.Errorf("client %d: key %d holds %x and %x: a write was seen in part", id, r.Key, first, n)
			}
		}
		if mine := written[r.Key]; first&0xffff == id && first < mine || mine != 0 && first == 0 {
			return fmt.Errorf("client %d: key %d holds %x, and %x was written after it", id, r.Key, first, mine)
		}
	}
	return nil
}
