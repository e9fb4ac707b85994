// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"fmt"
	"runtime"
	"strings"
)

// maxStackFrames bounds a recorded call stack, in frames.
const maxStackFrames = 24

// A stackRef names a recorded stack: words [off, off+n) of the table. n is 0 if
// there is none.
type stackRef struct {
	off uint32
	n   uint32
}

// A stackTable holds all recorded stacks, one after the other.
type stackTable struct {
	words []uintptr
	max   int
}

func (s *stackTable) reset() { s.words = s.words[:0] }

// captureStack records where the caller of this package is, or only the site it gave if
// stacks are off. Preconditions: v.mu is held.
func (v *Validator) captureStack(site uintptr) stackRef {
	var buf [maxStackFrames]uintptr
	n := 0
	switch {
	case v.cfg.Stacks:
		n = runtime.Callers(3, buf[:])
	case site != 0:
		buf[0], n = site, 1
	}
	if n == 0 || len(v.stacks.words)+n > v.stacks.max {
		if n > 0 {
			v.reportLimit(nil, limitStacks)
		}
		return stackRef{}
	}
	ref := stackRef{uint32(len(v.stacks.words)), uint32(n)}
	v.stacks.words = append(v.stacks.words, buf[:n]...)
	return ref
}

func (v *Validator) stackWords(ref stackRef) []uintptr {
	return v.stacks.words[ref.off : ref.off+ref.n]
}

// frames returns the text of each frame of a recorded stack, innermost first, without
// those inside this package. Preconditions: v.mu is held.
func (v *Validator) frames(ref stackRef) []string {
	if ref.n == 0 {
		return nil
	}
	words := v.stackWords(ref)
	if !v.cfg.Stacks {
		return []string{v.siteName(words[0])}
	}
	return frameTexts(words)
}

// frameTexts prints program counters, leaving out this package's own frames and
// those at which every goroutine begins.
func frameTexts(pcs []uintptr) []string {
	var texts []string
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		if f.Function != "" && !ownFrame(f) {
			texts = append(texts, frameText(f))
		}
		if !more {
			return texts
		}
	}
}

// ownFrame reports whether f is code of this package other than its tests, or one of
// the standard functions that lie between it and the caller or below everything.
func ownFrame(f runtime.Frame) bool {
	if strings.HasPrefix(f.Function, packagePath+".") {
		return !strings.HasSuffix(f.File, "_test.go")
	}
	return strings.HasPrefix(f.Function, "sync.") || f.Function == "runtime.goexit" || f.Function == "testing.tRunner"
}

// packagePath is the import path of this package, as functions are named by it.
const packagePath = "endio/lockdep"

func frameText(f runtime.Frame) string {
	return fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line)
}

// siteName prints a site.
func (v *Validator) siteName(site uintptr) string {
	if site == 0 {
		return "?"
	}
	if v.cfg.SiteName != nil {
		return v.cfg.SiteName(site)
	}
	f, _ := runtime.CallersFrames([]uintptr{site}).Next()
	if f.Function == "" {
		return fmt.Sprintf("%#x", site)
	}
	return frameText(f)
}

// heldSite prints where h was taken: as it was given, or where its chain was
// first seen. Preconditions: v.mu is held.
func (v *Validator) heldSite(h *held) string {
	if h.site != 0 {
		return v.siteName(h.site)
	}
	if f := v.frames(v.chainSite(h.key)); len(f) > 0 {
		return f[0]
	}
	return "?"
}
