// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import "slices"

// CheckSpecs reports what would mix up the tables of s: measurements of one name, rows
// that are torn apart, sections without a title, ways that do not exist. It is for the
// tests of a suite; t is a *testing.T.
func CheckSpecs(t interface {
	Errorf(format string, args ...any)
}, s *Suite) {
	for _, ram := range []string{"", RAM} {
		all := s.Specs("ext4", ram)
		names, rows := make(map[string]bool), make(map[string]bool)
		for _, one := range all {
			if names[one.Name()] {
				t.Errorf("two measurements are called %s", one.Name())
			}
			names[one.Name()] = true
			if _, ok := ways[one.How]; !ok && one.How != "fio" {
				t.Errorf("%s: no way to measure is called %q", one.Name(), one.How)
			}
			if !slices.Contains([]string{"ext4", ram}, one.Place) || one.Place == "" {
				t.Errorf("%s: is on the place %q", one.Name(), one.Place)
			}
			if len(s.figures(one.Section)) == 0 {
				t.Errorf("%s: its section has no figures", one.Name())
			}
		}
		for _, u := range units(all) {
			if rows[u.name] {
				t.Errorf("row %s is not in one piece", u.name)
			}
			rows[u.name] = true
		}
	}
}
