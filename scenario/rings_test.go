// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"
	"testing"
)

// TestRings: a configuration names the mode of each ring where they differ.
func TestRings(t *testing.T) {
	for _, r := range []struct{ rings, in, want string }{
		{"ring R\nring S\n", "", "full/default"},
		{"ring R sqpoll\nring S sqpoll\n", "sqpoll", "full/sqpoll"},
		{"ring R default\nring S sqpoll\n", "default+sqpoll", "full/default+sqpoll"},
		{"ring R sqpoll\nring S\n", "full/sqpoll+default", "full/sqpoll+default"},
		{"ring R default defer\nring S\n", "defer", "full/default full/defer"},
		{"ring R default defer\nring S defer default\n", "", "full/default full/defer"},
		{"ring R default defer\nring S default\n", "defer", "full/default full/defer+default"},
		{"ring R defer\nring S coop sqpoll\n", "sqpoll", "full/defer+coop full/defer+sqpoll"},
		{"ring R default\nring S sqpoll\n", "sqpoll", "7:15: the rings have different modes, and sqpoll is not said of all"},
		{"ring R default defer\nring S default coop\n", "", "5:1: ring S has other modes than ring R in line 4"},
	} {
		in := ""
		if r.in != "" {
			in = " in " + r.in
		}
		f, err := Parse("rings.scn", []byte("model callercomp\nconfig full\ninode X\n"+r.rings+"task T: submit R read X; submit S read X; wait R; wait S\nexpect 6.5"+in+": holds\n"))
		if err != nil {
			if !strings.Contains(err.Error(), "rings.scn:"+r.want) {
				t.Errorf("%q%s: %v, want %q", r.rings, in, err, r.want)
			}
			continue
		}
		var got []string
		for _, c := range f.ConfigCases() {
			got = append(got, c.String())
		}
		if s := strings.Join(got, " "); s != r.want {
			t.Errorf("%q%s: configurations %q, want %q", r.rings, in, s, r.want)
		}
	}
}
