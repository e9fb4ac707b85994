// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package main

import "os"

// stopSignals end a run.
var stopSignals = []os.Signal{os.Interrupt}
