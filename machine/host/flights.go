// SPDX-License-Identifier: Apache-2.0

package host

import "endio/machine"

// A Flight is a request that a port has started or keeps in line.
type Flight struct {
	Port    uint64 // of the machine, in the order of opening
	Owner   string // of whom the port is, if it is a thread's own
	Serial  uint64 // of the request in its port; 0: in line
	CPU     machine.CPU
	Op      Op
	File    *File
	Off     int64
	Len     int
	Started bool
	Led     bool  // somebody waits for the port's completions
	Waiting int32 // goroutines that wait for the port beside its leader
	User    any   // Request.User, which may be in use for something else by now
	Tag     uint8 // Request.Tag
	Handler uintptr
}

// Flights returns what is in flight in all ports. It locks one port after the other
// for some µs, so it is no snapshot of one instant. Any goroutine may call it.
func (m *Machine) Flights() []Flight {
	var list []Flight
	for _, p := range *m.ports.Load() {
		if p.inFlight.Load() > 0 {
			list = p.flights(list)
		}
	}
	return list
}

func (p *Port) flights(list []Flight) []Flight {
	led := !p.leadMu.TryLock()
	if !led {
		p.leave()
	}
	waiting := p.followers.n.Load()
	p.submitMu.Lock()
	defer p.submitMu.Unlock()
	add := func(r *Request, serial uint64) {
		n := len(r.Buf)
		for _, v := range r.Vec {
			n += len(v)
		}
		list = append(list, Flight{Port: p.id, Owner: p.name, Serial: serial, CPU: p.rc.cpu, Op: r.Op, File: r.File, Off: r.Off, Len: n,
			Started: serial != 0, Led: led, Waiting: waiting, User: r.User, Tag: r.Tag, Handler: r.Handler})
	}
	for slot, r := range p.slots {
		if r != nil {
			add(r, uint64(r.gen)<<32|uint64(slot)|1<<31)
		}
	}
	p.lines.each(func(r *Request) bool {
		add(r, 0)
		return true
	})
	for r := p.cut; r != nil; r = r.next {
		add(r, 0)
	}
	return list
}
