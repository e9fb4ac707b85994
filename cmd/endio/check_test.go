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

const askedFailure = `model taskcomp
bio A
bio B
irq on cpu 1: complete A
irq on cpu 1: complete B
hotplug: down 1 may fail at TEARDOWN_CPU
`

// checkText runs endio check on a file with the text.
func checkText(t *testing.T, text string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "q.scn")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code = run(append([]string{"check", name}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestCheckExitCodes(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       int
		want       string
	}{
		{"as expected", askedFailure + "expect v6: fails never-run\nexpect v7: holds\n", exitOK, "2 cases, 2 as expected"},
		{"expected to hold", askedFailure + "expect v6: holds\n", exitFailed, "expected to hold"},
		{"expected another failure", askedFailure + "expect v6: fails corruption\n", exitFailed, "never-run"},
		{"expected to fail", askedFailure + "expect v7: fails never-run\n", exitFailed, "holds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := checkText(t, c.text)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, c.code, c.want, out, errs)
			}
		})
	}
	code, _, errs := checkText(t, "modle x\n")
	if code != exitBadInput || !strings.Contains(errs, ":1:1: unknown statement") {
		t.Errorf("bad input: exit %d, %s", code, errs)
	}
	code, _, errs = checkText(t, strings.Repeat("bio A\n", 10<<20/6))
	if code != exitBadInput || !strings.Contains(errs, ":1:1: the file has") {
		t.Errorf("10 MB: exit %d, %s", code, errs)
	}
	code, _, errs = checkText(t, askedFailure+"expect v7: holds\n", "--version", "v77x")
	if code != exitBadInput || !strings.Contains(errs, `unknown version "v77x" of model taskcomp; its versions are v4`) {
		t.Errorf("unknown version: exit %d, %s", code, errs)
	}
}

// TestCheckMisuse asks in ways that make no sense: what is said names what was asked, and what could be meant.
func TestCheckMisuse(t *testing.T) {
	ring := "model callercomp\ninode X\nring R any\ntask T: submit R write X; wait R\nexpect 6.5: holds\n"
	for _, c := range []struct {
		name, text string
		args       []string
		want       string
	}{
		{"a version of the other model", ring, []string{"--version", "v6"}, "belongs to model taskcomp"},
		{"a version misspelt", ring, []string{"--version", "6.6-rx"}, "did you mean 6.6-rc?"},
		{"a version with a sign left out", ring, []string{"--version", "6.6rc"}, "did you mean 6.6-rc?"},
		{"a version that is to come", askedFailure + "expect v7: holds\n", []string{"--version", "v8"}, "did you mean v7?"},
		{"half a configuration", ring, []string{"--config", "ful"}, "did you mean full?"},
		{"a configuration misspelt", ring, []string{"--config", "lazy/dafer"}, "did you mean lazy/defer?"},
		{"a ring mode without rings", askedFailure + "expect v7: holds\n", []string{"--config", "defer"}, "known: none, none+count"},
		{"time below zero", ring, []string{"--max-time=-5s"}, "must not be negative"},
		{"a file for text", ring, []string{"-o", "x"}, "add --trace svg"},
		{"a picture in JSON", ring, []string{"--json", "--trace", "svg"}, "leave one of"},
		{"words in JSON", ring, []string{"--json", "--explain"}, "leave --json"},
		{"a token for many cases", ring, []string{"--replay", "x"}, "4 are selected"},
		{"no token", ring, []string{"--replay", "x", "--config", "lazy/defer"}, "replay token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := checkText(t, c.text, c.args...)
			if code != exitBadInput || !strings.Contains(errs, c.want) || out != "" {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, exitBadInput, c.want, out, errs)
			}
		})
	}
	if code, out, errs := checkText(t, "\ufeff"+askedFailure+"expect v7: holds\n"); code != exitOK {
		t.Errorf("a byte order mark: exit %d\n%s%s", code, out, errs)
	}
}

// TestCheckReplay takes the token of a failure from JSON and makes its execution again.
func TestCheckReplay(t *testing.T) {
	name := filepath.Join(t.TempDir(), "q.scn")
	if err := os.WriteFile(name, []byte(askedFailure+"expect v6: fails never-run\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"check", name, "--json"}, &out, &errs); code != exitOK {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var results []result
	if err := json.Unmarshal(out.Bytes(), &results); err != nil || len(results) != 1 {
		t.Fatalf("JSON: %v, %s", err, out.String())
	}
	r := results[0]
	if r.Verdict != "fails" || r.TraceSteps == 0 || r.Executions == 0 || !strings.HasPrefix(r.Problem, "never-run") {
		t.Errorf("result: %+v", r)
	}
	for _, form := range []string{"text", "svg", "perfetto"} {
		out.Reset()
		if code := run([]string{"check", name, "--version", "v6", "--config", "lazy", "--replay", r.Replay, "--trace", form}, &out, &errs); code != exitOK {
			t.Errorf("replay as %s: exit %d, %s", form, code, errs.String())
		}
		want := map[string]string{"text": "never-run: bio", "svg": "<svg", "perfetto": `"traceEvents"`}[form]
		if !strings.Contains(out.String(), want) {
			t.Errorf("replay as %s has no %q:\n%s", form, want, out.String())
		}
	}
	if code := run([]string{"check", name, "--version", "v6", "--config", "lazy", "--replay", "ex1.zz"}, &out, &errs); code != exitBadInput {
		t.Errorf("bad token: exit %d", code)
	}
}
