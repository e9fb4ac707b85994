// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Main runs the command of a suite.
func Main(s *Suite) {
	switch err := s.main(os.Args[1:]); {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
		os.Exit(1)
	}
}

func (s *Suite) main(args []string) error {
	begun := time.Now()
	o, err := s.parse(args, os.Stderr)
	if err != nil {
		return err
	}
	if o.child != "" {
		return runChild(o.child)
	}
	file, err := fileName(o.dir)
	if err != nil {
		return err
	}
	ram := RAM
	if os.Geteuid() != 0 {
		ram = ""
	}
	if o.list {
		for _, one := range s.Specs(file, RAM) {
			fmt.Println(one.Name())
		}
		return nil
	}
	b := &bench{suite: s, o: o, begun: begun, progress: newProgress(), report: newReport(s, o, file)}
	if err := b.choose(file, ram); err != nil {
		return err
	}
	if o.append != "" {
		if err := b.report.join(o.append); err != nil {
			return err
		}
	}
	return b.run()
}

// A bench is a run of a suite.
type bench struct {
	suite    *Suite
	o        settings
	begun    time.Time
	progress *progress
	report   *Report

	specs   []Spec // all that can be measured here, for the order
	units   []unit // what was asked for
	places  map[string]*place
	cgroup  string
	cleanup []func() error
	failed  []string                 // measurements that failed in this run
	took    map[string]time.Duration // by unit, the last time
}

// choose finds what is to be measured where there are places of these names.
func (b *bench) choose(file, ram string) error {
	b.specs, b.units = b.suite.Specs(file, ram), nil
	var chosen []Spec
	for _, s := range b.specs {
		if b.o.rows.MatchString(s.Name()) {
			chosen = append(chosen, s)
		}
	}
	if b.units = units(chosen); len(b.units) > 0 {
		return nil
	}
	for _, s := range b.suite.Specs(file, RAM) {
		if ram == "" && b.o.rows.MatchString(s.Name()) {
			return fmt.Errorf("-rows %v matches only what was left out: %w", b.o.rows, errNoRoot)
		}
	}
	return fmt.Errorf("%w: -rows %v matches no measurement; their names are as %s, and -list prints all", errUsage, b.o.rows, b.specs[0].Name())
}

// run measures, reports and cleans up, also when it is interrupted.
func (b *bench) run() (err error) {
	// Children die with the thread that started them, should the process be killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() {
		for _, f := range b.cleanup {
			err = errors.Join(err, f())
		}
	}()
	err = b.measureAll(ctx)
	b.progress.clear()
	if ctx.Err() != nil {
		b.report.partial = "interrupted; this is what was measured before, and documents are as they were"
	} else if err != nil {
		return err
	}
	b.report.Until = time.Now().UTC().Format(time.DateOnly)
	b.report.finish(b.specs)
	return errors.Join(b.save(), b.verdict(ctx))
}

// verdict is why the run has not done what it was asked for.
func (b *bench) verdict(ctx context.Context) error {
	if ctx.Err() != nil {
		if len(b.report.Rows) == 0 {
			return errors.New("interrupted before the first row was measured")
		}
		return errors.New("interrupted")
	}
	if len(b.failed) > 0 {
		return fmt.Errorf("%s failed; the last: %s", plural(len(b.failed), "measurement"), b.failed[len(b.failed)-1])
	}
	return nil
}

// save prints and writes the report. What was interrupted goes nowhere but to the
// terminal and, as its rows are whole, to the file that measurements are collected in.
func (b *bench) save() error {
	if len(b.report.Rows) == 0 {
		return nil
	}
	if err := b.report.writeText(os.Stdout); err != nil {
		return err
	}
	if b.o.append != "" {
		if err := b.report.write(b.o.append); err != nil {
			return err
		}
	}
	if b.report.partial != "" {
		return nil
	}
	b.unfinished()
	if b.o.json != "" {
		if err := b.report.write(b.o.json); err != nil {
			return err
		}
	}
	if b.o.plot != "" {
		if err := b.suite.Plot(b.report, b.o.plot); err != nil {
			return fmt.Errorf("-plot: %w", err)
		}
	}
	if b.o.doc != "" {
		if err := replace(b.o.doc, b.suite.Name, b.report.document(), true); err != nil {
			return fmt.Errorf("-doc: %w", err)
		}
	}
	if b.o.readme == "" {
		return nil
	}
	if err := replace(b.o.readme, b.suite.Name+summarySuffix, b.report.summary(), false); err != nil {
		return fmt.Errorf("-readme: %w", err)
	}
	return nil
}

// unfinished says what is still to be done.
func (b *bench) unfinished() {
	missing, rows := 0, 0
	for _, u := range b.units {
		if n := b.o.rounds - u.rounds(b.report); n > 0 {
			missing, rows = missing+n, rows+1
		}
	}
	switch {
	case missing > 0 && b.o.append != "":
		fmt.Printf("UNFINISHED: %d of %s lack %s in all: run the same command again\n", rows, plural(len(b.units), "row"), plural(missing, "round"))
	case missing > 0:
		fmt.Printf("UNFINISHED: %d of %s lack %s in all: -append FILE lets another run go on\n", rows, plural(len(b.units), "row"), plural(missing, "round"))
	case b.o.append != "":
		fmt.Printf("%s: each row that was asked for has %s or more\n", b.o.append, plural(b.o.rounds, "round"))
	}
}

// measureAll measures round after round.
func (b *bench) measureAll(ctx context.Context) error {
	if os.Geteuid() != 0 {
		b.report.Skipped = append(b.report.Skipped, errNoRoot.Error())
	}
	b.took = make(map[string]time.Duration)
	if next(b.units, b.report, b.o.rounds, func(unit) bool { return true }) == nil {
		return nil
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	for {
		u := next(b.units, b.report, b.o.rounds, b.fits)
		if u == nil {
			return nil
		}
		outcomes, err := b.measureUnit(ctx, u)
		if err != nil {
			return err
		}
		for _, one := range outcomes {
			b.report.add(one)
		}
	}
}

// overhead is what a measurement costs beside its time, roughly: the process, the
// engine, the ends of what is in flight.
const overhead = 400 * time.Millisecond

func (b *bench) estimate(u unit) time.Duration {
	if d, ok := b.took[u.name]; ok {
		return d
	}
	return time.Duration(len(u.specs)) * (b.o.duration + b.o.duration/warmUp + overhead)
}

func (b *bench) fits(u unit) bool {
	return b.o.budget == 0 || time.Since(b.begun)+b.estimate(u) <= b.o.budget
}

// left estimates the time that the rest takes.
func (b *bench) left() time.Duration {
	var d time.Duration
	for _, u := range b.units {
		d += time.Duration(max(0, b.o.rounds-u.rounds(b.report))) * b.estimate(u)
	}
	if b.o.budget > 0 {
		d = min(d, b.o.budget-time.Since(b.begun))
	}
	return d
}

// measureUnit measures a row once with each peer. Its error is that the run was
// interrupted: then nothing of the row counts.
func (b *bench) measureUnit(ctx context.Context, u *unit) ([]outcome, error) {
	start, round := time.Now(), u.rounds(b.report)+1
	show := func(s Spec) { b.progress.show(round, b.o.rounds, s.Name(), b.left()-time.Since(start)) }
	var all []outcome
	var together []Spec
	for i := range u.specs {
		// What a peer leaves behind, in caches and in the device, meets another one in the next round.
		s := b.prepare(u.specs[(i+round-1)%len(u.specs)])
		if s.Turns {
			together = append(together, s)
			continue
		}
		show(s)
		m, err := measure(ctx, s)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		all = append(all, outcome{spec: s, m: m, err: err})
	}
	if len(together) > 0 {
		all = append(all, measureTurns(ctx, together, show)...)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, one := range all {
		if one.err != nil {
			b.progress.clear()
			fmt.Fprintf(os.Stderr, "%s failed in round %d: %v\n", one.spec.Name(), round, one.err)
			b.failed = append(b.failed, fmt.Sprintf("%s: %v", one.spec.Name(), one.err))
		}
	}
	b.took[u.name] = time.Since(start)
	return all, nil
}

// prepare fills in what s does not say of itself.
func (b *bench) prepare(s Spec) Spec {
	p := b.places[s.Place]
	s.Path, s.Bytes, s.Duration = p.path, p.bytes, b.o.duration
	if s.Block == 0 {
		s.Block = 4096
	}
	if s.Limited {
		s.Cgroup = b.cgroup
	}
	if b.o.profile != "" {
		s.Profile = filepath.Join(b.o.profile, strings.NewReplacer("/", "-", " ", "-", ",", "").Replace(s.Name())+".pprof")
	}
	return s
}

// uses reports whether one of the units has a spec that satisfies is.
func (b *bench) uses(is func(Spec) bool) bool {
	for _, u := range b.units {
		for _, s := range u.specs {
			if is(s) {
				return true
			}
		}
	}
	return false
}

// open makes the places that the specs want.
func (b *bench) open(ctx context.Context) error {
	b.places = make(map[string]*place)
	if b.uses(func(s Spec) bool { return s.Place == RAM }) {
		p, err := openLoop(ctx, b.suite.Name, b.o.bytes)
		switch {
		case errors.Is(err, errSkipped):
			b.report.Skipped = append(b.report.Skipped, err.Error())
			if again := b.choose(b.report.File, ""); again != nil {
				return errors.Join(err, again)
			}
		case err != nil:
			return err
		default:
			b.places[RAM] = p
			b.cleanup = append(b.cleanup, p.close)
		}
	}
	if b.uses(func(s Spec) bool { return s.Place != RAM }) {
		p, err := openFile(ctx, b.o.dir, b.suite.Name, b.o.bytes)
		if err != nil {
			return err
		}
		b.places[b.report.File] = p
		b.cleanup = append(b.cleanup, p.close)
	}
	if b.uses(func(s Spec) bool { return s.Limited }) {
		dir, err := limitMemory(b.suite.Name)
		if err != nil {
			b.report.Skipped = append(b.report.Skipped, fmt.Sprintf("skipped: there is no memory limit: %v", err))
			return nil
		}
		b.cgroup = dir
		b.cleanup = append(b.cleanup, func() error { return os.Remove(dir) })
	}
	return nil
}

// hangTime is when a measurement counts as failed: none takes nearly so long. It is
// beside the duration.
const hangTime = 5 * time.Minute

// measure makes one measurement, in a process of its own.
func measure(ctx context.Context, s Spec) (Measurement, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, hangTime+s.Duration, fmt.Errorf("it did not end in %v", hangTime+s.Duration))
	defer cancel()
	if s.Cached {
		if err := warm(s.Path); err != nil {
			return nil, fmt.Errorf("read the file into the page cache: %w", err)
		}
	}
	name, args, err := s.command()
	if err != nil {
		return nil, err
	}
	out, err := output(ctx, name, args...)
	if err != nil {
		return nil, err
	}
	return s.parse(out)
}

// command returns what measures s.
func (s Spec) command() (name string, args []string, err error) {
	if s.How == "fio" {
		name, err = exec.LookPath("fio")
		if err != nil {
			return "", nil, fmt.Errorf("fio is a peer of this benchmark; as root, make fio installs it: %w", err)
		}
		return name, fioArgs(s), nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return "", nil, err
	}
	name, err = os.Executable()
	return name, []string{"-child", string(text)}, err
}

// parse takes the figures from what the command has printed.
func (s Spec) parse(out []byte) (Measurement, error) {
	if s.How == "fio" {
		return parseFio(out, s.Write)
	}
	var m Measurement
	return m, json.Unmarshal(out, &m)
}

// warm reads a file, so that all of it is in the page cache if it fits: direct writes have dropped what they changed.
func warm(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for buf := make([]byte, 1<<20); ; {
		if _, err := f.Read(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// command returns a command that is in a group of its own, so that the terminal's Ctrl-C leaves it to ctx to end it.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// fio's job is in a session of its own, and ends when fio is asked to.
	cmd.Cancel = func() error {
		return errors.Join(syscall.Kill(-cmd.Process.Pid, syscall.SIGINT), syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT))
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// output runs a command and returns what it prints.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := command(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, tail(stderr.String()))
	}
	return out, nil
}

// tail shortens what a child that crashes prints.
func tail(s string) string {
	const most = 600
	if s = strings.TrimSpace(s); len(s) > most {
		return s[:most] + " ..."
	}
	return s
}

// A progress is a line that changes on a terminal, and elsewhere a line for each round.
type progress struct {
	w        io.Writer
	terminal bool
	round    int
	width    int
}

func newProgress() *progress {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	return &progress{w: os.Stderr, terminal: err == nil}
}

func (p *progress) show(round, rounds int, name string, left time.Duration) {
	left = max(0, left).Round(time.Second)
	if !p.terminal {
		if round != p.round {
			fmt.Fprintf(p.w, "round %d of %d; %v left in all\n", round, rounds, left)
		}
		p.round = round
		return
	}
	p.clear()
	line := fmt.Sprintf("round %d of %d, %v left: %s", round, rounds, left, name)
	p.width = len(line)
	fmt.Fprint(p.w, line)
}

func (p *progress) clear() {
	if p.terminal {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
	}
}
