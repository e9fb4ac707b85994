// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the reports as they are now; read the difference before you commit it")

// TestReports pins the layout of each report, on rows of the kernel's table. The sites are the steps of
// the row.
func TestReports(t *testing.T) {
	byName := make(map[string]*Row)
	for _, file := range []string{"testdata/selftest.tsv", "testdata/more.tsv"} {
		rows := parseFile(t, file)
		for i := range rows {
			byName[rows[i].Name] = &rows[i]
		}
	}
	r := NewRunner()
	for _, name := range []string{
		"AA_rsem",                     // possible recursive locking
		"ABBA_mutex",                  // possible circular locking, two locks
		"ABBCCDDA_spin",               // with a chain
		"sync_cycle",                  // with a wait in it
		"irqsafe1_hard_spin_12",       // inconsistent lock state
		"irq_inversion_hard_spin_123", // lock inversion, backwards and forwards
		"irq_inversion_soft_wlock_132",
		"hardirq_deadlock_softirq_not_deadlock", // with a chain
		"irq_inversion_hard_spin_231",           // a new edge from safe to unsafe
		"spinlock_in_raw_spinlock",              // invalid wait context
		"double_unlock_mutex",
		"init_held_spin",
		"ww_test_spin_nest_unlocked",
		"self_wait",
	} {
		row := byName[name]
		if row == nil {
			t.Errorf("there is no row %s", name)
			continue
		}
		got := r.Run(row).Text
		path := filepath.Join("testdata/reports", name+".txt")
		if *rewrite {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("report of %s:\n%s\nwant:\n%s", name, got, want)
		}
	}
}
