// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// versions returns what the figures depend on. Measurements are added up only if all
// of it is the same.
func versions() []string {
	list := []string{"endio " + sourceVersion(),
		fmt.Sprintf("%s %s/%s, %d CPUs", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		list = append(list, "Linux "+strings.TrimSpace(string(release)))
	}
	if out, err := exec.Command("fio", "--version").Output(); err == nil {
		list = append(list, strings.TrimSpace(string(out)))
	}
	return list
}

// sourceFiles are what a benchmark is built from. Documents are not among them: a run
// that writes them leaves the version as it is.
var sourceFiles = []string{"--", ":/*.go", ":/*go.mod", ":/*go.sum"}

// sourceVersion names the last commit that changed a source file, and what has changed
// since.
func sourceVersion() string {
	commit, err := exec.Command("git", append([]string{"log", "-1", "--format=%h"}, sourceFiles...)...).Output()
	version := strings.TrimSpace(string(commit))
	if err != nil || version == "" {
		return "of unknown version (no git)"
	}
	changes, err := exec.Command("git", append([]string{"diff", "HEAD"}, sourceFiles...)...).Output()
	if err != nil || len(changes) > 0 {
		return fmt.Sprintf("%s with changes %x", version, sha256.Sum256(changes))[:len(version)+len(" with changes ")+8]
	}
	return version
}
