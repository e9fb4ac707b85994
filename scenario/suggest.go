// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"

	"endio/internal/spell"
)

// meant returns what to say about a word that should be one of a list: which was
// probably meant, or which there are.
func meant(word string, list []string) string {
	if len(list) == 0 {
		return ""
	}
	if best := spell.Nearest(word, list); spell.Near(word, best) {
		return "; did you mean " + best + "?"
	}
	return " (known: " + strings.Join(list, ", ") + ")"
}

// Meant returns what to say behind a word that is none of a list: which of it was probably meant, or
// what there is.
func Meant(word string, list []string) string { return meant(word, list) }
