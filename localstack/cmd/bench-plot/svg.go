package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// The picture, in pixels.
const (
	width, height            = 820, 460
	left, right, top, bottom = 70, 190, 50, 60
)

// colours are told apart also by those who see no red or green.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// frame maps budgets and seconds to pixels; both axes are drawn by the logarithm,
// the budgets by their place in the row.
type frame struct {
	budgets  []int
	min, max float64
}

func newFrame(curves []curve) frame {
	f := frame{min: math.Inf(1)}
	for _, c := range curves {
		for _, p := range c.points {
			if !slices.Contains(f.budgets, p.budget) {
				f.budgets = append(f.budgets, p.budget)
			}
			f.min, f.max = min(f.min, p.p50), max(f.max, p.p99)
		}
	}
	slices.SortFunc(f.budgets, func(a, b int) int { return rank(a) - rank(b) })
	f.min, f.max = f.min/1.2, f.max*1.2
	return f
}

func (f frame) x(budget int) float64 {
	at, steps := slices.Index(f.budgets, budget), max(1, len(f.budgets)-1)
	return left + 30 + float64(at)*float64(width-left-right-60)/float64(steps)
}

func (f frame) y(seconds float64) float64 {
	share := math.Log(seconds/f.min) / math.Log(f.max/f.min)
	return float64(height-bottom) - share*float64(height-top-bottom)
}

func draw(title string, curves []curve) string {
	f := newFrame(curves)
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" fill="#222">`+"\n", width, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&s, `<text x="%d" y="28" font-size="16">%s</text>`+"\n", left, html.EscapeString(title))
	f.axes(&s)
	for i, c := range curves {
		colour := colours[i%len(colours)]
		f.line(&s, c, colour, "", func(p point) float64 { return p.p50 })
		f.line(&s, c, colour, ` stroke-dasharray="6 4"`, func(p point) float64 { return p.p99 })
		for _, p := range c.points {
			fmt.Fprintf(&s, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%d requests/s, %.1f PUTs/s: p50 %.0f ms, p99 %.0f ms</title></circle>`+"\n",
				f.x(p.budget), f.y(p.p50), colour, c.rate, p.puts, p.p50*1000, p.p99*1000)
		}
		y := top + 20 + 24*i
		fmt.Fprintf(&s, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"/>`, width-right+15, y-4, width-right+40, y-4, colour)
		fmt.Fprintf(&s, `<text x="%d" y="%d">%d requests/s</text>`+"\n", width-right+48, y, c.rate)
	}
	y := top + 20 + 24*len(curves) + 10
	fmt.Fprintf(&s, `<text x="%d" y="%d">solid: p50</text><text x="%d" y="%d">dashed: p99</text>`+"\n", width-right+15, y, width-right+15, y+20)
	s.WriteString("</svg>\n")
	return s.String()
}

func (f frame) line(s *strings.Builder, c curve, colour, dash string, value func(point) float64) {
	var points []string
	for _, p := range c.points {
		points = append(points, fmt.Sprintf("%.1f,%.1f", f.x(p.budget), f.y(value(p))))
	}
	fmt.Fprintf(s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), colour, dash)
}

func (f frame) axes(s *strings.Builder) {
	for decade := 0.001; decade < f.max; decade *= 10 {
		for _, step := range []float64{1, 2, 5} {
			at := decade * step
			if at < f.min || at > f.max {
				continue
			}
			label := fmt.Sprintf("%.0f ms", at*1000)
			if at >= 1 {
				label = fmt.Sprintf("%.0f s", at)
			}
			fmt.Fprintf(s, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/>`, left, f.y(at), width-right, f.y(at))
			fmt.Fprintf(s, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-8, f.y(at)+4, label)
		}
	}
	for _, budget := range f.budgets {
		label := fmt.Sprint(budget)
		if budget == 0 {
			label = "none"
		}
		fmt.Fprintf(s, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", f.x(budget), height-bottom+20, label)
	}
	fmt.Fprintf(s, `<text x="%d" y="%d" text-anchor="middle">--put-budget, PUTs per second</text>`+"\n", (left+width-right)/2, height-bottom+44)
	fmt.Fprintf(s, `<rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", left, top, width-left-right, height-top-bottom)
}
