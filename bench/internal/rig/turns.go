// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// turn is how long a peer runs before the next one has the machine: long beside what a stop costs, which is the depth of
	// operations that look slow, and short beside the seconds in which a shared machine changes its speed.
	turn = 500 * time.Millisecond

	// settle is the start of a turn, which does not count: whoever was stopped has an empty queue.
	settle = 25 * time.Millisecond
)

// measureTurns measures peers that are all alive, of which one runs while the others are stopped, in turns: whatever a shared
// machine does in a second meets all of them. What one has done in its turns, and the CPU that it has used for it, the
// kernel counts, in the same way for all; other figures are the peer's own. show hears whose turn it is.
func measureTurns(ctx context.Context, specs []Spec, show func(Spec)) []outcome {
	players := make([]*player, len(specs))
	for i, s := range specs {
		show(s)
		players[i] = &player{spec: s}
		players[i].start(ctx)
		players[i].play(ctx, 0, s.Duration/warmUp) // nothing counts before it is at full speed
	}
	for i := range int(max(1, specs[0].Duration/turn)) {
		for j := range players {
			p := players[(i+j)%len(players)] // the one before leaves something behind, in caches and in the device
			show(p.spec)
			p.play(ctx, min(turn, p.spec.Duration), 0)
		}
	}
	outcomes := make([]outcome, len(players))
	for i, p := range players {
		m, err := p.finish(ctx)
		outcomes[i] = outcome{spec: p.spec, m: m, err: err}
	}
	return outcomes
}

// A player is a peer in a process that is stopped but for its turns.
type player struct {
	spec           Spec
	cmd            *exec.Cmd
	stdin          io.Closer // closed, it ends endio's measurement
	stdout, stderr bytes.Buffer
	used           tally
	err            error // the first; whoever has one has no further turns
}

// A tally is what a process has done.
type tally struct {
	bytes     int64 // of direct I/O
	cpu, time time.Duration
}

const (
	// startTime is how long a peer may take until it does its I/O.
	startTime = 30 * time.Second

	// It does when it has done some in so many looks, one after the other. Pages of the program count as I/O as well.
	startLooks = 10
	lookEvery  = 10 * time.Millisecond
)

// start starts the process and returns when it does its I/O. It stops for the first time at the end of a turn.
func (p *player) start(ctx context.Context) {
	name, args, err := p.spec.command()
	if err != nil {
		p.err = err
		return
	}
	p.cmd = command(ctx, name, args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if p.stdin, p.err = p.cmd.StdinPipe(); p.err != nil {
		return
	}
	if p.err = p.cmd.Start(); p.err == nil {
		p.err = p.await(ctx)
	}
}

// await returns when the process does its I/O, or ctx is over.
func (p *player) await(ctx context.Context) error {
	was, looks := int64(0), 0
	for begun := time.Now(); looks < startLooks && ctx.Err() == nil; {
		sleep(ctx, lookEvery)
		done, err := p.tally()
		var info unix.Siginfo
		ended := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil && info.Signo != 0
		switch {
		case ended:
			return errEnded
		case err != nil:
			return err
		case time.Since(begun) > startTime:
			return fmt.Errorf("it has not begun with direct I/O in %v", startTime)
		}
		if looks++; done.bytes == was {
			looks = 0
		}
		was = done.bytes
	}
	return nil
}

// errEnded is a peer that is gone before it was asked to end.
var errEnded = errors.New("it ended before its last turn")

// play lets the process run for a turn that counts, or for a while that does not, and stops it.
func (p *player) play(ctx context.Context, counted, idle time.Duration) {
	if p.err != nil {
		return
	}
	if p.err = p.cmd.Process.Signal(syscall.SIGCONT); p.err != nil {
		return
	}
	sleep(ctx, idle)
	if counted > 0 {
		sleep(ctx, settle)
		before, err := p.tally()
		sleep(ctx, counted)
		after, err2 := p.tally()
		p.err = errors.Join(err, err2)
		p.used.bytes, p.used.cpu, p.used.time = p.used.bytes+after.bytes-before.bytes, p.used.cpu+after.cpu-before.cpu, p.used.time+after.time-before.time
	}
	if p.err == nil {
		p.err = p.stop()
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// stop stops the process, and waits until it has stopped.
func (p *player) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var info unix.Siginfo
	for {
		// An end is left for Wait.
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait until it has stopped: %w", err)
		case info.Code != cldStopped:
			return errEnded
		default: // taken, or the next wait would see the same stop
			return unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOHANG, nil)
		}
	}
}

// cldStopped is CLD_STOPPED of linux/uapi/asm-generic/siginfo.h: what happened to the child is that it was stopped.
const cldStopped = 5

// tally returns what the process has done since its start.
func (p *player) tally() (tally, error) {
	var now, cpu unix.Timespec
	// The CPU clock of a process: linux/include/linux/posix-timers.h, MAKE_PROCESS_CPUCLOCK of CPUCLOCK_SCHED.
	clock := int32(^p.cmd.Process.Pid<<3 | 2)
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now), unix.ClockGettime(clock, &cpu)); err != nil {
		return tally{}, fmt.Errorf("clocks: %w", err)
	}
	t := tally{cpu: time.Duration(cpu.Nano()), time: time.Duration(now.Nano())}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.cmd.Process.Pid))
	if err != nil {
		return t, fmt.Errorf("what the kernel counts of I/O (CONFIG_TASK_IO_ACCOUNTING): %w", err)
	}
	for line := range strings.Lines(string(text)) {
		switch name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name {
		case "read_bytes", "write_bytes":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return t, fmt.Errorf("/proc/%d/io: %w", p.cmd.Process.Pid, err)
			}
			t.bytes += n
		}
	}
	return t, nil
}

// finish ends the process and returns its figures.
func (p *player) finish(ctx context.Context) (Measurement, error) {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil, p.err
	}
	end := func() error { return p.stdin.Close() }
	if p.spec.How == "fio" {
		end = func() error { return p.cmd.Process.Signal(syscall.SIGINT) }
	}
	// What has ended by itself has no use for the signal, and says why in what it has printed.
	_, _ = p.cmd.Process.Signal(syscall.SIGCONT), end()
	err := p.cmd.Wait()
	switch {
	case context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	case p.spec.How == "fio" && p.err == nil && p.cmd.ProcessState.ExitCode() == fioInterrupted:
	case err != nil || p.err != nil:
		return nil, fmt.Errorf("%w: %s", errors.Join(p.err, err), tail(p.stderr.String()))
	}
	m, err := p.spec.parse(p.stdout.Bytes())
	if err != nil {
		return nil, err
	}
	ops := float64(p.used.bytes) / float64(p.spec.Block)
	if ops == 0 {
		return nil, errors.New("it has done no direct I/O in its turns")
	}
	m[KIOPS], m[CPU] = ops/p.used.time.Seconds()/1e3, p.used.cpu.Seconds()/ops*1e6
	return m, nil
}

// fioInterrupted is the code that fio ends with when it was told to end.
const fioInterrupted = 128
