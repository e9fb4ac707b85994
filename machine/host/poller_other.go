// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package host

// poller is for rings, of which there are none.
type poller struct{ seats gate }

func (o *poller) init(int)         {}
func (o *poller) add(*ring) error  { return nil }
func (o *poller) wait(*ring) error { return nil }
func (o *poller) remove(*ring)     {}
func (o *poller) close() error     { return nil }
