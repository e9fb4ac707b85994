// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"fmt"
	"math"
	"slices"
)

// A Limit is one thing that the project promises of its speed.
type Limit struct {
	Row   string  `json:"row"`
	Text  string  `json:"text"`
	Value float64 `json:"value"`
	Low   float64 `json:"low,omitempty"`  // of a ratio: the lowest round's
	High  float64 `json:"high,omitempty"` // and the highest's
	Limit float64 `json:"limit"`
	Most  bool    `json:"most"` // the value is at most the limit, else at least
	Holds bool    `json:"holds"`
	Open  string  `json:"open,omitempty"` // why there is no value
}

// String says what became of the limit, on a line.
func (l Limit) String() string {
	state, sign, value := "MISSED", "at least", fmt.Sprintf("%.3g", l.Value)
	if l.Most {
		sign = "at most"
	}
	if !l.Holds && value == fmt.Sprintf("%.3g", l.Limit) {
		value = fmt.Sprintf("%.5g", l.Value) // missed by a little
	}
	if l.Low != l.High {
		value += fmt.Sprintf(" (%.3g-%.3g)", l.Low, l.High)
	}
	switch {
	case l.Open != "":
		state, value = "OPEN  ", "not measured ("+l.Open+")"
	case l.Holds:
		state = "holds "
	}
	return fmt.Sprintf("%s %s: %s %s, want %s %.3g", state, l.Row, l.Text, value, sign, l.Limit)
}

// A Value is a figure, or a ratio of two.
type Value struct {
	V         float64
	Low, High float64 // of a ratio taken within rounds: its spread; else both 0
	Open      string  // why there is none
	Off       bool    // it was not asked for
}

// Get returns a peer's median of a figure.
func (w *Row) Get(peer, figure string) Value {
	c := w.Cell(peer)
	if c == nil {
		return Value{Off: true}
	}
	if v, ok := c.Median[figure]; ok {
		return Value{V: v}
	}
	return Value{Open: fmt.Sprintf("%s has no %s", peer, figure)}
}

// Ratio returns a peer's figure to that of another one: the median of the ratios within each round, since a machine
// that others use is faster in one round than in the next, for all peers. Where a round of one of them failed it
// is the ratio of the medians.
func (w *Row) Ratio(peer, to, figure string) Value {
	v := w.Get(peer, figure).To(w.Get(to, figure))
	if v.Off || v.Open != "" {
		return v
	}
	if pairs := w.Cell(peer).pairs(w.Cell(to), figure); pairs != nil {
		v.V, v.Low, v.High = median(pairs), pairs[0], pairs[len(pairs)-1]
	}
	return v
}

// pairs returns the ratios of c's figure to that of base in each round, lowest first; nil if it lacks in one.
func (c *Cell) pairs(base *Cell, figure string) []float64 {
	if len(c.Failures)+len(base.Failures) > 0 || len(c.Rounds) != len(base.Rounds) || len(c.Rounds) == 0 {
		return nil
	}
	var all []float64
	for i, m := range c.Rounds {
		v, ok := m[figure]
		b, is := base.Rounds[i][figure]
		if !ok || !is || b == 0 {
			return nil
		}
		all = append(all, v/b)
	}
	slices.Sort(all)
	return all
}

// To returns the ratio of v to base.
func (v Value) To(base Value) Value {
	switch {
	case v.Off || base.Off:
		return Value{Off: true}
	case v.Open != "":
		return v
	case base.Open != "":
		return base
	case base.V == 0:
		return Value{Open: "what it is compared with is 0"}
	}
	return Value{V: v.V / base.V}
}

// Limits collects promises.
type Limits []Limit

// AtLeast adds a promise, unless v was not asked for.
func (l *Limits) AtLeast(row, text string, v Value, bound float64) { l.add(row, text, v, bound, false) }

// AtMost adds a promise, unless v was not asked for.
func (l *Limits) AtMost(row, text string, v Value, bound float64) { l.add(row, text, v, bound, true) }

func (l *Limits) add(row, text string, v Value, bound float64, most bool) {
	if v.Off {
		return
	}
	one := Limit{Row: row, Text: text, Value: v.V, Low: v.Low, High: v.High, Limit: bound, Most: most, Open: v.Open}
	if v.Open == "" && !math.IsNaN(v.V) {
		one.Holds = most && v.V <= bound || !most && v.V >= bound
	}
	*l = append(*l, one)
}
