package docs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wadilog/wadi/localstack"
)

var update = flag.Bool("update", false, "write the outputs of the README's tour anew")

const (
	tourMark    = "tour"    // <!-- tour:begin --> … <!-- tour:end -->
	clusterMark = "cluster" // the same of the section about several nodes
	// tourAddress is what the README says; the test puts a free port in its place.
	tourAddress = "127.0.0.1:8080"
	// blockTimeout bounds one block of the tour.
	blockTimeout = 2 * time.Minute
)

// tourBlock is a block of commands with the output that is printed below it.
type tourBlock struct {
	line   int // of the README
	script string
	output string
	shown  bool // there is an output block
}

// TestTour runs the commands of the README's tour as they are printed, each
// block by a shell of its own, in a folder with nothing but the binary and the
// sample, and compares what they print with what the README shows.
func TestTour(t *testing.T) {
	dir := tourFolder(t)
	takeTour(t, dir, tourMark, 10)
	for _, left := range []string{"wadi.pid", "wadi-data"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err != nil {
			t.Errorf("the tour ran elsewhere: %v", err)
		}
	}
}

// TestClusterTour does the same with the section about several nodes. The targets
// of make are those of the Makefile; what they would build is there.
func TestClusterTour(t *testing.T) {
	if _, err := localstack.FindNginx(); errors.Is(err, localstack.ErrNoNginx) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	// That takes longer than a block may.
	if _, err := localstack.Install(t.Context(), localstack.MinIOTool()); err != nil {
		t.Fatal(err)
	}
	dir := tourFolder(t)
	if err := os.WriteFile(filepath.Join(dir, "Makefile"), []byte(readFile(t, "Makefile")), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "cluster"), "./localstack/cmd/cluster")
	build.Dir = ".."
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	takeTour(t, dir, clusterMark, 4)
}

// takeTour runs the blocks of a part of the README in a folder.
func takeTour(t *testing.T, dir, mark string, blocksMin int) {
	t.Helper()
	begin, end := "<!-- "+mark+":begin -->", "<!-- "+mark+":end -->"
	before, tour, after := cutTour(t, readFile(t, "README.md"), begin, end)
	parts, blocks := parseTour(t, tour, 1+strings.Count(before+begin, "\n"))
	if len(blocks) < blocksMin {
		t.Fatalf("the tour has %d blocks", len(blocks))
	}
	address := freeAddress(t)
	for i := range blocks {
		b := &blocks[i]
		output, err := runBlock(t, dir, address, b.script)
		if err != nil {
			t.Fatalf("README.md:%d: %v\n%s\nit printed:\n%s\nlog:\n%s", b.line, err, b.script, output, logsOf(dir))
		}
		if same := normalize(output) == normalize(b.output); *update && !same {
			b.output = output
		} else if !same {
			t.Errorf("README.md:%d: the output has changed; run with -update to take it over\n%s\nwant:\n%s\ngot:\n%s", b.line, b.script, b.output, output)
		}
	}
	if *update {
		writeFile(t, "README.md", before+begin+joinTour(parts, blocks)+end+after)
	}
}

func cutTour(t *testing.T, readme, begin, end string) (before, tour, after string) {
	t.Helper()
	before, rest, begins := strings.Cut(readme, begin)
	tour, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("README.md lacks %s or %s", begin, end)
	}
	return before, tour, after
}

var (
	fence      = regexp.MustCompile("(?m)^```([a-z]*)\n((?s:.*?))^```\n")
	outputKind = "text"
	scriptKind = "sh"
)

// parseTour cuts the tour into blocks and the prose before each, with that
// after the last at the end.
func parseTour(t *testing.T, tour string, line int) (prose []string, blocks []tourBlock) {
	t.Helper()
	from := 0
	for _, at := range fence.FindAllStringSubmatchIndex(tour, -1) {
		kind, content := tour[at[2]:at[3]], tour[at[4]:at[5]]
		here := line + strings.Count(tour[:at[0]], "\n")
		switch kind {
		case scriptKind:
			prose = append(prose, tour[from:at[0]])
			blocks = append(blocks, tourBlock{line: here, script: content})
		case outputKind:
			if len(blocks) == 0 || blocks[len(blocks)-1].shown || strings.TrimSpace(tour[from:at[0]]) != "" {
				t.Fatalf("README.md:%d: an output without the commands before it", here)
			}
			blocks[len(blocks)-1].output, blocks[len(blocks)-1].shown = content, true
		default:
			t.Fatalf("README.md:%d: a block of %q in the tour", here, kind)
		}
		from = at[1]
	}
	return append(prose, tour[from:]), blocks
}

// joinTour is the inverse of parseTour.
func joinTour(prose []string, blocks []tourBlock) string {
	var b strings.Builder
	for i, block := range blocks {
		fmt.Fprintf(&b, "%s```%s\n%s```\n", prose[i], scriptKind, block.script)
		if block.output != "" {
			fmt.Fprintf(&b, "\n```%s\n%s```\n", outputKind, block.output)
		}
	}
	return b.String() + prose[len(prose)-1]
}

// tourFolder is a folder with what the tour needs of a checkout.
func tourFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const sample = "localstack/testdata/flights-5k.ndjson"
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(sample)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sample), []byte(readFile(t, sample)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(wadi(t), filepath.Join(dir, "bin", "wadi")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runBlock runs one block. What it leaves running ends with the test.
func runBlock(t *testing.T, dir, address, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), blockTimeout)
	defer cancel()
	output, err := os.CreateTemp(t.TempDir(), "output") // a pipe would wait for the node, too
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(script, tourAddress, address))
	cmd.Dir = dir
	cmd.Env = append(cleanEnvironment(), "WADI_LISTEN="+address, "WADI_SERVER=http://"+address,
		"CLUSTER_LISTEN="+address, "GO=true")
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	runErr := cmd.Wait()
	text, err := os.ReadFile(output.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), address, tourAddress), runErr
}

// changing is what differs from run to run.
var changing = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\b1[0-9]{12}\b`), "<MS>"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "<UUID>"},
	{regexp.MustCompile(`(?m)^(wadi_store_requests_total\{.*\}) [0-9]+$`), "${1} <COUNT>"},
	{regexp.MustCompile(`\b127\.0\.0\.1:[23][0-9]{4}\b`), "<ADDRESS>"}, // of what localstack starts
	{regexp.MustCompile(`(?m)^((?:node-[0-9]+|nginx|minio) +\S+) +[0-9]+ +`), "${1} <PID> "},
	{regexp.MustCompile(`(?m)^NAME +URL +PID +STATE$`), "<HEADER>"}, // as wide as what is below
	{regexp.MustCompile(`in [0-9.]+m?s: [0-9,]+ records/s, [0-9.]+ [kM]?B/s; ack latency p50 [0-9.]+[mµ]?s, p99 [0-9.]+[mµ]?s`), "<RATES>"},
}

func normalize(output string) string {
	for _, c := range changing {
		output = c.pattern.ReplaceAllString(output, c.instead)
	}
	return output
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := localstack.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// logsOf is the ends of the logs that a tour wrote.
func logsOf(dir string) string {
	const bytesMax = 4000
	var all strings.Builder
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			return err.Error()
		}
		all.Write(text[max(0, len(text)-bytesMax):])
	}
	return all.String()
}
