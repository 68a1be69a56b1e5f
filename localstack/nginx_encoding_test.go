package localstack

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestNginxPassesEncodings on as they are, in both directions: a body arrives as it
// was encoded, and an answer is encoded once, with a length that is right.
func TestNginxPassesEncodings(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	store := (&url.URL{Scheme: "file", Path: t.TempDir()}).String()
	node, err := StartNode(ctx, NodeOptions{Name: "node", Binary: wadi(t), Store: store, LogFile: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Error(err)
		}
	})
	nginx := startNginx(ctx, t, strings.TrimPrefix(node.URL, "http://"))
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	send := func(method, path string, body []byte, headers ...string) (*http.Response, []byte) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, method, nginx.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return response, text
	}
	if r, text := send("PUT", "/v1/topics/t", nil); r.StatusCode != 201 {
		t.Fatalf("%s: %s", r.Status, text)
	}
	const records = "/v1/topics/t/partitions/0/records"
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	value := strings.Repeat("some text of which there is much ", 20_000)
	_, _ = io.WriteString(zip, value)
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if r, text := send("POST", records, body.Bytes(), "Content-Encoding", "gzip", "Content-Type", "text/plain"); r.StatusCode != 200 {
		t.Fatalf("%s: %s", r.Status, text)
	}
	for _, method := range []string{"GET", "HEAD"} {
		r, text := send(method, records+"?offset=0", nil, "Accept-Encoding", "gzip")
		if r.StatusCode != 200 || r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Vary") != "Accept, Accept-Encoding" {
			t.Fatalf("%s: %s, %v", method, r.Status, r.Header)
		}
		if length := r.Header.Get("Content-Length"); length != "" && length != strconv.Itoa(len(text)) {
			t.Errorf("%s: Content-Length %s of %d bytes", method, length, len(text))
		}
		if method == "HEAD" {
			continue
		}
		unzip, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Records []struct{ Value string } }
		if err := json.NewDecoder(unzip).Decode(&answer); err != nil || len(answer.Records) != 1 || answer.Records[0].Value != value {
			t.Errorf("%v, %d records", err, len(answer.Records))
		}
	}
	if r, text := send("GET", records+"?offset=0", nil); r.Header.Get("Content-Encoding") != "" || !json.Valid(text) {
		t.Errorf("without Accept-Encoding: %v", r.Header)
	}
	if r, text := send("POST", records, body.Bytes()[:body.Len()-3], "Content-Encoding", "gzip"); r.StatusCode != 400 || !bytes.Contains(text, []byte(`"invalid_encoding"`)) {
		t.Errorf("a body that is cut off: %s: %s", r.Status, text)
	}
}
