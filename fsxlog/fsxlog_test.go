// SPDX-License-Identifier: Apache-2.0

package fsxlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"endio"
	"endio/machine/host"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Op
		err  string
	}{
		{line: "write 0x1000 0x200 0x0", want: Op{Kind: Write, Off: 0x1000, Len: 0x200}},
		{line: "skip punch_hole 0 0 12", want: Op{Skip: true, Kind: PunchHole, Size: 12}},
		{line: "copy_range 0x1 0x2 0x3 0x4 *", want: Op{Kind: CopyRange, Off: 1, Len: 2, Dest: 3, Size: 4}},
		{line: "fallocate 0x1 0x2 0x3 keep_size close_open *", want: Op{Kind: Fallocate, Off: 1, Len: 2, Size: 3, KeepSize: true, CloseOpen: true}},
		{line: "skip", err: "an operation is missing"},
		{line: "reed 0 0 0", err: `operation "reed": want one of read, write`},
		{line: "read 0 0", err: "read has 2 numbers: want 3"},
		{line: "clone_range 0 0 0", err: "clone_range has 3 numbers: want 4"},
		{line: "read -1 0 0", err: `"-1": want a number from 0`},
		{line: "read 0 99999999999999999999 0", err: "want a number from 0"},
		{line: "read 0x40000000 0x40000000 0", err: "ends beyond 0x40000000"},
		{line: "read 0 0 0 fast", err: `flag "fast": want keep_size`},
		{line: "read " + strings.Repeat("0", maxLine), err: "longer than 4096 bytes"},
	} {
		ops, err := Parse(strings.NewReader("# comment\n\n" + tt.line + "\n"))
		if tt.err != "" {
			if err == nil || !errors.Is(err, ErrSyntax) || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Parse(%.40q) = %v, want line 3 and %q", tt.line, err, tt.err)
			}
			continue
		}
		tt.want.Line = 3
		if err != nil || len(ops) != 1 || ops[0] != tt.want {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", tt.line, ops, err, tt.want)
		}
	}
}

// FuzzParse looks for logs that crash the parser or that mean something else when
// written and read again.
func FuzzParse(f *testing.F) {
	f.Add("write 0x1000 0x200 0x0\nskip read 1 2 3 close_open *\ncopy_range 1 2 3 4 keep_size unshare\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		ops, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		for _, op := range ops {
			b.WriteString(op.String() + "\n")
		}
		again, err := Parse(strings.NewReader(b.String()))
		if err != nil || len(again) != len(ops) {
			t.Fatalf("written and read again: %d operations, %v, want %d", len(again), err, len(ops))
		}
		for i := range ops {
			ops[i].Line, again[i].Line = 0, 0
			if ops[i] != again[i] {
				t.Fatalf("operation %d is %+v, read again %+v", i, ops[i], again[i])
			}
		}
	})
}

// randomLog makes a log as fsx would: it keeps to the rules by which fsx skips.
func randomLog(seed uint64, n int) []Op {
	rng := rand.New(rand.NewPCG(seed, 1))
	const most, page = 256 << 10, 4096
	var ops []Op
	size := int64(0)
	for len(ops) < n {
		op := Op{Line: len(ops) + 1, Kind: Kind(rng.IntN(len(kindNames))), Off: rng.Int64N(most), Len: 1 + rng.Int64N(most/4), Size: size, CloseOpen: rng.IntN(20) == 0}
		op.Len = min(op.Len, most-op.Off)
		switch op.Kind {
		case Write, MapWrite:
			size = max(size, op.Off+op.Len)
		case Truncate:
			op.Off, op.Len = 0, rng.Int64N(most)
			size = op.Len
		case Fallocate, ZeroRange:
			if op.KeepSize = rng.IntN(2) == 0; !op.KeepSize {
				size = max(size, op.Off+op.Len)
			}
		case CollapseRange, InsertRange:
			op.Off, op.Len = op.Off/page*page, (op.Len/page+1)*page
			switch {
			case op.Off >= size, op.Kind == InsertRange && size+op.Len > most, op.Kind == CollapseRange && op.Off+op.Len >= size:
				op.Skip = true
			case op.Kind == InsertRange:
				size += op.Len
			default:
				size -= op.Len
			}
		case CloneRange, CopyRange:
			op.Dest = rng.Int64N(most - op.Len + 1)
			if op.Off+op.Len > size {
				op.Skip = true
			} else {
				size = max(size, op.Dest+op.Len)
			}
		case Fsync:
			op.Off, op.Len = 0, 0
		}
		ops = append(ops, op)
	}
	return ops
}

func TestReplay(t *testing.T) {
	for _, b := range []endio.Backend{endio.IOUring, endio.Threads} {
		t.Run(string(b), func(t *testing.T) {
			e, err := endio.Open(endio.Options{Backend: b})
			if err != nil {
				t.Skip(err)
			}
			defer e.Close()
			for seed := range uint64(3) {
				ops := randomLog(seed, 600)
				var text strings.Builder
				for _, op := range ops {
					text.WriteString(op.String() + "\n")
				}
				if ops, err = Parse(strings.NewReader(text.String())); err != nil {
					t.Fatal(err)
				}
				dir, err := os.MkdirTemp(".", "testdata-tmp-")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(dir) })
				res, err := Replay(context.Background(), e, ops, Options{Path: filepath.Join(dir, "file")})
				if errors.Is(err, syscall.EOPNOTSUPP) {
					t.Skipf("this file system lacks an operation: %v", err)
				}
				if err != nil || res.Ops+res.Skipped != len(ops) || res.Reads == 0 || res.Sizes != res.Ops {
					t.Errorf("seed %d: %+v, %v", seed, res, err)
				}
			}
		})
	}
}

// TestReplayDetects changes the file behind the replay's back.
func TestReplayDetects(t *testing.T) {
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for name, tt := range map[string]struct {
		spoil func(path string) error
		want  string
	}{
		"content": {func(p string) error { return spoil(p, 0x80) }, "byte at 0x80 is"},
		"size":    {func(p string) error { return os.Truncate(p, 0x90) }, "the file has 0x90 bytes, want 0x100"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			r := &replay{e: e, o: Options{Path: path, By: ByCall}}
			if err := r.open(os.O_CREATE); err != nil {
				t.Fatal(err)
			}
			defer r.f.Close()
			if err := r.one(Op{Line: 1, Kind: Write, Len: 0x100}); err != nil {
				t.Fatal(err)
			}
			if err := tt.spoil(path); err != nil {
				t.Fatal(err)
			}
			op := Op{Line: 2, Kind: Fsync}
			if name == "content" {
				op = Op{Line: 2, Kind: Read, Len: 0x100}
			}
			var m *Mismatch
			if err := r.one(op); !errors.As(err, &m) || strings.Count(err.Error(), "line 2") != 1 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a mismatch: %s", err, tt.want)
			}
		})
	}
}

// TestReplayWithoutFile takes the file away before it is opened again.
func TestReplayWithoutFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	remove := func(*host.Request) bool { _ = os.Remove(path); return false }
	e, err := endio.Open(endio.Options{Faults: &host.Faults{Rules: []host.FaultRule{{Match: remove}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = Replay(context.Background(), e, []Op{{Line: 1, Kind: Write, Len: 0x100, CloseOpen: true}}, Options{Path: path, By: ByInline})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("%v, want that there is no file", err)
	}
}

func spoil(path string, off int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{0xEE}, off)
	return err
}

// TestReplayStopped: an operation that has begun is the last once somebody wants to stop, and nothing stays open.
func TestReplayStopped(t *testing.T) {
	e, err := endio.Open(endio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	res, err := Replay(ctx, e, []Op{{Line: 1, Kind: Write, Len: 0x100}}, Options{Path: filepath.Join(t.TempDir(), "file")})
	if !errors.Is(err, context.Canceled) || res.Ops != 0 {
		t.Errorf("%v after %d operations, want %v after none", err, res.Ops, context.Canceled)
	}
	if files := e.Stats().Files; files != 0 {
		t.Errorf("%d files are open", files)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
