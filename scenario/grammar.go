// SPDX-License-Identifier: Apache-2.0

package scenario

// Words returns the words of the language by what they are, for tests that go through all of them.
func Words() map[string][]string {
	return map[string][]string{
		"statement": statementNames(), "step": verbNames(), "handler": names(handlers), "request": names(requests), "ring mode": names(ringModes),
		"property wanted": names(extras), "property of a write": ofWrites, "property of direct I/O": ofDirect, "property of a submit": ofSubmits,
		"property of a bio": ofBios, "annotation": {"none", "class", "owner"}, "file system": {"ext4", "xfs"},
		"property of an actor": {"on", "hard"}, "property of a step": {"under", "to", "may fail at"},
	}
}

// nothing lists the words that say nothing to a version, or to all of the kernel's ("kernel"), and why. All other words are honoured by
// every version of the model, or refused; a test goes through all of them.
var nothing = []struct{ model, version, kind, word, why string }{
	{CallerComp, "endio", "ring mode", "default", "endio knows no ring modes: a ring is an owner of completions"},
	{CallerComp, "endio", "ring mode", "coop", "endio knows no ring modes: a ring is an owner of completions"},
	{CallerComp, "endio", "ring mode", "sqpoll", "endio knows no ring modes: a ring is an owner of completions"},
	{CallerComp, "endio", "ring mode", "defer", "endio knows no ring modes: a ring is an owner of completions"},
	{CallerComp, "endio", "property of a write", "extending", "below endio the kernel has done all of its work on the file when a write completes"},
	{CallerComp, "endio", "property of a write", "shared", "below endio the kernel has done all of its work on the file when a write completes"},
	{CallerComp, "endio", "file system", "xfs", "endio takes no lock of a file system"},
	{CallerComp, "endio", "annotation", "class", "endio has no i_dio_count that lockdep could know of"},
	{CallerComp, "endio", "annotation", "owner", "endio has no i_dio_count that lockdep could know of"},
	{CallerComp, "endio", "property wanted", "no-eintr", "no wait of endio's calls is ended by a signal"},
	{CallerComp, "endio", "statement", "restart-limit", "no wait of endio's calls is ended by a signal, and none of them begins anew"},
	{TaskComp, "endio", "step", "register", "its machine is made with its callbacks in place, before a CPU can come or go"},
	{TaskComp, "v7+rawlock", "step", "register", "it has no callbacks to register"},
	{TaskComp, "v7+biowork", "step", "register", "it has no callbacks to register"},
	{TaskComp, "v4", "handler", "dynamic", "it has no helper to call: the handler runs where the bio ends"},
	{TaskComp, "v5", "handler", "dynamic", "it has no helper to call: the handler runs where the bio ends"},
	{CallerComp, "kernel", "statement", "pass", "it is about the worker of version endio"},
	{TaskComp, "kernel", "statement", "pass", "it is about the worker of version endio"},
}

// SaysNothing returns why a word says nothing to a version, or "" if it does.
func SaysNothing(model, version, kind, word string) string {
	for _, n := range nothing {
		if n.model == model && n.kind == kind && n.word == word && (n.version == version || n.version == "kernel" && version != "endio") {
			return n.why
		}
	}
	return ""
}

// ignored returns why words of f say nothing to versions of which it expects something, each reason once.
func (f *File) ignored() (out []string) {
	said := map[string]bool{}
	note := func(kind, word string) {
		for i := range f.Expects {
			for _, v := range f.Expects[i].Versions {
				why := SaysNothing(f.Model, v, kind, word)
				if why == "" || said[why] {
					continue
				}
				said[why] = true
				to := "version " + v
				if kind == "statement" && v != "endio" {
					to = "the versions of the kernel"
				}
				out = append(out, word+" says nothing to "+to+": "+why)
			}
		}
	}
	for _, r := range f.Rings {
		for _, m := range r.Modes {
			note("ring mode", m)
		}
	}
	for i := range f.Actors {
		for _, s := range f.Actors[i].Steps {
			if s.Verb == "register" {
				note("step", "register")
			}
			if s.Extending {
				note("property of a write", "extending")
			}
			if s.Shared {
				note("property of a write", "shared")
			}
		}
	}
	for _, n := range f.Inodes {
		note("file system", n.FS)
	}
	note("annotation", f.Annotate)
	for i := range f.Bios {
		note("handler", f.Bios[i].Handler)
	}
	for _, w := range f.Wants {
		note("property wanted", w)
	}
	if f.Pass > 0 {
		note("statement", "pass")
	}
	if f.MaxRestarts > 0 {
		note("statement", "restart-limit")
	}
	if f.Uses("freeze") {
		for i := range f.Expects {
			for _, v := range f.Expects[i].Versions {
				if v == "endio" && !said["freeze"] {
					said["freeze"] = true
					out = append(out, "to version endio, freeze and thaw are calls past the engine (FIFREEZE): below it the kernel counts writes in sb_writers, "+
						"lets one that is frozen out wait in a thread of its own, and ends the count before the completion is seen")
				}
			}
		}
	}
	return out
}
