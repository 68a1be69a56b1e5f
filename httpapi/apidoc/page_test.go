package apidoc

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readPage(t *testing.T) (page Page, html string) {
	t.Helper()
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err = NewPage(text)
	if err != nil {
		t.Fatal(err)
	}
	return page, string(page.HTML)
}

var (
	ids   = regexp.MustCompile(` id="([^"]+)"`)
	hrefs = regexp.MustCompile(` href="([^"]+)"`)
)

func TestEveryLinkOfThePageLeadsSomewhere(t *testing.T) {
	_, html := readPage(t)
	known := map[string]bool{}
	for _, m := range ids.FindAllStringSubmatch(html, -1) {
		if known[m[1]] {
			t.Errorf("two places have the id %s", m[1])
		}
		known[m[1]] = true
	}
	links := hrefs.FindAllStringSubmatch(html, -1)
	if len(links) < 100 {
		t.Errorf("only %d links", len(links))
	}
	for _, m := range links {
		if anchor, within := strings.CutPrefix(m[1], "#"); within && !known[anchor] {
			t.Errorf("nothing has the id %s", anchor)
		}
	}
}

// TestPageNeedsNothingElse looks for all that would make a browser ask for more,
// or run something.
func TestPageNeedsNothingElse(t *testing.T) {
	page, html := readPage(t)
	for _, m := range hrefs.FindAllStringSubmatch(html, -1) {
		if !strings.HasPrefix(m[1], "#") && m[1] != "data:," && m[1] != "/openapi.yaml" {
			t.Errorf("a link leads to %s", m[1])
		}
	}
	for _, part := range []string{"<script", " src=", "@import", "url(", " style=", " onclick", "ZgotmplZ"} {
		if strings.Contains(html, part) {
			t.Errorf("the page has %q", part)
		}
	}
	for _, part := range []string{"default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'"} {
		if !strings.Contains(page.Policy, part) {
			t.Errorf("the policy %q lacks %q", page.Policy, part)
		}
	}
	if strings.Contains(page.Policy, "unsafe") {
		t.Errorf("the policy is %q", page.Policy)
	}
}

// TestPageHasTheWholeDocument looks for every operation, parameter, status and
// code on the page.
func TestPageHasTheWholeDocument(t *testing.T) {
	text, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	_, html := readPage(t)
	operations := 0
	for _, path := range doc.get("paths").members() {
		for _, m := range path.members() {
			if !slices.Contains(methods, m.name) {
				continue
			}
			operations++
			begin := strings.Index(html, `<h3 id="op-`+m.get("operationId").text()+`">`)
			if begin < 0 {
				t.Errorf("%s %s is not on the page", m.name, path.name)
				continue
			}
			article, _, _ := strings.Cut(html[begin:], "</article>")
			for _, p := range parametersOf(path, m) {
				if name := p.get("name").text(); name != "X-Request-Id" && !strings.Contains(article, "<dt><code>"+name+"</code>") {
					t.Errorf("%s %s lacks parameter %s", m.name, path.name, name)
				}
			}
			for _, res := range m.get("responses").members() {
				if !strings.Contains(article, ">"+res.name+"</p>") {
					t.Errorf("%s %s lacks status %s", m.name, path.name, res.name)
				}
			}
			if !strings.Contains(article, `<pre class="command">curl `) {
				t.Errorf("%s %s lacks a command", m.name, path.name)
			}
		}
	}
	if operations < 15 {
		t.Errorf("only %d operations", operations)
	}
	for _, m := range doc.get("components", "schemas", "Problem", "properties", "code", "x-codes").members() {
		if !strings.Contains(html, `id="problem-`+m.name+`"`) {
			t.Errorf("code %s is not on the page", m.name)
		}
	}
	if strings.Count(html, "<dt><code>X-Request-Id</code>") != 2 {
		t.Error("what every request and every answer has is said more than once")
	}
}

func TestProseIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"a <b> & `c<d`\n\nnext\nline": "<p>a &lt;b&gt; &amp; <code>c&lt;d</code></p>\n<p>next line</p>\n",
		"- one\n  goes on\n- `two`":   "<ul>\n<li>one goes on</li>\n<li><code>two</code></li>\n</ul>\n",
		"a ` alone":                   "<p>a ` alone</p>\n",
	} {
		if got := string(prose(text)); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestCommandsAreWordsOfAShell(t *testing.T) {
	doc, err := parse([]byte(`
post:
  requestBody:
    content:
      text/plain: {schema: {type: string}, example: "it's"}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := commands("POST", "/a", nil, doc.members()[0])
	if want := "curl 'http://localhost:8080/a' \\\n  -H 'Content-Type: text/plain' \\\n  --data-binary 'it'\\''s'"; len(got) != 1 || got[0].Text != want {
		t.Errorf("commands %q, want %q", got, want)
	}
}

func TestRefusesWhatIsNoDocument(t *testing.T) {
	for _, text := range []string{"", "[]", "a: [", "tags: []\npaths: {/a: {get: {tags: [none]}}}"} {
		if _, err := NewPage([]byte(text)); err == nil {
			t.Errorf("a page was made of %q", text)
		}
	}
}
