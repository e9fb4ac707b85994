// SPDX-License-Identifier: Apache-2.0

// Command lockdep measures endio/lockdep beside sync.Mutex, sasha-s/go-deadlock and
// linkdata/deadlock, and compares what they find. Build it with -tags
// lockdep,deadlock; without the tag lockdep it shows that nothing is left.
//
//	lockdep speed     medians of interleaved rounds, spread, ratios
//	lockdep scaling   the part of speed about several goroutines
//	lockdep detect    the table of docs/lockdep.md
package main

import (
	"fmt"
	"os"
)

func main() {
	runChild()
	verb := ""
	if len(os.Args) == 2 {
		verb = os.Args[1]
	}
	var err error
	switch verb {
	case "speed":
		err = printSpeed(os.Stdout)
	case "scaling":
		printScaling(os.Stdout)
	case "detect":
		err = printDetection(os.Stdout)
	default:
		fmt.Fprintln(os.Stderr, "usage: lockdep speed|scaling|detect")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lockdep:", err)
		os.Exit(1)
	}
}
