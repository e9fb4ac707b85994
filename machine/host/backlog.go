// SPDX-License-Identifier: Apache-2.0

package host

// A backlog has the requests that a port has accepted and not started: a line for each
// file. Lines take turns, one request each, so that a file with thousands in line does
// not keep up one with few. Within a file the order stays.
type backlog struct {
	first, last *line // with requests, in the order of their turns
	lines       map[*File]*line
	spare       *line // for reuse, linked by next
}

type line struct {
	file       *File
	head, tail *Request // linked by next and prev
	next, prev *line
}

func (b *backlog) empty() bool { return b.first == nil }

func (b *backlog) push(r *Request) {
	l := b.last
	if l == nil || l.file != r.File {
		l = b.lines[r.File]
	}
	if l == nil {
		l = b.open(r.File)
	}
	r.line, r.prev, r.next = l, l.tail, nil
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.next = r
	}
	l.tail = r
}

// open makes a line for f.
func (b *backlog) open(f *File) *line {
	l := b.spare
	if l == nil {
		l = &line{}
	} else {
		b.spare = l.next
	}
	l.file = f
	if b.lines == nil {
		b.lines = make(map[*File]*line)
	}
	b.lines[f] = l
	b.enqueue(l)
	return l
}

func (b *backlog) enqueue(l *line) {
	l.next, l.prev = nil, b.last
	if b.last == nil {
		b.first = l
	} else {
		b.last.next = l
	}
	b.last = l
}

// unlink takes l out of the order of turns.
func (b *backlog) unlink(l *line) {
	if l.prev == nil {
		b.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		b.last = l.prev
	} else {
		l.next.prev = l.prev
	}
}

// peek returns whose turn it is. There is one.
func (b *backlog) peek() *Request { return b.first.head }

// pop removes what peek returns, whose next may have been changed since; next is what was
// behind it in its line.
func (b *backlog) pop(next *Request) {
	l := b.first
	l.head.line, l.head.prev = nil, nil
	l.head = next
	if next == nil {
		b.shut(l)
		return
	}
	next.prev = nil
	if l.next != nil { // else it is the only line
		b.unlink(l)
		b.enqueue(l)
	}
}

// shut ends l, which is empty.
func (b *backlog) shut(l *line) {
	b.unlink(l)
	delete(b.lines, l.file)
	*l = line{next: b.spare}
	b.spare = l
}

// remove takes r out, wherever it is, and reports whether it was in.
func (b *backlog) remove(r *Request) bool {
	l := r.line
	if l == nil {
		return false
	}
	if r.prev == nil {
		l.head = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.tail = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.line, r.prev, r.next = nil, nil, nil
	if l.head == nil {
		b.shut(l)
	}
	return true
}

// each calls fn for all requests until it returns false.
func (b *backlog) each(fn func(r *Request) bool) {
	for l := b.first; l != nil; l = l.next {
		for r := l.head; r != nil; r = r.next {
			if !fn(r) {
				return
			}
		}
	}
}
