package wadi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/wadilog/wadi/"

// layers orders the packages: one may import another only if that stands in a
// lower layer, or below it in its own folder. The longest matching prefix rules.
var layers = []struct {
	prefix string
	layer  int
}{
	{"internal/", 0},
	{"catalog/journal", 1},
	{"catalog", 2},
	{"catalog/peerhttp", 3},
	{"catalog/catalogtest", 3},
	{"tiering", 3},
	{"verify", 3},
	{"rebuild", 4},
	{"ingest/wal", 2},
	{"ingest/wal/crashfs", 3},
	{"ingest", 4},
	{"reader", 4},
	{"httpapi", 5},
	{"httpapi/apidoc", 0},
	{"client", 1},
	{"cmd/", 6},
	{"localstack", 7},
	{"docs", 8},
	{"deploy", 8},
}

func layerOf(path string) (layer int, ok bool) {
	longest := -1
	for _, l := range layers {
		name := strings.TrimSuffix(l.prefix, "/")
		if (path == name || strings.HasPrefix(path, name+"/")) && len(name) > longest {
			layer, longest = l.layer, len(name)
		}
	}
	return layer, longest >= 0
}

// TestImportsGoOneWay holds the layout: cmd, httpapi, ingest and reader,
// tiering, catalog, internal.
func TestImportsGoOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from, ok := strings.CutPrefix(pkg.ImportPath, module)
		if !ok {
			continue // the module's root holds this test alone
		}
		seen++
		for _, imported := range pkg.Imports {
			if to, ok := strings.CutPrefix(imported, module); ok {
				if reason := forbidden(from, to); reason != "" {
					t.Errorf("%s imports %s: %s", from, to, reason)
				}
			}
		}
	}
	if seen < len(layers) {
		t.Errorf("saw %d packages, expected more than %d", seen, len(layers))
	}
}

func forbidden(from, to string) string {
	fromLayer, ok := layerOf(from)
	if !ok {
		return from + " has no place in the layout"
	}
	toLayer, ok := layerOf(to)
	switch {
	case !ok:
		return to + " has no place in the layout"
	case toLayer < fromLayer:
		return ""
	case strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, "internal/") && strings.HasPrefix(to, "internal/"):
		return ""
	case strings.HasPrefix(from, "localstack") && strings.HasPrefix(to, "localstack"):
		return ""
	default:
		return "it stands no lower"
	}
}

// TestSDKTypesStayInTheirDriver keeps the store's SDK behind objstore.
func TestSDKTypesStayInTheirDriver(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(imports, "aws-sdk-go") && !strings.HasPrefix(pkg, module+"internal/objstore/") {
			t.Errorf("%s imports the AWS SDK", pkg)
		}
		if strings.Contains(imports, "minio-go") && !strings.HasPrefix(pkg, module+"localstack") {
			t.Errorf("%s imports the MinIO client", pkg)
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"cmd/wadi", "httpapi", true},
		{"httpapi", "cmd/wadi", false},
		{"ingest", "reader", false},
		{"reader", "ingest", false},
		{"ingest", "ingest/wal", true},
		{"ingest/wal", "tiering", false},
		{"catalog/journal", "catalog", false},
		{"catalog", "tiering", false},
		{"catalog/peerhttp", "catalog", true},
		{"internal/segment", "internal/recordbatch", true},
		{"internal/objstore", "catalog", false},
		{"somewhere", "catalog", false},
	} {
		if got := forbidden(c.from, c.to) == ""; got != c.allowed {
			t.Errorf("%s imports %s: allowed is %v", c.from, c.to, got)
		}
	}
}
