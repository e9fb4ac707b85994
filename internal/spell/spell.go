// SPDX-License-Identifier: Apache-2.0

// Package spell finds the word that was probably meant. Case does not count.
package spell

import (
	"math"
	"strings"
)

// maxCompared is how much of a word is compared, in bytes. No word of our formats is
// longer, and a line of a file may be.
const maxCompared = 64

// Nearest returns the candidate with the smallest distance from word, the first in
// order where several are equally near. There must be a candidate.
func Nearest(word string, candidates []string) string {
	word = strings.ToLower(word[:min(len(word), maxCompared)])
	best, bestDistance := candidates[0], math.MaxInt
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// Near reports whether b could be a misspelling of a: no more than a third of the
// longer one (at least one letter) is different.
func Near(a, b string) bool {
	if len(a) > maxCompared || len(b) > maxCompared {
		return false
	}
	return distance(strings.ToLower(a), strings.ToLower(b)) <= max(1, max(len(a), len(b))/3)
}

// Distance counts the letters that must be inserted, deleted, changed or swapped with a neighbour to turn a
// into b. Case does not count, and no more than the first 64 bytes do.
func Distance(a, b string) int {
	return distance(strings.ToLower(a[:min(len(a), maxCompared)]), strings.ToLower(b[:min(len(b), maxCompared)]))
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
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
