// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// sameKeystroke is how soon after the first signal another one is the same wish:
// timeout(1) signals the process, and then its group.
const sameKeystroke = 250 * time.Millisecond

// untilStopped returns a context that the first of stopSignals cancels, after saying what
// happens now; a later one ends the process at once. The function that it returns must be
// called when the work is done.
func untilStopped(c *console, now string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, stopSignals...)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		fmt.Fprintf(c.err, "\nendio: %s (again to quit at once)\n", now)
		cancel()
		first := time.Now()
		for {
			select {
			case s := <-signals:
				if insists(s) && time.Since(first) > sameKeystroke {
					os.Exit(exitFailed)
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		close(done)
		signal.Stop(signals)
		cancel()
	}
}
