// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// plotFile is the name of the plot.
const plotFile = "bench-engine-scale.svg"

// curves are the sections whose rows are named by a number.
var curves = []struct{ section, title, x string }{
	{"inflight", "operations in flight", "operations"},
	{"files", "open files", "files"},
}

func (r *report) points(section string) plotter.XYs {
	var points plotter.XYs
	for _, w := range r.Rows {
		if x, err := strconv.ParseFloat(w.Name, 64); err == nil && w.Section == section {
			points = append(points, plotter.XY{X: x, Y: w.Cells[0].Median[cpuIO]})
		}
	}
	return points
}

func (r *report) hasPlot() bool {
	for _, c := range curves {
		if len(r.points(c.section)) > 1 {
			return true
		}
	}
	return false
}

// writePlot draws the CPU of one operation against what there is many of.
func (r *report) writePlot(path string) error {
	if !r.hasPlot() {
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
		if points := r.points(c.section); len(points) > 1 {
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
			if c := w.cell(n); w.Section == "shards" && err == nil && c != nil {
				points = append(points, plotter.XY{X: depth, Y: c.Median[cpuIO]})
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
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
