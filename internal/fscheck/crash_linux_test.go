// SPDX-License-Identifier: Apache-2.0

package fscheck

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"endio"
)

// What the writers of a crash test do: each owns blocks of a file, whose sectors
// say who wrote them when. A sector is what devices write as a whole.
const (
	crashWriters = 4
	crashBlocks  = 16 // of each
	crashBlock   = 4096
	sectorBytes  = 512
)

func init() { children["crash"] = crashChild }

// crashChild writes and syncs until it is killed. It prints a line for each write
// that is durable by itself, or that a sync, begun after it, has made so.
func crashChild() error {
	e, err := endio.Open(endio.Options{Backend: endio.Backend(os.Getenv("CRASH_BACKEND")), Shards: 2, Depth: 8})
	if err != nil {
		return err
	}
	seed, _ := strconv.ParseUint(os.Getenv("CRASH_SEED"), 10, 64)
	var wg sync.WaitGroup
	errs := make([]error, crashWriters)
	for w := range crashWriters {
		wg.Go(func() { errs[w] = crashWriter(e, os.Getenv("CRASH_FILE"), w, seed) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func crashWriter(e *endio.Engine, path string, w int, seed uint64) error {
	var opts []endio.FileOption
	switch w {
	case 0, 2:
		opts = append(opts, endio.Direct)
	case 1:
		opts = append(opts, endio.Uncached)
	}
	f, err := e.OpenFile(path, os.O_RDWR, 0, opts...)
	if err != nil {
		return err
	}
	q, err := e.NewQueue(endio.QueueOptions{Depth: 4})
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, uint64(w)))
	buf := e.AlignedBuffer(crashBlock)
	for seq := seed<<32 | 1; ; seq++ {
		block := w*crashBlocks + rng.IntN(crashBlocks)
		stampBlock(buf, block, seq)
		way := rng.IntN(4)
		write := &endio.Op{File: f, Kind: endio.Write, Buf: buf, Off: int64(block) * crashBlock}
		write.DSync = way < 3 && rng.IntN(3) == 0 && os.Getenv("CRASH_LIE") == "" // a call has no such flag
		if err := crashDo(e, q, write, way); err != nil {
			return err
		}
		kind := endio.SyncData
		if rng.IntN(4) == 0 {
			kind = endio.Sync
		}
		if os.Getenv("CRASH_LIE") == "" && !write.DSync {
			if err := crashDo(e, q, &endio.Op{File: f, Kind: kind}, way); err != nil {
				return err
			}
		}
		if _, err := fmt.Printf("%d %d\n", block, seq); err != nil {
			return err
		}
	}
}

func crashDo(e *endio.Engine, q *endio.Queue, op *endio.Op, way int) error {
	done := make(chan struct{})
	op.Done = func(*endio.Context, *endio.Op) { close(done) }
	switch way {
	case 0:
		if err := errors.Join(q.Submit(op), q.Drain()); err != nil {
			return err
		}
	case 1, 2:
		op.In = endio.Where(way - 1)
		if err := e.Submit(op); err != nil {
			return err
		}
	case 3:
		switch op.Kind {
		case endio.Write:
			_, err := op.File.WriteAt(op.Buf, op.Off)
			return err
		case endio.SyncData:
			return op.File.SyncData()
		}
		return op.File.Sync()
	}
	<-done
	return op.Err
}

// stampBlock fills buf with sectors that say block and seq.
func stampBlock(buf []byte, block int, seq uint64) {
	for i := 0; i < len(buf); i += sectorBytes {
		s := buf[i : i+sectorBytes]
		rng := rand.New(rand.NewPCG(seq, uint64(block*100+i)))
		for k := 24; k < sectorBytes; k += 8 {
			binary.LittleEndian.PutUint64(s[k:], rng.Uint64())
		}
		binary.LittleEndian.PutUint64(s, uint64(block)<<16|uint64(i))
		binary.LittleEndian.PutUint64(s[8:], seq)
		binary.LittleEndian.PutUint64(s[16:], 0)
		binary.LittleEndian.PutUint64(s[16:], xxhash.Sum64(s))
	}
}

// checkBlocks is the independent reader: of each sector it asks whether it is whole,
// where it belongs, and not older than what was acknowledged.
func checkBlocks(data []byte, acked map[int]uint64) error {
	if want := crashWriters * crashBlocks * crashBlock; len(data) != want {
		return fmt.Errorf("the file has %d bytes, want %d", len(data), want)
	}
	for i := 0; i < len(data); i += sectorBytes {
		s := append([]byte(nil), data[i:i+sectorBytes]...)
		block := i / crashBlock
		seq := binary.LittleEndian.Uint64(s[8:])
		sum := binary.LittleEndian.Uint64(s[16:])
		binary.LittleEndian.PutUint64(s[16:], 0)
		switch {
		case seq == 0 && sum == 0 && acked[block] == 0:
			continue // never written
		case xxhash.Sum64(s) != sum:
			return fmt.Errorf("block %d: the sector at %d is torn", block, i)
		case binary.LittleEndian.Uint64(s) != uint64(block)<<16|uint64(i%crashBlock):
			return fmt.Errorf("block %d: the sector at %d belongs elsewhere", block, i)
		case seq < acked[block]:
			return fmt.Errorf("block %d: the sector at %d has write %#x, but %#x was acknowledged", block, i, seq, acked[block])
		}
	}
	return nil
}

// TestCrash kills a writer at random points, on each file system and backend: what
// it had synced must be there. On ext4 and XFS the file system is shut down as by a
// loss of power then, without writing its log, and recovered by mounting it again.
// ENDIO_CRASHES is the number of kills in all, 50 if not set.
func TestCrash(t *testing.T) {
	crashes := 50
	if n, err := strconv.Atoi(os.Getenv("ENDIO_CRASHES")); err == nil {
		crashes = n
	}
	kills, acks, outages := 0, 0, 0
	eachFS(t, func(t *testing.T, m *mount, b endio.Backend) {
		path := filepath.Join(m.dir, "file")
		if err := os.WriteFile(path, make([]byte, crashWriters*crashBlocks*crashBlock), 0o600); err != nil {
			t.Fatal(err)
		}
		unix.Sync()
		acked := make(map[int]uint64) // over all crashes
		for round := range (crashes + 7) / 8 {
			n := crashOnce(t, path, b, uint64(round+1), acked)
			kills++
			acks += n
			if m.device != "" && powerCut(t, m) {
				outages++
			}
			data, err := os.ReadFile(path)
			if err == nil {
				err = checkBlocks(data, acked)
			}
			if err != nil {
				t.Fatalf("after crash %d: %v", round, err)
			}
		}
	})
	t.Logf("%d kills, %d of them with the file system shut down; %d acknowledged writes", kills, outages, acks)
	if acks == 0 && !t.Failed() && kills > 0 {
		t.Error("no write was ever acknowledged")
	}
}

// crashOnce runs a writer, kills it, and adds what it has acknowledged.
func crashOnce(t *testing.T, path string, b endio.Backend, seed uint64, acked map[int]uint64, env ...string) int {
	cmd := child("crash", append(env, "CRASH_FILE="+path, "CRASH_BACKEND="+string(b), fmt.Sprint("CRASH_SEED=", seed))...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	n, stopAt := 0, rand.IntN(60) // a random number of acknowledgements, then a moment more
	note := func() {
		var block int
		var seq uint64
		if k, _ := fmt.Sscanf(lines.Text(), "%d %d", &block, &seq); k == 2 {
			acked[block] = seq
			n++
		}
	}
	for n < stopAt && lines.Scan() {
		note()
	}
	time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // sleep: the crash is to come at any moment
	_ = cmd.Process.Kill()
	for lines.Scan() {
		note()
	}
	_ = cmd.Wait()
	return n
}

// powerCut shuts the file system of m down without writing its log, and mounts it
// again. It reports false where the file system can't be shut down.
func powerCut(t *testing.T, m *mount) bool {
	dir, err := os.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	const fsIocShutdown, noLogFlush = 0x8004587d, 2
	err = unix.IoctlSetPointerInt(int(dir.Fd()), fsIocShutdown, noLogFlush)
	dir.Close()
	if err != nil {
		return false
	}
	// A mount namespace that somebody makes meanwhile has a copy of the mount: then the
	// file system stays as it is, shut down, until that one is gone.
	for range 300 {
		if err := unmount(m.dir); err != nil {
			t.Fatalf("unmount after the outage: %v", err)
		}
		mountAgain(t, m)
		f, err := os.Open(filepath.Join(m.dir, "file"))
		if err == nil {
			f.Close()
		}
		if !errors.Is(err, syscall.EIO) {
			return true
		}
		time.Sleep(100 * time.Millisecond) // sleep: nobody tells when a namespace ends
	}
	t.Fatal("after the outage the file system stays shut down: is it mounted in another mount namespace too?")
	return false
}

// mountAgain mounts what was unmounted.
func mountAgain(t *testing.T, m *mount) {
	var err error
	for _, fstype := range fsKinds[1:] {
		if err = unix.Mount(m.device, m.dir, fstype, 0, ""); err == nil {
			return
		}
	}
	t.Fatalf("mount after the outage: %v", err)
}

// TestCrashDetects has a writer that acknowledges what it has not synced: the outage
// must bring that to light.
func TestCrashDetects(t *testing.T) {
	m := mountFS(t, "ext4")
	path := filepath.Join(m.dir, "file")
	for round := range 20 {
		// A file without blocks of its own: only a sync gives it some.
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, crashWriters*crashBlocks*crashBlock); err != nil {
			t.Fatal(err)
		}
		unix.Sync()
		acked := make(map[int]uint64)
		crashOnce(t, path, endio.Auto, uint64(round+1), acked, "CRASH_LIE=1")
		if !powerCut(t, m) {
			t.Skip("the file system can't be shut down")
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = checkBlocks(data, acked)
		}
		if err != nil {
			t.Logf("found: %v", err)
			return
		}
	}
	t.Error("20 outages did not show that nothing was synced")
}

// TestReaderDetects feeds the independent reader what it must refuse.
func TestReaderDetects(t *testing.T) {
	fresh := func() []byte {
		data := make([]byte, crashWriters*crashBlocks*crashBlock)
		stampBlock(data[3*crashBlock:4*crashBlock], 3, 9)
		return data
	}
	if err := checkBlocks(fresh(), map[int]uint64{3: 9}); err != nil {
		t.Errorf("good data: %v", err)
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"lost":    func(d []byte) []byte { clear(d[3*crashBlock : 4*crashBlock]); return d },
		"old":     func(d []byte) []byte { stampBlock(d[3*crashBlock:4*crashBlock], 3, 8); return d },
		"torn":    func(d []byte) []byte { d[3*crashBlock+700] ^= 1; return d },
		"moved":   func(d []byte) []byte { copy(d[5*crashBlock:], d[3*crashBlock:4*crashBlock]); return d },
		"shorter": func(d []byte) []byte { return d[:len(d)-1] },
	} {
		if err := checkBlocks(spoil(fresh()), map[int]uint64{3: 9}); err == nil {
			t.Errorf("%s: nothing was found", name)
		}
	}
}
