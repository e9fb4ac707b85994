// SPDX-License-Identifier: Apache-2.0

package endio_test

import (
	"os"
	"testing"

	"endio/lockdep"
)

// TestMain lets the whole package fail if the validator has anything to say
// about the engine's own locks and waits; without the tag lockdep it only runs the tests.
func TestMain(m *testing.M) { os.Exit(lockdep.RunTests(m)) }
