// SPDX-License-Identifier: Apache-2.0

package scenario

import "strings"

// maxCompared is how much of a word is compared, in bytes. No word of the language is
// longer, and a line may be.
const maxCompared = 40

// meant returns what to say about a word that should be one of a list: which was
// probably meant, or which there are.
func meant(word string, list []string) string {
	if len(list) == 0 {
		return ""
	}
	best, distance := "", 1<<30
	lower := strings.ToLower(word)
	if len(lower) <= maxCompared {
		for _, c := range list {
			if d := editDistance(lower, strings.ToLower(c)); d < distance {
				best, distance = c, d
			}
		}
	}
	if distance <= max(1, max(len(word), len(best))/3) {
		return "; did you mean " + best + "?"
	}
	return " (known: " + strings.Join(list, ", ") + ")"
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours that turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}
