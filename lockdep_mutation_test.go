// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLockdepMutations plants faults in a copy of the engine's code and runs the engine's own
// tests on it with the validator on: they must fail with the report. Neither fault
// needs bad luck to be seen, and the first would hang once in a blue moon only.
//
// Each builds a test binary, so it runs on request: make test-lockdep.
func TestLockdepMutations(t *testing.T) {
	if os.Getenv("ENDIO_MUTATE") == "" {
		t.Skip("set ENDIO_MUTATE=1: builds the package once for each mutation")
	}
	for _, m := range []struct {
		name, file, old, planted string
		tests                    string
		report                   []string
	}{
		{
			name: "inversion",
			file: "machine/host/machine.go",
			old: "\tp.reapMu.Lock()\n\tdefer p.reapMu.Unlock()\n" +
				"\tp.submitMu.Lock()\n\tdefer p.submitMu.Unlock()\n",
			planted: "\tp.submitMu.Lock()\n\tdefer p.submitMu.Unlock()\n" +
				"\tp.reapMu.Lock()\n\tdefer p.reapMu.Unlock()\n",
			tests: "TestContexts",
			report: []string{"WARNING: possible circular locking dependency detected",
				"(port.reap)", "(port.submit)", "machine/host.(*Machine).ClosePort"},
		},
		{
			name:    "self-wait",
			file:    "file.go",
			old:     "\tdefer f.inode.Admit(c)\n",
			planted: "\tdefer f.inode.Admit(c)\n\tf.e.calls.enter(f)\n\tf.e.calls.leave(f)\n",
			tests:   "TestDrain",
			report: []string{"WARNING: possible recursive locking detected", "(dio.section)",
				"endio.(*calls).enter"},
		},
		{ // the unaligned write of the thread about IOCB_DIO_CALLER_COMP, which drains its own I/O
			name:    "drain of one's own I/O",
			file:    "calls.go",
			old:     "\tif kind == Write && f.partial(off, len(p)) {\n",
			planted: "\tif kind == Write && f.partial(off, len(p)) {\n\t\tk.enter(f)\n\t\tdefer k.leave(f)\n",
			tests:   ".",
			report: []string{"WARNING: possible recursive locking detected", "(dio.flight)",
				"endio/dio.(*Inode).Exclude"},
		},
		{name: "none", file: "file.go", tests: "TestContexts|TestDrain"},
	} {
		t.Run(m.name, func(t *testing.T) {
			out, err := runPlanted(t, m.file, m.old, m.planted, m.tests)
			if m.report == nil {
				if err != nil {
					t.Fatalf("the code without a fault fails: %v\n%s", err, out)
				}
				return
			}
			if err == nil {
				t.Fatalf("the tests pass with the fault:\n%s", out)
			}
			for _, want := range m.report {
				if !strings.Contains(out, want) {
					t.Errorf("output lacks %q:\n%s", want, out)
				}
			}
		})
	}
}

// runPlanted runs tests of this package with the first old in file replaced by planted.
func runPlanted(t *testing.T, file, old, planted, tests string) (string, error) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), old) {
		t.Fatalf("%s has no %q any more: plant the fault elsewhere", file, old)
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, filepath.Base(file))
	text := strings.Replace(string(source), old, planted, 1)
	if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: copied}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-tags", "lockdep", "-overlay", overlayFile, "-count=1", "-timeout=60s",
		"-run", tests, ".")
	cmd.Env = append(os.Environ(), "ENDIO_MUTATE=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
