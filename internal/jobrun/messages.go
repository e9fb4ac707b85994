// SPDX-License-Identifier: Apache-2.0

package jobrun

import "endio/lockdep"

// maxMessages is how many verify errors are kept in full. The rest are counted.
const maxMessages = 20

// messages gathers what clones have to say while they run.
type messages struct {
	mu   lockdep.Mutex
	list []error // guarded by mu
	more int     // guarded by mu
}

func (m *messages) add(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.list) < maxMessages {
		m.list = append(m.list, err)
	} else {
		m.more++
	}
}
