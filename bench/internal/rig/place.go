// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// RAM is the name of the loop device over a file in memory.
const RAM = "ram"

// A place is a file or device to measure on.
type place struct {
	path  string
	bytes int64
	close func() error
}

// errSkipped is a place that can not be had here.
var errSkipped = errors.New("skipped")

// fileName returns what a file in dir is called: ext4 where it is on ext4, which is
// what the limits are about.
func fileName(dir string) (string, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("-dir %s: statfs: %w", dir, err)
	}
	if fs.Type == 0xef53 { // EXT4_SUPER_MAGIC, linux/magic.h
		return "ext4", nil
	}
	return "file", nil
}

// openFile makes a file with data in it.
func openFile(ctx context.Context, dir, suite string, size int64) (*place, error) {
	path, err := filepath.Abs(filepath.Join(dir, fmt.Sprintf("%s.%d.tmp", suite, os.Getpid())))
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(ctx, file, size), file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &place{path: path, bytes: size, close: func() error { return os.Remove(path) }}, nil
}

// fill writes random data, so that all blocks exist, and makes them durable.
func fill(ctx context.Context, file *os.File, size int64) error {
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := 0; i < len(buf); i += 8 {
			binary.LittleEndian.PutUint64(buf[i:], rng.Uint64())
		}
		if _, err := file.WriteAt(buf[:min(int64(len(buf)), size-off)], off); err != nil {
			return err
		}
	}
	return file.Sync()
}

// ramDir is a file system in memory on every Linux.
const ramDir = "/dev/shm"

// errNoRoot says why there is no loop device.
var errNoRoot = fmt.Errorf("%w: %s: a loop device needs root", errSkipped, RAM)

// openLoop makes a loop device over a file in memory, at most half of the free one in
// size. Neither outlives the process, however that ends: the file has no name any more,
// and the device goes with the last one who has it open.
func openLoop(ctx context.Context, suite string, size int64) (*place, error) {
	file, err := os.CreateTemp(ramDir, suite+".")
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errSkipped, RAM, err)
	}
	backing := file.Name()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(ramDir, &fs); err == nil {
		size = min(size, int64(fs.Bavail)*int64(fs.Bsize)/2&^(1<<20-1))
	}
	device, err := attach(ctx, file, backing, size)
	if err = errors.Join(err, file.Close(), os.Remove(backing)); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if device != nil {
			err = errors.Join(err, device.Close())
		}
		return nil, fmt.Errorf("%w: %s: %w", errSkipped, RAM, err)
	}
	return &place{path: device.Name(), bytes: size, close: device.Close}, nil
}

// attach fills file and returns its loop device, which is gone when it is closed.
func attach(ctx context.Context, file *os.File, backing string, size int64) (*os.File, error) {
	if err := fill(ctx, file, size); err != nil {
		return nil, err
	}
	name, err := losetup("--find", "--show", backing)
	if err != nil {
		return nil, err
	}
	device, err := os.Open(name)
	if err != nil {
		_, detach := losetup("--detach", name)
		return nil, errors.Join(err, detach)
	}
	// The kernel keeps a device that is open, and detaches it at the last close.
	if _, err = losetup("--detach", name); err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

func losetup(args ...string) (string, error) {
	out, err := exec.Command("losetup", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("losetup %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// memoryLimit is that of a measurement with Spec.Limited.
const memoryLimit = 128 << 20

// limitMemory makes a control group with a memory limit, of version 1 or 2.
func limitMemory(suite string) (dir string, err error) {
	for _, g := range []struct{ root, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir = filepath.Join(g.root, fmt.Sprintf("%s.%d", suite, os.Getpid()))
		if err = os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		if err = os.WriteFile(filepath.Join(dir, g.file), []byte(strconv.Itoa(memoryLimit)), 0); err == nil {
			return dir, nil
		}
		err = errors.Join(err, os.Remove(dir))
	}
	return "", err
}
