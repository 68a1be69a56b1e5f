package docs

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// holdSection compares the part of a document between <!-- name:begin --> and
// <!-- name:end --> with what it should be; -update writes it.
func holdSection(t *testing.T, document, name, want string) {
	t.Helper()
	text := readFile(t, document)
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	before, rest, ok := strings.Cut(text, begin)
	got, after, ends := strings.Cut(rest, end)
	switch {
	case !ok || !ends:
		t.Errorf("%s lacks the section %q", document, name)
	case got == want:
	case *update:
		writeFile(t, document, before+begin+want+end+after)
	default:
		t.Errorf("%s: the section %q is not up to date; run go test ./docs -update\nwant:\n%s\ngot:\n%s", document, name, want, got)
	}
}

func markdownTable(header []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(header)
	b.WriteString(strings.Repeat("|---", len(header)) + "|\n")
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

// commandFlags says where the flags of each command are listed.
var commandFlags = []struct{ document, command string }{
	{"docs/OPERATIONS.md", "serve"},
	{"docs/HTTP.md", "topics create"},
	{"docs/HTTP.md", "topics list"},
	{"docs/HTTP.md", "topics describe"},
	{"docs/HTTP.md", "topics alter"},
	{"docs/HTTP.md", "topics delete"},
	{"docs/HTTP.md", "topics trim"},
	{"docs/HTTP.md", "groups list"},
	{"docs/HTTP.md", "groups describe"},
	{"docs/HTTP.md", "groups delete"},
	{"docs/HTTP.md", "groups reset"},
	{"docs/HTTP.md", "produce"},
	{"docs/HTTP.md", "consume"},
	{"docs/HTTP.md", "bench produce"},
	{"docs/HTTP.md", "bench fetch"},
	{"docs/HTTP.md", "bench store"},
	{"docs/OPERATIONS.md", "verify"},
	{"docs/OPERATIONS.md", "rebuild"},
}

// TestFlagTables holds the tables of flags to what --help prints.
func TestFlagTables(t *testing.T) {
	for _, c := range commandFlags {
		usage, flags := helpOf(t, c.command)
		var rows [][]string
		for _, f := range flags {
			rows = append(rows, []string{"`" + f.name + "`", code(f.value), code(f.standard), f.meaning})
		}
		section := "`" + usage + "`\n\n" + markdownTable([]string{"flag", "value", "default", ""}, rows)
		holdSection(t, c.document, "flags:"+c.command, section)
	}
}

// TestEveryCommandIsListed finds commands that no table has.
func TestEveryCommandIsListed(t *testing.T) {
	elsewhere := []string{"dev", "version", "completion", "help"}
	var listed []string
	for _, c := range commandFlags {
		listed = append(listed, c.command)
	}
	for _, parent := range []string{"", "topics", "groups", "bench"} {
		for _, name := range subcommands(t, parent) {
			full := strings.TrimSpace(parent + " " + name)
			if name == "topics" || name == "groups" || name == "bench" || slices.Contains(elsewhere, full) || slices.Contains(listed, full) {
				continue
			}
			t.Errorf("no document lists the flags of wadi %s", full)
		}
	}
}

// TestDevHasTheFlagsOfServe is why one table does for both.
func TestDevHasTheFlagsOfServe(t *testing.T) {
	_, serve := helpOf(t, "serve")
	_, dev := helpOf(t, "dev")
	names := func(flags []helpFlag) (all []string) {
		for _, f := range flags {
			all = append(all, f.name)
		}
		return all
	}
	if s, d := names(serve), names(dev); !slices.Equal(s, d) {
		t.Errorf("wadi serve has %v, wadi dev %v", s, d)
	}
}

type helpFlag struct{ name, value, standard, meaning string }

var (
	helpLine    = regexp.MustCompile(`^ +(?:(-[a-z]), )?(--[a-z-]+)(?: (\S+))?  +(.*)$`)
	helpDefault = regexp.MustCompile(` \(default (.*)\)$`)
)

// helpOf returns how a command is called, and its own flags.
func helpOf(t *testing.T, command string) (usage string, flags []helpFlag) {
	t.Helper()
	help := helpText(t, command)
	_, rest, _ := strings.Cut(help, "Usage:\n")
	usage, _, _ = strings.Cut(strings.TrimSpace(rest), "\n")
	usage = strings.TrimSuffix(usage, " [flags]")
	_, rest, ok := strings.Cut(help, "\nFlags:\n")
	if !ok {
		t.Fatalf("wadi %s --help lists no flags:\n%s", command, help)
	}
	own, _, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(own) {
		m := helpLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			t.Fatalf("wadi %s --help has the line %q", command, line)
		}
		f := helpFlag{name: m[2], value: m[3], meaning: m[4]}
		if f.name == "--help" {
			continue
		}
		if m[1] != "" {
			f.name = m[1] + "`, `" + f.name
		}
		if d := helpDefault.FindStringSubmatch(f.meaning); d != nil {
			f.standard = strings.Trim(d[1], `"`)
			f.meaning = helpDefault.ReplaceAllString(f.meaning, "")
		}
		f.meaning = strings.ReplaceAll(f.meaning, "|", `\|`)
		flags = append(flags, f)
	}
	return usage, flags
}

func helpText(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.Command(wadi(t), append(strings.Fields(command), "--help")...)
	cmd.Env = cleanEnvironment()
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("wadi %s --help: %v", command, err)
	}
	return string(output)
}

func subcommands(t *testing.T, parent string) []string {
	t.Helper()
	_, rest, _ := strings.Cut(helpText(t, parent), "Available Commands:\n")
	list, _, _ := strings.Cut(rest, "\n\n")
	var names []string
	for line := range strings.Lines(list) {
		names = append(names, strings.Fields(line)[0])
	}
	if len(names) == 0 {
		t.Fatalf("wadi %s --help lists no commands", parent)
	}
	return names
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

var problemKind = regexp.MustCompile(`(?m)^\tkind\w+ += (.*)$`)

var (
	kindRefused = regexp.MustCompile(`^(retry\()?refused\("([a-z_]+)", (\d+), "([^"]*)"\)\)?$`)
	kindLiteral = regexp.MustCompile(`^kind\{code: "([a-z_]+)", status: (\d+), title: "([^"]*)"(.*)\}$`)
)

// TestErrorsTable holds the table of errors to httpapi/errors.go.
func TestErrorsTable(t *testing.T) {
	type row struct {
		code, title        string
		status             int
		retryable, refused bool
	}
	var kinds []row
	for _, line := range problemKind.FindAllStringSubmatch(readFile(t, "httpapi/errors.go"), -1) {
		var k row
		var status string
		if m := kindRefused.FindStringSubmatch(line[1]); m != nil {
			k.retryable, k.code, status, k.title, k.refused = m[1] != "", m[2], m[3], m[4], true
		} else if m := kindLiteral.FindStringSubmatch(line[1]); m != nil {
			k.code, status, k.title = m[1], m[2], m[3]
			k.retryable = strings.Contains(m[4], "retryable: true")
			k.refused = strings.Contains(m[4], "noSideEffects: true")
		} else {
			t.Fatalf("httpapi/errors.go has a kind of error that is not understood here: %s", line[1])
		}
		var err error
		if k.status, err = strconv.Atoi(status); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, k)
	}
	if len(kinds) < 40 {
		t.Fatalf("only %d kinds of error were found", len(kinds))
	}
	slices.SortStableFunc(kinds, func(a, b row) int { return cmp.Compare(a.status, b.status) })
	yes := map[bool]string{true: "yes"}
	var rows [][]string
	for _, k := range kinds {
		rows = append(rows, []string{strconv.Itoa(k.status), "`" + k.code + "`", k.title, yes[k.retryable], yes[k.refused]})
	}
	holdSection(t, "docs/HTTP.md", "errors", markdownTable([]string{"status", "code", "", "retryable", "no side effects"}, rows))
}

// metric is one that a node shows.
type metric struct {
	name, kind, help string
	labels           []string
}

// quietMetrics are those that a node shows only once something went wrong or a
// snapshot was written.
var quietMetrics = []metric{
	{"wadi_journal_deletions_total", "counter", "Objects deleted, by what they are.", []string{"object"}},
	{"wadi_journal_snapshots_total", "counter", "Snapshots written, by what became of them; taken: another node's was first.", []string{"result"}},
	{"wadi_upload_put_failures_total", "counter", "PUTs of segments that failed, by reason.", []string{"reason"}},
}

var (
	metricHelp   = regexp.MustCompile(`(?m)^# HELP (wadi_[a-z0-9_]+) (.*)\n# TYPE wadi_[a-z0-9_]+ ([a-z]+)\n[a-z0-9_]+(?:\{(.*)\})?`)
	metricLabel  = regexp.MustCompile(`([a-z]+)="`)
	metricRow    = regexp.MustCompile("(?m)^\\| `(wadi_[a-z0-9_]+)` \\|")
	metricSource = regexp.MustCompile(`(?:Name: |counters?\(|histogram\(|gauge\()(?:"wadi_[a-z]+_" ?\+ ?)?"([a-z][a-z0-9_]*[a-z0-9])"`)
)

// TestMetricsTable holds the table of metrics to those of a running node.
func TestMetricsTable(t *testing.T) {
	all := slices.Clone(quietMetrics)
	for _, m := range metricHelp.FindAllStringSubmatch(metricsOfNode(t), -1) {
		shown := metric{name: m[1], help: m[2], kind: m[3]}
		for _, label := range metricLabel.FindAllStringSubmatch(m[4], -1) {
			if label[1] != "le" {
				shown.labels = append(shown.labels, label[1])
			}
		}
		if slices.ContainsFunc(quietMetrics, func(q metric) bool { return q.name == shown.name }) {
			t.Errorf("%s is not quiet", shown.name)
			continue
		}
		all = append(all, shown)
	}
	if len(all) < 50 {
		t.Fatalf("the node has only %d metrics", len(all))
	}
	slices.SortFunc(all, func(a, b metric) int { return cmp.Compare(a.name, b.name) })
	var rows [][]string
	for _, m := range all {
		labels := ""
		for _, label := range m.labels {
			labels += " `" + label + "`"
		}
		rows = append(rows, []string{"`" + m.name + "`", m.kind, strings.TrimSpace(labels), m.help})
	}
	holdSection(t, "docs/OPERATIONS.md", "metrics", markdownTable([]string{"metric", "type", "labels", ""}, rows))
}

// metricsOfNode starts a node, produces and fetches, and returns its metrics.
func metricsOfNode(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	cmd := exec.Command(wadi(t), "dev", "--listen", address, "--data-dir", t.TempDir())
	cmd.Env = cleanEnvironment()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	}()
	base := "http://" + address
	waitUntilReady(t, base)
	for _, acks := range []string{"all", "1"} {
		answer, err := http.Post(base+"/v1/topics/a/partitions/0/records?acks="+acks, "text/plain", strings.NewReader("record"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	for _, path := range []string{"/v1/topics/a/partitions/0/records?offset=0", "/no-such-resource"} {
		ask(t, base+path)
	}
	answer, err := http.Get(base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func waitUntilReady(t *testing.T, base string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), blockTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ask(t, base+"/readyz") != http.StatusOK {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the node does not become ready")
		}
	}
}

// ask returns the status of a GET, 0 if there is no answer.
func ask(t *testing.T, url string) int {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// TestEveryMetricIsListed finds metrics in the source that no table has, also
// those that a node shows only after a failure.
func TestEveryMetricIsListed(t *testing.T) {
	documented := metricRow.FindAllStringSubmatch(readFile(t, "docs/OPERATIONS.md"), -1)
	seen := 0
	for _, name := range sourceFiles(t) {
		text := readFile(t, name)
		if !strings.Contains(text, `"github.com/prometheus/client_golang/prometheus"`) {
			continue
		}
		for _, m := range metricSource.FindAllStringSubmatch(text, -1) {
			seen++
			known := func(d []string) bool { return d[1] == m[1] || strings.HasSuffix(d[1], "_"+m[1]) }
			if !slices.ContainsFunc(documented, known) {
				t.Errorf("%s has the metric %s, docs/OPERATIONS.md has not", name, m[1])
			}
		}
	}
	names := map[string]bool{} // some stand in more than one table
	for _, d := range documented {
		names[d[1]] = true
	}
	if seen < len(names)-5 {
		t.Errorf("%d names of metrics were found in the source, %d are documented", seen, len(names))
	}
}

// sourceFiles lists the Go files of the module that are no tests.
func sourceFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`, "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root = strings.TrimSuffix(root, "docs")
	var names []string
	for line := range strings.Lines(string(output)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), root); ok {
			names = append(names, name)
		}
	}
	return names
}
