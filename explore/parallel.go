// SPDX-License-Identifier: Apache-2.0

package explore

import "sync"

// sharedIDs makes several workers agree on the ids of tasks and objects.
type sharedIDs struct {
	mu  sync.Mutex
	ids idTable
}

func (s *sharedIDs) object(maker, k int) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.object(maker, k)
}

func (s *sharedIDs) task(maker, k int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.task(maker, k)
}
