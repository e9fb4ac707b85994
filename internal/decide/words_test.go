// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"endio/explore"
	"endio/models/stage"
	"endio/scenario"
)

const (
	wordsTask   = "model taskcomp\nconfig %s\n%sbio A%s\n%sexpect %s: holds\n"
	wordsCaller = "model callercomp\nconfig %s\n%sinode X%s\nmutex M\n%sexpect %s: holds\n"
)

// A wordRow is a scenario without and with a word. What is empty in both is as in the one without.
type wordRow struct {
	kind, word, model string
	head              [2]string // before the bio or inode
	object            [2]string // behind it
	rest              [2]string // after it
	config            string    // if not lazy
	refused           bool      // by the parser, in this model
}

const oneIRQ = "irq on cpu 1: complete A\n"

// wordRows has every word of the language, in each model to which it belongs.
var wordRows = func() []wordRow {
	const T, C = scenario.TaskComp, scenario.CallerComp
	task := func(kind, word string, head, object, rest [2]string) wordRow {
		return wordRow{kind: kind, word: word, model: T, head: head, object: object, rest: rest}
	}
	no := [2]string{}
	same := func(s string) [2]string { return [2]string{s, s} }
	rows := []wordRow{}
	add := func(r ...wordRow) { rows = append(rows, r...) }
	// Steps of both models, and of one.
	for _, s := range []struct{ word, decl, steps string }{
		{"preempt-off", "", "preempt-off; preempt-on"}, {"preempt-on", "", "preempt-off; preempt-on"},
		{"irqs-off", "", "irqs-off; irqs-on"}, {"irqs-on", "", "irqs-off; irqs-on"}, {"rcu-lock", "", "rcu-lock; rcu-unlock"}, {"rcu-unlock", "", "rcu-lock; rcu-unlock"},
		{"lock", "mutex K\n", "lock K; unlock K"}, {"unlock", "mutex K\n", "lock K; unlock K"},
		{"spin-lock", "spinlock S\n", "spin-lock S; spin-unlock S"}, {"spin-unlock", "spinlock S\n", "spin-lock S; spin-unlock S"},
		{"raw-lock", "rawlock W\n", "raw-lock W; raw-unlock W"}, {"raw-unlock", "rawlock W\n", "raw-lock W; raw-unlock W"},
	} {
		add(task("step", s.word, same(s.decl), no, [2]string{oneIRQ, oneIRQ + "task T: " + s.steps + "\n"}))
		add(wordRow{kind: "step", word: s.word, model: C, head: same(s.decl), rest: [2]string{"task T: read X\n", "task T: read X; " + s.steps + "\n"}})
	}
	for _, s := range []struct{ word, steps string }{{"wait-bio", "wait-bio A"}, {"down", "down 1"}, {"up", "up 1"}, {"register", "register"}} {
		head := no
		if s.word == "up" {
			head = same("offline 1\n")
		}
		add(task("step", s.word, head, no, [2]string{oneIRQ, oneIRQ + "task T on cpu 0: " + s.steps + "\n"}))
	}
	add(task("step", "complete", no, [2]string{"", "\nbio B"}, [2]string{oneIRQ, oneIRQ + "irq on cpu 0: complete B\n"}))
	for _, s := range []struct{ word, before, steps string }{
		{"submit", "read X", "read X; submit R write X"}, {"wait", "submit R read X", "submit R read X; wait R"},
		{"fallocate", "read X", "read X; fallocate X"}, {"truncate", "read X", "read X; truncate X"}, {"clone", "read X", "read X; clone X"},
		{"write", "read X", "read X; write X"}, {"read", "write X", "write X; read X"}, {"freeze", "write X", "freeze; write X"}, {"thaw", "freeze; write X", "freeze; thaw; write X"},
		{"signal", "spin", "spin\ntask S: signal T"}, {"spin", "read X", "spin; read X"},
	} {
		add(wordRow{kind: "step", word: s.word, model: C, rest: [2]string{"ring R\ntask T: " + s.before + "\n", "ring R\ntask T: " + s.steps + "\n"}})
	}
	for _, r := range []struct{ word, before, after string }{{"write", "read", "write"}, {"read", "write", "read"}, {"fallocate", "read", "fallocate"}, {"truncate", "read", "truncate"}} {
		add(wordRow{kind: "request", word: r.word, model: C, rest: [2]string{"ring R\ntask F: freeze; thaw\ntask T: submit R " + r.before + " X; wait R\n", "ring R\ntask F: freeze; thaw\ntask T: submit R " + r.after + " X; wait R\n"}})
	}
	for _, w := range []string{"unaligned", "extending", "shared"} {
		for _, how := range []string{"submit R write X%s; wait R", "write X%s"} {
			add(wordRow{kind: "property of a write", word: w, model: C, rest: [2]string{
				"ring R\ntask T: " + fmt.Sprintf(how, "") + "\n", "ring R\ntask T: " + fmt.Sprintf(how, " "+w) + "\n"}})
		}
	}
	for _, d := range []struct{ word, before, after string }{
		{"bios", "submit R write X; wait R", "submit R write X bios 2; wait R"}, {"bios", "submit R read X; wait R", "submit R read X bios 2; wait R"},
		{"bios", "write X", "write X bios 2"}, {"bios", "write X unaligned", "write X unaligned bios 2"},
		// An error says something to what is linked, to s_dio_done_wq, and to end_io.
		{"error", "submit R write X link; submit R fallocate X; wait R 2", "submit R write X error link; submit R fallocate X; wait R 2"},
		{"error", "submit R read X link; submit R fallocate X; wait R 2", "submit R read X error link; submit R fallocate X; wait R 2"},
	} {
		add(wordRow{kind: "property of direct I/O", word: d.word, model: C, rest: [2]string{"ring R\ntask T: " + d.before + "\n", "ring R\ntask T: " + d.after + "\n"}})
	}
	add(wordRow{kind: "property of a submit", word: "link", model: C, rest: [2]string{
		"ring R\ntask T: submit R write X; submit R fallocate X; wait R 2\n", "ring R\ntask T: submit R write X link; submit R fallocate X; wait R 2\n"}},
		wordRow{kind: "property of a submit", word: "link", model: C, rest: [2]string{"ring R\ntask T: write X\n", "ring R\ntask T: write X link\n"}, refused: true},
		wordRow{kind: "property of direct I/O", word: "bios", model: C, rest: [2]string{"ring R\ntask T: submit R fallocate X\n", "ring R\ntask T: submit R fallocate X bios 2\n"}, refused: true},
		wordRow{kind: "property of direct I/O", word: "error", model: C, rest: [2]string{"ring R\ntask T: fallocate X\n", "ring R\ntask T: fallocate X error\n"}, refused: true})
	for _, call := range []string{"fallocate", "truncate", "clone"} {
		add(wordRow{kind: "property of a step", word: "under", model: C, rest: [2]string{"task T: " + call + " X\n", "task T: " + call + " X under M\n"}})
	}
	// Cooperative task work tells only a task that stays in user mode.
	for mode, steps := range map[string]string{"coop": "submit R write X; spin", "sqpoll": "submit R write X; wait R", "defer": "submit R write X; wait R", "default": "submit R write X; spin"} {
		other := "default"
		if mode == "default" {
			other = "coop"
		}
		add(wordRow{kind: "ring mode", word: mode, model: C, rest: [2]string{"ring R " + other + "\ntask T: " + steps + "\n", "ring R " + mode + "\ntask T: " + steps + "\n"}})
	}
	// The lock of xfs is one more step of fallocate.
	add(wordRow{kind: "file system", word: "xfs", model: C, object: [2]string{" ext4", " xfs"}, rest: same("task T: fallocate X\ntask U: fallocate X\n")})
	for _, a := range []string{"class", "owner"} {
		add(wordRow{kind: "annotation", word: a, model: C, head: [2]string{"annotate none\n", "annotate " + a + "\n"},
			rest: same("ring R\ntask T: submit R write X; fallocate X; wait R\n")})
	}
	add(wordRow{kind: "property wanted", word: "no-eintr", model: C, head: [2]string{"", "want no-eintr\n"},
		rest: same("ring R\ntask T: submit R write X; fallocate X; wait R\ntask S: signal T\n")})
	add(wordRow{kind: "property wanted", word: "no-eintr", model: T, head: [2]string{"", "want no-eintr\n"}, rest: same(oneIRQ), refused: true})
	for _, w := range []string{"fifo", "dropbehind"} {
		add(wordRow{kind: "property wanted", word: w, model: C, head: [2]string{"", "want " + w + "\n"}, rest: same("task T: read X\n"), refused: true})
	}
	for _, h := range []struct{ word, text, head string }{
		{"none", "none", ""}, {"sleeps", "sleeps", ""}, {"dynamic", "dynamic", ""}, {"locks", "locks M", "mutex M\n"}, {"hotplugs", "hotplugs cpu 0", ""},
		{"writeback", "writeback", ""},
	} {
		flag := ""
		switch h.word {
		case "sleeps", "dynamic", "writeback": // in an interrupt they tell
			flag = " unflagged"
		}
		rest := oneIRQ
		if h.word == "writeback" {
			h.head += "want dropbehind\n"
		}
		add(task("handler", h.word, same(h.head), [2]string{flag, flag + " handler " + h.text}, same(rest)))
	}
	restores := task("handler", "restores", no, [2]string{"", " handler restores"}, same(oneIRQ))
	restores.config = "none" // where nobody can tell, each layer is deferred
	add(restores, task("handler", "waits", no, [2]string{"\nbio B", " handler waits for B\nbio B"}, same(oneIRQ+"irq on cpu 0: complete B\n")),
		task("handler", "resubmits", no, [2]string{"\nbio B", " handler resubmits B\nbio B"}, [2]string{oneIRQ + "irq on cpu 0: complete B\n", oneIRQ}),
		task("property of a bio", "unflagged", no, [2]string{"", " unflagged"}, same(oneIRQ)),
		task("property of a bio", "integrity", no, [2]string{" unflagged", " unflagged integrity"}, same(oneIRQ)),
		task("property of a bio", "error", no, [2]string{"\nbio B parent A", "\nbio B parent A error"}, same(oneIRQ+"irq on cpu 0: complete B\n")),
		task("property of a bio", "parent", no, [2]string{"\nbio B", "\nbio B parent A"}, same(oneIRQ+"irq on cpu 0: complete B\n")),
		task("property of an actor", "on", no, no, [2]string{oneIRQ + "task T: irqs-off; irqs-on\n", oneIRQ + "task T on cpu 0: irqs-off; irqs-on\n"}),
		task("property of a step", "to", no, no, [2]string{oneIRQ + "hotplug: down 1\n", oneIRQ + "hotplug: down 1 to TEARDOWN_CPU\n"}),
		task("property of a step", "may fail at", no, no, [2]string{oneIRQ + "hotplug: down 1\n", oneIRQ + "hotplug: down 1 may fail at TEARDOWN_CPU\n"}),
		wordRow{kind: "property of an actor", word: "hard", model: T, object: same("\nbio B"), rest: [2]string{oneIRQ + "irq on cpu 1: complete B\n", "irq on cpu 1 hard: complete A\nirq on cpu 1: complete B\n"}, config: "rt"},
		wordRow{kind: "property of an actor", word: "hard", model: T, rest: [2]string{oneIRQ, oneIRQ + "task T hard: preempt-off; preempt-on\n"}, refused: true},
		wordRow{kind: "property of an actor", word: "hard", model: T, rest: [2]string{oneIRQ, "softirq on cpu 1 hard: complete A\n"}, refused: true},
		wordRow{kind: "property of an actor", word: "on", model: C, rest: [2]string{"task T: irqs-off; irqs-on; read X\n", "task T on cpu 0: irqs-off; irqs-on; read X\n"}},
		task("statement", "irq", no, no, [2]string{"task T: complete A\n", oneIRQ}),
		task("statement", "softirq", no, no, [2]string{oneIRQ, "softirq on cpu 1: complete A\n"}),
		task("statement", "hotplug", no, no, [2]string{oneIRQ, oneIRQ + "hotplug: down 1\n"}),
		task("statement", "pass", [2]string{"", "pass 1\n"}, same("\nbio B\nbio C"), same("irq on cpu 1: complete A; complete B; complete C\n")),
		wordRow{kind: "statement", word: "hotplug", model: C, rest: [2]string{"task T: read X\n", "task T: read X\nhotplug: read X\n"}},
		wordRow{kind: "statement", word: "irq", model: C, rest: [2]string{"task T: read X\n", "task T: read X\nirq on cpu 0: preempt-off; preempt-on\n"}, refused: true},
		wordRow{kind: "statement", word: "softirq", model: C, rest: [2]string{"task T: read X\n", "task T: read X\nsoftirq on cpu 0: preempt-off; preempt-on\n"}, refused: true},
		wordRow{kind: "statement", word: "io-workers", model: C, head: [2]string{"io-workers 1\n", "io-workers 2\n"}, rest: same("inode Y\nring R\ntask T: submit R fallocate X; submit R truncate Y; wait R 2\n")},
		wordRow{kind: "statement", word: "restart-limit", model: C, head: [2]string{"", "restart-limit 1\n"}, rest: same("ring R\ntask T: submit R write X; submit R write X; fallocate X; wait R 2\n")},
		wordRow{kind: "statement", word: "restart-limit", model: T, head: [2]string{"", "restart-limit 1\n"}, rest: same(oneIRQ), refused: true},
		wordRow{kind: "statement", word: "io-workers", model: T, head: [2]string{"", "io-workers 2\n"}, rest: same(oneIRQ), refused: true},
		wordRow{kind: "statement", word: "annotate", model: T, head: [2]string{"", "annotate class\n"}, rest: same(oneIRQ), refused: true},
		wordRow{kind: "statement", word: "timers", model: C, head: [2]string{"", "timers housekeeping\n"}, rest: same("task T: read X\n"), refused: true},
		wordRow{kind: "statement", word: "inode", model: T, head: [2]string{"", "inode X\n"}, rest: same(oneIRQ), refused: true},
		wordRow{kind: "statement", word: "ring", model: T, head: [2]string{"", "ring R\n"}, rest: same(oneIRQ), refused: true},
		wordRow{kind: "statement", word: "bio", model: C, head: [2]string{"", "bio A\n"}, rest: same("task T: read X\n"), refused: true},
	)
	return rows
}()

// elsewhere are the words that need no row, and why.
var elsewhere = map[string]string{
	"statement title": "text", "statement claim": "text", "statement note": "text", "statement slow": "when to check", "statement expect": "compared with the answer",
	"statement model": "chooses the model", "statement config": "chooses the configuration", "statement want": "its properties have rows",
	"statement bio": "its properties have rows", "statement inode": "its file systems have rows", "statement ring": "its modes have rows", "statement task": "its steps have rows",
	"statement mutex": "its steps have rows", "statement spinlock": "its steps have rows", "statement rawlock": "its steps have rows", "statement annotate": "its annotations have rows",
	// Of the simulated kernel, which stage.Config sets up for all versions: TestMachineWords.
	"statement cpus": "machine", "statement offline": "machine", "statement workers": "machine", "statement memory": "machine", "statement timers": "machine", "statement hog-limit": "machine",
	// What is said by default.
	"handler plain": "default", "property of a write aligned": "default", "annotation none": "default", "file system ext4": "default", "property of a bio handler": "its handlers have rows",
	// Properties that change no step: programs that break them are in scenarios.
	"property wanted fifo": "TestFifo", "property wanted dropbehind": "handler writeback",
}

func (r wordRow) text(i int, version string) string {
	config := r.config
	if config == "" {
		config = "lazy"
	}
	form := wordsTask
	if r.model == scenario.CallerComp {
		form = wordsCaller
	}
	return fmt.Sprintf(form, config, r.head[i], r.object[i], r.rest[i], version)
}

// print is what a search sees of a program.
func print(t *testing.T, text string) string {
	t.Helper()
	f, err := scenario.Parse("words.scn", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, err := Program(f, f.Cases()[0])
	if err != nil {
		t.Fatal(err)
	}
	r, err := explore.Explore(context.Background(), p, explore.Options{Strategy: explore.Cached(), MaxExecutions: 300, MaxSteps: 1000, NoMinimise: true})
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprint(r.Verdict, r.Executions, r.Pruned, r.Steps, r.States)
	if r.Failure != nil {
		out += string(r.Failure.Kind) + r.Failure.Text
	}
	return out
}

// TestWords goes through the grammar: each word changes the program of each version, or is refused, or is said to say nothing.
func TestWords(t *testing.T) {
	skipUnderRace(t)
	have := map[string]bool{}
	for _, r := range wordRows {
		have[r.kind+" "+r.word] = true
		for _, version := range scenario.VersionNames(r.model) {
			with := r.text(1, version)
			_, err := scenario.Parse("words.scn", []byte(with))
			if (err != nil) != r.refused {
				t.Errorf("%s %q in model %s: refused %v, with %v\n%s", r.kind, r.word, r.model, err != nil, err, with)
				break
			}
			if r.refused {
				if !strings.HasPrefix(err.Error(), "words.scn:") || strings.HasPrefix(err.Error(), "words.scn:1:1:") {
					t.Errorf("%s %q in model %s is refused in the wrong place: %v", r.kind, r.word, r.model, err)
				}
				break
			}
			same := print(t, r.text(0, version)) == print(t, with)
			nothing := scenario.SaysNothing(r.model, version, r.kind, r.word)
			if same && nothing == "" && !toOthersOnly(r, version) {
				t.Errorf("version %s ignores %s %q\n%s", version, r.kind, r.word, with)
			}
			if !same && nothing != "" {
				t.Errorf("to version %s, %s %q is said to say nothing: it does\n%s", version, r.kind, r.word, with)
			}
		}
	}
	for kind, words := range scenario.Words() {
		for _, w := range words {
			k := kind + " " + w
			if have[k] == (elsewhere[k] != "") && elsewhere[k] == "" {
				t.Errorf("no row has %s", k)
			}
		}
	}
}

// toOthersOnly reports versions whose protocol a word is not about: that, and no way of reading the file, makes them the same.
func toOthersOnly(r wordRow, version string) bool {
	switch r.word {
	case "restores": // their worker is a task in any configuration, and what it does at once is no step
		return version == "v4" || version == "v5"
	case "no-eintr", "restart-limit":
		return !strings.Contains(version, "interruptible") && version != "6.6-rc+both"
	case "owner": // of what the caller completes
		return !strings.HasPrefix(version, "6.6-rc") || strings.Contains(version, "split") || slices.Contains([]string{"6.6-rc+both", "6.6-rc+all", "6.6-rc+markfailed"}, version)
	}
	return false
}

// TestMachineWords: what describes the machine is set up for all versions in one place.
func TestMachineWords(t *testing.T) {
	config := func(words string) string {
		f, err := scenario.Parse("words.scn", []byte("model taskcomp\nbio A\nirq on cpu 0: complete A\nexpect v7: holds\n"+words))
		if err != nil {
			t.Fatal(err)
		}
		c, err := stage.Config(f, f.Cases()[0].Config)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%#v", c)
	}
	for _, w := range []string{"cpus 3", "offline 1", "workers 1", "memory short", "timers housekeeping", "hog-limit 5"} {
		if config(w) == config("") {
			t.Errorf("%q changes nothing of the machine", w)
		}
	}
}
