// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package jobrun

// openWith opens; O_NOATIME is Linux's.
func openWith[F any](flags int, open func(flags int) (F, error)) (F, error) { return open(flags) }
