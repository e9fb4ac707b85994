// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package jobrun

import "syscall"

// dsyncFlag opens a file whose writes are durable when they return (O_DSYNC).
const dsyncFlag = syscall.O_DSYNC
