// SPDX-License-Identifier: Apache-2.0

package noring_test

import (
	"os"
	"testing"

	"endio/lockdep"
)

// TestMain lets the package fail if the validator has anything to say about the engine.
func TestMain(m *testing.M) { os.Exit(lockdep.RunTests(m)) }
