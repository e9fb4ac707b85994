// SPDX-License-Identifier: Apache-2.0

package endio

// Exclude begins an exclusive section on the inode of f, as a truncate does, and
// returns what ends it.
func (f *File) Exclude() (admit func()) {
	c := f.e.m.Anyone()
	if err := f.inode.Exclude(c); err != nil {
		panic(err)
	}
	return func() { f.inode.Admit(c) }
}

// Begun returns how much I/O has begun on the inode of f and not ended.
func (f *File) Begun() int64 { return f.inode.InFlight(f.e.m.Anyone()) }
