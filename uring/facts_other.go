// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package uring

func readSetupFacts() setupFacts { return setupFacts{memlockKB: unlimitedKB} }
