// SPDX-License-Identifier: Apache-2.0

// Package scenario reads questions to the checker from text.
//
// # Model
//
// A scenario is a file of statements, one a line. It names a model (which
// protocol family is asked about), describes the machine, the objects, what
// tasks, interrupts and hotplug do, and says which verdict is expected of which
// version in which configuration. docs/scenario.md is the reference for users;
// the tables in words.go are the only place where words are defined.
//
// [Parse] turns text into a [File] and finds everything that is wrong with it
// that can be found without running it: each [Error] has line and column, says
// what is wrong and, where a word looks like a slip, which was meant.
// [File.Cases] lists what has to be run, [File.Expected] says what the
// file expects of each, and [File.Explain] says the file in words.
//
// # Limits
//
// A file has at most [MaxBytes] bytes and [MaxStatements] statements, a scenario at most
// [MaxActors] tasks and interrupts. The explorer can't do with more anyway.
//
// The package knows words, not kernels: models interpret what it has read.
package scenario
