// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package main

import "os"

// stopSignals end a run.
var stopSignals = []os.Signal{os.Interrupt}

// insists reports whether a further signal asks for an end at once.
func insists(os.Signal) bool { return true }
