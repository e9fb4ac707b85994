// SPDX-License-Identifier: Apache-2.0

package fiojob

import "slices"

// optionNames returns the names and aliases of a table, sorted.
func optionNames(byName map[string]*option) []string {
	list := make([]string, 0, len(byName))
	for name := range byName {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
