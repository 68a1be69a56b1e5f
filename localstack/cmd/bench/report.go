package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// report turns figures into what people read.
type report struct {
	machine    machine
	options    options
	took       time.Duration
	figures    figures
	histograms histograms
	notes      []string
}

// line is a row that was worked out.
type line struct {
	Title  string   `json:"title"`
	Value  *float64 `json:"value"` // null if it was not measured
	Unit   string   `json:"unit"`
	Low    *float64 `json:"low"` // of the rounds
	High   *float64 `json:"high"`
	Ratio  *float64 `json:"ratio_to_raw,omitempty"`
	Goal   string   `json:"goal,omitempty"`
	Met    *bool    `json:"met,omitempty"`
	CPU    *float64 `json:"cpu_seconds_per_gib,omitempty"`
	Peak   *float64 `json:"peak_mib,omitempty"`
	PerGiB *float64 `json:"store_puts_per_gib,omitempty"`
	// Dollars for the requests to the store, at list price.
	Dollars *float64 `json:"requests_dollars_per_tib,omitempty"`
}

// number is nil for what was not measured, since JSON knows no NaN.
func number(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

func (r report) lines() []line {
	var lines []line
	for _, row := range r.options.rows() {
		low, high := r.figures.span(row.figure)
		l := line{
			Title: row.title, Unit: row.unit.name,
			Value: number(r.figures.median(row.figure) / row.unit.size), Low: number(low / row.unit.size), High: number(high / row.unit.size),
		}
		if row.through != "" {
			l.Ratio = number(r.figures.ratio(row.figure, row.through))
		}
		if row.goal != nil {
			text, met := row.goal(r.figures, row)
			l.Goal = text
			if l.Value != nil {
				l.Met = &met
			}
		}
		if row.load != "" {
			l.CPU = number(r.figures.median(row.load + ".cpu_per_gib"))
			l.Peak = number(r.figures.median(row.load+".peak_bytes") / mebibytes.size)
			l.PerGiB = number(r.figures.median(row.load + ".puts_per_gib"))
			l.Dollars = number(r.figures.median(row.load + ".dollars_per_tib"))
		}
		lines = append(lines, l)
	}
	return lines
}

func (r report) print(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%d × %s %s/%s, %s; load average before the start: %s\n", r.machine.CPUs, r.machine.CPUModel, r.machine.OS, r.machine.Arch, r.machine.GoVersion, r.machine.LoadBefore)
	store := "MinIO"
	if r.options.s3Shape != "" {
		store = "MinIO behind a proxy that answers as slowly as S3"
	}
	fmt.Fprintf(&text, "%s; nodes with --memory-limit=%s\n", store, r.options.memory)
	fmt.Fprintf(&text, "%d rounds, phases of %gs, %s records of 1 KiB; took %s\n\n", r.options.rounds, r.options.seconds, r.options.payload, r.took.Round(time.Second))
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tmedian\t\trounds\t÷ raw\tgoal\t\tnode CPU s/GiB\tpeak MiB\tPUTs/GiB\t$/TiB")
	for _, l := range r.lines() {
		verdict := ""
		if l.Met != nil {
			verdict = map[bool]string{true: "met", false: "MISSED"}[*l.Met]
		}
		span := ""
		if l.Low != nil && l.High != nil {
			span = short(l.Low) + " – " + short(l.High)
		}
		fmt.Fprintln(table, strings.Join([]string{
			l.Title, short(l.Value), l.Unit, span, short(l.Ratio), l.Goal, verdict, short(l.CPU), short(l.Peak), short(l.PerGiB), short(l.Dollars),
		}, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range r.notes {
		fmt.Fprintf(&text, "note: %s\n", note)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// short prints three digits or so.
func short(f *float64) string {
	switch {
	case f == nil:
		return ""
	case *f == 0:
		return "0"
	case math.Abs(*f) >= 100:
		return fmt.Sprintf("%.0f", *f)
	case math.Abs(*f) >= 10:
		return fmt.Sprintf("%.1f", *f)
	default:
		return fmt.Sprintf("%.2f", *f)
	}
}

func (r report) writeJSON(name string) error {
	text, err := json.MarshalIndent(struct {
		Machine machine `json:"machine"`
		Rounds  int     `json:"rounds"`
		Seconds float64 `json:"phase_seconds"`
		Payload string  `json:"payload"`
		Shaped  bool    `json:"s3_shaped"`
		Memory  string  `json:"memory_limit"`
		Rows    []line  `json:"rows"`
		// Figures holds a value per round, in bytes and seconds.
		Figures map[string][]*float64 `json:"figures"`
		// Histograms hold the latencies of each load, of all rounds, in µs.
		Histograms histograms `json:"histograms_us"`
		Notes      []string   `json:"notes"`
	}{r.machine, r.options.rounds, r.options.seconds, r.options.payload, r.options.s3Shape != "", r.options.memory, r.lines(), r.numbers(), r.histograms, r.notes}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

func (r report) numbers() map[string][]*float64 {
	all := make(map[string][]*float64, len(r.figures))
	for name, values := range r.figures {
		for _, value := range values {
			all[name] = append(all[name], number(value))
		}
	}
	return all
}
