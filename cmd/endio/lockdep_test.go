// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lockdepHeader = "group\tname\tlock_type\tcontext\tsteps\texpected\n"

func TestLockdepReplay(t *testing.T) {
	dir := t.TempDir()
	table := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wrong := table("wrong.tsv", lockdepHeader+
		"A-A\tAA\tspin\ttask\tL(spin.X1); L(spin.X2)\tSUCCESS\n"+
		"A-A\tA\tspin\ttask\tL(spin.X1)\tFAILURE\n"+
		"A-A\tright\tspin\ttask\tL(spin.X1); U(spin.X1)\tSUCCESS\n")
	bad := table("bad.tsv", lockdepHeader+"A-A\tAA\tspin\ttask\tL(spin.X1); Z(spin.X2)\tFAILURE\n")
	for _, tt := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"all agree", []string{"../../lockdep/selftest/testdata/selftest.tsv"}, exitOK, "333 passed, 0 failed\n", ""},
		{"two disagree", []string{wrong}, exitFailed,
			"AA: expected SUCCESS, got FAILURE (WARNING: possible recursive locking detected)\n" +
				"A: expected FAILURE, got SUCCESS\n1 passed, 2 failed\n", ""},
		{"bad table", []string{bad}, exitBadInput, "", "bad.tsv: line 2, column 30: unknown operation \"Z\""},
		{"no file", []string{filepath.Join(dir, "none")}, exitBadInput, "", "none: open: no such file"},
		{"a directory", []string{dir}, exitBadInput, "", "is a directory"},
		{"no argument", nil, exitBadInput, "", "expected \"<file>\""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(append([]string{"lockdep", "replay"}, tt.args...), &stdout, &stderr)
		if code != tt.code || stdout.String() != tt.stdout && tt.stdout != "" || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%s: code = %d, want %d; stdout = %q, want %q; stderr = %q, want %q",
				tt.name, code, tt.code, stdout.String(), tt.stdout, stderr.String(), tt.stderr)
		}
	}
}

func TestLockdepReplayJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.tsv")
	text := lockdepHeader + "A-A\tAA\tspin\ttask\tL(spin.X1); L(spin.X2)\tSUCCESS\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"lockdep", "replay", "--json", path}, &stdout, &stderr); code != exitFailed {
		t.Fatalf("code = %d, want %d: %s", code, exitFailed, stderr.String())
	}
	var out struct {
		Passed, Failed int
		Rows           []struct{ Name, Group, Expected, Got, Reason, Report string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	if out.Passed != 0 || out.Failed != 1 || len(out.Rows) != 1 || out.Rows[0].Name != "AA" ||
		out.Rows[0].Expected != "SUCCESS" || out.Rows[0].Got != "FAILURE" ||
		!strings.Contains(out.Rows[0].Report, "swapper/1 is trying to acquire lock:") {
		t.Errorf("out = %+v", out)
	}
}
