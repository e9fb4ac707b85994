// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package jobrun

import "os"

// allocate is not possible here.
func allocate(*os.File, int64, bool) error { return errNoFallocate }

// dropCache does nothing: there is no call for it.
func dropCache(string) error { return nil }
