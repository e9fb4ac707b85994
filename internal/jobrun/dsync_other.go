// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package jobrun

import "os"

// dsyncFlag is the next stronger promise where there is no O_DSYNC.
const dsyncFlag = os.O_SYNC
