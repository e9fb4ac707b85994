// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// A place is a file or device to measure on.
type place struct {
	name  string
	path  string
	bytes int64
	close func() error
}

// errSkipped is a place that can not be had here.
var errSkipped = errors.New("skipped")

// openFile makes a file with data in it in the directory of the settings. It is
// called ext4 where it is on ext4, which is what the limits are about.
func openFile(s settings) (*place, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &fs); err != nil {
		return nil, fmt.Errorf("statfs %s: %w", s.dir, err)
	}
	name := "file"
	if fs.Type == 0xef53 { // EXT4_SUPER_MAGIC, linux/magic.h
		name = "ext4"
	}
	path, err := filepath.Abs(filepath.Join(s.dir, fmt.Sprintf("bench-engine.%d.tmp", os.Getpid())))
	if err != nil {
		return nil, err
	}
	p := &place{name: name, path: path, bytes: s.bytes, close: func() error { return os.Remove(path) }}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(file, s.bytes), file.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return p, nil
}

// fill writes random data, so that all blocks exist, and makes them durable.
func fill(file *os.File, size int64) error {
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
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

// openLoop makes a loop device over a file in memory, at most half of the free
// one in size.
func openLoop(s settings) (*place, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: ram: a loop device needs root", errSkipped)
	}
	file, err := os.CreateTemp(ramDir, "bench-engine.")
	if err != nil {
		return nil, fmt.Errorf("%w: ram: %w", errSkipped, err)
	}
	backing := file.Name()
	var fs syscall.Statfs_t
	size := s.bytes
	if err := syscall.Statfs(ramDir, &fs); err == nil {
		size = min(size, int64(fs.Bavail)*int64(fs.Bsize)/2&^(1<<20-1))
	}
	if err := errors.Join(fill(file, size), file.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: ram: %w", errSkipped, err), os.Remove(backing))
	}
	out, err := exec.Command("losetup", "--find", "--show", backing).CombinedOutput()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: ram: losetup: %w: %s", errSkipped, err, strings.TrimSpace(string(out))), os.Remove(backing))
	}
	device := strings.TrimSpace(string(out))
	return &place{name: "ram", path: device, bytes: size, close: func() error {
		out, err := exec.Command("losetup", "--detach", device).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("losetup --detach %s: %w: %s", device, err, out)
		}
		return errors.Join(err, os.Remove(backing))
	}}, nil
}

// versions returns what the figures depend on.
func versions() []string {
	list := []string{fmt.Sprintf("%s %s/%s, %d CPUs", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		list = append(list, "Linux "+strings.TrimSpace(string(release)))
	}
	if out, err := exec.Command("fio", "--version").Output(); err == nil {
		list = append(list, strings.TrimSpace(string(out)))
	}
	return list
}
