// SPDX-License-Identifier: Apache-2.0

package lockdep

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVetFindsCopies runs go vet on a program that copies each adapter and the core's types: it must
// complain about all of them, with the tag and without.
func TestVetFindsCopies(t *testing.T) {
	if testing.Short() {
		t.Skip("runs go vet")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command to run vet with")
	}
	const source = `package p

import "endio/lockdep"

func f(a *lockdep.Mutex, b *lockdep.RWMutex, c *lockdep.WaitGroup, d *lockdep.Cond, e *lockdep.Once, m *lockdep.Map, w *lockdep.WaitMap) {
	va := *a
	vb := *b
	vc := *c
	vd := *d
	ve := *e
	vm := *m
	vw := *w
	_, _, _, _, _, _, _ = &va, &vb, &vc, &vd, &ve, &vm, &vw
}
`
	// Inside the module, so that the import resolves; testdata is no package of it.
	dir, err := os.MkdirTemp("testdata", "vet-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tags := range []string{"", "lockdep"} {
		out, err := exec.Command("go", "vet", "-copylocks", "-tags", tags, "./"+dir).CombinedOutput()
		if n := strings.Count(string(out), "assignment copies lock value"); err == nil || n != 7 {
			t.Errorf("tags %q: go vet found %d copies, want 7:\n%s", tags, n, out)
		}
	}
}
