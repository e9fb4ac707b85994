// SPDX-License-Identifier: Apache-2.0

// Package verify writes data that can be told from any other, and checks it.
//
// # Model
//
// A file is divided into units of one size. Each unit that is written carries a
// [Header]: which run and which clone of a job wrote it, at which offset, for
// the how-many-th time (its generation), and a checksum of the rest of the unit.
// So a unit that is stale, misplaced, torn or somebody else's is found, and not
// only one with a flipped bit.
//
// A [Ledger] knows the generation that each unit of a file must have. It also
// keeps two writes from being in flight on one unit at the same time, whose
// order on the device nobody knows. Jobs that write to the same file share it.
//
// A [Journal] keeps on disk which generation of each unit was begun and which
// was acknowledged as durable, so that after a SIGKILL another process can check
// that what was acknowledged is there.
//
// # Limits
//
// A generation has 30 bits, and a Ledger stores four bytes a unit,
// allocated in pieces as units are written. Checking the data of another
// program, or of fio, is not possible.
package verify
