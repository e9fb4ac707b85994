// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package noring

func forbid() error { return ErrUnsupported }
