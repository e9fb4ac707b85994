// SPDX-License-Identifier: Apache-2.0

// Command lockdep measures endio/lockdep beside sync.Mutex, sasha-s/go-deadlock and
// linkdata/deadlock, and compares what they find. Build it with -tags
// lockdep,deadlock; without the tag lockdep, speed shows that nothing is left.
//
//	lockdep [-doc FILE] speed    medians of interleaved rounds, spread, ratios, limits
//	lockdep [-doc FILE] detect   which faults each detector finds
//
// With -doc the results go into FILE too, between the marks there.
package main

import (
	"flag"
	"fmt"
	"os"

	"endio/lockdep"
)

func main() {
	runChild()
	doc := flag.String("doc", "", "also write the results into this `file`")
	flag.Parse()
	if err := run(flag.Arg(0), *doc); err != nil {
		fmt.Fprintln(os.Stderr, "lockdep:", err)
		os.Exit(1)
	}
}

func run(verb, doc string) error {
	var name, text string
	switch {
	case verb == "speed" && lockdep.Enabled:
		p, err := measureSpeed(os.Stdout)
		if err != nil {
			return err
		}
		name, text = "bench-lockdep", p.String()
	case verb == "speed":
		name, text = "bench-lockdep-off", measureOff().String()
	case verb == "detect":
		table, err := detectionTable()
		if err != nil {
			return err
		}
		name, text = "detect-lockdep", table
	default:
		fmt.Fprintln(os.Stderr, "usage: lockdep [-doc FILE] speed|detect")
		os.Exit(2)
	}
	fmt.Print("\n", text)
	if doc == "" {
		return nil
	}
	return write(doc, name, text)
}
