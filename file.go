// SPDX-License-Identifier: Apache-2.0

package endio

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"sync/atomic"
	"syscall"

	"endio/machine/host"
	"endio/uring"
)

// A File is an open regular file or block device. Any goroutine may use it.
// It implements [io.ReaderAt], [io.WriterAt] and [io.Closer].
type File struct {
	e      *Engine
	f      *os.File
	host   host.File
	path   string
	key    inodeKey
	inode  *inodeRef
	direct bool
	align  Align
	block  int64 // of the file system, bytes
	mode   int   // O_RDONLY, O_WRONLY or O_RDWR

	uncached *uncached // nil: in the page cache as ever
	cached   guess     // for blocking reads that are not direct

	closed atomic.Bool
}

// An Align says how direct I/O on a file must be aligned, in bytes; 1 means not
// at all. statx(2) tells, from Linux 6.1 on.
type Align struct {
	Memory int // of a buffer's address
	Offset int // of offset and length
}

var (
	_ io.ReaderAt = (*File)(nil)
	_ io.WriterAt = (*File)(nil)
	_ io.Closer   = (*File)(nil)
)

// OpenFile opens name as [os.OpenFile] does, if it is a regular file or a block
// device. Append mode is refused: operations in flight have no order in which to
// append. Close the file when done. An error is an [*OpError], with [ErrNoDirect] if
// the file system has no direct I/O and [Direct] was asked for.
func (e *Engine) OpenFile(name string, flag int, perm fs.FileMode, opts ...FileOption) (*File, error) {
	refuse := func(err error, hint string) error {
		return &OpError{Op: "open", Path: name, Off: -1, Len: -1, Err: err, Hint: hint}
	}
	if e.closing.Load() {
		return nil, refuse(fmt.Errorf("engine: %w", ErrClosed), "")
	}
	var all FileOption
	for _, o := range opts {
		all |= o
	}
	if flag&directFlag != 0 {
		all |= Direct // or its alignment and its partial blocks would be nobody's business
	}
	switch {
	case all&^(Direct|Uncached) != 0:
		return nil, refuse(ErrInvalid, "want Direct or Uncached as an option")
	case all == Direct|Uncached:
		return nil, refuse(ErrInvalid, "Direct and Uncached exclude each other")
	case flag&os.O_APPEND != 0:
		return nil, refuse(ErrInvalid, "O_APPEND is not supported: keep the end of the file yourself and write there")
	}
	if all == Direct {
		flag |= directFlag
	}
	if info, err := os.Stat(name); err == nil && !mayBeFile(info.Mode()) {
		return nil, refuse(errNotAFile, "")
	}
	osFile, err := os.OpenFile(name, flag, perm)
	if err != nil {
		if all == Direct && errors.Is(err, syscall.EINVAL) {
			return nil, refuse(fmt.Errorf("%w: %w", ErrNoDirect, syscall.EINVAL), "open it without Direct")
		}
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, refuse(err, "")
	}
	f := &File{e: e, f: osFile, path: name, direct: all == Direct, mode: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)}
	f.host.F, f.host.FD = osFile, int(osFile.Fd())
	if err := f.identify(); err != nil {
		return nil, errors.Join(refuse(err, ""), osFile.Close())
	}
	if all == Uncached {
		f.setUncached(flag)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.Join(refuse(fmt.Errorf("engine: %w", ErrClosed), ""), osFile.Close())
	}
	ref := e.inodes[f.key]
	if ref == nil {
		ref = e.newInode()
		e.inodes[f.key] = ref
	}
	ref.refs++
	f.inode = ref
	e.files[f] = struct{}{}
	return f, nil
}

// mayBeFile reports whether what has this mode can be opened without harm. To open a FIFO waits for whoever
// opens its other end, and to open a device may do something to it. What was opened
// is looked at again.
func mayBeFile(m fs.FileMode) bool {
	return m.Type()&^fs.ModeDir == 0 || m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0
}

// Name returns the name that the file was opened with.
func (f *File) Name() string { return f.path }

// Align returns how operations on the file must be aligned.
func (f *File) Align() Align { return f.align }

// Size returns the size in bytes, of a block device too.
func (f *File) Size() (int64, error) {
	n, err := f.size()
	if err != nil {
		return 0, f.opError("size", -1, -1, 0, err)
	}
	return n, nil
}

// opError is an error of an operation on f.
func (f *File) opError(op string, off, n, done int64, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &OpError{Op: op, Path: f.path, Off: off, Len: n, Done: done, Err: err, Hint: f.hint(op, err)}
}

// hint says what to do about errors that do not say it themselves.
func (f *File) hint(op string, err error) string {
	switch {
	case errors.Is(err, syscall.EINVAL) && op == "truncate" && f.key.isDevice:
		return "the size of a block device can't be changed"
	case errors.Is(err, syscall.EINVAL) && f.direct && (op == "read" || op == "write"):
		return fmt.Sprintf("direct I/O here wants offset and length in multiples of %d and buffers at multiples of %d", f.align.Offset, f.align.Memory)
	case errors.Is(err, syscall.EFBIG):
		return "the file would grow beyond what the file system or RLIMIT_FSIZE allows"
	}
	return ""
}

// check refuses a read or write that can't be done as asked.
func (f *File) check(kind Kind, buf []byte, bufs [][]byte, off int64, want int) error {
	refuse := func(err error, hint string) error {
		return &OpError{Op: kind.String(), Path: f.path, Off: off, Len: int64(want), Err: err, Hint: hint}
	}
	switch {
	case f.closed.Load():
		return refuse(ErrClosed, "")
	case kind == Read && f.mode == os.O_WRONLY:
		return refuse(ErrWriteOnly, "")
	case kind == Write && f.mode == os.O_RDONLY:
		return refuse(ErrReadOnly, "")
	case off < 0:
		return refuse(ErrInvalid, "the offset is negative")
	case off > math.MaxInt64-int64(want):
		return refuse(ErrInvalid, "offset and length exceed the largest offset")
	}
	if !f.direct {
		return nil
	}
	a := f.align
	if off%int64(a.Offset) != 0 || want%a.Offset != 0 {
		return refuse(ErrAlignment, fmt.Sprintf("offset and length must be multiples of %d", a.Offset))
	}
	if bufs == nil {
		if m := uring.Misaligned(buf, a.Memory); m != 0 && len(buf) > 0 {
			return refuse(ErrAlignment, fmt.Sprintf("the buffer is %d bytes behind a multiple of %d; Engine.AlignedBuffer returns aligned ones", m, a.Memory))
		}
		return nil
	}
	for i, b := range bufs {
		if uring.Misaligned(b, a.Memory) != 0 && len(b) > 0 || len(b)%a.Offset != 0 {
			return refuse(ErrAlignment, fmt.Sprintf("buffer %d must start at a multiple of %d and be a multiple of %d long", i, a.Memory, a.Offset))
		}
	}
	return nil
}

// partial reports whether a direct write covers a block of the file system in
// part: two such writes to one block must not overlap, or one undoes the other.
func (f *File) partial(off int64, n int) bool {
	return f.direct && !f.key.isDevice && (off%f.block != 0 || int64(n)%f.block != 0)
}

// ReadAt reads len(p) bytes at off, as [io.ReaderAt] wants it. It blocks, so an Inline
// handler that calls it gets [ErrWouldBlock]. An error but io.EOF is an [*OpError].
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.e.calls.transfer(f, Read, p, off) }

// WriteAt writes p at off, as [io.WriterAt] wants it. It blocks, and fails, as
// [File.ReadAt] does.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	return f.e.calls.transfer(f, Write, p, off)
}

// Sync makes all completed writes durable, with the file's metadata. It blocks.
func (f *File) Sync() error { return f.e.calls.sync(f, Sync) }

// SyncData makes all completed writes durable, with what metadata is needed to
// read them back. It blocks.
func (f *File) SyncData() error { return f.e.calls.sync(f, SyncData) }

// Drain waits until all I/O that was submitted on the inode before is over, but not
// for its handlers. I/O submitted meanwhile is held back until then.
func (f *File) Drain() error { return f.exclusive("drain", -1, -1, func() error { return nil }) }

// Truncate sets the size in bytes. All I/O in flight on the inode is over when the size
// changes, and what is submitted meanwhile comes after.
func (f *File) Truncate(size int64) error {
	if size < 0 {
		return &OpError{Op: "truncate", Path: f.path, Off: size, Len: -1, Err: ErrInvalid, Hint: "the size is negative"}
	}
	return f.reshape("truncate", size, -1, size, func() error { return f.f.Truncate(size) })
}

// Fallocate changes the allocation of n bytes at off, as mode says, with the
// inode drained as for [File.Truncate]. On other systems than Linux there is only
// [FallocAllocate], which makes the file longer and allocates nothing.
func (f *File) Fallocate(mode FallocMode, off, n int64) error {
	if off < 0 || n <= 0 || off > math.MaxInt64-n {
		return &OpError{Op: "fallocate", Path: f.path, Off: off, Len: n, Err: ErrInvalid, Hint: "want an offset of at least 0, a length of at least 1, and no overflow"}
	}
	return f.reshape("fallocate", off, n, off+n, func() error { return f.fallocate(mode, off, n) })
}

// PunchHole frees n bytes at off, which then read as zeros; the size stays. It is
// [File.Fallocate] with two modes, and needs Linux.
func (f *File) PunchHole(off, n int64) error {
	return f.Fallocate(FallocPunchHole|FallocKeepSize, off, n)
}

// reshape changes the size or the allocation from off to end, or to the end of the file,
// while no I/O is in flight on the inode. The system makes parts of blocks zeros in the page
// cache, at both ends of the change and at that of the file as it was: see [Uncached].
func (f *File) reshape(op string, off, n, end int64, do func() error) error {
	if f.uncached == nil {
		return f.exclusive(op, off, n, do)
	}
	err := f.exclusive(op, off, n, func() error {
		size, err := f.size()
		if err == nil {
			err = do()
		}
		for _, at := range []int64{off, end, size} {
			f.uncached.note(Write, max(0, at-1), 2)
		}
		return err
	})
	if err == nil {
		f.uncached.settle(Write)
	}
	return err
}

// exclusive does something while no I/O is in flight on the inode.
func (f *File) exclusive(op string, off, n int64, do func() error) error {
	if f.e.m.InInline() {
		return f.opError(op, off, n, 0, ErrWouldBlock)
	}
	c := f.e.m.Anyone()
	s := &section{op: op, f: f, off: off, n: n}
	f.e.addSection(s)
	defer f.e.removeSection(s)
	if err := f.inode.Exclude(c); err != nil {
		return f.opError(op, off, n, 0, err)
	}
	s.begun.Store(true)
	defer f.inode.Admit(c)
	if f.closed.Load() {
		return f.opError(op, off, n, 0, ErrClosed)
	}
	if op == "truncate" || op == "fallocate" {
		if f.mode == os.O_RDONLY {
			return f.opError(op, off, n, 0, ErrReadOnly)
		}
	}
	err := do()
	if _, told := err.(*OpError); err != nil && !told {
		err = f.opError(op, off, n, 0, err)
	}
	return err
}

// Close waits for all I/O in flight on the inode, and closes the file. What was
// submitted on this File and held back meanwhile completes with [ErrClosed]. With
// [Uncached] it waits for write-back, too, and an error of that which no Sync has
// returned is its error; the file is closed all the same.
func (f *File) Close() error {
	if f.e.m.InInline() {
		return f.opError("close", -1, -1, 0, ErrWouldBlock)
	}
	if f.closed.Swap(true) {
		return f.opError("close", -1, -1, 0, ErrClosed)
	}
	c := f.e.m.Anyone()
	s := &section{op: "close", f: f, off: -1, n: -1}
	f.e.addSection(s)
	defer f.e.removeSection(s)
	if err := f.inode.Exclude(c); err != nil {
		panic(err) // Anyone may block
	}
	s.begun.Store(true)
	// What had begun is over, and what begins from now on sees closed.
	f.host.Forget()
	var err error
	if f.uncached != nil {
		err = f.uncached.close()
	}
	err = cmp.Or(err, f.f.Close())
	f.inode.Admit(c)
	e := f.e
	e.mu.Lock()
	delete(e.files, f)
	f.inode.refs--
	if f.inode.refs == 0 && e.inodes[f.key] == f.inode {
		delete(e.inodes, f.key)
	}
	e.mu.Unlock()
	if e.closing.Load() {
		e.idle.Wake(c)
	}
	if err != nil {
		return f.opError("close", -1, -1, 0, err)
	}
	return nil
}
