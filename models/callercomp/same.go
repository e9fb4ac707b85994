// SPDX-License-Identifier: Apache-2.0

package callercomp

import "endio/scenario"

// Same returns the case of f whose program is that of c in all but its name: the first one whose
// differences from c nothing in the file can see. It is c itself, if there is none before.
//
//   - endio knows no ring modes: a ring is an owner of completions there.
//   - Cooperative task work differs from the default in that it does not interrupt user mode, which only
//     a task that stays there can tell.
//   - Only a freeze tells whether sb_writers was tried or waited for, and when it was ended.
//   - Only writes to shared extents are sent to the workqueue for the sake of extents.
//   - To lower the count in the hook and leave the rest to the caller is to complete in the interrupt, where the rest is
//     nothing: it changes extents, which shared ones need; what extends a file goes to the workqueue in either way. But an error goes
//     to the caller there, and to the workqueue from the interrupt.
//   - 6.6 is 6.5 as far as this model goes.
func Same(f *scenario.File, c scenario.Case) scenario.Case {
	for _, v := range scenario.VersionNames(f.Model) {
		if v != c.Version && (v == "endio" || c.Version == "endio" || visible(f, versions[v]) != visible(f, versions[c.Version])) {
			continue
		}
		for _, o := range f.ConfigCases() {
			if o == c.Config || o.Preempt == c.Config.Preempt && sameMode(f, c.Version, o.Ring, c.Config.Ring) {
				return scenario.Case{Version: v, Config: o}
			}
		}
	}
	return c
}

// visible leaves of a version what a scenario can tell.
func visible(f *scenario.File, v version) version {
	if !f.Uses("freeze") {
		v.tryFreeze, v.endInHook = false, false
	}
	shared, fails := false, false
	for i := range f.Actors {
		for _, s := range f.Actors[i].Steps {
			shared, fails = shared || s.Shared, fails || s.Error
		}
	}
	v.extentsToWork = v.extentsToWork && shared
	if v.policy == caller && v.split && !shared && !fails {
		v.policy, v.split = inline, false
	}
	return v
}

func sameMode(f *scenario.File, version, a, b string) bool {
	if version == "endio" {
		return true
	}
	plain := func(mode string) bool { return mode == "default" || mode == "coop" }
	return a == b || plain(a) && plain(b) && !f.Uses("spin")
}
