// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"endio/bench/internal/rig"
)

// plotFile is the name of the plot.
const plotFile = "bench-engine-scale.svg"

// curves are the sections whose rows are named by a number.
var curves = []struct{ section, title, x string }{
	{"inflight", "operations in flight", "operations"},
	{"files", "open files", "files"},
}

func points(r *rig.Report, section string) plotter.XYs {
	var points plotter.XYs
	for _, w := range r.Rows {
		if w.Section != section {
			continue
		}
		x, err := strconv.ParseFloat(w.Name, 64)
		if y, ok := w.Cells[0].Median[rig.CPU]; ok && err == nil {
			points = append(points, plotter.XY{X: x, Y: y})
		}
	}
	return points
}

func hasPlot(r *rig.Report) bool {
	for _, c := range curves {
		if len(points(r, c.section)) > 1 {
			return true
		}
	}
	return false
}

// image returns the Markdown that shows the plot.
func image(r *rig.Report) string {
	if !hasPlot(r) {
		return ""
	}
	return "![CPU of one operation against shards, operations in flight and open files](" + plotFile + ")"
}

// writePlot draws the CPU of one operation against what there is many of, into dir.
func writePlot(r *rig.Report, dir string) error {
	if !hasPlot(r) {
		return nil
	}
	var plots [][]*plot.Plot
	plots = append(plots, nil)
	add := func(title, x string, lines ...any) error {
		p := plot.New()
		p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, "CPU µs / operation"
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Min = 0
		p.Legend.Top = true
		if err := plotutil.AddLinePoints(p, lines...); err != nil {
			return err
		}
		p.Y.Min, p.Y.Max = 0, 1.5*p.Y.Max
		p.Add(plotter.NewGrid())
		plots[0] = append(plots[0], p)
		return nil
	}
	for _, c := range curves {
		if points := points(r, c.section); len(points) > 1 {
			if err := add(c.title, c.x, points); err != nil {
				return err
			}
		}
	}
	var shards []any
	for _, n := range []string{"1", "2"} {
		var points plotter.XYs
		for _, w := range r.Rows {
			depth, err := strconv.ParseFloat(w.Name[min(len(w.Name), len("depth ")):], 64)
			if c := w.Cell(n); w.Section == "shards" && err == nil && c != nil && len(c.Rounds) > 0 {
				points = append(points, plotter.XY{X: depth, Y: c.Median[rig.CPU]})
			}
		}
		if len(points) > 1 {
			shards = append(shards, "shards: "+n, points)
		}
	}
	if len(shards) > 0 {
		if err := add("shards", "depth", shards...); err != nil {
			return err
		}
	}
	canvas := vgsvg.New(vg.Length(len(plots[0]))*9*vg.Centimeter, 8*vg.Centimeter)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots[0]), PadX: 5 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadRight: 5 * vg.Millimeter}
	for i, c := range plot.Align(plots, tiles, draw.New(canvas))[0] {
		plots[0][i].Draw(c)
	}
	f, err := os.Create(filepath.Join(dir, plotFile))
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
