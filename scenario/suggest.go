// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"

	"endio/internal/spell"
)

// Meant returns what to say behind a word that should be one of a list: which was
// probably meant, or which there are.
func Meant(word string, list []string) string {
	if len(list) == 0 {
		return ""
	}
	if best := spell.Nearest(word, list); spell.Near(word, best) {
		return "; did you mean " + best + "?"
	}
	return " (known: " + strings.Join(list, ", ") + ")"
}
