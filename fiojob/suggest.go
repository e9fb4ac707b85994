// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"math"
	"slices"
)

// maxCompared is how much of a name is compared, in bytes. No option is longer,
// and a line may be.
const maxCompared = 64

// nearest returns the candidate with the smallest edit distance from name, the
// first in order where several are equally near. There must be a candidate.
func nearest(name string, candidates []string) string {
	name = name[:min(len(name), maxCompared)]
	best, bestDistance := candidates[0], math.MaxInt
	for _, c := range candidates {
		if d := editDistance(name, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// near reports whether b could be a misspelling of a: no more than a third of
// it (at least one letter) is different.
func near(a, b string) bool {
	if len(a) > maxCompared {
		return false
	}
	return editDistance(a, b) <= max(1, max(len(a), len(b))/3)
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	// Three rows of the table: the current one and the two above it.
	above2 := make([]int, len(b)+1)
	above := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], above2[j-2]+1)
			}
		}
		above2, above, row = above, row, above2
	}
	return above[len(b)]
}

// optionNames returns the names and aliases of a table, sorted.
func optionNames(byName map[string]*option) []string {
	list := make([]string, 0, len(byName))
	for name := range byName {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}
