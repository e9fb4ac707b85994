// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// This file has the setters of options that are more than one field.

// ignoreBool checks an option that asks for what is always so.
func ignoreBool(_ *draft, v string) error {
	_, err := parseBool(v)
	return err
}

func setKBBase(d *draft, v string) error {
	switch v {
	case "1000":
		d.kbBase = 1000
	case "1024":
		d.kbBase = 1024
	default:
		return fmt.Errorf("%q is neither 1000 nor 1024", v)
	}
	return nil
}

// setUnitBase checks unit_base, which only says how fio prints its numbers.
func setUnitBase(_ *draft, v string) error {
	if v != "0" && v != "8" && v != "1" {
		return fmt.Errorf("%q is none of 0, 1 and 8", v)
	}
	return nil
}

func setVerifyState(_ *draft, v string) error {
	save, err := parseBool(v)
	if err != nil {
		return err
	}
	if save {
		return fmt.Errorf("fio's verify state files are not supported: use 0 here and #endio: journal=FILE, which also survives SIGKILL")
	}
	return nil
}

func setFileSize(d *draft, v string) error {
	low, high, err := parseRange(v, d.kbBase)
	if err != nil {
		return err
	}
	if low == 0 {
		return fmt.Errorf("a file of 0 bytes can not be read or written")
	}
	d.job.FileSizeMin, d.job.FileSizeMax = low, high
	return nil
}

// patterns are the values of rw=, without their suffix.
var patterns = map[string]Pattern{
	"read":          {Uses: [Dirs]bool{Read: true}},
	"write":         {Uses: [Dirs]bool{Write: true}},
	"trim":          {Uses: [Dirs]bool{Trim: true}},
	"randread":      {Uses: [Dirs]bool{Read: true}, Random: true},
	"randwrite":     {Uses: [Dirs]bool{Write: true}, Random: true},
	"randtrim":      {Uses: [Dirs]bool{Trim: true}, Random: true},
	"rw":            {Uses: [Dirs]bool{Read: true, Write: true}},
	"readwrite":     {Uses: [Dirs]bool{Read: true, Write: true}},
	"randrw":        {Uses: [Dirs]bool{Read: true, Write: true}, Random: true},
	"trimwrite":     {Uses: [Dirs]bool{Write: true, Trim: true}, TrimFirst: true},
	"randtrimwrite": {Uses: [Dirs]bool{Write: true, Trim: true}, TrimFirst: true, Random: true},
}

func setPattern(d *draft, v string) error {
	name, suffix, hasSuffix := strings.Cut(v, ":")
	p, ok := patterns[name]
	if !ok {
		return badChoice(name, slices.Collect(maps.Keys(patterns)))
	}
	p.Run = 1
	if hasSuffix {
		if err := p.setSuffix(suffix, d.kbBase); err != nil {
			return fmt.Errorf("after the colon: %w", err)
		}
	}
	d.job.Pattern = p
	return nil
}

// setSuffix stores what follows the colon: a number of operations for a random
// pattern, bytes to skip (which may be negative) for a sequential one.
func (p *Pattern) setSuffix(suffix string, kbBase int64) error {
	if p.Random {
		n, err := parseCount(suffix, kbBase)
		if err != nil {
			return err
		}
		if n < 1 || n > maxCount {
			return fmt.Errorf("%s operations for each random offset are out of range: at least 1", suffix)
		}
		p.Run = int(n)
		return nil
	}
	size, negative := strings.CutPrefix(suffix, "-")
	n, err := parseSize(size, kbBase)
	if negative {
		n = -n
	}
	p.SkipBytes = n
	return err
}

func setMixWrite(d *draft, v string) error {
	n, err := parseCount(v, d.kbBase)
	if err != nil {
		return err
	}
	if n > 100 {
		return fmt.Errorf("%s is out of range: it is between 0 and 100", v)
	}
	d.job.MixReadPercent = 100 - int(n)
	return nil
}

// eachDir calls set with the part of v that applies to each direction. Parts
// are separated by commas: one part is for all directions, two are for reads
// and for the rest, three for one each. An empty part changes nothing.
func eachDir(v string, set func(dir Dir, part string) error) error {
	parts := strings.Split(v, ",")
	if len(parts) > Dirs {
		return fmt.Errorf("%q has more than %d parts (read, write, trim)", v, Dirs)
	}
	given := false
	for dir := range Dir(Dirs) {
		part := strings.TrimSpace(parts[min(int(dir), len(parts)-1)])
		if part == "" {
			continue
		}
		given = true
		if err := set(dir, part); err != nil {
			return err
		}
	}
	if !given {
		return fmt.Errorf("%q has no value in it", v)
	}
	return nil
}

func setBlockSize(d *draft, v string) error {
	return eachDir(v, func(dir Dir, part string) error {
		if strings.Contains(part, "-") {
			return fmt.Errorf("%q is a range: that is bsrange=%s", part, v)
		}
		n, err := parseSize(part, d.kbBase)
		if err != nil {
			return err
		}
		return d.setBlocks(dir, n, n, nil)
	})
}

func setBlockRange(d *draft, v string) error {
	return eachDir(v, func(dir Dir, part string) error {
		low, high, err := parseRange(part, d.kbBase)
		if err != nil {
			return err
		}
		return d.setBlocks(dir, low, high, nil)
	})
}

// MaxBlockBytes is the largest block size. The kernel moves no more than
// MAX_RW_COUNT (2 GiB less a page) in one call, and a job has one buffer of this
// size for each operation in flight.
const MaxBlockBytes = 1 << 30

func (d *draft) setBlocks(dir Dir, low, high int64, split []SplitPart) error {
	if low < 1 || high > MaxBlockBytes {
		return fmt.Errorf("block size %d is out of range: it is between 1 and %d bytes", pick(low < 1, low, high), MaxBlockBytes)
	}
	// A split wins over bs and bsrange, wherever they stand, as in fio.
	if split == nil && d.job.BlockSizes[dir].Split != nil {
		return nil
	}
	d.job.BlockSizes[dir] = BlockSize{MinBytes: low, MaxBytes: high, Split: split}
	return nil
}

func pick(first bool, a, b int64) int64 {
	if first {
		return a
	}
	return b
}

func setBlockSplit(d *draft, v string) error {
	return eachDir(v, func(dir Dir, part string) error {
		split, err := parseSplit(part, d.kbBase)
		if err != nil {
			return err
		}
		low, high := int64(math.MaxInt64), int64(0)
		for _, s := range split {
			low, high = min(low, s.Bytes), max(high, s.Bytes)
		}
		return d.setBlocks(dir, low, high, split)
	})
}

// parseSplit reads size/percent:size/percent:... What is left of 100% is
// divided evenly between the sizes without a percentage.
func parseSplit(v string, kbBase int64) ([]SplitPart, error) {
	var split []SplitPart
	var open []int // indexes of parts without a percentage
	total := 0.0
	for entry := range strings.SplitSeq(v, ":") {
		sizeText, percentText, _ := strings.Cut(entry, "/")
		size, err := parseSize(strings.TrimSpace(sizeText), kbBase)
		if err != nil {
			return nil, err
		}
		part := SplitPart{Bytes: size}
		if percentText = strings.TrimSuffix(strings.TrimSpace(percentText), "%"); percentText == "" {
			open = append(open, len(split))
		} else {
			n, err := strconv.Atoi(percentText)
			if err != nil || n < 0 || n > 100 {
				return nil, fmt.Errorf("%q in %q is not a percentage of 0 to 100", percentText, entry)
			}
			part.Percent = float64(n)
			total += part.Percent
		}
		split = append(split, part)
	}
	switch {
	case total > 100:
		return nil, fmt.Errorf("the percentages of %q add up to %v, which is more than 100", v, total)
	case total < 100 && len(open) == 0:
		return nil, fmt.Errorf("the percentages of %q add up to %v, and there is no size without one to take the rest", v, total)
	}
	for _, i := range open {
		split[i].Percent = (100 - total) / float64(len(open))
	}
	return slices.DeleteFunc(split, func(s SplitPart) bool { return s.Percent == 0 }), nil
}

func setBlockAlign(d *draft, v string) error {
	return eachDir(v, func(dir Dir, part string) error {
		n, err := parseSize(part, d.kbBase)
		if err != nil {
			return err
		}
		if n < 1 {
			return fmt.Errorf("an alignment of %d bytes is out of range: at least 1", n)
		}
		d.job.BlockAlign[dir] = n
		return nil
	})
}

// engines maps fio's engines to endio's two.
var engines = map[string]Engine{
	"io_uring": Ring, "libaio": Ring,
	"sync": Blocking, "psync": Blocking, "pvsync": Blocking, "pvsync2": Blocking,
}

func setEngine(d *draft, v string) error {
	engine, ok := engines[v]
	if !ok {
		return badChoice(v, slices.Collect(maps.Keys(engines)))
	}
	d.job.Engine, d.job.EngineName = engine, v
	return nil
}

func setBuffered(d *draft, v string) error {
	buffered, err := parseBool(v)
	d.job.Direct = !buffered
	return err
}

// setLoops takes 0 as 1, as fio does.
func setLoops(d *draft, v string) error {
	n, err := parseCount(v, d.kbBase)
	if err != nil {
		return err
	}
	if n > maxCount {
		return fmt.Errorf("%s is out of range: it is between 1 and %d", v, maxCount)
	}
	d.job.Loops = max(1, int(n))
	return nil
}

func setSeed(d *draft, v string) error {
	n, err := parseCount(v, d.kbBase)
	if err != nil {
		return err
	}
	d.job.Seed = uint64(n)
	return nil
}

// Defaults of the distributions' parameters, fio's.
const (
	defaultZipfTheta  = 1.1
	defaultParetoH    = 0.2
	maxZipfTheta      = 100 // beyond it the first block has all but 2^-100 of the draws
	uniformName       = "random"
	zipfName          = "zipf"
	paretoName        = "pareto"
	distributionNames = "random, zipf:THETA or pareto:H"
)

func setDistribution(d *draft, v string) error {
	name, param, hasParam := strings.Cut(v, ":")
	dist := Distribution{}
	switch name {
	case uniformName:
		if hasParam {
			return fmt.Errorf("random takes no parameter, %q has one", v)
		}
	case zipfName:
		dist = Distribution{Kind: Zipf, Theta: defaultZipfTheta}
	case paretoName:
		dist = Distribution{Kind: Pareto, Theta: defaultParetoH}
	default:
		return fmt.Errorf("%q is not supported: use %s", v, distributionNames)
	}
	if hasParam {
		theta, err := strconv.ParseFloat(param, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", param)
		}
		dist.Theta = theta
	}
	switch {
	case dist.Kind == Zipf && !(dist.Theta > 0 && dist.Theta <= maxZipfTheta && dist.Theta != 1):
		return fmt.Errorf("the exponent of zipf is more than 0, at most %d, and not 1; it is %v", maxZipfTheta, dist.Theta)
	case dist.Kind == Pareto && !(dist.Theta > 0 && dist.Theta < 1):
		return fmt.Errorf("the power of pareto is between 0 and 1; it is %v", dist.Theta)
	}
	d.job.Distribution = dist
	return nil
}

func setRate(field func(*Job) *[Dirs]int64) func(*draft, string) error {
	return func(d *draft, v string) error {
		return eachDir(v, func(dir Dir, part string) error {
			n, err := parseSize(part, d.kbBase)
			field(&d.job)[dir] = n
			return err
		})
	}
}

// maxPercentiles is fio's limit on percentile_list.
const maxPercentiles = 20

func setPercentiles(d *draft, v string) error {
	var list []float64
	for part := range strings.SplitSeq(v, ":") {
		p, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || !(p > 0 && p <= 100) {
			return fmt.Errorf("%q is not a percentile: it is more than 0 and at most 100", part)
		}
		list = append(list, p)
	}
	if len(list) > maxPercentiles {
		return fmt.Errorf("%d percentiles are more than %d", len(list), maxPercentiles)
	}
	slices.Sort(list)
	d.job.Percentiles = slices.Compact(list)
	return nil
}
