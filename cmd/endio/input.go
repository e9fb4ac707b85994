// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// parseInput parses a file, or standard input for "-". Its errors do not name
// the file: the caller does.
func parseInput[T any](name string, parse func(io.Reader) (T, error)) (T, error) {
	if name == "-" {
		return parse(os.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = fmt.Errorf("open: %w", pe.Err)
		}
		var none T
		return none, err
	}
	defer f.Close()
	return parse(f)
}

// sameFile reports whether both names are of one file, so that writing to one would destroy the other.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && x.Mode().IsRegular() && os.SameFile(x, y)
}
