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
	head, tail *Request // linked by next
	next       *line
}

func (b *backlog) empty() bool { return b.first == nil }

func (b *backlog) push(r *Request) {
	r.next = nil
	l := b.last
	if l == nil || l.file != r.File {
		l = b.lines[r.File]
	}
	if l == nil {
		b.open(r)
		return
	}
	l.tail.next = r
	l.tail = r
}

// open makes a line for the file of r.
func (b *backlog) open(r *Request) {
	l := b.spare
	if l == nil {
		l = &line{}
	} else {
		b.spare = l.next
	}
	l.file, l.head, l.tail = r.File, r, r
	if b.lines == nil {
		b.lines = make(map[*File]*line)
	}
	b.lines[r.File] = l
	b.enqueue(l)
}

func (b *backlog) enqueue(l *line) {
	l.next = nil
	if b.last == nil {
		b.first = l
	} else {
		b.last.next = l
	}
	b.last = l
}

// peek returns whose turn it is. There is one.
func (b *backlog) peek() *Request { return b.first.head }

// pop removes what peek returns, which may have been started, and so changed, since; next
// is what was behind it in its line.
func (b *backlog) pop(next *Request) {
	l := b.first
	l.head = next
	if next != nil && l.next == nil {
		return // the only line
	}
	b.first = l.next
	if b.first == nil {
		b.last = nil
	}
	if next != nil {
		b.enqueue(l)
		return
	}
	delete(b.lines, l.file)
	*l = line{next: b.spare}
	b.spare = l
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
