// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"os"
	"testing"
)

func parseFile(t *testing.T, name string) []Row {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows
}

// TestKernelTable runs the cases of the kernel's own self-test of its validator.
func TestKernelTable(t *testing.T) {
	rows := parseFile(t, "testdata/selftest.tsv")
	if len(rows) != 333 {
		t.Fatalf("rows = %d, want 333", len(rows))
	}
	r := NewRunner()
	for i := range rows {
		if res := r.Run(&rows[i]); !res.Agrees() {
			t.Errorf("%s (line %d) = %s (%s), want %s\n%s", rows[i].Name, rows[i].Line, res.Got, res.Reason, rows[i].Expected, res.Text)
		}
	}
}
