// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"

	"endio/internal/decide"
)

// The measures of a picture, in pixels.
const (
	svgMargin   = 24
	svgRow      = 24
	svgNote     = 14
	svgNumber   = 36  // column of the step numbers
	svgColumn   = 330 // column of a CPU
	svgSource   = 230 // column of the source lines
	svgChar     = 6.6 // width of a character at 11 px
	svgBold     = 8.2 // at 13 px, bold
	svgMaxChars = 46
	svgDetails  = 60 // lines: a report of the validator has some 40
)

// Colours of contexts, by what kind of thing runs.
var svgColours = []struct{ prefix, fill, line string }{
	{"irq", "#fde2e0", "#c0392b"},
	{"timer", "#fde2e0", "#c0392b"},
	{"softirq", "#fdeccd", "#b9770e"},
	{"kworker", "#e2f0d9", "#4a7c2b"},
	{"rescuer", "#e2f0d9", "#4a7c2b"},
	{"iou-", "#e2f0d9", "#4a7c2b"},
	{"hotplug", "#ece2f5", "#6c3f99"},
	{"", "#dfeaf7", "#2a5d9c"},
}

// SVG is the trace of a failure as a picture: one column a CPU, time downwards, a
// coloured bar for each stretch of a context, what broke at the bottom.
func SVG(a *decide.Answer) (string, error) {
	if a.Trace == nil {
		return "", fmt.Errorf("%s, %s, %s: there is no trace: nothing failed", a.File.Name, a.Case.Version, a.Case.Config)
	}
	d := &drawing{a: a, rows: rows(a.Trace, a.File.Offline), lanes: lanes(a.Trace, a.File.Offline)}
	d.width = 2*svgMargin + svgNumber + d.lanes*svgColumn + svgSource
	d.head()
	d.bars()
	d.steps()
	d.foot()
	d.legend()
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, sans-serif" font-size="11">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n%s</svg>\n", d.width, d.y+svgMargin, d.width, d.y+svgMargin, d.b.String()), nil
}

type drawing struct {
	a     *decide.Answer
	rows  []row
	lanes int
	width int
	y     int // where the next thing goes
	top   int // of the first step
	b     strings.Builder
}

func (d *drawing) text(x, y int, style, s string) {
	fmt.Fprintf(&d.b, `<text x="%d" y="%d" %s>%s</text>`+"\n", x, y, style, html.EscapeString(s))
}

func (d *drawing) laneX(lane int) int { return svgMargin + svgNumber + lane*svgColumn }

// head draws title, version and the names of the columns.
func (d *drawing) head() {
	d.y = svgMargin + 16
	title := d.a.File.Title
	if title == "" {
		title = d.a.File.Name
	}
	for _, l := range wrap(title, (d.width-2*svgMargin)/11) {
		d.text(svgMargin, d.y, `font-size="17" font-weight="bold"`, l)
		d.y += 22
	}
	d.text(svgMargin, d.y, `fill="#555" font-size="12"`, fmt.Sprintf("version %s, %s; %d steps", d.a.Case.Version, d.a.Case.Config, len(d.a.Trace.Steps)))
	d.y += 28
	for l := range d.lanes {
		d.text(d.laneX(l)+8, d.y, `font-size="13" font-weight="bold"`, fmt.Sprintf("CPU %d", l))
	}
	d.text(d.laneX(d.lanes)+8, d.y, `font-size="13" font-weight="bold"`, "source")
	d.y += 10
	fmt.Fprintf(&d.b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#999"/>`+"\n", svgMargin, d.y, d.width-svgMargin, d.y)
	d.top = d.y + 6
}

func colours(task string) (fill, line string) {
	for _, c := range svgColours {
		if strings.HasPrefix(task, c.prefix) {
			return c.fill, c.line
		}
	}
	return "#eee", "#555"
}

// rowY returns the top of the line of step i, counted from 0; a context change
// has a line of its own above.
func (d *drawing) rowY(i int) int {
	y := d.top
	for j := range i {
		y += svgRow + d.extra(j)
		if d.rows[j].changed {
			y += svgRow
		}
	}
	if d.rows[i].changed {
		y += svgRow
	}
	return y
}

// bars draws a coloured bar from the first to the last step of each stretch in which
// one context runs on a CPU.
func (d *drawing) bars() {
	for i := range d.rows {
		r := &d.rows[i]
		if !r.changed {
			continue
		}
		last := i
		for j := i + 1; j < len(d.rows); j++ {
			if d.rows[j].lane != r.lane {
				continue
			}
			if d.rows[j].changed || d.rows[j].mark {
				break
			}
			last = j
		}
		fill, line := colours(r.task)
		y := d.rowY(i) - svgRow + 2
		fmt.Fprintf(&d.b, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" stroke="%s" stroke-width="0.8"/>`+"\n",
			d.laneX(r.lane)+2, y, svgColumn-10, d.rowY(last)+svgRow+d.extra(last)-y-2, fill, line)
		d.text(d.laneX(r.lane)+10, y+15, fmt.Sprintf(`font-weight="bold" fill="%s"`, line), r.task)
	}
}

// notes are the remarks on step i, and what its context holds, in lines.
func (d *drawing) notes(i int) []string {
	r := &d.rows[i]
	var out []string
	if r.holds != "" {
		out = append(out, wrap("holds "+r.holds, svgMaxChars)...)
	}
	for _, n := range r.notes {
		out = append(out, wrap(n, svgMaxChars)...)
	}
	return out
}

// extra is the height of the remarks on step i.
func (d *drawing) extra(i int) int { return svgNote * len(d.notes(i)) }

// steps draws the text of each step.
func (d *drawing) steps() {
	for i := range d.rows {
		r := &d.rows[i]
		y := d.rowY(i) + 15
		if r.mark {
			x := d.laneX(r.lane)
			fmt.Fprintf(&d.b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#eee" stroke="#999" stroke-dasharray="4 3"/>`+"\n", x+2, y-12, svgColumn-10, svgRow-8)
			d.text(x+18, y, `fill="#555" font-style="italic"`, fmt.Sprintf("CPU %d is %s", r.lane, r.what))
			continue
		}
		number := fmt.Sprint(r.number)
		if r.wait {
			number = "end"
		}
		d.text(svgMargin, y, `fill="#777"`, number)
		if r.preempt {
			d.text(svgMargin+20, y, `fill="#c0392b" font-weight="bold"`, "⤵")
		}
		d.text(d.laneX(r.lane)+18, y, "", cut(r.what, svgMaxChars))
		d.text(d.laneX(d.lanes)+8, y, `fill="#777" font-size="10"`, r.where)
		for k, n := range d.notes(i) {
			d.text(d.laneX(r.lane)+30, y+(k+1)*svgNote, `fill="#555" font-style="italic" font-size="10"`, n)
		}
	}
	d.y = d.top + 10
	if last := len(d.rows) - 1; last >= 0 { // there may be no step at all
		d.y = d.rowY(last) + svgRow + d.extra(last) + 10
	}
}

// legend says what the marks and colours mean.
func (d *drawing) legend() {
	d.y += 18
	x := svgMargin
	for _, c := range []struct{ task, means string }{{"T", "task"}, {"kworker", "kworker, rescuer, io-wq"}, {"irq", "interrupt, timer"}, {"softirq", "softirq"}, {"hotplug", "hotplug"}} {
		fill, line := colours(c.task)
		fmt.Fprintf(&d.b, `<rect x="%d" y="%d" width="12" height="12" rx="3" fill="%s" stroke="%s" stroke-width="0.8"/>`+"\n", x, d.y-10, fill, line)
		d.text(x+17, d.y, `fill="#555" font-size="10"`, c.means)
		x += 34 + len(c.means)*6
	}
	for _, l := range wrap("A column is a CPU, a line a step; time goes down. ⤵ the task before could have gone on (a preemption). end: nobody could go on; what this one was about to do, and waits for.",
		int(float64(d.width-2*svgMargin)/5.6)) {
		d.y += 15
		d.text(svgMargin, d.y, `fill="#555" font-size="10"`, l)
	}
}

// foot says what broke and who waits for whom.
func (d *drawing) foot() {
	f := d.a.Failure
	if f == nil {
		return
	}
	chars := int(float64(d.width-2*svgMargin-24) / svgChar)
	lines := wrap(d.a.Problem(), int(float64(d.width-2*svgMargin-24)/svgBold))
	details := strings.Split(strings.Trim(f.Details, "\n"), "\n")
	if len(details) > svgDetails {
		details = append(details[:svgDetails], "...")
	}
	if f.Details == "" {
		details = nil
	}
	n := len(lines)
	var more []string
	for _, l := range details {
		more = append(more, wrap(l, chars)...)
	}
	height := 18*n + 15*len(more) + 22
	fmt.Fprintf(&d.b, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="#fff4f3" stroke="#c0392b"/>`+"\n", svgMargin, d.y, d.width-2*svgMargin, height)
	y := d.y + 20
	for _, l := range lines {
		d.text(svgMargin+12, y, `font-size="13" font-weight="bold" fill="#c0392b"`, l)
		y += 18
	}
	for _, l := range more {
		d.text(svgMargin+12, y, `xml:space="preserve" font-family="monospace" font-size="10.5"`, l)
		y += 15
	}
	d.y += height
}

func cut(s string, chars int) string {
	if r := []rune(s); len(r) > chars {
		return string(r[:chars-1]) + "…"
	}
	return s
}

// wrap breaks s into lines of at most chars bytes, at spaces where it can, and never within a character.
func wrap(s string, chars int) []string {
	var out []string
	for len(s) > chars {
		at := strings.LastIndex(s[:chars], " ")
		if at <= 0 {
			for at = chars; at > 1 && !utf8.RuneStart(s[at]); at-- {
			}
		}
		out = append(out, s[:at])
		s = strings.TrimPrefix(s[at:], " ")
	}
	return append(out, s)
}
