package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wadilog/wadi/rebuild"
	"github.com/wadilog/wadi/verify"
)

// storeFiles are the objects of a folder store below a prefix.
func storeFiles(t *testing.T, store, prefix string) (files []string) {
	t.Helper()
	root := filepath.Join(strings.TrimPrefix(store, "file://"), "objects", prefix)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// report reads what wadi verify --json printed.
func report(t *testing.T, out string) (s verify.Summary, found []verify.Finding) {
	t.Helper()
	for line := range strings.Lines(out) {
		var v struct {
			Finding *verify.Finding
			Summary *verify.Summary
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if v.Finding != nil {
			found = append(found, *v.Finding)
		}
		if v.Summary != nil {
			s = *v.Summary
		}
	}
	return s, found
}

// TestVerifyExitStatus: 0 for a whole log, 1 with the place of the damage, 2 for
// what cannot be checked.
func TestVerifyExitStatus(t *testing.T) {
	s := &session{t: t}
	store := folderStore(t)
	if o := s.run("verify", "--store", store+"/none"); o.status != exitUnchecked || !strings.Contains(o.err, "not the folder of a store") {
		t.Errorf("a store that is not there: %+v", o)
	}
	if o := s.run("verify"); o.status != exitUsage {
		t.Errorf("no store: %+v", o)
	}
	n := startNode(t, store, "--wal=off")
	n.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":2}`)
	for i := range 20 {
		n.must(http.StatusOK, http.MethodPost, fmt.Sprintf("/v1/topics/a/partitions/%d/records", i%2), "text/plain", fmt.Sprint(i))
	}
	n.end()
	if out := s.must("verify", "--store", store); !strings.HasSuffix(out, "whole\n") || !strings.Contains(out, "20 records") {
		t.Errorf("it prints\n%s", out)
	}
	if o := s.run("verify", "--store", store, "--topic", "b"); o.status != exitUnchecked || !strings.Contains(o.err, "topic not found") {
		t.Errorf("a topic that is not there: %+v", o)
	}
	segment := storeFiles(t, store, "segments")[0]
	body, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	body[40] ^= 1
	if err := os.WriteFile(segment, body, 0o600); err != nil {
		t.Fatal(err)
	}
	o := s.run("verify", "--store", store)
	if name := filepath.Base(segment); o.status != exitFailure || !strings.Contains(o.out, "damage segments/") || !strings.Contains(o.out, name) || !strings.Contains(o.out, "batch at bytes 0 to") || !strings.Contains(o.out, "a/") {
		t.Errorf("%+v", o)
	}
	summary, found := report(t, s.run("verify", "--store", store, "--json").out)
	if summary.Whole || summary.Damages != 1 || len(found) != 1 || len(found[0].Records) != 1 || found[0].Records[0].Topic != "a" {
		t.Errorf("%+v %+v", summary, found)
	}
	if o := s.run("verify", "--store", store, "--metadata-only"); o.status != exitOK {
		t.Errorf("the metadata: %+v", o)
	}
	if err := os.Truncate(segment, 50); err != nil {
		t.Fatal(err)
	}
	if o := s.run("verify", "--store", store, "--metadata-only"); o.status != exitFailure || !strings.Contains(o.out, "it has 50 bytes") {
		t.Errorf("a segment that was cut: %+v", o)
	}
}

// TestRebuildAfterTheJournalIsLost: a node starts from what was rebuilt, serves
// all records in their order, and takes more.
func TestRebuildAfterTheJournalIsLost(t *testing.T) {
	s := &session{t: t}
	store := folderStore(t)
	n := startNode(t, store, "--wal=off")
	n.must(http.StatusCreated, http.MethodPut, "/v1/topics/a", "application/json", `{"partitions":3}`)
	s.in = lines(5000)
	s.must("produce", "a", "--server", n.url)
	before := consumeAll(t, s, n)
	n.end()
	if o := s.run("rebuild", "--store", store, "--yes"); o.status != exitFailure || !strings.Contains(o.err, "never written over") {
		t.Errorf("over a journal: %+v", o)
	}
	if err := os.RemoveAll(filepath.Join(strings.TrimPrefix(store, "file://"), "objects", "catalog")); err != nil {
		t.Fatal(err)
	}
	if o := s.run("verify", "--store", store); o.status != exitFailure || !strings.Contains(o.out, "wadi rebuild") {
		t.Errorf("without a journal: %+v", o)
	}
	if out := s.must("rebuild", "--store", store); !strings.Contains(out, "nothing was written") {
		t.Errorf("it prints\n%s", out)
	}
	var r rebuild.Report
	if err := json.Unmarshal([]byte(s.must("rebuild", "--store", store, "--yes", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Records != 5000 || len(r.Topics) != 1 || r.LeftOutCount != 0 || r.OpenOrder != 0 || len(r.Unknown) < 5 {
		t.Errorf("%+v", r)
	}
	s.must("verify", "--store", store)
	n = startNode(t, store, "--wal=off")
	if after := consumeAll(t, s, n); after != before {
		t.Errorf("%d bytes before, %d after, and they differ", len(before), len(after))
	}
	s.in = lines(10)
	s.must("produce", "a", "--server", n.url)
	n.end()
	if out := s.must("verify", "--store", store); !strings.Contains(out, "5010 records") {
		t.Errorf("it prints\n%s", out)
	}
}

func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// consumeAll returns the records of each partition of topic a, in their order.
func consumeAll(t *testing.T, s *session, n *runningNode) string {
	t.Helper()
	var all strings.Builder
	for p := range 3 {
		fmt.Fprintf(&all, "partition %d\n%s", p, s.must("consume", "a", "--server", n.url, "--partition", fmt.Sprint(p), "--from", "earliest"))
	}
	return all.String()
}

// TestVerifyBesideNodes: what comes and goes while it reads is not damage.
func TestVerifyBesideNodes(t *testing.T) {
	s := &session{t: t}
	store := folderStore(t)
	first := startNode(t, store, "--wal=off", "--garbage-grace", "1s", "--request-timeout", "1s", "--peer-secret", "ours")
	second := startNode(t, store, "--wal=off", "--garbage-grace", "1s", "--request-timeout", "1s", "--peer-secret", "ours")
	first.must(http.StatusCreated, http.MethodPut, "/v1/topics/kept", "application/json", `{"partitions":2}`)
	for round := range 6 {
		working := make(chan error, 2)
		for i, n := range []*runningNode{first, second} {
			go func() {
				topic := fmt.Sprintf("/v1/topics/t%d-%d", round, i)
				for _, step := range []struct{ method, path, media, body string }{
					{http.MethodPut, topic, "application/json", `{"partitions":1}`},
					{http.MethodPost, topic + "/records", "text/plain", strings.Repeat("x", 10_000)},
					{http.MethodPost, "/v1/topics/kept/records", "text/plain", "y"},
					{http.MethodPost, topic + "/records", "text/plain", strings.Repeat("z", 10_000)},
					{http.MethodDelete, topic, "", ""},
				} {
					if status, text, err := n.try(step.method, step.path, step.media, step.body); err != nil || status >= 300 {
						working <- fmt.Errorf("%s %s: %d %s %v", step.method, step.path, status, text, err)
						return
					}
				}
				working <- nil
			}()
		}
		for pending := 2; pending > 0; {
			if o := s.run("verify", "--store", store, "--all"); o.status != exitOK {
				t.Fatalf("round %d: %+v", round, o)
			}
			select {
			case err := <-working:
				pending--
				if err != nil {
					t.Fatal(err)
				}
			default:
			}
		}
	}
	if out := s.must("verify", "--store", store); !strings.Contains(out, "12 records") {
		t.Errorf("it prints\n%s", out)
	}
}
