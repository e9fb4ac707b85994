// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// caseEnv names the case and kit that a child process runs, as "case|kit".
const caseEnv = "ENDIO_LOCKDEP_CASE"

// An outcome is what a detector made of a case.
type outcome string

const (
	found      outcome = "found"       // reported, before anything hung or without it
	foundHung  outcome = "after hang"  // reported only because the program hung
	missed     outcome = "missed"      // a fault, and no report
	silent     outcome = "silent"      // no fault, and no report
	falseAlarm outcome = "false alarm" // no fault, and a report
)

// runChild runs the case that the environment names, prints a line for each report and one at the
// end, and never returns if there is one.
func runChild() {
	want := os.Getenv(caseEnv)
	if want == "" {
		return
	}
	caseName, kitName, _ := strings.Cut(want, "|")
	begin := time.Now()
	var mu sync.Mutex
	for _, k := range kits() {
		for _, c := range detectCases {
			if k.name != kitName || c.name != caseName {
				continue
			}
			k.listen(func() {
				mu.Lock()
				defer mu.Unlock()
				fmt.Printf("report %d\n", time.Since(begin).Milliseconds())
			})
			go func() { // so that the runtime does not call a hang a deadlock
				time.Sleep(4 * hangAfter)
				os.Exit(0)
			}()
			c.run(k)
			time.Sleep(20 * time.Millisecond) // a detector may report from a goroutine of its own
			os.Exit(0)
		}
	}
	fmt.Fprintf(os.Stderr, "no case %q for %q\n", caseName, kitName)
	os.Exit(2)
}

// detect runs one case with one detector in a process of its own.
func detect(c detectCase, k kit) (outcome, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), caseEnv+"="+c.name+"|"+k.name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s with %s: %w\n%s", c.name, k.name, err, stderr.Bytes())
	}
	first := -1
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		var ms int
		if n, _ := fmt.Sscanf(sc.Text(), "report %d", &ms); n == 1 && first < 0 {
			first = ms
		}
	}
	switch {
	case !c.fault && first < 0:
		return silent, nil
	case !c.fault:
		return falseAlarm, nil
	case first < 0:
		return missed, nil
	case c.hangs && time.Duration(first)*time.Millisecond >= hangAfter*9/10:
		return foundHung, nil
	}
	return found, nil
}

// detectionTable runs all cases and returns the table as Markdown.
func detectionTable() (string, error) {
	w := &strings.Builder{}
	fmt.Fprint(w, "| case | fault |")
	for _, k := range kits() {
		fmt.Fprintf(w, " %s |", k.name)
	}
	fmt.Fprint(w, "\n| --- | --- |")
	for range kits() {
		fmt.Fprint(w, " --- |")
	}
	fmt.Fprintln(w)
	for _, c := range detectCases {
		fault := "no"
		if c.fault {
			fault = "yes"
		}
		if c.hangs {
			fault = "yes, hangs"
		}
		fmt.Fprintf(w, "| %s: %s | %s |", c.name, c.what, fault)
		for _, k := range kits() {
			o, err := detect(c, k)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(w, " %s |", o)
		}
		fmt.Fprintln(w)
	}
	return w.String(), nil
}
