// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"endio"
	"endio/fsxlog"
)

// replayCmd is `endio replay`.
type replayCmd struct {
	File    string `arg:"" help:"Log to replay, or - for standard input."`
	On      string `name:"on" placeholder:"PATH" help:"File to work on; it is created, or truncated. Without it a temporary file in the working directory."`
	By      string `enum:"all,call,inline,task,caller" default:"all" help:"How to read and write: all, call, inline, task or caller (${default})."`
	Backend string `enum:"auto,io_uring,threads" default:"auto" help:"auto, io_uring or threads (${default})."`
	JSON    bool   `name:"json" help:"Print one JSON object."`
}

// Help is the long text of --help.
func (*replayCmd) Help() string {
	return `The log is what fsx writes with --record-ops: one operation a line. Each is performed
on the engine; every read, the size after each operation, and the whole file at the
end are compared with a model in memory. mapread and mapwrite are done as read and
write, clone_range and copy_range by reading and writing.

Ctrl-C stops it after the operation under way, and prints what was done.

Exit code: 0 if all agrees, 1 if something differs or an operation fails, 2 if the
log can not be understood.

Examples:
  endio replay fsx.ops
  endio replay --by caller --backend threads --on /mnt/xfs/scratch fsx.ops
  printf 'write 0x1000 0x200 0x0\nread 0x0 0x1200 0x1200\n' | endio replay --json -`
}

// Run replays the log.
func (r *replayCmd) Run(c *console) error {
	bad := func(code int, err error) error {
		return &exitError{code, fmt.Errorf("replay %s: %w", r.File, err)}
	}
	ops, err := parseInput(r.File, fsxlog.Parse)
	if err != nil {
		return bad(exitBadInput, err)
	}
	path := r.On
	if sameFile(path, r.File) {
		return bad(exitBadInput, fmt.Errorf("--on %s: is the log itself, which would be overwritten: give another file", path))
	}
	if path == "" {
		dir, err := os.MkdirTemp(".", "endio-replay-")
		if err != nil {
			return bad(exitFailed, err)
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "file")
	}
	backend := endio.Backend(r.Backend)
	if r.Backend == "auto" {
		backend = endio.Auto
	}
	e, err := endio.Open(endio.Options{Backend: backend})
	if err != nil {
		return bad(exitFailed, err)
	}
	ctx, stop := untilStopped(c, "stopping after the operation under way")
	defer stop()
	res, err := fsxlog.Replay(ctx, e, ops, fsxlog.Options{Path: path, By: r.By})
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: the rest of the log was not performed")
	}
	used, _ := e.Backend()
	err = errors.Join(err, e.Close())
	if perr := r.print(c.out, used, res, err); perr != nil {
		return perr
	}
	if err != nil {
		return bad(exitFailed, err)
	}
	return nil
}

func (r *replayCmd) print(w io.Writer, backend endio.Backend, res fsxlog.Result, failed error) error {
	if r.JSON {
		out := struct {
			Backend endio.Backend `json:"backend"`
			fsxlog.Result
			Error string `json:"error,omitempty"`
		}{Backend: backend, Result: res}
		if failed != nil {
			out.Error = failed.Error()
		}
		return json.NewEncoder(w).Encode(out)
	}
	_, err := fmt.Fprintf(w, "%s: %d operations performed, %d skipped; %d reads (%d bytes) and %d sizes verified\n",
		backend, res.Ops, res.Skipped, res.Reads, res.ReadBytes, res.Sizes)
	return err
}
