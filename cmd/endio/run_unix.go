// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignals end a run. SIGPIPE says that nobody reads the progress lines any
// more, SIGHUP that the terminal is gone; the files are still removed.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE}

// insists reports whether a further signal asks for an end at once.
func insists(s os.Signal) bool { return s != syscall.SIGPIPE }
