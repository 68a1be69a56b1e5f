package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/wadilog/wadi/catalog"
)

func readDocument(t *testing.T) *apiDocument {
	t.Helper()
	d, err := theDocument()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocumentHasTheRoutes compares the operations with the router, both ways.
func TestDocumentHasTheRoutes(t *testing.T) {
	d := readDocument(t)
	a := newTestAPI(t, nil)
	var routes, documented []string
	err := chi.Walk(a.server.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routes = append(routes, method+" "+strings.Replace(route, memberSegment, "{member}", 1))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, op := range d.operations() {
		documented = append(documented, op.method+" "+op.path)
		o, _ := d.object(op.place)
		id, _ := o["operationId"].(string)
		if ids[id] || id == "" || o["summary"] == nil {
			t.Errorf("%s %s has no operationId of its own, or no summary", op.method, op.path)
		}
		ids[id] = true
		var inPath []string
		for _, p := range d.parameters(op) {
			if p.in == "path" {
				inPath = append(inPath, "{"+p.name+"}")
			}
		}
		if named := regexp.MustCompile(`\{\w+\}`).FindAllString(op.path, -1); !slices.Equal(slices.Sorted(slices.Values(inPath)), slices.Sorted(slices.Values(named))) {
			t.Errorf("%s has parameters %v", op.path, inPath)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("the router has\n%s\nthe document\n%s", strings.Join(routes, "\n"), strings.Join(documented, "\n"))
	}
}

// documentedKind is a kind as x-codes has it.
type documentedKind struct {
	Status        int    `json:"status"`
	Title         string `json:"title"`
	Retryable     bool   `json:"retryable"`
	NoSideEffects bool   `json:"no_side_effects"`
}

// unseen is only logged: the client that it would go to has gone.
const unseen = "client_closed_request"

var (
	kindLine    = regexp.MustCompile(`(?m)^\tkind\w+ += (.*)$`)
	kindRefused = regexp.MustCompile(`^(retry\()?refused\("([a-z_]+)", (\d+), "([^"]*)"\)\)?$`)
	kindLiteral = regexp.MustCompile(`^kind\{code: "([a-z_]+)", status: (\d+), title: "([^"]*)"(.*)\}$`)
)

// kindsInSource reads the table of errors.go.
func kindsInSource(t *testing.T) map[string]documentedKind {
	t.Helper()
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]documentedKind{}
	for _, line := range kindLine.FindAllSubmatch(source, -1) {
		var code, status string
		var k documentedKind
		if m := kindRefused.FindStringSubmatch(string(line[1])); m != nil {
			k.Retryable, code, status, k.Title, k.NoSideEffects = m[1] != "", m[2], m[3], m[4], true
		} else if m := kindLiteral.FindStringSubmatch(string(line[1])); m != nil {
			code, status, k.Title = m[1], m[2], m[3]
			k.Retryable = strings.Contains(m[4], "retryable: true")
			k.NoSideEffects = strings.Contains(m[4], "noSideEffects: true")
		} else {
			t.Fatalf("a kind of error that is not understood here: %s", line[1])
		}
		k.Status, _ = strconv.Atoi(status)
		if code != unseen {
			kinds[code] = k
		}
	}
	return kinds
}

// TestDocumentHasTheProblems compares the codes of the document with the table
// of kinds, and the codes of each answer with its status.
func TestDocumentHasTheProblems(t *testing.T) {
	d := readDocument(t)
	kinds := kindsInSource(t)
	v, at := d.object("/components/schemas/Problem/properties/code")
	text, err := json.Marshal(v["x-codes"])
	if err != nil {
		t.Fatal(err)
	}
	var documented map[string]documentedKind
	if err := json.Unmarshal(text, &documented); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(kinds, documented) {
		for code, k := range kinds {
			if documented[code] != k {
				t.Errorf("%s is %+v in errors.go, %+v in the document", code, k, documented[code])
			}
		}
		for code := range documented {
			if _, ok := kinds[code]; !ok {
				t.Errorf("%s is not in errors.go", code)
			}
		}
	}
	enum, _ := d.at(at.in("enum"))
	listed := map[string]bool{}
	for _, code := range enum.([]any) {
		listed[code.(string)] = true
		if _, ok := kinds[code.(string)]; !ok {
			t.Errorf("%s is listed and not in errors.go", code)
		}
	}
	used := map[string]bool{"not_found": true, "method_not_allowed": true} // of what is no operation
	for _, op := range d.operations() {
		responses, at := d.object(op.place.in("responses"))
		for status := range responses {
			_, res := d.object(at.in(status))
			codes := d.codes(res)
			if status >= "400" && len(codes) == 0 {
				t.Errorf("%s %s: %s has no codes", op.method, op.path, status)
			}
			for _, code := range codes {
				used[code] = true
				if strconv.Itoa(kinds[code].Status) != status {
					t.Errorf("%s %s: %s is listed with %s", op.method, op.path, code, status)
				}
			}
		}
	}
	for code := range kinds {
		if !listed[code] || !used[code] {
			t.Errorf("%s is not listed, or comes with no operation", code)
		}
	}
}

// codes returns those of a response with a problem.
func (d *apiDocument) codes(res docPlace) []string {
	var codes []string
	all, _ := d.at(res.in("content", "application/problem+json", "schema", "allOf", "1", "properties", "code", "enum"))
	list, _ := all.([]any)
	for _, code := range list {
		codes = append(codes, code.(string))
	}
	return codes
}

// TestDocumentHasTheLimits compares bounds in the document with those that the
// API has by default.
func TestDocumentHasTheLimits(t *testing.T) {
	d := readDocument(t)
	cfg := DefaultConfig()
	ofQuery := func(method, path, name string) docPlace {
		for _, op := range d.operations() {
			if op.method != method || op.path != path {
				continue
			}
			for _, p := range d.parameters(op) {
				if p.name == name {
					return p.schema
				}
			}
		}
		t.Fatalf("%s %s has no parameter %s", method, path, name)
		return ""
	}
	const records = "/v1/topics/{topic}/partitions/{partition}/records"
	schema := func(names ...string) docPlace { return docPlace("/components/schemas").in(names...) }
	for _, c := range []struct {
		place  docPlace
		member string
		want   int64
	}{
		{ofQuery("GET", "/v1/topics", "page_size"), "maximum", int64(cfg.PageSizeMax)},
		{ofQuery("GET", "/v1/topics", "page_size"), "default", int64(cfg.PageSize)},
		{ofQuery("GET", "/v1/topics", "prefix"), "maxLength", topicNameLenMax},
		{ofQuery("GET", records, "max_records"), "maximum", int64(cfg.FetchRecordsMax)},
		{ofQuery("GET", records, "max_bytes"), "maximum", int64(cfg.FetchBytesMax)},
		{ofQuery("GET", records, "max_bytes"), "default", int64(cfg.FetchBytes)},
		{ofQuery("GET", records, "min_bytes"), "maximum", int64(cfg.FetchBytesMax)},
		{ofQuery("GET", records, "max_wait_ms"), "maximum", cfg.FetchWaitMax.Milliseconds()},
		{ofQuery("POST", records, "Idempotency-Key"), "maxLength", idempotencyKeyLenMax},
		{"/components/headers/RequestId/schema", "maxLength", requestIDLenMax},
		{schema("TopicName"), "maxLength", topicNameLenMax},
		{schema("Topic", "properties", "partitions"), "maximum", int64(cfg.PartitionsMax)},
		{schema("TopicSettings", "properties", "partitions"), "maximum", int64(cfg.PartitionsMax)},
		{schema("NewRecords", "properties", "records"), "maxItems", int64(cfg.RecordsMax)},
		{schema("NewRecord", "properties", "headers"), "maxItems", int64(cfg.RecordHeadersMax)},
		{schema("FetchMany", "properties", "partitions"), "maxItems", int64(cfg.FetchPartitionsMax)},
		{schema("FetchMany", "properties", "max_bytes"), "maximum", int64(cfg.FetchBytesMax)},
		{schema("FetchMany", "properties", "max_bytes"), "default", int64(cfg.FetchBytes)},
		{schema("FetchMany", "properties", "max_wait_ms"), "maximum", cfg.FetchWaitMax.Milliseconds()},
		{ofQuery("GET", "/v1/groups", "page_size"), "maximum", int64(cfg.PageSizeMax)},
		{ofQuery("GET", "/v1/groups", "page_size"), "default", int64(cfg.PageSize)},
		{ofQuery("GET", "/v1/groups", "prefix"), "maxLength", topicNameLenMax},
		{schema("GroupName"), "maxLength", topicNameLenMax},
		{schema("MemberId"), "maxLength", topicNameLenMax},
		{schema("Token"), "maxLength", catalog.TokenLenMax},
		{schema("Metadata"), "maxLength", catalog.OffsetMetadataLenMax},
		{schema("NewMember", "properties", "topics"), "maxItems", catalog.GroupTopicsMax},
		{schema("NewMember", "properties", "session_timeout_ms"), "minimum", catalog.SessionTimeoutMsMin},
		{schema("NewMember", "properties", "session_timeout_ms"), "maximum", catalog.SessionTimeoutMsMax},
		{schema("NewMember", "properties", "session_timeout_ms"), "default", cfg.SessionTimeout.Milliseconds()},
		{schema("SessionTimeout"), "minimum", catalog.SessionTimeoutMsMin},
		{schema("SessionTimeout"), "maximum", catalog.SessionTimeoutMsMax},
		{schema("Member", "properties", "topics"), "maxItems", catalog.GroupTopicsMax},
		{schema("Group", "properties", "members"), "maxItems", catalog.GroupMembersMax},
		{schema("Poll", "properties", "commit"), "maxItems", catalog.CommitOffsetsMax},
		{schema("Poll", "properties", "positions"), "maxItems", int64(cfg.PollPartitionsMax)},
		{schema("Poll", "properties", "max_bytes"), "maximum", int64(cfg.FetchBytesMax)},
		{schema("Poll", "properties", "max_bytes"), "default", int64(cfg.FetchBytes)},
		{schema("Poll", "properties", "min_bytes"), "maximum", int64(cfg.FetchBytesMax)},
		{schema("Poll", "properties", "max_wait_ms"), "maximum", cfg.FetchWaitMax.Milliseconds()},
		{schema("NewOffsets", "properties", "offsets"), "maxItems", catalog.CommitOffsetsMax},
	} {
		m, at := d.object(c.place)
		if got := fmt.Sprint(m[c.member]); got != fmt.Sprint(c.want) {
			t.Errorf("%s of %s is %s in the document, %d by default", c.member, at, got, c.want)
		}
	}
}

// TestExamplesMatchTheirSchemas looks at every example, wherever it stands.
func TestExamplesMatchTheirSchemas(t *testing.T) {
	d := readDocument(t)
	seen := 0
	var walk func(v any, at docPlace)
	walk = func(v any, at docPlace) {
		switch n := v.(type) {
		case []any:
			for i, item := range n {
				walk(item, at.in(strconv.Itoa(i)))
			}
		case map[string]any:
			for name, item := range n {
				if name != "example" && name != "properties" {
					walk(item, at.in(name))
				}
				if name == "properties" {
					for property, item := range item.(map[string]any) {
						walk(item, at.in(name, property))
					}
				}
			}
			example, ok := n["example"]
			if !ok {
				return
			}
			seen++
			var errs []error
			text, isText := example.(string)
			switch {
			case isText && n["x-line-schema"] != nil:
				errs = d.checkLines(at, []byte(text))
			case isText && n["x-event-schemas"] != nil:
				errs = d.checkEvents(at, []byte(text))
			default:
				if err := d.validate(at.in("schema"), example); err != nil {
					errs = []error{err}
				}
			}
			for _, err := range errs {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
	walk(d.root, "")
	if seen < 20 {
		t.Errorf("only %d examples", seen)
	}
}

// TestReferencesOfDocument looks for references to nothing, and for components
// that nothing refers to.
func TestReferencesOfDocument(t *testing.T) {
	d := readDocument(t)
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$ref: '#(/[^']*)'`).FindAllStringSubmatch(string(openapiText), -1) {
		used[m[1]] = true
		if v, _ := d.at(docPlace(m[1])); v == nil {
			t.Errorf("there is no %s", m[1])
		}
	}
	for _, free := range []string{"NotFound", "MethodNotAllowed"} { // of what is no operation
		used["/components/responses/"+free] = true
	}
	components, at := d.object("/components")
	for kind := range components {
		named, at := d.object(at.in(kind))
		for name := range named {
			if !used[string(at.in(name))] {
				t.Errorf("nothing refers to %s", at.in(name))
			}
		}
	}
}

func TestServeDocuments(t *testing.T) {
	a := newTestAPI(t, func(c *Config) { c.Version = `v1.2.3 "x"` })
	got := a.want(200, a.do("GET", "/openapi.yaml", ""))
	if !bytes.Contains(got.body, []byte("\n  version: \"v1.2.3 \\\"x\\\"\"\n")) || bytes.Contains(got.body, []byte("version: dev")) {
		t.Errorf("the version is not the binary's: %.1000s", got.body)
	}
	page := a.want(200, a.do("GET", "/docs", ""))
	for _, part := range []string{"v1.2.3 &#34;x&#34;", `id="op-fetchMany"`, `id="problem-offset_mismatch"`, "curl -X PUT &#39;http://localhost:8080/v1/topics/orders&#39;"} {
		if !bytes.Contains(page.body, []byte(part)) {
			t.Errorf("the page lacks %s", part)
		}
	}
	for _, path := range []string{"/openapi.yaml", "/docs"} {
		first := a.want(200, a.do("GET", path, ""))
		tag := first.header.Get("ETag")
		if again := a.want(304, a.do("GET", path, "", "If-None-Match", `"other", `+strings.TrimPrefix(tag, "W/"))); len(again.body) > 0 || again.header.Get("ETag") != tag {
			t.Errorf("%s: 304 with %v and %q", path, again.header, again.body)
		}
		a.want(304, a.do("GET", path, "", "If-None-Match", "*"))
		a.want(200, a.do("GET", path, "", "If-None-Match", `"other"`))
		a.want(200, a.do("HEAD", path, ""))
		a.wantProblem(400, "invalid_header", a.do("GET", path, "", "If-None-Match", "other"))
		a.wantProblem(400, "invalid_parameter", a.do("GET", path+"?x=1", ""))
		a.wantProblem(405, "method_not_allowed", a.do("POST", path, ""))
	}
	other := newTestAPI(t, nil)
	if tag := a.do("GET", "/openapi.yaml", "").header.Get("ETag"); other.do("GET", "/openapi.yaml", "").header.Get("ETag") == tag {
		t.Error("two versions have one entity tag")
	}
}
