// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"endio/lockdep"
)

// A page is a part of docs/lockdep.md that this program writes.
type page struct {
	text   strings.Builder
	limits []string
}

// newPage begins with where and when: what the numbers depend on.
func newPage() *page {
	p := &page{}
	p.line("%s %s/%s, %s, GOMAXPROCS %d, load %s before; validator on: %v.\n", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		processor(), runtime.GOMAXPROCS(0), load(), lockdep.Enabled)
	return p
}

func (p *page) line(format string, args ...any) { fmt.Fprintf(&p.text, format+"\n", args...) }

// limit notes what was promised, what came out, and whether it is in [low, high].
func (p *page) limit(what string, got float64, format string, low, high float64) {
	verdict := "holds"
	if got < low || got > high {
		verdict = "**MISSED**"
	}
	p.limits = append(p.limits, fmt.Sprintf("| %s | "+format+" | %s |", what, got, verdict))
}

// String returns the page with its limits at the end.
func (p *page) String() string {
	if len(p.limits) == 0 {
		return p.text.String()
	}
	return p.text.String() + "\n| limit | measured | |\n| --- | ---: | --- |\n" + strings.Join(p.limits, "\n") + "\n"
}

// processor returns the model name that Linux gives, or the architecture.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // elsewhere there is none, and the architecture has to do
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return fmt.Sprintf("%d of %s", runtime.NumCPU(), strings.TrimSpace(value))
		}
	}
	return fmt.Sprintf("%d of %s", runtime.NumCPU(), runtime.GOARCH)
}

// load returns the load average of the last minute, or "unknown".
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// write puts text between the marks of that name in the file doc.
func write(doc, name, text string) error {
	old, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	begin, end := fmt.Sprintf("<!-- %s: written by make %s; do not edit -->\n", name, name), fmt.Sprintf("<!-- %s: end -->\n", name)
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks of %s: want %q and %q", doc, name, begin, end)
	}
	return os.WriteFile(doc, []byte(head+begin+"\n"+text+"\n"+end+tail), 0o644)
}
