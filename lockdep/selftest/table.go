// SPDX-License-Identifier: Apache-2.0

package selftest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Limits of a table; more is refused, so that no input takes all memory.
const (
	MaxLineBytes = 1 << 20
	MaxRows      = 1 << 17
	MaxSteps     = 1 << 14 // in one row
	maxNesting   = 16      // of blocks
)

// columns are the names in a table's first line.
var columns = []string{"group", "name", "lock_type", "context", "steps", "expected"}

// A Verdict is what a validator makes of a row.
type Verdict string

// The verdicts.
const (
	Failure Verdict = "FAILURE" // something is reported
	Success Verdict = "SUCCESS" // nothing is
)

// A Row is one case.
type Row struct {
	Line                           int // in the table, from 1
	Group, Name, LockType, Context string
	Expected                       Verdict
	steps                          []step
}

// A SyntaxError is where and why a table can not be understood.
type SyntaxError struct {
	Line   int // from 1
	Column int // in characters, from 1
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Parse reads a table. Its error is a [*SyntaxError] or that of r.
func Parse(r io.Reader) ([]Row, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), MaxLineBytes)
	var rows []Row
	names := make(map[string]int)
	line := 0
	for sc.Scan() {
		line++
		text := strings.TrimSuffix(sc.Text(), "\r")
		if line == 1 {
			if err := parseHeader(text); err != nil {
				return nil, err
			}
			continue
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		if len(rows) == MaxRows {
			return nil, &SyntaxError{line, 1, fmt.Sprintf("more than %d rows", MaxRows)}
		}
		row, err := parseRow(text, line)
		if err != nil {
			return nil, err
		}
		if first, dup := names[row.Name]; dup {
			return nil, &SyntaxError{line, len([]rune(row.Group)) + 2,
				fmt.Sprintf("name %q is taken by line %d", row.Name, first)}
		}
		names[row.Name] = line
		rows = append(rows, row)
	}
	if err := sc.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, &SyntaxError{line + 1, 1, fmt.Sprintf("line is longer than %d bytes", MaxLineBytes)}
		}
		return nil, fmt.Errorf("read table: %w", err)
	}
	if line == 0 {
		return nil, &SyntaxError{1, 1, "the table is empty: want a line with the columns " + strings.Join(columns, ", ")}
	}
	return rows, nil
}

func parseHeader(text string) error {
	col := 1
	fields := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\t")
	for i, want := range columns {
		if i >= len(fields) {
			return &SyntaxError{1, col, fmt.Sprintf("want column %q", want)}
		}
		if fields[i] != want {
			return &SyntaxError{1, col, fmt.Sprintf("column %d is %q, want %q", i+1, clip(fields[i]), want)}
		}
		col += utf8.RuneCountInString(fields[i]) + 1
	}
	if len(fields) > len(columns) {
		return &SyntaxError{1, col, fmt.Sprintf("unknown column %q", clip(fields[len(columns)]))}
	}
	return nil
}

func parseRow(text string, line int) (Row, error) {
	if i := strings.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || r == 0 }); i >= 0 {
		return Row{}, &SyntaxError{line, utf8.RuneCountInString(text[:i]) + 1, "not text"}
	}
	fields := strings.Split(text, "\t")
	if len(fields) != len(columns) {
		return Row{}, &SyntaxError{line, utf8.RuneCountInString(text) + 1,
			fmt.Sprintf("%d fields, want %d: %s", len(fields), len(columns), strings.Join(columns, ", "))}
	}
	at := make([]int, len(fields)) // column at which each field begins
	col := 1
	for i, f := range fields {
		at[i] = col
		col += utf8.RuneCountInString(f) + 1
	}
	row := Row{Line: line, Group: fields[0], Name: fields[1], LockType: fields[2], Context: fields[3],
		Expected: Verdict(fields[5])}
	if row.Name == "" {
		return Row{}, &SyntaxError{line, at[1], "the row has no name"}
	}
	if row.Expected != Failure && row.Expected != Success {
		return Row{}, &SyntaxError{line, at[5], fmt.Sprintf("verdict %q, want FAILURE or SUCCESS", clip(fields[5]))}
	}
	steps, err := parseSteps(fields[4], row.Group)
	if err != nil {
		err.Line, err.Column = line, err.Column+at[4]-1
		return Row{}, err
	}
	row.steps = steps
	return row, nil
}

// clip shortens input that is quoted in an error.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= 40 {
		return s
	}
	return string([]rune(s)[:37]) + "..."
}
