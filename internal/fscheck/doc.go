// SPDX-License-Identifier: Apache-2.0

// Package fscheck has the tests of the engine on real file systems: that
// concurrent operations are linearizable, that a crash loses nothing that was
// synced, and that real faults (a full or shrinking device, a read-only remount,
// limits of the process) end in errors and not in hangs. It has no other code.
//
// XFS, btrfs and ext4 are made on loop devices, which takes root; without it those
// tests are skipped, and the file system of the working directory is tested.
package fscheck
