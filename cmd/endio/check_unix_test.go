// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCheckTerminated ends a check as a service manager does: what is decided is reported, and the rest is unknown.
func TestCheckTerminated(t *testing.T) {
	small := filepath.Join(t.TempDir(), "q.scn")
	check(t, os.WriteFile(small, []byte(askedFailure+"expect v7: holds\n"), 0o666))
	cmd := command(t, "check", "--slow", small, filepath.Join("..", "..", "scenarios", "slow", "two-tasks-two-workers.scn"))
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	for line := ""; !strings.HasPrefix(line, "ok   q "); {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
	}
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(lines)
	check(t, err)
	if !strings.Contains(string(rest), "cases are not decided") || !strings.Contains(string(rest), "as expected") {
		t.Errorf("after SIGTERM: %q", rest)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("Wait = %v, want exit code %d", err, exitFailed)
	}
}

// TestCheckDirectory: of a directory the files are read, and links to files; a FIFO, which nobody may ever write to, is not.
func TestCheckDirectory(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "q.scn")
	check(t, os.WriteFile(target, []byte(askedFailure+"expect v7: holds\n"), 0o666))
	check(t, os.Symlink(target, filepath.Join(dir, "link.scn")))
	check(t, syscall.Mkfifo(filepath.Join(dir, "fifo.scn"), 0o666))
	out, err := command(t, "check", dir).Output()
	if err != nil || !strings.Contains(string(out), "1 case, 1 as expected") {
		t.Errorf("%s, %v", out, err)
	}
	link := filepath.Join(t.TempDir(), "scenarios")
	check(t, os.Symlink(dir, link))
	out, err = command(t, "check", link).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 case, 1 as expected") {
		t.Errorf("a link to the directory: %s, %v", out, err)
	}
	check(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.scn")))
	out, err = command(t, "check", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "dangling.scn") {
		t.Errorf("a link to nowhere: %s, %v", out, err)
	}
}
