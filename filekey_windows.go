// SPDX-License-Identifier: Apache-2.0

package endio

import "io/fs"

// fileKey identifies the inode of info.
func fileKey(fs.FileInfo) inodeKey { return inodeKey{ino: anonymous.Add(1)} }
