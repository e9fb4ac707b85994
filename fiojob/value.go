// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// An Amount is a number of bytes, or a percentage of something that is known
// only when the job runs. The zero Amount is "not given".
type Amount struct {
	Bytes   int64
	Percent int // 1 to 100; 0 if Bytes counts
}

// Given reports whether the job file set the amount.
func (a Amount) Given() bool { return a.Bytes != 0 || a.Percent != 0 }

// Of returns the amount in bytes, where a percentage is taken of total.
func (a Amount) Of(total int64) int64 {
	if a.Percent == 0 {
		return a.Bytes
	}
	// Divide first where the product would overflow.
	if total > math.MaxInt64/100 {
		return total / 100 * int64(a.Percent)
	}
	return total * int64(a.Percent) / 100
}

func (a Amount) String() string {
	if a.Percent != 0 {
		return strconv.Itoa(a.Percent) + "%"
	}
	return strconv.FormatInt(a.Bytes, 10)
}

// splitNumber cuts text into its leading number and the suffix after it, in
// lower case. hex reports that the number is written 0x.
func splitNumber(text string) (number, suffix string, hex bool) {
	text = strings.ToLower(text)
	digits := "0123456789"
	start := 0
	if strings.HasPrefix(text, "0x") {
		digits, start, hex = "0123456789abcdef", 2, true
	}
	end := start
	for end < len(text) && strings.IndexByte(digits, text[end]) >= 0 {
		end++
	}
	return text[start:end], text[end:], hex
}

// parseCount reads a whole number without a unit of its own, but with the
// suffixes of a size, as fio allows everywhere.
func parseCount(text string, kbBase int64) (int64, error) { return parseSize(text, kbBase) }

// parseSize reads a number with an optional size suffix. kbBase is 1024 or
// 1000 (see the package comment).
func parseSize(text string, kbBase int64) (int64, error) {
	if text == "" {
		return 0, fmt.Errorf("a number is missing")
	}
	if text[0] == '-' {
		return 0, fmt.Errorf("%q is negative", text)
	}
	number, suffix, hex := splitNumber(text)
	if number == "" {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	base := 10
	if hex {
		base = 16
	}
	n, err := strconv.ParseInt(number, base, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is larger than %d", text, int64(math.MaxInt64))
	}
	unit, ok := sizeUnit(suffix, kbBase)
	if !ok || hex && suffix != "" {
		return 0, badSuffix(text, suffix, "k, m, g, t or p, alone or followed by i, b or ib")
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is larger than %d bytes", text, int64(math.MaxInt64))
	}
	return n * unit, nil
}

// badSuffix explains text, whose number is followed by a suffix that is no
// unit. The number alone is what fio would take.
func badSuffix(text, suffix, units string) error {
	if suffix[0] == '.' {
		return fmt.Errorf("%q has a fraction, and fio stops reading at the point: write it as a whole number of a smaller unit", text)
	}
	return fmt.Errorf("%q ends in %q, which is no unit: use %s", text, suffix, units)
}

// sizeUnit returns the bytes that suffix (lower case) stands for.
func sizeUnit(suffix string, kbBase int64) (int64, bool) {
	if suffix == "" || suffix == "b" {
		return 1, true
	}
	power := strings.IndexByte("kmgtp", suffix[0]) + 1
	if power == 0 {
		return 0, false
	}
	switch suffix[1:] {
	case "", "i", "b":
	case "ib":
		kbBase = 1024 + 1000 - kbBase // the other one
	default:
		return 0, false
	}
	unit := int64(1)
	for range power {
		unit *= kbBase
	}
	return unit, true
}

// parseAmount reads a size or a percentage of 1% to 100%.
func parseAmount(text string, kbBase int64) (Amount, error) {
	percent, isPercent := strings.CutSuffix(text, "%")
	if !isPercent {
		n, err := parseSize(text, kbBase)
		return Amount{Bytes: n}, err
	}
	n, err := strconv.Atoi(percent)
	if err != nil || n < 1 || n > 100 {
		return Amount{}, fmt.Errorf("%q is not a percentage of 1%% to 100%%", text)
	}
	return Amount{Percent: n}, nil
}

// parseRange reads "low-high", or one number for both.
func parseRange(text string, kbBase int64) (low, high int64, err error) {
	lowText, highText, isRange := strings.Cut(text, "-")
	if low, err = parseSize(strings.TrimSpace(lowText), kbBase); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return low, low, nil
	}
	if high, err = parseSize(strings.TrimSpace(highText), kbBase); err != nil {
		return 0, 0, err
	}
	if high < low {
		return 0, 0, fmt.Errorf("%q ends before it starts", text)
	}
	return low, high, nil
}

// timeUnits are the suffixes of a time, lower case. fio knows no others: it
// reads 1min and 1sec as one microsecond.
var timeUnits = map[string]time.Duration{
	"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second,
	"ms": time.Millisecond, "msec": time.Millisecond, "us": time.Microsecond, "usec": time.Microsecond,
}

// parseTime reads a time; a number without a suffix counts in unit. The form
// [[days:]hours:]minutes:seconds is read as well.
func parseTime(text string, unit time.Duration) (time.Duration, error) {
	if strings.Contains(text, ":") {
		return parseClock(text)
	}
	if text == "" {
		return 0, fmt.Errorf("a time is missing")
	}
	if text[0] == '-' {
		return 0, fmt.Errorf("%q is negative", text)
	}
	number, suffix, hex := splitNumber(text)
	if number == "" || hex {
		return 0, fmt.Errorf("%q is not a time", text)
	}
	if suffix != "" {
		known, ok := timeUnits[suffix]
		if !ok {
			return 0, badSuffix(text, suffix, "d, h, m, s, ms or us")
		}
		unit = known
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > int64(math.MaxInt64/unit) {
		return 0, fmt.Errorf("%q is longer than %v", text, time.Duration(math.MaxInt64))
	}
	return time.Duration(n) * unit, nil
}

// parseClock reads [[days:]hours:]minutes:seconds.
func parseClock(text string) (time.Duration, error) {
	fields := strings.Split(text, ":")
	units := []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second}
	if len(fields) > len(units) {
		return 0, fmt.Errorf("%q has more than days:hours:minutes:seconds", text)
	}
	units = units[len(units)-len(fields):]
	var total time.Duration
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil || time.Duration(n) > (math.MaxInt64-total)/units[i] {
			return 0, fmt.Errorf("%q is not days:hours:minutes:seconds", text)
		}
		total += time.Duration(n) * units[i]
	}
	return total, nil
}

// parseBool reads 0 or 1, the only two that fio takes.
func parseBool(text string) (bool, error) {
	switch text {
	case "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, fmt.Errorf("%q is neither 0 nor 1", text)
}

// splitEscaped cuts text at sep, except where a backslash stands before it.
func splitEscaped(text string, sep byte) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == sep:
			part.WriteByte(sep)
			i++
		case text[i] == sep:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(text[i])
		}
	}
	return append(parts, part.String())
}
