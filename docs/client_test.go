package docs

import (
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// TestGoBlocksAreExamples holds what the documents show of the Go client to the
// examples that its tests run.
func TestGoBlocksAreExamples(t *testing.T) {
	var lines []string
	for line := range strings.Lines(readFile(t, "client/example_test.go")) {
		lines = append(lines, strings.TrimSpace(line))
	}
	examples := strings.Join(lines, "\n")
	found := 0
	for _, document := range documents(t) {
		for _, m := range goBlock.FindAllStringSubmatch(readFile(t, document), -1) {
			found++
			var block []string
			for line := range strings.Lines(strings.TrimSpace(m[1])) {
				block = append(block, strings.TrimSpace(line))
			}
			if text := strings.Join(block, "\n"); !strings.Contains(examples, text) {
				t.Errorf("%s shows what no example of the client does:\n%s", document, text)
			}
		}
	}
	if found < 5 {
		t.Errorf("%d blocks", found)
	}
}
