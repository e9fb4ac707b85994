// SPDX-License-Identifier: Apache-2.0

// Command endio runs, checks and explains asynchronous storage I/O.
//
// Every verb has its own file in this directory, --help with examples, and
// --json. Exit codes are the same for all verbs: 0 when everything asked for
// holds, 1 when something was run and did not hold, 2 for input that can not be
// understood.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// Exit codes of every verb.
const (
	exitOK       = 0
	exitFailed   = 1
	exitBadInput = 2
)

// cli lists the verbs; each verb's struct and its Run method are in the file
// named after it.
type cli struct {
	Run     runCmd     `cmd:"" help:"Run a fio job file and measure it."`
	Check   checkCmd   `cmd:"" help:"Decide scenarios over every interleaving."`
	Replay  replayCmd  `cmd:"" help:"Replay an operation log of fsx and verify it."`
	Lockdep lockdepCmd `cmd:"" help:"Check the lock validator against tables of cases."`
	Version versionCmd `cmd:"" help:"Print the version, the Go version and the platform."`
}

// A console is where a verb prints: results to out, everything else to err.
// Kong hands it to the verb's Run method.
type console struct {
	out io.Writer
	err io.Writer
}

// An exitError ends the process with code after err, if not nil, is printed.
// Verbs return one to choose between [exitFailed] and [exitBadInput]; any other
// error counts as bad input.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// A remembering writer keeps the first error, which those who print line by line do not look at: a report that
// did not reach the disk must not end in success.
type remembering struct {
	w   io.Writer
	err error
}

func (r *remembering) Write(b []byte) (int, error) {
	n, err := r.w.Write(b)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// run parses args, runs one verb, and returns the exit code of the process.
func run(args []string, stdout, stderr io.Writer) (code int) {
	out := &remembering{w: stdout}
	stdout = out
	defer func() {
		if code != exitBadInput && out.err != nil {
			fmt.Fprintf(stderr, "endio: %v\n", out.err)
			code = exitBadInput
		}
	}()
	exited := -1 // the code with which kong itself wanted to leave (--help)
	parser, err := kong.New(&cli{},
		kong.Name("endio"),
		kong.Description("Asynchronous storage I/O whose completions run in the right context, and the checker that proves it."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code; panic(&exitError{code: code}) }),
		kong.Bind(&console{out: stdout, err: stderr}),
	)
	if err != nil {
		panic(err) // the cli struct is wrong: our own bug
	}
	defer func() {
		if r := recover(); r != nil {
			if exited < 0 {
				panic(r)
			}
			code = exited
		}
	}()
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "endio: %v\n", err)
		fmt.Fprintln(stderr, "Run 'endio --help' for the verbs, 'endio VERB --help' for one of them.")
		return exitBadInput
	}
	if err := ctx.Run(); err != nil {
		var exit *exitError
		if !errors.As(err, &exit) {
			exit = &exitError{code: exitBadInput, err: err}
		}
		if exit.err != nil {
			fmt.Fprintf(stderr, "endio: %v\n", exit.err)
		}
		return exit.code
	}
	return exitOK
}
