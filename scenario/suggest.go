// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"strconv"
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

// UnknownVersion says of a word that is no version of a model what could be meant, which versions the model has,
// and whose version it is if the other model knows it. The model may be "", if nobody knows which is asked.
func UnknownVersion(model, word string) string {
	if model == "" {
		known := append(VersionNames(CallerComp), VersionNames(TaskComp)...)
		return fmt.Sprintf("there is no version %q%s", word, versionsOf(word, known, "the versions"))
	}
	for other := range versions {
		if other != model && has(versions[other], word) {
			return fmt.Sprintf("version %s belongs to model %s, and what is asked about is model %s, whose versions are %s",
				word, other, model, strings.Join(VersionNames(model), ", "))
		}
	}
	return fmt.Sprintf("unknown version %q of model %s%s", word, model, versionsOf(word, VersionNames(model), "its versions"))
}

// versionsOf suggests the version that is nearest: of those that are spelt equally alike the one with the nearest
// number, and of two such the newer one.
func versionsOf(word string, known []string, whose string) string {
	list := whose + " are " + strings.Join(known, ", ")
	best := ""
	for _, v := range known {
		switch {
		case !spell.Near(word, v):
		case best == "", spell.Distance(word, v) < spell.Distance(word, best),
			spell.Distance(word, v) == spell.Distance(word, best) && apart(word, v) <= apart(word, best):
			best = v
		}
	}
	if best == "" {
		return "; " + list
	}
	return "; did you mean " + best + "? " + strings.ToUpper(list[:1]) + list[1:]
}

// apart is how far the first numbers in two versions are apart; many, if one has none.
func apart(a, b string) float64 {
	x, okA := firstNumber(a)
	y, okB := firstNumber(b)
	switch {
	case !okA || !okB:
		return 1e9
	case x < y:
		return y - x
	}
	return x - y
}

// firstNumber is the number in a version: 6.6 of 6.6-rc, 7 of v7.
func firstNumber(s string) (float64, bool) {
	s = strings.TrimLeft(s, "vV")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return n, err == nil
}
