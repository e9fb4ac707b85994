// SPDX-License-Identifier: Apache-2.0

package callercomp

import "endio/machine/sim"

// exclusiveCall is what fallocate, truncate and clone have in common: the freeze level, the
// inode's lock, the drain, and then the work. The lock order is that of the
// lockdep report in the thread: sb_writers, i_rwsem, invalidate_lock, dio count.
//
// Source: vfs_fallocate, xfs_file_fallocate, ext4_fallocate, ext4_setattr,
// generic_remap_file_range_prep, Linux 6.6; kernel-semantics A2.5.
func (m *model) exclusiveCall(c *sim.Context, what string, n *inode) error {
	m.sb.StartWriteSync(c)
	n.RWSem.DownWrite(c)
	invalidate := n.xfs && what == "fallocate" // xfs: MMAPLOCK, too
	if invalidate {
		n.InvalidateLock.DownWrite(c)
	}
	err := m.inodeDioWait(c, n)
	if err == nil {
		m.checkDrained(c, n)
	}
	if invalidate {
		n.InvalidateLock.UpWrite(c)
	}
	n.RWSem.UpWrite(c)
	m.sb.EndWriteSync(c)
	return err
}

// syncWrite is pwrite on a file that was opened with O_DIRECT.
func (m *model) syncWrite(c *sim.Context, r *request) error {
	m.sb.StartWriteSync(c)
	m.state[r.id].callerComp = false
	_, err := m.fsDio(c, r, false, true)
	m.sb.EndWriteSync(c)
	return err
}

// syncRead is pread on a file that was opened with O_DIRECT.
func (m *model) syncRead(c *sim.Context, r *request) error {
	m.state[r.id].callerComp = false
	_, err := m.fsDio(c, r, false, true)
	return err
}
