// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"endio/lockdep"
)

// A poller tells leaders that their rings have something, while they wait without a
// thread: as goroutines. It has one epoll instance, for which the Go runtime waits.
//
// Rings are asked for one at a time (EPOLLONESHOT): a ring whose leader is in the
// kernel, or is awake, says nothing.
type poller struct {
	seats gate // for leaders of rings that are in the poller, in the kernel

	mu    lockdep.Mutex
	file  *os.File        // the epoll instance; nil before it is needed; guarded by mu, as the next two
	conn  syscall.RawConn // of file
	rings map[int32]*ring // by descriptor
	ended lockdep.WaitGroup
}

func (o *poller) init(seats int) {
	o.seats.init(seats)
	nameLock(&o.mu, "poller")
	lockdep.SetClass(&o.ended, className("poller.ended"))
	o.rings = make(map[int32]*ring)
}

// add lets d be asked for.
func (o *poller) add(d *ring) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		if err := o.openLocked(); err != nil {
			return fmt.Errorf("poll rings: %w", err)
		}
	}
	if err := o.ctlLocked(unix.EPOLL_CTL_ADD, d, 0); err != nil {
		return fmt.Errorf("poll a ring: %w", err)
	}
	d.note = lockdep.NewChan[struct{}](1)
	d.note.SetClass(className(pollerWait))
	o.rings[int32(d.r.FD())] = d
	return nil
}

func (o *poller) openLocked() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os does not give it to the runtime's poller
		_ = unix.Close(fd)
		return err
	}
	file := os.NewFile(uintptr(fd), "epoll")
	conn, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return err
	}
	o.file, o.conn = file, conn
	o.ended.Go(func() { o.run(conn) })
	return nil
}

func (o *poller) ctlLocked(op int, d *ring, events uint32) error {
	var errno error
	err := o.conn.Control(func(fd uintptr) {
		errno = unix.EpollCtl(int(fd), op, d.r.FD(), &unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(d.r.FD())})
	})
	if err != nil {
		return err
	}
	return errno
}

// wait returns when d has a completion, or earlier. Only d's leader calls it.
func (o *poller) wait(d *ring) error {
	o.mu.Lock()
	err := o.ctlLocked(unix.EPOLL_CTL_MOD, d, unix.EPOLLIN) // says at once what is there already
	o.mu.Unlock()
	if err != nil {
		return err
	}
	d.note.Recv()
	return nil
}

// remove is the end of add. Nobody waits for d.
func (o *poller) remove(d *ring) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rings[int32(d.r.FD())] != d {
		return
	}
	delete(o.rings, int32(d.r.FD()))
	_ = o.ctlLocked(unix.EPOLL_CTL_DEL, d, 0) // the kernel forgets it with its descriptor in any case
}

// close ends the poller, in which there are no rings any more.
func (o *poller) close() error {
	o.mu.Lock()
	file := o.file
	o.mu.Unlock()
	if file == nil {
		return nil
	}
	err := file.Close() // ends run
	o.ended.Wait()
	return err
}

// run tells leaders, until the epoll instance is closed.
func (o *poller) run(conn syscall.RawConn) {
	var events [64]unix.EpollEvent
	for {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		o.mu.Lock()
		for _, e := range events[:n] {
			if d := o.rings[e.Fd]; d != nil {
				d.note.OweSend()
				select {
				case d.note.C() <- struct{}{}:
				default: // has not taken the last one
				}
				d.note.PaidSend()
			}
		}
		o.mu.Unlock()
	}
}
