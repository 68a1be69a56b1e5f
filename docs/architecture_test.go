package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wadilog/wadi/catalog"
)

// rowsOf returns the cells of the tables in the section of ARCHITECTURE.md
// below a heading, without their headers.
func rowsOf(t *testing.T, heading string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(readFile(t, "docs/ARCHITECTURE.md"), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/ARCHITECTURE.md has no section %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	var rows [][]string
	inTable := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "|---"):
			inTable = true
		case inTable:
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("the section %q has no table", heading)
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]+)`")

// names returns what stands in back quotes.
func names(text string) (all []string) {
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestEveryPackageIsInTheMap holds the table of packages to go list.
func TestEveryPackageIsInTheMap(t *testing.T) {
	var mapped []string
	for _, row := range rowsOf(t, "Packages") {
		mapped = append(mapped, names(row[0])...)
	}
	cmd := exec.Command("go", "list", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var packages []string
	for line := range strings.Lines(string(output)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "github.com/wadilog/wadi/"); ok {
			packages = append(packages, name)
		}
	}
	for _, name := range packages {
		if !slices.Contains(mapped, name) {
			t.Errorf("docs/ARCHITECTURE.md does not list the package %s", name)
		}
	}
	for _, name := range mapped {
		if !slices.Contains(packages, name) {
			t.Errorf("docs/ARCHITECTURE.md lists %s, which is no package", name)
		}
	}
}

var failpointHit = regexp.MustCompile(`failpoint\.Hit\("([a-z/-]+)"\)`)

// TestFailpointsTable holds the table of failpoints to the source.
func TestFailpointsTable(t *testing.T) {
	var listed, hit []string
	for _, row := range rowsOf(t, "Failpoints") {
		listed = append(listed, names(row[0])...)
	}
	for _, name := range sourceFiles(t) {
		if strings.HasPrefix(name, "internal/failpoint/") {
			continue
		}
		for _, m := range failpointHit.FindAllStringSubmatch(readFile(t, name), -1) {
			hit = append(hit, m[1])
			if !slices.Contains(listed, m[1]) {
				t.Errorf("%s has the failpoint %s, docs/ARCHITECTURE.md has not", name, m[1])
			}
		}
	}
	for _, name := range listed {
		if !slices.Contains(hit, name) {
			t.Errorf("docs/ARCHITECTURE.md lists the failpoint %s, which nobody hits", name)
		}
	}
}

var (
	mutantConstant = regexp.MustCompile(`(?m)^\t(Skip\w+) += "([a-z-]+)"`)
	mutantRow      = regexp.MustCompile(`\{mutant\.(Skip\w+), "([a-z0-9/]+)", "(Test\w+)"`)
)

// TestMutantsTable holds the table of mutants to the constants, to the table of
// make mutants, and to the tests that it names.
func TestMutantsTable(t *testing.T) {
	noticed := map[string][]string{} // "package Test" by mutant
	for _, row := range rowsOf(t, "Mutants") {
		all := names(row[2])
		for i := 0; i+1 < len(all); i += 2 {
			noticed[names(row[0])[0]] = append(noticed[names(row[0])[0]], all[i]+" "+all[i+1])
			if !hasTest(t, all[i], all[i+1]) {
				t.Errorf("docs/ARCHITECTURE.md names %s of %s, which does not exist", all[i+1], all[i])
			}
		}
	}
	values := map[string]string{}
	for _, m := range mutantConstant.FindAllStringSubmatch(readFile(t, "internal/mutant/mutant.go"), -1) {
		values[m[1]] = m[2]
		if len(noticed[m[2]]) == 0 {
			t.Errorf("docs/ARCHITECTURE.md names no test for the mutant %s", m[2])
		}
	}
	if len(values) != len(noticed) {
		t.Errorf("internal/mutant has %d mutants, docs/ARCHITECTURE.md %d", len(values), len(noticed))
	}
	for _, m := range mutantRow.FindAllStringSubmatch(readFile(t, "internal/mutant/run/table.go"), -1) {
		if !slices.Contains(noticed[values[m[1]]], m[2]+" "+m[3]) {
			t.Errorf("make mutants runs %s of %s for %s, docs/ARCHITECTURE.md does not say so", m[3], m[2], values[m[1]])
		}
	}
}

// hasTest tells whether a package has a test.
func hasTest(t *testing.T, pkg, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pkg), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(name string) bool {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), "\nfunc "+test+"(")
	})
}

// TestFeatureLevels wants a row for each level, which an upgrade goes by.
func TestFeatureLevels(t *testing.T) {
	text := readFile(t, "docs/OPERATIONS.md")
	for level := range catalog.FeatureLevel {
		if row := fmt.Sprintf("\n| %d | ", level+1); !strings.Contains(text, row) {
			t.Errorf("OPERATIONS.md has no row for feature level %d", level+1)
		}
	}
}

// TestLimitsExist finds limits that the source no longer has under the name.
func TestLimitsExist(t *testing.T) {
	folders := map[string]string{"wal": "ingest/wal", "journal": "catalog/journal", "peerhttp": "catalog/peerhttp"}
	for _, row := range rowsOf(t, "Limits") {
		pkg, name, ok := strings.Cut(names(row[0])[0], ".")
		if !ok {
			t.Errorf("%s is not package.Name", row[0])
			continue
		}
		folder := pkg
		if f := folders[pkg]; f != "" {
			folder = f
		}
		declared := regexp.MustCompile(`(?m)^\t(?:\w+, )*` + name + `(?:, \w+)* +(?:=|\w)|^const ` + name + ` `)
		found := slices.ContainsFunc(sourceFiles(t), func(file string) bool {
			return filepath.ToSlash(filepath.Dir(file)) == folder && declared.MatchString(readFile(t, file))
		})
		if !found {
			t.Errorf("docs/ARCHITECTURE.md lists %s.%s, which %s does not have", pkg, name, folder)
		}
	}
}

// documents lists all Markdown files.
func documents(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "deploy/README.md"}
	err := filepath.WalkDir(".", func(name string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			found = append(found, "docs/"+filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	sourcePath = regexp.MustCompile(`^[a-z_0-9-]+(/[a-zA-Z_0-9.-]+)*\.(go|md|yml|golden|ndjson)$`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInID    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinksAndPathsExist checks links within the repository, with their
// anchors, and files that are named.
func TestLinksAndPathsExist(t *testing.T) {
	for _, document := range documents(t) {
		text := readFile(t, document)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			full := document
			if target != "" {
				full = filepath.ToSlash(filepath.Join(filepath.Dir(document), target))
			}
			if _, err := os.Stat(filepath.Join("..", full)); err != nil {
				if full != "docs/BENCHMARKS.md" {
					t.Errorf("%s links to %s: %v", document, m[1], err)
				}
				continue
			}
			if anchor != "" && !slices.Contains(anchors(readFile(t, full)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", document, m[1])
			}
		}
		for _, name := range names(text) {
			if !sourcePath.MatchString(name) || !strings.Contains(name, "/") {
				continue
			}
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("%s names %s: %v", document, name, err)
			}
		}
	}
}

// anchors are those that GitHub gives to headings.
func anchors(text string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		id := notInID.ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(id, " ", "-"))
	}
	return all
}

var (
	decisionName = regexp.MustCompile(`^docs/decisions/(\d{4})-[a-z0-9-]+\.md$`)
	requirement  = regexp.MustCompile(`(?m)^\t(\S+) v\S+$`)
	dependency   = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| \\S")
)

// TestDecisions checks that each note has its number, its sections and its
// place in the index.
func TestDecisions(t *testing.T) {
	index := strings.Join(strings.Fields(readFile(t, "docs/decisions/README.md")), " ") // however it is wrapped
	next := 1
	for _, document := range documents(t) {
		if !strings.HasPrefix(document, "docs/decisions/") || document == "docs/decisions/README.md" {
			continue
		}
		m := decisionName.FindStringSubmatch(document)
		if m == nil || m[1] != fmt.Sprintf("%04d", next) {
			t.Errorf("%s should begin with %04d-", document, next)
		}
		next++
		text := readFile(t, document)
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		for _, section := range []string{"\n## Context\n", "\n## Decision\n", "\n## Rejected\n", "\n## Cost in store requests\n"} {
			if !strings.Contains(text, section) {
				t.Errorf("%s lacks a section %q", document, strings.TrimSpace(section))
			}
		}
		if entry := fmt.Sprintf("* [%s](%s)", title, filepath.Base(document)); !strings.Contains(index, entry) {
			t.Errorf("docs/decisions/README.md lacks %q", entry)
		}
	}
	if next < 10 {
		t.Errorf("there are %d decisions", next-1)
	}
}

// TestDependenciesHaveAReason holds the table of dependencies to go.mod.
func TestDependenciesHaveAReason(t *testing.T) {
	var required, explained []string
	for _, m := range requirement.FindAllStringSubmatch(readFile(t, "go.mod"), -1) {
		required = append(required, m[1]) // lines of indirect ones end in a comment
	}
	for _, m := range dependency.FindAllStringSubmatch(readFile(t, "docs/decisions/0010-dependencies.md"), -1) {
		explained = append(explained, m[1])
	}
	for _, module := range required {
		if !slices.Contains(explained, module) {
			t.Errorf("docs/decisions/0010-dependencies.md does not say what %s is for", module)
		}
	}
	for _, module := range explained {
		if !slices.Contains(required, module) {
			t.Errorf("docs/decisions/0010-dependencies.md lists %s, which is no direct dependency", module)
		}
	}
	if len(required) == 0 {
		t.Error("go.mod requires nothing")
	}
}

var logMessage = regexp.MustCompile("(?m)^\\| ((?:`[^`]+`(?:, )?)+)(?: with `[^`]+`)? \\| ")

// TestLogMessagesExist finds messages that no node logs any more.
func TestLogMessagesExist(t *testing.T) {
	_, rest, _ := strings.Cut(readFile(t, "docs/OPERATIONS.md"), "\n## Logs\n")
	section, _, _ := strings.Cut(rest, "\n## ")
	var source strings.Builder
	for _, name := range sourceFiles(t) {
		source.WriteString(readFile(t, name))
	}
	seen := 0
	for _, row := range logMessage.FindAllStringSubmatch(section, -1) {
		for _, message := range names(row[1]) {
			seen++
			if !strings.Contains(source.String(), `"`+message+`"`) {
				t.Errorf("docs/OPERATIONS.md explains the message %q, which nobody logs", message)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d messages were found", seen)
	}
}
