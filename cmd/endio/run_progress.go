// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"endio/fiojob"
	"endio/internal/jobrun"
)

// progressEvery is how often the progress line is drawn.
const progressEvery = time.Second

// progressSteps is the resolution of the bar.
const progressSteps = 1000

// A progress shows how a run goes: a bar on a terminal, plain lines elsewhere,
// or nothing.
type progress struct {
	out io.Writer
	bar *progressbar.ProgressBar // nil for plain lines
	off bool
}

// newProgress returns the progress that mode asks for on out.
func newProgress(out io.Writer, mode string) *progress {
	p := &progress{out: out}
	file, isFile := out.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	switch {
	case mode == "never", mode == "auto" && !terminal:
		p.off = true
	case terminal:
		p.bar = progressbar.NewOptions(progressSteps,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetPredictTime(false), // fio's estimate, from time or bytes, is in the text
			progressbar.OptionSetWidth(20),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(progressbar.ThemeASCII),
		)
	}
	return p
}

// show draws one snapshot.
func (p *progress) show(s jobrun.Snapshot) {
	if p.off {
		return
	}
	text := progressText(s)
	if p.bar == nil {
		fmt.Fprintln(p.out, text)
		return
	}
	p.bar.Describe(text)
	// The bar can only fail to write to a terminal that has gone.
	_ = p.bar.Set(int(s.Done * progressSteps))
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// progressText returns a snapshot in one line.
func progressText(s jobrun.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d running", s.Running)
	if s.Verify > 0 {
		fmt.Fprintf(&b, " (%d verify)", s.Verify)
	}
	for dir := range fiojob.Dir(fiojob.Dirs) {
		if s.IOPS[dir] > 0 {
			fmt.Fprintf(&b, ", %s %.0f IOPS %s/s", dir, s.IOPS[dir], jobrun.Bytes(s.Bytes[dir]))
		}
	}
	fmt.Fprintf(&b, ", %d in flight", s.InFlight)
	if s.InFlight > 0 {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
			parts = append(parts, fmt.Sprintf("%s %d", name, s.Contexts[name]))
		}
		fmt.Fprintf(&b, " (%s)", strings.Join(parts, ", "))
	}
	if s.Done > 0 {
		fmt.Fprintf(&b, ", eta %v", s.ETA.Round(time.Second))
	}
	return b.String()
}
