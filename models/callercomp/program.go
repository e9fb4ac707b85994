// SPDX-License-Identifier: Apache-2.0

package callercomp

import (
	"errors"

	"endio/explore"
	"endio/scenario"
)

// Program returns the program that a case of f asks for.
func Program(f *scenario.File, c scenario.Case) (*explore.Program, error) {
	return nil, errors.New("callercomp: not yet")
}
