// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"fmt"
	"strings"
)

// MaxErrors is how many errors [Parse] collects before it gives up. A file with
// more is not a job file, and a screenful is what a reader takes in.
const MaxErrors = 20

// A Pos is a place in a job file. Line and Col count from 1, Col in bytes. The
// zero Pos is no place.
type Pos struct {
	File string
	Line int
	Col  int
}

// String returns file:line:col, the form that editors jump to.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// An Error says what is wrong at one place of a job file.
type Error struct {
	Pos Pos
	Msg string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Msg }

// An ErrorList is what [Parse] returns for a file that can not be run: at least
// one error, section by section; in a section, wrong lines come before wrong
// values, and those before contradictions.
type ErrorList []*Error

// Error returns the errors, one a line.
func (l ErrorList) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As reach each [Error].
func (l ErrorList) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}
