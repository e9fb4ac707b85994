// SPDX-License-Identifier: Apache-2.0

package fiojob

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"endio/internal/spell"
)

// MaxIncludeDepth is how deep includes may nest. It ends a file that includes
// itself.
const MaxIncludeDepth = 4

// MaxFileBytes is the largest job file that [Load] reads.
const MaxFileBytes = 1 << 20

// MaxTextBytes is how much text includes and environment variables may add to a
// job file: files that include others many times would go on for ever.
const MaxTextBytes = 4 << 20

// An Env is what a job file may ask of the world around it. With the zero Env
// no variable is set and no file can be included.
type Env struct {
	// LookupEnv returns an environment variable and whether it is set.
	LookupEnv func(name string) (string, bool)

	// ReadFile returns the text of an included file.
	ReadFile func(path string) ([]byte, error)
}

// Load reads and parses the job file at path ("-" is standard input) with the
// process's environment and file system. The error is an [ErrorList] if the
// text is wrong.
func Load(path string) (*File, error) {
	if path == "-" {
		path = "/dev/stdin"
	}
	src, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read job file: %w", err)
	}
	return Parse(path, src, Env{LookupEnv: os.LookupEnv, ReadFile: readFile})
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Size() > MaxFileBytes {
		return nil, fmt.Errorf("%s: %d bytes are more than a job file may have (%d)", path, info.Size(), MaxFileBytes)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	// A pipe or a device does not say how much comes.
	src, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	if err == nil && len(src) > MaxFileBytes {
		err = fmt.Errorf("%s: there is more than a job file may have (%d bytes)", path, MaxFileBytes)
	}
	return src, errors.Join(err, file.Close())
}

// Parse reads a job file. name is used in messages and to find included files.
// The error is an [ErrorList].
func Parse(name string, src []byte, env Env) (*File, error) {
	p := &parser{env: env, file: &File{Name: name}, global: newDraft()}
	p.lines(name, src, 0)
	p.endSection()
	if len(p.file.Jobs) == 0 && len(p.errs) == 0 {
		p.errorf(Pos{File: name}, "there is no job in the file: a job starts with a line [name]")
	}
	if len(p.errs) > 0 {
		return nil, p.errs
	}
	assignGroups(p.file.Jobs)
	return p.file, nil
}

// newDraft returns a job with fio's defaults.
func newDraft() *draft {
	d := &draft{kbBase: 1024, at: map[string]Pos{}, job: Job{
		NumJobs: 1, FileCount: 1, Pattern: Pattern{Uses: [Dirs]bool{Read: true}, Run: 1},
		MixReadPercent: 50, Engine: Blocking, EngineName: "psync",
		Depth: 1, BatchSubmit: 1, BatchCompleteMin: 1, Loops: 1,
		Invalidate: true, RandRepeat: true, Seed: DefaultSeed, ThinktimeBlocks: 1, DoVerify: true,
		Percentiles: slices.Clone(DefaultPercentiles),
	}}
	for dir := range d.job.BlockSizes {
		d.job.BlockSizes[dir] = BlockSize{MinBytes: 4096, MaxBytes: 4096}
	}
	return d
}

// DefaultSeed is the seed of a job without randseed.
const DefaultSeed = 0x89

// DefaultPercentiles are those that are reported without percentile_list.
var DefaultPercentiles = []float64{1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99}

// assignGroups numbers the reporting groups: a stonewall or new_group opens
// one, except on the first job.
func assignGroups(jobs []Job) {
	group := 0
	for i := range jobs {
		if i > 0 && (jobs[i].Stonewall || jobs[i].NewGroup) {
			group++
		}
		jobs[i].Group = group
	}
}

// A parser carries the state of one Parse. A section's settings are gathered
// first and applied at its end, since kb_base counts for the whole section.
type parser struct {
	env  Env
	file *File
	errs ErrorList

	global  *draft // what [global] sections have set so far
	section *section
	added   int // bytes of text from includes and variables
}

// A section is the one being read.
type section struct {
	name     string
	pos      Pos
	isGlobal bool
	settings []Setting
	direct   []Setting // from #endio: comments
}

func (p *parser) errorf(pos Pos, format string, args ...any) {
	if len(p.errs) < MaxErrors {
		p.errs = append(p.errs, &Error{Pos: pos, Msg: message(format, args...)})
	}
}

func (p *parser) warnf(pos Pos, format string, args ...any) {
	if len(p.file.Warnings) < MaxErrors {
		p.file.Warnings = append(p.file.Warnings, &Error{Pos: pos, Msg: message(format, args...)})
	}
}

// directiveLine matches a comment that is a directive.
var directiveLine = regexp.MustCompile(`^\s*[#;]\s*endio:`)

// lines reads the text of one file.
func (p *parser) lines(name string, src []byte, depth int) {
	number := 0
	for raw := range strings.Lines(string(src)) {
		number++
		if len(p.errs) >= MaxErrors {
			return
		}
		raw = strings.TrimRight(raw, "\r\n")
		if prefix := directiveLine.FindString(raw); prefix != "" {
			p.directiveLine(Pos{File: name, Line: number, Col: len(prefix) + 1}, raw[len(prefix):])
			continue
		}
		if cut := strings.IndexAny(raw, ";#"); cut >= 0 {
			raw = raw[:cut]
		}
		text := strings.TrimSpace(raw)
		if text == "" {
			continue
		}
		pos := Pos{File: name, Line: number, Col: strings.Index(raw, text) + 1}
		switch {
		case strings.HasPrefix(text, "["):
			p.openSection(pos, text, depth)
		case text == "include" || strings.HasPrefix(text, "include ") || strings.HasPrefix(text, "include\t"):
			p.include(pos, strings.TrimSpace(strings.TrimPrefix(text, "include")), depth)
		default:
			p.optionLine(pos, text)
		}
	}
}

func (p *parser) openSection(pos Pos, text string, depth int) {
	if depth > 0 {
		p.errorf(pos, "an included file can not open a section: it has options for the section that includes it")
		return
	}
	p.endSection()
	s := &section{pos: pos}
	p.section = s
	name, rest, closed := strings.Cut(text[1:], "]")
	s.name = strings.TrimSpace(name)
	s.isGlobal = s.name == "global"
	switch {
	case !closed:
		p.errorf(pos, "the section header %s has no closing ]", text)
	case strings.TrimSpace(rest) != "":
		p.errorf(pos, "%q follows the section header: options go on lines of their own", strings.TrimSpace(rest))
	case s.name == "":
		p.errorf(pos, "the section has no name: write [name] for a job, or [global]")
	}
}

func (p *parser) include(pos Pos, path string, depth int) {
	switch {
	case path == "":
		p.errorf(pos, "include needs a file name")
		return
	case p.section == nil:
		p.errorf(pos, "include stands outside of a section: put it under [global] or a job")
		return
	case depth == MaxIncludeDepth:
		p.errorf(pos, "includes nest deeper than %d: does %s include itself?", MaxIncludeDepth, path)
		return
	case p.env.ReadFile == nil:
		p.errorf(pos, "include is not possible here")
		return
	}
	src, err := p.env.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(path) {
		beside := filepath.Join(filepath.Dir(pos.File), path)
		if src2, err2 := p.env.ReadFile(beside); err2 == nil {
			path, src, err = beside, src2, nil
		}
	}
	if err == nil {
		err = p.add(len(src) + 1) // nor may it go on for ever with empty files
	}
	if err != nil {
		p.errorf(pos, "include: %v", err)
		return
	}
	p.lines(path, src, depth+1)
}

// add counts text from elsewhere.
func (p *parser) add(bytes int) error {
	if p.added += bytes; p.added > MaxTextBytes {
		return fmt.Errorf("includes and environment variables have more than %d bytes of text in all", MaxTextBytes)
	}
	return nil
}

// optionLine reads one option into the section.
func (p *parser) optionLine(pos Pos, text string) {
	if p.section == nil {
		p.errorf(pos, "option %q stands outside of a section: put it under [global] or a job", text)
		return
	}
	if s, ok := p.setting(pos, text, optionByName, unknownOption); ok {
		p.section.settings = append(p.section.settings, s)
	}
}

// directiveLine reads the settings of one #endio: comment, separated by spaces.
func (p *parser) directiveLine(pos Pos, text string) {
	if p.section == nil {
		p.errorf(pos, "the directive stands outside of a section: put it under [global] or a job")
		return
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		p.errorf(pos, "the directive is empty: it takes %s", strings.Join(optionNames(directiveByName), ", "))
	}
	for _, field := range fields {
		at := pos
		at.Col += strings.Index(text, field)
		if s, ok := p.setting(at, field, directiveByName, unknownDirective); ok {
			p.section.direct = append(p.section.direct, s)
		}
	}
}

// setting splits name=value, looks the name up in table and expands variables.
func (p *parser) setting(pos Pos, text string, table map[string]*option, unknown func(string) string) (Setting, bool) {
	name, value, hasValue := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if name == "" {
		p.errorf(pos, "there is no option name before the =")
		return Setting{}, false
	}
	o := table[name]
	if o == nil {
		p.errorf(pos, "%s", unknown(name))
		return Setting{}, false
	}
	s := Setting{Name: o.name, Pos: pos}
	if !hasValue {
		if !o.onSwitch {
			p.errorf(pos, "%s needs a value: %s=...", name, name)
			return s, false
		}
		return s, true
	}
	expanded, err := p.expand(strings.TrimSpace(value))
	if err != nil {
		p.errorf(pos, "%s: %v", name, err)
		return s, false
	}
	if expanded == "" && !o.emptyOK {
		p.errorf(pos, "%s= has no value", name)
		return s, false
	}
	s.Value = expanded
	return s, true
}

// keywords are replaced by fio and not by endio.
var keywords = []string{"$pagesize", "$mb_memory", "$ncpus"}

// expand replaces each ${NAME} in v.
func (p *parser) expand(v string) (string, error) {
	for _, k := range keywords {
		if strings.Contains(v, k) {
			return "", fmt.Errorf("fio's keyword %s is not supported: write the number, or ${NAME} for an environment variable", k)
		}
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(v, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("${%s has no closing }", rest)
		}
		if p.env.LookupEnv == nil {
			return "", fmt.Errorf("environment variables are not available here: ${%s}", name)
		}
		value, set := p.env.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		if err := p.add(len(value)); err != nil {
			return "", err
		}
		out.WriteString(value)
		v = after
	}
}

func unknownOption(name string) string {
	candidates := optionNames(optionByName)
	if known[name] {
		hint := instead[name]
		if hint == "" {
			hint = spell.Nearest(name, candidates)
		}
		return fmt.Sprintf("fio's option %q is not supported by endio; the nearest that is supported: %s", name, hint)
	}
	guess := spell.Nearest(name, candidates)
	if d := spell.Nearest(name, optionNames(directiveByName)); d == name {
		return fmt.Sprintf("%q is a directive: write it as a comment, #endio: %s=..., so that fio can read the file too", name, name)
	}
	if spell.Near(name, guess) {
		return fmt.Sprintf("unknown option %q: neither fio nor endio has it; did you mean %s?", clip(name), guess)
	}
	return fmt.Sprintf("unknown option %q: neither fio nor endio has it; the nearest supported one is %s", clip(name), guess)
}

func unknownDirective(name string) string {
	candidates := optionNames(directiveByName)
	return fmt.Sprintf("unknown directive %q; did you mean %s? All are %s",
		clip(name), spell.Nearest(name, candidates), strings.Join(candidates, ", "))
}

// maxShown is how much of a word a message quotes, in bytes.
const maxShown = 64

// clip shortens what a message quotes.
func clip(s string) string {
	if len(s) > maxShown {
		return s[:maxShown] + "..."
	}
	return s
}

// maxMessage is how long a message is, in bytes: a line of a file may be longer, and be quoted
// more than once.
const maxMessage = 4096

// message formats a message, and cuts out its middle if it is too long.
func message(format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	if len(s) <= maxMessage {
		return s
	}
	const gap = " [...] "
	half := (maxMessage - len(gap)) / 2
	return strings.ToValidUTF8(s[:half], "") + gap + strings.ToValidUTF8(s[len(s)-half:], "")
}

// endSection applies the settings of the section that ends.
func (p *parser) endSection() {
	s := p.section
	if s == nil {
		return
	}
	p.section = nil
	d := p.global
	if !s.isGlobal && len(p.file.Jobs) == MaxClones {
		p.errorf(s.pos, "there are more than %d jobs in the file", MaxClones)
		return
	}
	if !s.isGlobal {
		d = p.global.clone()
		d.job.Name, d.job.Pos = s.name, s.pos
		// A stonewall or a group in [global] holds for each job, as in fio.
	}
	before := len(p.errs)
	p.apply(d, s.settings, optionByName)
	p.apply(d, s.direct, directiveByName)
	if s.isGlobal {
		p.file.Global = append(p.file.Global, s.settings...)
		return
	}
	d.job.Settings = s.settings
	if len(p.errs) == before {
		p.check(d)
	}
	p.file.Jobs = append(p.file.Jobs, d.job)
}

// apply stores settings in d, kb_base before all others.
func (p *parser) apply(d *draft, settings []Setting, table map[string]*option) {
	seen := map[string]Pos{}
	one := func(s Setting) {
		if first, again := seen[s.Name]; again {
			p.warnf(s.Pos, "%s is set again (first in line %d): the last one counts", s.Name, first.Line)
		} else {
			seen[s.Name] = s.Pos
		}
		d.at[s.Name] = s.Pos
		o := table[s.Name]
		value := s.Value
		if value == "" && o.onSwitch {
			value = "1"
		}
		if err := o.set(d, value); err != nil {
			p.errorf(s.Pos, "%s: %v", s.Name, err)
		}
	}
	for _, s := range settings {
		if s.Name == "kb_base" {
			one(s)
		}
	}
	for _, s := range settings {
		if s.Name != "kb_base" {
			one(s)
		}
	}
}
